"""Convolutional networks as torchvision defines them: MobileNetV2, MobileNetV3-small, EfficientNet-B0, ResNet-18/50.

`bn` is "fold" for what the TorchScript exporter writes (batch norms folded into convolutions) and "keep" for graphs
that still hold BatchNormalization nodes; both are common in the wild.
"""

from builder import FLOAT, Graph, conv, gemm, silu


def _relu6(g, x):
    return g.op("Clip", x, g.const(0.0), g.const(6.0))


def _classifier_input(g, x):
    return g.op("Flatten", g.op("GlobalAveragePool", x), axis=1)


def _image(g, batch, size):
    return g.input("input", FLOAT, [batch, 3, size, size])


def mobilenet_v2(seed=1, batch=1, bn="fold", size=224):
    g = Graph("mobilenet_v2", seed, opset=13)
    x = _image(g, batch, size)
    x = _relu6(g, conv(g, x, 3, 32, 3, 2, name="features.0", bn=bn))
    cin, index = 32, 1
    for t, c, n, s in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)):
        for i in range(n):
            stride, hidden, y = (s if i == 0 else 1), cin * t, x
            with g.scope(f"features.{index}"):
                if t != 1:
                    y = _relu6(g, conv(g, y, cin, hidden, 1, name="expand", bn=bn))
                y = _relu6(g, conv(g, y, hidden, hidden, 3, stride, groups=hidden, name="depthwise", bn=bn))
                y = conv(g, y, hidden, c, 1, name="project", bn=bn, gain=1.0)
                x = g.op("Add", x, y) if stride == 1 and cin == c else y
            cin, index = c, index + 1
    x = _relu6(g, conv(g, x, cin, 1280, 1, name=f"features.{index}", bn=bn))
    x = gemm(g, _classifier_input(g, x), 1280, 1000, "classifier.1")
    g.output(x, "output", FLOAT, [batch, 1000])
    return g


def _squeeze_excite(g, x, channels, squeezed, inner, gate):
    with g.scope("se"):
        y = g.op("GlobalAveragePool", x)
        y = inner(g, conv(g, y, channels, squeezed, 1, name="fc1"))
        y = gate(g, conv(g, y, squeezed, channels, 1, name="fc2"))
        return g.op("Mul", y, x)


def mobilenet_v3_small(seed=2, batch=1, bn="keep"):
    g = Graph("mobilenet_v3_small", seed, opset=14)
    hard_swish = lambda g, x: g.op("HardSwish", x)
    relu = lambda g, x: g.op("Relu", x)
    hard_sigmoid = lambda g, x: g.op("HardSigmoid", x, alpha=1 / 6)
    x = _image(g, batch, 224)
    x = hard_swish(g, conv(g, x, 3, 16, 3, 2, name="features.0", bn=bn))
    rows = (
        # in, kernel, hidden, out, squeeze-excite, activation, stride
        (16, 3, 16, 16, True, relu, 2), (16, 3, 72, 24, False, relu, 2), (24, 3, 88, 24, False, relu, 1),
        (24, 5, 96, 40, True, hard_swish, 2), (40, 5, 240, 40, True, hard_swish, 1), (40, 5, 240, 40, True, hard_swish, 1),
        (40, 5, 120, 48, True, hard_swish, 1), (48, 5, 144, 48, True, hard_swish, 1), (48, 5, 288, 96, True, hard_swish, 2),
        (96, 5, 576, 96, True, hard_swish, 1), (96, 5, 576, 96, True, hard_swish, 1),
    )  # fmt: skip
    for index, (cin, k, hidden, cout, se, act, stride) in enumerate(rows, 1):
        y = x
        with g.scope(f"features.{index}"):
            if hidden != cin:
                y = act(g, conv(g, y, cin, hidden, 1, name="expand", bn=bn))
            y = act(g, conv(g, y, hidden, hidden, k, stride, groups=hidden, name="depthwise", bn=bn))
            if se:
                y = _squeeze_excite(g, y, hidden, max(8, (hidden // 4 + 4) // 8 * 8), relu, hard_sigmoid)
            y = conv(g, y, hidden, cout, 1, name="project", bn=bn, gain=4.0 if se else 1.0)  # a gate halves
            x = g.op("Add", y, x) if stride == 1 and cin == cout else y
    x = hard_swish(g, conv(g, x, 96, 576, 1, name="features.12", bn=bn))
    x = hard_swish(g, gemm(g, _classifier_input(g, x), 576, 1024, "classifier.0", gain=2.0))
    g.output(gemm(g, x, 1024, 1000, "classifier.3"), "output", FLOAT, [batch, 1000])
    return g


def efficientnet_b0(seed=3, batch=1, bn="keep"):
    g = Graph("efficientnet_b0", seed, opset=17)
    x = _image(g, batch, 224)
    x = silu(g, conv(g, x, 3, 32, 3, 2, name="features.0", bn=bn))
    sigmoid = lambda g, x: g.op("Sigmoid", x)
    cin = 32
    rows = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3), (6, 5, 2, 192, 4), (6, 3, 1, 320, 1))
    for stage, (expand, k, s, c, n) in enumerate(rows, 1):
        for i in range(n):
            stride, hidden, y = (s if i == 0 else 1), cin * expand, x
            with g.scope(f"features.{stage}.{i}"):
                if expand != 1:
                    y = silu(g, conv(g, y, cin, hidden, 1, name="expand", bn=bn))
                y = silu(g, conv(g, y, hidden, hidden, k, stride, groups=hidden, name="depthwise", bn=bn))
                y = _squeeze_excite(g, y, hidden, max(1, cin // 4), silu, sigmoid)
                y = conv(g, y, hidden, c, 1, name="project", bn=bn, gain=4.0)  # gate and silu shrink it
                x = g.op("Add", y, x) if stride == 1 and cin == c else y
            cin = c
    x = silu(g, conv(g, x, cin, 1280, 1, name="features.8", bn=bn))
    g.output(gemm(g, _classifier_input(g, x), 1280, 1000, "classifier.1"), "output", FLOAT, [batch, 1000])
    return g


def resnet(depths, bottleneck, seed, batch=1, bn="fold", name="resnet"):
    g = Graph(name, seed, opset=17)
    relu = lambda x: g.op("Relu", x)
    x = relu(conv(g, _image(g, batch, 224), 3, 64, 7, 2, name="conv1", bn=bn))
    x = g.op("MaxPool", x, ceil_mode=0, dilations=[1, 1], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2])
    cin = 64
    for layer, blocks in enumerate(depths):
        width = 64 << layer
        cout = width * 4 if bottleneck else width
        for i in range(blocks):
            stride = 2 if layer > 0 and i == 0 else 1
            with g.scope(f"layer{layer + 1}.{i}"):
                if bottleneck:
                    y = relu(conv(g, x, cin, width, 1, name="conv1", bn=bn))
                    y = relu(conv(g, y, width, width, 3, stride, name="conv2", bn=bn))
                    y = conv(g, y, width, cout, 1, name="conv3", bn=bn, gain=0.4)
                else:
                    y = relu(conv(g, x, cin, width, 3, stride, name="conv1", bn=bn))
                    y = conv(g, y, width, width, 3, name="conv2", bn=bn, gain=0.4)
                if stride != 1 or cin != cout:
                    x = conv(g, x, cin, cout, 1, stride, pad=0, name="downsample.0", bn=bn, gain=1.0)
                x = relu(g.op("Add", y, x))
            cin = cout
    g.output(gemm(g, _classifier_input(g, x), cin, 1000), "output", FLOAT, [batch, 1000])
    return g


def resnet50(**options):
    return resnet((3, 4, 6, 3), True, seed=4, name="resnet50", **options)


def resnet18(**options):
    return resnet((2, 2, 2, 2), False, seed=5, name="resnet18", **options)
