"""Networks that give pictures for pictures, and networks on volumes."""

import numpy as np
from builder import FLOAT, Graph, conv, gelu_erf, gemm, layer_norm, linear, silu
from pictures import attend, classify, picture, group_norm, instance_norm, max_pool, relu, resize, transposed, window


def unet(batch=1, seed=41, size=256, c=16, depth=4):
    """size: an integer, or None for symbolic height and width"""
    g, x = picture("unet", seed, [batch, 3, size or "h", size or "w"])
    twice = lambda x, i, o, name: relu(g, conv(g, relu(g, conv(g, x, i, o, 3, name=name + "a")), o, o, 3, name=name + "b"))
    kept, cin = [], 3
    for i in range(depth):
        x, cin = twice(x, cin, c << i, f"d{i}"), c << i
        kept.append(x)
        x = max_pool(g, x, 2, pad=0)
    x, cin = twice(x, cin, c << depth, "m"), c << depth
    for i in reversed(range(depth)):
        x = g.op("Concat", kept[i], transposed(g, x, cin, c << i, 2, 2, 0, f"u{i}"), axis=1)
        x, cin = twice(x, 2 * (c << i), c << i, f"e{i}"), c << i
    g.output(conv(g, x, cin, 2, 1, name="last"), "output", FLOAT, [batch, 2, size or "h", size or "w"])
    return g


def deeplab(batch=1, seed=42, size=256):
    """Inverted residuals of which the later are dilated, pyramid pooling by dilation, bilinear enlargement."""
    g, x = picture("deeplab", seed, [batch, 3, size, size])
    x, cin = relu(g, conv(g, x, 3, 32, 3, 2, name="stem")), 32
    for i, (c, stride, dilation) in enumerate(((16, 1, 1), (24, 2, 1), (32, 2, 1), (32, 1, 1), (64, 2, 1), (64, 1, 1), (96, 1, 2), (96, 1, 2), (160, 1, 4))):
        with g.scope(f"b{i}"):
            y = relu(g, conv(g, x, cin, 4 * cin, 1, name="a"))
            y = relu(g, window(g, y, 4 * cin, 4 * cin, [3, 3], stride, dilation=dilation, groups=4 * cin, name="b"))
            y = conv(g, y, 4 * cin, c, 1, name="c", gain=1.0)
            x, cin = (g.op("Add", x, y) if cin == c and stride == 1 else y), c
    parts = [relu(g, conv(g, x, cin, 128, 1, name="p0"))]
    parts += [relu(g, window(g, x, cin, 128, [3, 3], dilation=d, name=f"p{d}")) for d in (6, 12, 18)]
    pooled = relu(g, conv(g, g.op("GlobalAveragePool", x), cin, 128, 1, name="pool"))
    parts.append(g.op("Expand", pooled, g.ints(batch, 128, size // 16, size // 16)))
    x = relu(g, conv(g, g.op("Concat", *parts, axis=1), 640, 128, 1, name="join"))
    x = conv(g, relu(g, conv(g, x, 128, 128, 3, name="h1")), 128, 21, 1, name="h2", gain=1.0)
    g.output(resize(g, x, 16, "linear"), "output", FLOAT, [batch, 21, size, size])
    return g


def segformer(batch=1, seed=43, size=256):
    """SegFormer-B0: attention with keys of a reduced picture, depthwise convolutions inside the MLP, a head of all four scales."""
    g, x = picture("segformer", seed, [batch, 3, size, size])
    n, cin, scales = size, 3, []
    for stage, (c, heads, ratio, k, stride) in enumerate(((32, 1, 8, 7, 4), (64, 2, 4, 3, 2), (160, 5, 2, 3, 2), (256, 8, 1, 3, 2))):
        x = conv(g, x, cin, c, k, stride, name=f"patch{stage}", gain=1.0)
        n //= stride
        rows = n * n
        flat = lambda t, m: g.op("Transpose", g.op("Reshape", t, g.ints(batch, c, m * m)), perm=[0, 2, 1])
        plane = lambda t, w: g.op("Reshape", g.op("Transpose", t, perm=[0, 2, 1]), g.ints(batch, w, n, n))
        x = layer_norm(g, flat(x, n), c, f"pn{stage}")
        for i in range(2):
            with g.scope(f"s{stage}.{i}"):
                y = layer_norm(g, x, c, "n1")
                z, m = y, n // ratio
                if ratio > 1:
                    z = layer_norm(g, flat(conv(g, plane(y, c), c, c, ratio, ratio, pad=0, name="sr", gain=1.0), m), c, "sn")
                q, k, v = linear(g, y, c, c, "q"), linear(g, z, c, c, "k"), linear(g, z, c, c, "v")
                x = g.op("Add", x, linear(g, attend(g, q, k, v, heads, c // heads, batch, rows, m * m), c, c, "o"))
                y = plane(linear(g, layer_norm(g, x, c, "n2"), c, 4 * c, "up"), 4 * c)
                y = conv(g, y, 4 * c, 4 * c, 3, groups=4 * c, name="dw", gain=1.0)
                y = g.op("Transpose", g.op("Reshape", y, g.ints(batch, 4 * c, rows)), perm=[0, 2, 1])
                x = g.op("Add", x, linear(g, gelu_erf(g, y), 4 * c, c, "down"))
        x, cin = plane(layer_norm(g, x, c, f"ln{stage}"), c), c
        y = conv(g, x, c, 128, 1, name=f"head{stage}", gain=1.0)
        scales.append(y if stage == 0 else resize(g, y, 2**stage, "linear"))
    x = relu(g, conv(g, g.op("Concat", *reversed(scales), axis=1), 512, 128, 1, name="fuse"))
    g.output(conv(g, x, 128, 150, 1, name="last"), "output", FLOAT, [batch, 150, size // 4, size // 4])
    return g


def _pixel_shuffle(g, x, batch, c, r, size):
    x = g.op("Transpose", g.op("Reshape", x, g.ints(batch, c, r, r, size, size)), perm=[0, 1, 4, 2, 5, 3])
    return g.op("Reshape", x, g.ints(batch, c, r * size, r * size))


def super_resolution(batch=1, seed=44, size=96):
    g, x = picture("super_resolution", seed, [batch, 3, size, size])
    h = x = conv(g, x, 3, 32, 3, name="head", gain=1.0)
    for i in range(4):
        with g.scope(f"b{i}"):
            x = g.op("Add", x, conv(g, relu(g, conv(g, x, 32, 32, 3, name="a")), 32, 32, 3, name="b", gain=0.2))
    x = g.op("Add", x, h)
    x = _pixel_shuffle(g, conv(g, x, 32, 128, 3, name="u1", gain=1.0), batch, 32, 2, size)
    x = g.op("PRelu", x, g.param("slope", g.normal((32, 1, 1), 0.1)))
    x = g.op("DepthToSpace", conv(g, x, 32, 12, 3, name="u2", gain=1.0), blocksize=2, mode="CRD")
    g.output(x, "output", FLOAT, [batch, 3, 4 * size, 4 * size])
    return g


def style_transfer(batch=1, seed=45, size=256, c=16):
    """Reflected borders, instance norms, nearest-neighbour enlargement."""
    g, x = picture("style_transfer", seed, [batch, 3, size, size])

    def layer(x, i, o, k, stride, name, act=True):
        p = k // 2
        x = g.op("Pad", x, g.ints(0, 0, p, p, 0, 0, p, p), mode="reflect")
        x = instance_norm(g, conv(g, x, i, o, k, stride, pad=0, name=name), o, name + "n")
        return relu(g, x) if act else x

    x = layer(layer(layer(x, 3, c, 9, 1, "e0"), c, 2 * c, 3, 2, "e1"), 2 * c, 4 * c, 3, 2, "e2")
    for i in range(3):
        x = g.op("Add", x, layer(layer(x, 4 * c, 4 * c, 3, 1, f"r{i}a"), 4 * c, 4 * c, 3, 1, f"r{i}b", act=False))
    x = layer(resize(g, layer(resize(g, x, 2), 4 * c, 2 * c, 3, 1, "d1"), 2), 2 * c, c, 3, 1, "d2")
    x = g.op("Pad", x, g.ints(0, 0, 4, 4, 0, 0, 4, 4), mode="reflect")
    g.output(conv(g, x, c, 3, 9, pad=0, name="last", gain=1.0), "output", FLOAT, [batch, 3, size, size])
    return g


def dcgan(batch=4, seed=46):
    g, x = picture("dcgan", seed, [batch, 100, 1, 1])
    c = (100, 256, 128, 64, 32)
    for i in range(4):
        x = relu(g, transposed(g, x, c[i], c[i + 1], 4, 1 if i == 0 else 2, 0 if i == 0 else 1, f"u{i}"))
    g.output(g.op("Tanh", transposed(g, x, 32, 3, 4, 2, 1, "last", gain=1.0)), "output", FLOAT, [batch, 3, 64, 64])
    return g


def diffusion(seed=47, size=16, c=128):
    """A level of a latent diffusion network: group norms, a residual block with a time embedding, attention to itself and to a text."""
    g = Graph("diffusion", seed)
    x, t, text = g.input("x", FLOAT, [2, c, size, size]), g.input("t", FLOAT, [2, 256]), g.input("text", FLOAT, [2, 77, 256])
    shape, rows, heads = [2, c, size, size], size * size, 4
    for i in range(2):
        with g.scope(f"b{i}"):
            y = conv(g, silu(g, group_norm(g, x, c, 32, shape, "n1")), c, c, 3, name="c1")
            y = g.op("Add", y, g.op("Reshape", gemm(g, silu(g, t), 256, c, "time"), g.ints(2, c, 1, 1)))
            x = g.op("Add", x, conv(g, silu(g, group_norm(g, y, c, 32, shape, "n2")), c, c, 3, name="c2"))
            y = conv(g, group_norm(g, x, c, 32, shape, "n3"), c, c, 1, name="in", gain=1.0)
            y = g.op("Reshape", g.op("Transpose", y, perm=[0, 2, 3, 1]), g.ints(2, rows, c))
            z = layer_norm(g, y, c, "l1")
            q, k, v = (linear(g, z, c, c, p, bias=False) for p in "qkv")
            y = g.op("Add", y, linear(g, attend(g, q, k, v, heads, c // heads, 2, rows, rows), c, c, "o"))
            q, k, v = linear(g, layer_norm(g, y, c, "l2"), c, c, "q2", bias=False), linear(g, text, 256, c, "k2", bias=False), linear(g, text, 256, c, "v2", bias=False)
            y = g.op("Add", y, linear(g, attend(g, q, k, v, heads, c // heads, 2, rows, 77), c, c, "o2"))
            a, b = g.op("Split", linear(g, layer_norm(g, y, c, "l3"), c, 8 * c, "up"), g.ints(4 * c, 4 * c), outputs=2, axis=2)
            y = g.op("Add", y, linear(g, g.op("Mul", a, gelu_erf(g, b)), 4 * c, c, "down"))
            y = g.op("Transpose", g.op("Reshape", y, g.ints(2, size, size, c)), perm=[0, 3, 1, 2])
            x = g.op("Add", x, conv(g, y, c, c, 1, name="out", gain=0.2))
    g.output(x, "output", FLOAT, shape)
    return g


# ---- volumes ----------------------------------------------------------------------------------------------------------


def video(seed=48, frames=8, size=56):
    """R3D-18-like: windows of 3 x 3 x 3."""
    g, x = picture("video", seed, [1, 3, frames, size, size])
    x, cin = relu(g, window(g, x, 3, 32, [3, 7, 7], [1, 2, 2], name="stem")), 32
    for i, (c, stride) in enumerate(((32, 1), (64, 2), (128, 2))):
        with g.scope(f"b{i}"):
            y = window(g, relu(g, window(g, x, cin, c, [3] * 3, stride, name="a")), c, c, [3] * 3, name="b", gain=0.4)
            x = relu(g, g.op("Add", y, x if stride == 1 else window(g, x, cin, c, [1] * 3, stride, name="d", gain=1.0)))
        cin = c
    return classify(g, x, 1, cin, 400)


def unet3d(seed=49, size=32):
    g, x = picture("unet3d", seed, [1, 1, size, size, size])
    leaky = lambda x, i, o, name: g.op("LeakyRelu", instance_norm(g, window(g, x, i, o, [3] * 3, name=name), o, name + "n"), alpha=0.01)
    twice = lambda x, i, o, name: leaky(leaky(x, i, o, name + "a"), o, o, name + "b")
    pool = lambda x: g.op("MaxPool", x, kernel_shape=[2] * 3, strides=[2] * 3)
    a = twice(x, 1, 12, "d0")
    b = twice(pool(a), 12, 24, "d1")
    x = twice(pool(b), 24, 48, "m")
    x = twice(g.op("Concat", b, transposed(g, x, 48, 24, 2, 2, 0, "u1", axes=3), axis=1), 48, 24, "e1")
    x = twice(g.op("Concat", a, transposed(g, x, 24, 12, 2, 2, 0, "u0", axes=3), axis=1), 24, 12, "e0")
    g.output(window(g, x, 12, 3, [1] * 3, name="last"), "output", FLOAT, [1, 3, size, size, size])
    return g
