"""Networks on pictures and volumes beyond those of cnn.py: what they are made of (groups, shuffles, windows, dense concatenations, transposed
convolutions, norms of whole planes) is what benchmarks/cpu's list lacks. Sizes are those of the published ones, or a smaller sister's."""

import numpy as np
from builder import FLOAT, Graph, conv, gelu_erf, gemm, layer_norm, linear, silu


def relu(g, x):
    return g.op("Relu", x)


def picture(name, seed, shape, opset=17):
    g = Graph(name, seed, opset=opset)
    return g, g.input("input", FLOAT, shape)


def classify(g, x, batch, channels, classes=1000):
    x = g.op("Flatten", g.op("GlobalAveragePool", x), axis=1)
    g.output(gemm(g, x, channels, classes), "output", FLOAT, [batch, classes])
    return g


def window(g, x, cin, cout, kernel, stride=1, pads=None, dilation=1, groups=1, gain=2.0, name="conv", bias=True):
    """A convolution of any number of axes; `kernel` has their lengths."""
    axes, taps = len(kernel), int(np.prod(kernel))
    pads = [dilation * (k // 2) for k in kernel] * 2 if pads is None else pads
    with g.scope(name):
        weight = g.param("weight", g.normal((cout, cin // groups, *kernel), (gain / (cin // groups * taps)) ** 0.5))
        inputs = [x, weight] + ([g.param("bias", g.normal((cout,), 0.05))] if bias else [])
        stride = [stride] * axes if isinstance(stride, int) else stride
        return g.op("Conv", *inputs, dilations=[dilation] * axes, group=groups, kernel_shape=kernel, pads=pads, strides=stride)


def transposed(g, x, cin, cout, kernel, stride, pad, name="up", axes=2, gain=2.0):
    with g.scope(name):
        std = (gain / (cin * kernel**axes / stride**axes)) ** 0.5
        weight = g.param("weight", g.normal((cin, cout) + (kernel,) * axes, std))
        bias = g.param("bias", g.normal((cout,), 0.05))
        return g.op("ConvTranspose", x, weight, bias, kernel_shape=[kernel] * axes, strides=[stride] * axes, pads=[pad] * 2 * axes)


def instance_norm(g, x, channels, name="norm"):
    with g.scope(name):
        scale, bias = g.param("weight", g.normal((channels,), 0.05, 1.0)), g.param("bias", g.normal((channels,), 0.05))
        return g.op("InstanceNormalization", x, scale, bias, epsilon=1e-5)


def group_norm(g, x, channels, groups, shape, name="norm"):
    """As PyTorch exports it: an instance norm of groups, then scale and shift."""
    with g.scope(name):
        flat = g.op("Reshape", x, g.ints(0, groups, -1))
        ones, zeros = g.param("ones", np.ones(groups, np.float32)), g.param("zeros", np.zeros(groups, np.float32))
        y = g.op("Reshape", g.op("InstanceNormalization", flat, ones, zeros, epsilon=1e-5), g.ints(*shape))
        per = (channels,) + (1,) * (len(shape) - 2)
        return g.op("Add", g.op("Mul", y, g.param("weight", g.normal(per, 0.05, 1.0))), g.param("bias", g.normal(per, 0.05)))


def resize(g, x, factor, mode="nearest"):
    how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"} if mode == "nearest" else {"coordinate_transformation_mode": "half_pixel"}
    return g.op("Resize", x, "", g.const([1, 1, factor, factor]), mode=mode, **how)


def max_pool(g, x, k=3, stride=2, pad=None, **more):
    pad = k // 2 if pad is None else pad
    return g.op("MaxPool", x, kernel_shape=[k, k], strides=[stride] * 2, pads=[pad] * 4, **more)


# ---- classifiers ------------------------------------------------------------------------------------------------------


def resnext(batch=1, seed=31):
    """ResNeXt-50 32x4d's blocks, half as many."""
    g, x = picture("resnext", seed, [batch, 3, 224, 224])
    x = max_pool(g, relu(g, conv(g, x, 3, 64, 7, 2, name="stem")))
    cin = 64
    for stage, (blocks, width) in enumerate(zip((2, 2, 3, 1), (128, 256, 512, 1024))):
        for i in range(blocks):
            stride = 2 if stage and not i else 1
            with g.scope(f"layer{stage}.{i}"):
                y = relu(g, conv(g, x, cin, width, 1, name="a"))
                y = relu(g, conv(g, y, width, width, 3, stride, groups=32, name="b"))
                y = conv(g, y, width, 2 * width, 1, name="c", gain=0.4)
                x = x if cin == 2 * width else conv(g, x, cin, 2 * width, 1, stride, pad=0, name="d", gain=1.0)
                x = relu(g, g.op("Add", y, x))
            cin = 2 * width
    return classify(g, x, batch, cin)


def regnet_y(batch=1, seed=32):
    """RegNetY-400MF: groups of 8 channels, squeeze and excitation."""
    g, x = picture("regnet_y", seed, [batch, 3, 224, 224])
    x, cin = relu(g, conv(g, x, 3, 32, 3, 2, name="stem")), 32
    for stage, (blocks, width) in enumerate(zip((1, 3, 6, 6), (48, 104, 208, 440))):
        for i in range(blocks):
            stride = 1 if i else 2
            with g.scope(f"s{stage}.{i}"):
                y = relu(g, conv(g, x, cin, width, 1, name="a"))
                y = relu(g, conv(g, y, width, width, 3, stride, groups=width // 8, name="b"))
                s = relu(g, conv(g, g.op("GlobalAveragePool", y), width, cin // 4, 1, name="se1"))
                y = g.op("Mul", y, g.op("Sigmoid", conv(g, s, cin // 4, width, 1, name="se2")))
                y = conv(g, y, width, width, 1, name="c", gain=1.0)
                x = relu(g, g.op("Add", y, x if i else conv(g, x, cin, width, 1, stride, pad=0, name="d", gain=1.0)))
            cin = width
    return classify(g, x, batch, cin)


def _norm_relu(g, x, channels, name):
    with g.scope(name):
        values = {"scale": g.normal((channels,), 0.05, 1.0), "b": g.normal((channels,), 0.05), "mean": g.normal((channels,), 0.05)}
        values["var"] = g.random.uniform(0.8, 1.2, channels).astype(np.float32)
        return relu(g, g.op("BatchNormalization", x, *[g.param(k, v) for k, v in values.items()], epsilon=1e-5))


def densenet(batch=1, seed=33):
    """DenseNet-121: norms and activations in front of convolutions, each of which reads all before it."""
    g, x = picture("densenet", seed, [batch, 3, 224, 224])
    x, c = max_pool(g, _norm_relu(g, conv(g, x, 3, 64, 7, 2, name="stem", bias=False), 64, "norm0")), 64
    for block, layers in enumerate((6, 12, 24, 16)):
        features = [x]
        for i in range(layers):
            with g.scope(f"block{block}.{i}"):
                y = g.op("Concat", *features, axis=1) if i else x
                y = conv(g, _norm_relu(g, y, c, "n1"), c, 128, 1, name="c1", bias=False)
                features.append(conv(g, _norm_relu(g, y, 128, "n2"), 128, 32, 3, name="c2", bias=False, gain=1.0))
            c += 32
        x = g.op("Concat", *features, axis=1)
        if block < 3:
            x = conv(g, _norm_relu(g, x, c, f"t{block}"), c, c // 2, 1, name=f"t{block}c", bias=False)
            x, c = g.op("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2]), c // 2
    return classify(g, _norm_relu(g, x, c, "last"), batch, c)


def _shuffle(g, x, channels, batch, size):
    x = g.op("Transpose", g.op("Reshape", x, g.ints(batch, 2, channels // 2, size, size)), perm=[0, 2, 1, 3, 4])
    return g.op("Reshape", x, g.ints(batch, channels, size, size))


def shufflenet(batch=1, seed=34):
    """ShuffleNetV2 x1.0."""
    g, x = picture("shufflenet", seed, [batch, 3, 224, 224])
    x, cin, size = max_pool(g, relu(g, conv(g, x, 3, 24, 3, 2, name="stem"))), 24, 56
    for stage, (blocks, c) in enumerate(zip((4, 8, 4), (116, 232, 464))):
        for i in range(blocks):
            half = c // 2
            with g.scope(f"s{stage}.{i}"):
                if i:
                    left, y = g.op("Split", x, g.ints(half, half), outputs=2, axis=1)
                else:
                    left = conv(g, x, cin, cin, 3, 2, groups=cin, name="l1", gain=1.0)
                    left, y, size = relu(g, conv(g, left, cin, half, 1, name="l2")), x, size // 2
                y = relu(g, conv(g, y, half if i else cin, half, 1, name="a"))
                y = conv(g, y, half, half, 3, 1 if i else 2, groups=half, name="b", gain=1.0)
                y = relu(g, conv(g, y, half, half, 1, name="c"))
                x = _shuffle(g, g.op("Concat", left, y, axis=1), c, batch, size)
        cin = c
    return classify(g, relu(g, conv(g, x, cin, 1024, 1, name="last")), batch, 1024)


def ghostnet(batch=1, seed=35):
    """GhostNet: half of the channels are computed, the other half are depthwise convolutions of those."""
    g, x = picture("ghostnet", seed, [batch, 3, 224, 224])
    x, cin = relu(g, conv(g, x, 3, 16, 3, 2, name="stem")), 16

    def ghost(x, i, o, act, name):
        with g.scope(name):
            a = conv(g, x, i, o // 2, 1, name="a", gain=2.0 if act else 1.0)
            a = relu(g, a) if act else a
            b = conv(g, a, o // 2, o // 2, 3, groups=o // 2, name="b", gain=2.0 if act else 1.0)
            return g.op("Concat", a, relu(g, b) if act else b, axis=1)

    rows = ((3, 16, 16, 1), (3, 48, 24, 2), (3, 72, 24, 1), (5, 72, 40, 2), (5, 120, 40, 1), (3, 240, 80, 2), (3, 200, 80, 1), (3, 184, 80, 1),
            (3, 480, 112, 1), (5, 672, 160, 2), (5, 960, 160, 1), (5, 960, 160, 1))  # fmt: skip
    for n, (k, hidden, cout, stride) in enumerate(rows):
        with g.scope(f"b{n}"):
            y = ghost(x, cin, hidden, True, "g1")
            if stride == 2:
                y = conv(g, y, hidden, hidden, k, 2, groups=hidden, name="dw", gain=1.0)
            y = ghost(y, hidden, cout, False, "g2")
            if stride == 2 or cin != cout:
                x = conv(g, conv(g, x, cin, cin, k, stride, groups=cin, name="s1", gain=1.0), cin, cout, 1, name="s2", gain=1.0)
            x, cin = g.op("Add", y, x), cout
    return classify(g, relu(g, conv(g, x, cin, 960, 1, name="last")), batch, 960)


def squeezenet(batch=1, seed=36):
    """SqueezeNet 1.1."""
    g, x = picture("squeezenet", seed, [batch, 3, 224, 224])
    x, cin = max_pool(g, relu(g, conv(g, x, 3, 64, 3, 2, pad=0, name="stem")), pad=0), 64
    for n, (s, e) in enumerate(((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))):
        x = max_pool(g, x, pad=0) if n in (2, 4) else x
        with g.scope(f"fire{n}"):
            y = relu(g, conv(g, x, cin, s, 1, name="s"))
            x = g.op("Concat", relu(g, conv(g, y, s, e, 1, name="e1")), relu(g, conv(g, y, s, e, 3, name="e3")), axis=1)
        cin = 2 * e
    x = g.op("GlobalAveragePool", relu(g, conv(g, x, 512, 1000, 1, name="last")))
    g.output(g.op("Flatten", x, axis=1), "output", FLOAT, [batch, 1000])
    return g


def inception(batch=1, seed=37):
    """Inception-v3's kinds of blocks: parallel branches, windows of 1 x 7 and 7 x 1, average pools."""
    g, x = picture("inception", seed, [batch, 3, 299, 299])
    act = lambda x, i, o, k, name, **how: relu(g, window(g, x, i, o, list(k), name=name, **how))
    x = act(x, 3, 32, (3, 3), "c0", stride=2, pads=[0] * 4)
    x = act(act(x, 32, 32, (3, 3), "c1", pads=[0] * 4), 32, 64, (3, 3), "c2")
    x = act(act(max_pool(g, x, pad=0), 64, 80, (1, 1), "c3"), 80, 192, (3, 3), "c4", pads=[0] * 4)
    x, c = max_pool(g, x, pad=0), 192
    average = lambda x: g.op("AveragePool", x, kernel_shape=[3, 3], strides=[1, 1], pads=[1] * 4, count_include_pad=1)
    for n in range(2):
        with g.scope(f"a{n}"):
            b = act(act(x, c, 48, (1, 1), "b1"), 48, 64, (5, 5), "b2")
            d = act(act(act(x, c, 64, (1, 1), "d1"), 64, 96, (3, 3), "d2"), 96, 96, (3, 3), "d3")
            x, c = g.op("Concat", act(x, c, 64, (1, 1), "a"), b, d, act(average(x), c, 64, (1, 1), "p"), axis=1), 288
    with g.scope("b"):
        d = act(act(act(x, c, 64, (1, 1), "d1"), 64, 96, (3, 3), "d2"), 96, 96, (3, 3), "d3", stride=2, pads=[0] * 4)
        x, c = g.op("Concat", act(x, c, 384, (3, 3), "a", stride=2, pads=[0] * 4), d, max_pool(g, x, pad=0), axis=1), 768
    for n, w in enumerate((128, 160, 192)):
        with g.scope(f"c{n}"):
            b = act(act(act(x, c, w, (1, 1), "b1"), w, w, (1, 7), "b2"), w, 192, (7, 1), "b3")
            d = act(act(act(x, c, w, (1, 1), "d1"), w, w, (7, 1), "d2"), w, w, (1, 7), "d3")
            d = act(act(d, w, w, (7, 1), "d4"), w, 192, (1, 7), "d5")
            x = g.op("Concat", act(x, c, 192, (1, 1), "a"), b, d, act(average(x), c, 192, (1, 1), "p"), axis=1)
    return classify(g, x, batch, 768)


def convnext(batch=1, seed=38, widths=(48, 96, 192, 384), depths=(2, 2, 8, 2)):
    """ConvNeXt-pico-like: depthwise 7 x 7, layer norms along channels."""
    g, x = picture("convnext", seed, [batch, 3, 224, 224])

    def norm_first(x, c, name):
        x = g.op("Transpose", x, perm=[0, 2, 3, 1])
        return g.op("Transpose", layer_norm(g, x, c, name, 1e-6), perm=[0, 3, 1, 2])

    x = norm_first(conv(g, x, 3, widths[0], 4, 4, pad=0, name="stem", gain=1.0), widths[0], "stem_norm")
    for stage, (c, depth) in enumerate(zip(widths, depths)):
        if stage:
            x = conv(g, norm_first(x, widths[stage - 1], f"d{stage}"), widths[stage - 1], c, 2, 2, pad=0, name=f"down{stage}", gain=1.0)
        for i in range(depth):
            with g.scope(f"s{stage}.{i}"):
                y = g.op("Transpose", conv(g, x, c, c, 7, groups=c, name="dw", gain=1.0), perm=[0, 2, 3, 1])
                y = gelu_erf(g, linear(g, layer_norm(g, y, c, "n", 1e-6), c, 4 * c, "up"))
                y = g.op("Mul", g.param("scale", g.normal((c,), 0.1, 0.3)), linear(g, y, 4 * c, c, "down"))
                x = g.op("Add", x, g.op("Transpose", y, perm=[0, 3, 1, 2]))
    return classify(g, x, batch, widths[-1])


def attend(g, q, k, v, heads, head, batch, rows, keys, bias=None):
    """q, k, v: [batch, rows or keys, heads * head]"""
    split = lambda t, n, perm: g.op("Transpose", g.op("Reshape", t, g.ints(batch, n, heads, head)), perm=perm)
    scores = g.op("MatMul", g.op("Mul", split(q, rows, [0, 2, 1, 3]), g.const(head**-0.5)), split(k, keys, [0, 2, 3, 1]))
    if bias:
        scores = bias(scores)
    y = g.op("MatMul", g.op("Softmax", scores, axis=-1), split(v, keys, [0, 2, 1, 3]))
    return g.op("Reshape", g.op("Transpose", y, perm=[0, 2, 1, 3]), g.ints(batch, rows, heads * head))


def swin(batch=1, seed=39, width=48, depths=(2, 2, 4, 2), size=224, win=7):
    """A small Swin transformer: attention in windows, every second time shifted by rolls."""
    g, x = picture("swin", seed, [batch, 3, size, size])
    n, c = size // 4, width
    x = g.op("Transpose", conv(g, x, 3, c, 4, 4, pad=0, name="patch", gain=1.0), perm=[0, 2, 3, 1])
    x = layer_norm(g, x, c, "patch_norm")

    def roll(x, by):
        for axis in (1, 2):
            a = g.op("Slice", x, g.ints(by), g.ints(2**40), g.ints(axis))
            x = g.op("Concat", a, g.op("Slice", x, g.ints(0), g.ints(by), g.ints(axis)), axis=axis)
        return x

    def windows(x, n, c):
        m, area = n // win, win * win
        x = g.op("Transpose", g.op("Reshape", x, g.ints(batch, m, win, m, win, c)), perm=[0, 1, 3, 2, 4, 5])
        return g.op("Reshape", x, g.ints(batch * m * m, area, c))

    def block(x, n, c, heads, shift):
        m, area = n // win, win * win
        y = layer_norm(g, x, c, "n1")
        y = windows(roll(y, win // 2) if shift else y, n, c)
        q, k, v = g.op("Split", linear(g, y, c, 3 * c, "qkv"), g.ints(c, c, c), outputs=3, axis=2)
        table = g.param("bias", g.normal((1, heads, area, area), 0.2))

        def bias(scores):
            scores = g.op("Add", scores, table)
            if not shift:
                return scores
            region = np.zeros((n, n), int)
            for a, rows in enumerate((slice(0, n - win), slice(n - win, n - win // 2), slice(n - win // 2, n))):
                for b, columns in enumerate((slice(0, n - win), slice(n - win, n - win // 2), slice(n - win // 2, n))):
                    region[rows, columns] = 3 * a + b
            parts = region.reshape(m, win, m, win).transpose(0, 2, 1, 3).reshape(m * m, area)
            mask = np.where(parts[:, None] == parts[:, :, None], 0, -100).astype(np.float32)
            scores = g.op("Reshape", scores, g.ints(batch, m * m, heads, area, area))
            return g.op("Reshape", g.op("Add", scores, g.param("mask", mask[None, :, None])), g.ints(-1, heads, area, area))

        y = linear(g, attend(g, q, k, v, heads, c // heads, batch * m * m, area, area, bias), c, c, "proj")
        y = g.op("Transpose", g.op("Reshape", y, g.ints(batch, m, m, win, win, c)), perm=[0, 1, 3, 2, 4, 5])
        y = g.op("Reshape", y, g.ints(batch, n, n, c))
        x = g.op("Add", x, roll(y, n - win // 2) if shift else y)
        return g.op("Add", x, linear(g, gelu_erf(g, linear(g, layer_norm(g, x, c, "n2"), c, 4 * c, "up")), 4 * c, c, "down"))

    for stage, depth in enumerate(depths):
        for i in range(depth):
            with g.scope(f"s{stage}.{i}"):
                x = block(x, n, c, c // 16, i % 2 == 1 and n > win)
        if stage < len(depths) - 1:
            cut = lambda a, b: g.op("Slice", x, g.ints(a, b), g.ints(2**40, 2**40), g.ints(1, 2), g.ints(2, 2))
            x = layer_norm(g, g.op("Concat", cut(0, 0), cut(1, 0), cut(0, 1), cut(1, 1), axis=3), 4 * c, f"m{stage}")
            x = linear(g, x, 4 * c, 2 * c, f"merge{stage}", bias=False)
            n, c = n // 2, c * 2
    x = g.op("ReduceMean", layer_norm(g, x, c, "last"), axes=[1, 2], keepdims=0)
    g.output(gemm(g, x, c, 1000), "output", FLOAT, [batch, 1000])
    return g


def mobilevit(batch=1, seed=40):
    """A block of MobileViT: convolutions, then attention between the pixels of the same place in patches of 2 x 2."""
    g, x = picture("mobilevit", seed, [batch, 3, 256, 256])
    x, cin = silu(g, conv(g, x, 3, 16, 3, 2, name="stem")), 16
    for i, (c, stride) in enumerate(((32, 1), (48, 2), (64, 2))):
        with g.scope(f"mv{i}"):
            y = silu(g, conv(g, x, cin, 4 * cin, 1, name="a"))
            y = silu(g, conv(g, y, 4 * cin, 4 * cin, 3, stride, groups=4 * cin, name="b"))
            x, cin = conv(g, y, 4 * cin, c, 1, name="c", gain=1.0), c
    n, d = 32, 96
    y = conv(g, silu(g, conv(g, x, cin, cin, 3, name="local")), cin, d, 1, name="wide", gain=1.0)
    y = g.op("Transpose", g.op("Reshape", y, g.ints(batch * d * n // 2, 2, n // 2, 2)), perm=[0, 2, 1, 3])
    y = g.op("Reshape", y, g.ints(batch, d, n * n // 4, 4))
    y = g.op("Reshape", g.op("Transpose", y, perm=[0, 3, 2, 1]), g.ints(batch * 4, n * n // 4, d))
    for i in range(2):
        with g.scope(f"t{i}"):
            q, k, v = g.op("Split", linear(g, layer_norm(g, y, d, "n1"), d, 3 * d, "qkv"), g.ints(d, d, d), outputs=3, axis=2)
            y = g.op("Add", y, linear(g, attend(g, q, k, v, 4, d // 4, batch * 4, n * n // 4, n * n // 4), d, d, "o"))
            y = g.op("Add", y, linear(g, silu(g, linear(g, layer_norm(g, y, d, "n2"), d, 2 * d, "up")), 2 * d, d, "down"))
    y = g.op("Transpose", g.op("Reshape", layer_norm(g, y, d, "n3"), g.ints(batch, 4, n * n // 4, d)), perm=[0, 3, 2, 1])
    y = g.op("Transpose", g.op("Reshape", y, g.ints(batch * d * n // 2, n // 2, 2, 2)), perm=[0, 2, 1, 3])
    y = silu(g, conv(g, g.op("Reshape", y, g.ints(batch, d, n, n)), d, cin, 1, name="narrow"))
    x = silu(g, conv(g, g.op("Concat", x, y, axis=1), 2 * cin, cin, 3, name="fuse"))
    return classify(g, silu(g, conv(g, x, cin, 256, 1, name="last")), batch, 256)
