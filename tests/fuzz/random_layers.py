"""As random_ops.py: products, convolutions, recurrences, quantisation, attention, control flow."""

import numpy as np
from random_graph import Refused
from random_ops import axes_input, broadcastable, step  # noqa: F401


@step(3)
def matmul(g):
    x = g.pick(["f4", "f4", "f2"][g.rng.integers(3) : None] if g.chance(0.5) else ["f4"], least=1)
    array = g.get(x)
    k, n = array.shape[-1], g.size()

    def fits(v):
        return v.dtype == array.dtype and 1 <= v.ndim <= (2 if v.dtype == "f2" else 8) and (v.shape[-2] if v.ndim > 1 else v.shape[0]) == k

    if g.chance(0.3):
        y = g.pick([array.dtype.str[1:]], where=fits)
    else:
        batch = [d if g.chance(0.7) else 1 for d in array.shape[:-2]] if g.chance(0.3) and array.dtype == "f4" else []  # ONNX Runtime 1.25 is wrong for f16
        y = g.operand([*batch, k, n] if g.chance(0.9) else [k], array.dtype, -1, 1)
    z = g.node("MatMul", [x, y])
    if g.chance(0.5):
        z = g.node("Add", [z, g.operand([g.get(z).shape[-1]] if g.get(z).ndim else [], array.dtype)])
    if g.chance(0.4):
        g.node(g.of("Relu", "Sigmoid", "Tanh", "Erf", "Neg"), [z])


@step(1)
def gemm(g):
    x = g.pick(["f4"], rank=2)
    ta, tb = g.of(0, 1), g.of(0, 1)
    m, k = g.get(x).shape[::-1] if ta else g.get(x).shape
    n = g.size()
    c = [g.operand([m if g.chance(0.5) else 1, n if g.chance(0.7) else 1][int(g.rng.integers(0, 3)) :])] if g.chance(0.7) else []
    g.node("Gemm", [x, g.operand([n, k] if tb else [k, n], "f4", -1, 1), *c], transA=ta, transB=tb, alpha=g.of(1.0, 0.5), beta=g.of(1.0, 2.0))


@step(1)
def einsum(g):
    a, b, c, d, e = (g.of(1, 2, 3, 5, 8) for _ in range(5))
    equation, *shapes = g.of(
        ("bij,bjk->bik", [a, b, c], [a, c, d]), ("ij,kj->ik", [a, b], [c, b]), ("bhqd,bhkd->bhqk", [a, b, c, d], [a, b, e, d]),
        ("bij->bji", [a, b, c]), ("ii->i", [a, a]), ("ij->", [a, b]), ("bijc,jcd->bid", [a, b, c, d], [c, d, e]), ("i,j->ij", [a], [b]),
        ("...ij,...jk->...ik", [a, b, c, d], [b, d, e]), ("abc,abc->a", [a, b, c], [a, b, c]), ("bqhd,bkhd->bhqk", [a, b, c, d], [a, e, c, d]),
        ("ij,jk,kl->il", [a, b], [b, c], [c, d]), ("nchw,cd->ndhw", [a, b, c, d], [b, e]), ("ij,ij", [a, b], [a, b]),
    )  # fmt: skip
    g.node("Einsum", [g.operand(s, "f4", constant=0.3) for s in shapes], equation=equation)


@step(3)
def conv(g):
    spatial = int(g.of(1, 2, 2, 2, 3))
    groups = int(g.of(1, 1, 1, 2, 3))
    x = None
    if g.chance(0.6):
        try:
            x = g.pick(["f4"], rank=spatial + 2, where=lambda v: v.shape[1] > 0)
        except Refused:
            pass
    if x is None:
        x = g.input(g.array([g.of(1, 2), groups * g.of(1, 2, 3, 4, 8), *[int(g.of(5, 6, 7, 9, 14, 17)) if spatial < 3 else g.of(4, 5, 6) for _ in range(spatial)]]))
    c = g.get(x).shape[1]
    if g.chance(0.3):
        groups = c  # depthwise
    elif c % groups:
        groups = 1
    kernel = [int(g.of(1, 2, 3, 3, 3, 5)) for _ in range(spatial)]
    out = groups * int(g.of(1, 1, 2, 3, 8, 16) if groups < 8 else g.of(1, 2))
    pads = [int(g.of(0, 0, 1, 1, 2)) for _ in range(2 * spatial)]
    how = dict(group=groups, kernel_shape=kernel, strides=[int(g.of(1, 1, 2, 3)) for _ in range(spatial)], dilations=[int(g.of(1, 1, 1, 2)) for _ in range(spatial)])
    if g.chance(0.25):
        auto = g.of("SAME_UPPER", "SAME_LOWER", "VALID")
        how["auto_pad"] = auto
        if auto != "VALID":
            how["dilations"] = [1] * spatial
    else:
        how["pads"] = pads
    bias = [g.operand([out])] if g.chance(0.6) else []
    y = g.node("Conv", [x, g.operand([out, c // groups, *kernel], "f4", -1, 1, constant=0.9), *bias], **how)
    follow(g, y)


def follow(g, y):
    """What networks put behind a convolution."""
    c = g.get(y).shape[1]
    if g.chance(0.3):
        ones = [1] * (g.get(y).ndim - 2)
        y = g.node("BatchNormalization", [y, g.operand([c], constant=1), g.operand([c], constant=1), g.operand([c], constant=1), g.operand([c], low=0.5, high=2, constant=1)])
        if g.chance(0.3):
            y = g.node("Mul", [y, g.operand([c, *ones])])
    if g.chance(0.4):
        y = g.node(g.of("Relu", "Sigmoid", "LeakyRelu", "Clip", "Tanh"), [y])
    if g.chance(0.25):
        g.node("Add", [y, g.operand(g.get(y).shape, constant=0.1)])


@step(1)
def conv_transpose(g):
    spatial = int(g.of(1, 2, 2))
    groups = int(g.of(1, 1, 2))
    c, out = groups * g.of(1, 2, 3), g.of(1, 2, 4)
    x = g.input(g.array([g.of(1, 2), c, *[int(g.of(1, 3, 4, 5, 7)) for _ in range(spatial)]]))
    strides = [int(g.of(1, 2, 2, 3)) for _ in range(spatial)]
    how = dict(group=groups, strides=strides, dilations=[int(g.of(1, 1, 2)) for _ in range(spatial)])
    if g.chance(0.7):
        how["pads"] = [int(g.of(0, 0, 1)) for _ in range(2 * spatial)]
    else:
        how["auto_pad"] = g.of("SAME_UPPER", "SAME_LOWER", "VALID")
    if g.chance(0.3):
        how["output_padding"] = [int(g.rng.integers(0, s)) for s in strides]
    kernel = [int(g.of(1, 2, 3, 4)) for _ in range(spatial)]
    follow(g, g.node("ConvTranspose", [x, g.operand([c, out, *kernel], "f4", -1, 1, constant=0.9), *([g.operand([out * groups])] if g.chance(0.5) else [])], **how))


@step(1.5)
def pool(g):
    op = g.of("MaxPool", "MaxPool", "AveragePool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool")
    x = g.pick(["f4"], least=3, most=5, where=lambda v: v.size > 0)
    spatial = g.get(x).ndim - 2
    if op.startswith("Global"):
        return g.node(op, [x])
    kernel = [int(g.of(1, 2, 3, 3)) for _ in range(spatial)]
    how = dict(kernel_shape=kernel, strides=[int(g.of(1, 2, 3)) for _ in range(spatial)])
    if op == "MaxPool" or g.opset >= 19 and op == "AveragePool":
        how["dilations"] = [int(g.of(1, 1, 1, 2)) for _ in range(spatial)]
    if op != "LpPool":
        how["ceil_mode"] = g.of(0, 1)
    if op == "AveragePool":
        how["count_include_pad"] = g.of(0, 1)
    if g.chance(0.2):
        how["auto_pad"] = g.of("SAME_UPPER", "SAME_LOWER", "VALID")
        how.pop("ceil_mode", None), how.pop("dilations", None)
        how["strides"] = [min(a, k) for a, k in zip(how["strides"], kernel)]  # ONNX Runtime's padding is negative else
    else:
        how["pads"] = [int(g.rng.integers(0, max(kernel[i % spatial] // 2, 0) + 1)) for i in range(2 * spatial)]
    pads = how.get("pads", [0] * 2 * spatial)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, how.get("dilations", [1] * spatial))]
    if "SAME" not in how.get("auto_pad", "") and any(r > d + a + b for r, d, a, b in zip(reach, g.get(x).shape[2:], pads, pads[spatial:])):
        raise Refused("a window that fits nowhere: ONNX Runtime divides towards zero")
    indices = op == "MaxPool" and g.chance(0.2)
    g.node(op, [x], outputs=2 if indices else 1, **how)


@step(1.2)
def resize(g):
    x = g.pick(["f4"], rank=int(g.of(4, 4, 3, 5)), where=lambda v: v.size > 0)
    shape = g.get(x).shape
    mode = g.of("nearest", "linear", "cubic") if len(shape) == 4 else g.of("nearest", "linear")
    how = dict(mode=mode, coordinate_transformation_mode=g.of("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"))
    if mode == "nearest":
        how["nearest_mode"] = g.of("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    if mode == "cubic":
        how["cubic_coeff_a"] = g.of(-0.75, -0.5)
    if g.opset >= 18 and mode != "nearest" and len(shape) == 4 and g.chance(0.3):
        how["antialias"] = 1
    if g.chance(0.5):
        scales = [1.0, 1.0, *[float(g.of(0.5, 1.0, 1.5, 2.0, 3.0)) for _ in shape[2:]]]
        if how["coordinate_transformation_mode"] == "align_corners" and any(d * s % 1 for d, s in zip(shape, scales)):
            return  # ONNX's definition aligns by the size before it is rounded, ONNX Runtime by the rounded one
        g.node("Resize", [x, "", g.constant(np.array(scales, "f4"))], **how)
    else:
        g.node("Resize", [x, "", "", g.ints(*shape[:2], *[int(g.of(1, 3, 5, 8, 9, 11)) for _ in shape[2:]])], **how)


@step(0.5)
def grid_sample(g):
    if g.opset < 16:
        return
    x = g.pick(["f4"], rank=4, where=lambda v: v.size > 0)
    n = g.get(x).shape[0]
    mode = g.of("bilinear", "nearest", "bicubic") if g.opset < 20 else g.of("linear", "nearest", "cubic")
    grid = g.input(g.array([n, g.of(1, 3, 5), g.of(2, 4, 7), 2], low=-1.3, high=1.3))
    g.node("GridSample", [x, grid], mode=mode, padding_mode=g.of("zeros", "border", "reflection"), align_corners=g.of(0, 1))


@step(1.2)
def recurrent(g):
    op, gates = g.of(("LSTM", 4), ("GRU", 3), ("RNN", 1))
    t, n, i, h = g.of(1, 2, 5, 7), g.of(1, 2, 3), g.of(1, 3, 8), g.of(1, 4, 5, 16)
    direction = g.of("forward", "reverse", "bidirectional")
    d = 2 if direction == "bidirectional" else 1
    layout = 1 if g.opset >= 14 and g.chance(0.1) else 0
    x = g.input(g.array([n, t, i] if layout else [t, n, i]))
    inputs = [x, g.operand([d, gates * h, i], "f4", -1, 1, constant=0.9), g.operand([d, gates * h, h], "f4", -1, 1, constant=0.9)]
    inputs.append(g.operand([d, 2 * gates * h], "f4", -1, 1) if g.chance(0.7) else "")
    inputs.append(g.input(g.array([n], "i4", 1, t)) if g.chance(0.4) else "")
    state = [n, d, h] if layout else [d, n, h]
    inputs.append(g.operand(state) if g.chance(0.4) else "")
    how = dict(hidden_size=h, direction=direction, layout=layout or None)
    if op == "LSTM":
        inputs.append(g.operand(state) if g.chance(0.4) else "")
        if g.chance(0.2):
            inputs.append(g.operand([d, 3 * h]))
    if op == "GRU":
        how["linear_before_reset"] = g.of(0, 1)
    if g.chance(0.15):
        how["clip"] = 0.5
    outputs = 3 if op == "LSTM" else 2
    keep = [g.chance(0.8) for _ in range(outputs)]
    if not any(keep):
        keep[0] = True
    g.node(op, inputs, outputs=outputs, keep=keep, **how)


# -- quantisation


def scale(g, shape=()):
    return np.asarray(g.rng.choice([0.03125, 0.0625, 0.125], shape), "f4")


@step(2)
def qdq(g):
    x = g.pick(["f4"])
    dtype = g.of("u1", "i1")
    zero = np.asarray(g.rng.integers(100, 150) if dtype == "u1" else g.rng.integers(-10, 10), dtype)
    axis = None
    s = scale(g)
    if g.get(x).ndim and g.opset >= 13 and g.chance(0.2):
        axis = g.axis(g.get(x), negative=False)
        s, zero = scale(g, [g.get(x).shape[axis]]), np.full([g.get(x).shape[axis]], zero, dtype)
    s, zero = g.constant(s), g.constant(zero)
    q = g.node("QuantizeLinear", [x, s, zero], axis=axis)
    g.node("DequantizeLinear", [q, s, zero], axis=axis)


@step(1)
def dequantised_weights(g):
    """A product whose weights are stored in 8 bits: a scale a tensor, a column, or (opset 21) a block."""
    x = g.pick(["f4"], least=2)
    k, n = g.get(x).shape[-1], g.size()
    if not k:
        return
    w = g.constant(g.array([k, n], "i1", -127, 127))
    block = int(g.of(*[d for d in range(1, k + 1) if k % d == 0]))
    if g.opset >= 21 and g.chance(0.5):
        w = g.node("DequantizeLinear", [w, g.constant(scale(g, [k // block, n]) / 64)], axis=0, block_size=block)
    elif g.opset >= 13 and g.chance(0.5):
        w = g.node("DequantizeLinear", [w, g.constant(scale(g, [n]) / 64)], axis=1)
    else:
        w = g.node("DequantizeLinear", [w, g.constant(scale(g) / 64), g.constant(np.asarray(3, "i1"))])
    g.node("MatMul", [x, w])


@step(1.5)
def quantised_layer(g):
    op = g.of("MatMulInteger", "QLinearMatMul", "ConvInteger", "QLinearConv", "DynamicQuantizeLinear")
    one = lambda kind, low, high: g.constant(np.asarray(g.rng.integers(low, high), kind))  # noqa: E731
    ka, kb = g.of("u1", "u1", "i1"), g.of("i1", "i1", "u1")
    if op == "DynamicQuantizeLinear":
        x = g.pick(["f4"], where=lambda v: v.size > 0)
        q, s, z = g.node(op, [x], outputs=3)
        if g.get(q).ndim >= 2 and g.chance(0.7):
            w = g.constant(g.array([g.get(q).shape[-1], g.size()], kb, None, None))
            y = g.node("MatMulInteger", [q, w, z, one(kb, 0, 5)])
            y = g.node("Mul", [g.node("Cast", [y], to=1), g.node("Mul", [s, g.constant(scale(g))])])
        return
    if "MatMul" in op:
        shape = g.shape(int(g.of(2, 2, 3)), 600)
        x = g.input(g.array(shape, ka, *((0, 255) if ka == "u1" else (-128, 127))))
        n = g.size()
        w = g.operand([shape[-1], n], kb, *((0, 255) if kb == "u1" else (-128, 127)), constant=0.8)
        if op == "MatMulInteger":
            zb = g.constant(g.array([n], kb, 0, 9)) if g.chance(0.2) else one(kb, 0, 5)
            g.node(op, [x, w, *([one(ka, 0, 9), *([zb] if g.chance(0.7) else [])] if g.chance(0.7) else [])])
        else:
            column = g.chance(0.3)
            sb = g.constant(scale(g, [n] if column else []))
            zb = g.constant(np.zeros([n], kb)) if column else one(kb, 0, 5)
            g.node(op, [x, g.constant(scale(g)), one(ka, 0, 9), w, sb, zb, g.constant(np.asarray(2.0, "f4")), one(ka, 0, 9)])
        return
    groups = int(g.of(1, 1, 2))
    c, out = groups * g.of(1, 2, 3), groups * g.of(1, 2, 5)
    if g.chance(0.3):
        groups = c
        out = c
    x = g.input(g.array([g.of(1, 2), c, g.of(5, 7, 8), g.of(5, 6, 9)], ka, *((0, 255) if ka == "u1" else (-128, 127))))
    kernel = [int(g.of(1, 3)), int(g.of(1, 3, 2))]
    w = g.constant(g.array([out, c // groups, *kernel], kb, *((0, 255) if kb == "u1" else (-128, 127))))
    how = dict(group=groups, pads=[int(g.of(0, 1)) for _ in range(4)], strides=[int(g.of(1, 2)), int(g.of(1, 2))])
    if op == "ConvInteger":
        g.node(op, [x, w, *([one(ka, 0, 9), *([one(kb, 0, 5)] if g.chance(0.5) else [])] if g.chance(0.7) else [])], **how)
    else:
        channel = g.chance(0.5)
        bias = [g.constant(g.array([out], "i4", -500, 500))] if g.chance(0.5) else []
        sw, zw = g.constant(scale(g, [out] if channel else [])), g.constant(np.zeros([out] if channel else [], kb))
        g.node(op, [x, g.constant(scale(g)), one(ka, 0, 9), w, sw, zw, g.constant(np.asarray(1.5, "f4")), one(ka, 0, 9), *bias], **how)


# -- attention and com.microsoft


@step(1)
def attention(g):
    b, h, q, k, d = g.of(1, 2), g.of(1, 2, 3), g.of(1, 3, 7, 16), g.of(1, 5, 9, 17), g.of(1, 4, 8, 16)
    query, key, value = (g.input(g.array([b, s, h * d])) for s in (q, k, k))
    heads = lambda x, perm, s: g.node("Transpose", [g.node("Reshape", [x, g.ints(g.of(0, b), s if g.chance(0.5) else -1, h, d)])], perm=perm)  # noqa: E731
    scores = g.node("MatMul", [heads(query, [0, 2, 1, 3], q), heads(key, [0, 2, 3, 1], k)])
    scores = g.node(*g.of(("Mul", [scores, g.constant(np.asarray(0.5, "f4"))]), ("Div", [scores, g.constant(np.asarray(2, "f4"))])))
    how = g.rng.integers(4)
    if how == 0:
        scores = g.node("Add", [scores, g.operand(g.of([b, 1, 1, k], [q, k], [b, h, q, k], [1, h, q, k]), constant=0.3)])
    elif how == 1:
        scores = g.node("Where", [g.operand(g.of([b, 1, 1, k], [q, k]), "?", constant=0.3), scores, g.constant(np.asarray(g.of(-1e4, -3e38), "f4"))])
    p = g.node("Softmax", [scores], axis=g.of(-1, 3))
    y = g.node("MatMul", [p, heads(value, [0, 2, 1, 3], k)])
    g.node("Reshape", [g.node("Transpose", [y], perm=[0, 2, 1, 3]), g.ints(0, 0, h * d)])


@step(1)
def contrib(g):
    op = g.of("FusedMatMul", "Gelu", "BiasGelu", "FastGelu", "QuickGelu", "SkipLayerNormalization", "SkipSimplifiedLayerNormalization", "QLinearAdd", "MatMulNBits")
    ms = "com.microsoft"
    if op in ("Gelu", "FastGelu", "QuickGelu"):
        g.node(op, [g.pick(["f4"])], domain=ms)
    elif op == "BiasGelu":
        x = g.pick(["f4"], least=1)
        g.node(op, [x, g.operand([g.get(x).shape[-1]])], domain=ms)
    elif op == "FusedMatMul":
        x = g.pick(["f4"], least=2)
        k, n, t = g.get(x).shape[-1], g.size(), g.of(0, 1)
        g.node(op, [x, g.operand([n, k] if t else [k, n])], domain=ms, transB=t, alpha=g.of(1.0, 0.25))
    elif op.startswith("Skip"):
        x = g.pick(["f4"], rank=3)
        shape = g.get(x).shape
        gamma = [g.operand(shape[-1:]), *([g.operand(shape[-1:])] if "Simplified" not in op else [])]
        g.node(op, [x, g.operand(shape, constant=0.2), *gamma], domain=ms, epsilon=1e-3)
    elif op == "QLinearAdd":
        shape = g.shape()
        kind = g.of("u1", "i1")
        part = lambda: [g.input(g.array(shape, kind, 0, 100)), g.constant(scale(g)), g.constant(np.asarray(g.rng.integers(0, 9), kind))]  # noqa: E731
        g.node(op, [*part(), *part(), g.constant(np.asarray(0.25, "f4")), g.constant(np.asarray(3, kind))], domain=ms)
    else:
        k, n, block = int(g.of(16, 32, 48, 64, 96)), g.size(), int(g.of(16, 32))
        blocks = (k + block - 1) // block
        x = g.input(g.array([g.of(1, 2, 3, 5), k]))
        zero = [g.constant(g.array([n, (blocks + 1) // 2], "u1", 0, 255))] if g.chance(0.5) else []
        inputs = [x, g.constant(g.array([n, blocks, block // 2], "u1", 0, 255)), g.constant(g.array([n, blocks], low=0.125, high=1)), *zero]
        g.node(op, inputs, domain=ms, K=k, N=n, bits=4, block_size=block)


@step(0.4)
def signal(g):
    if g.opset < 17:
        return
    n = int(g.of(1, 3, 5, 8, 16))
    if g.chance(0.5):
        x = g.input(g.array([g.of(1, 2), n, g.of(1, 2)]), symbols=False)  # real or complex is known
        if g.opset < 20:
            g.node("DFT", [x], axis=1, inverse=0, onesided=g.of(0, 1) if g.get(x).shape[2] == 1 else 0)
        else:
            g.node("DFT", [x, "", g.constant(np.asarray(1, np.int64))])
    else:
        g.node(g.of("HannWindow", "HammingWindow", "BlackmanWindow"), [g.constant(np.asarray(n, np.int64))], periodic=g.of(0, 1))


# -- control flow


@step(1)
def branch(g):
    x = g.pick(["f4", "i8"])
    shaped = g.get(x).shape

    def arm():
        return g.node(g.of("Neg", "Abs", "Identity"), [x]) if g.chance(0.5) else g.node("Add", [x, g.operand([1] * len(shaped), g.get(x).dtype)])

    condition = g.operand([], "?", constant=0.3)
    arms = [g.subgraph(arm, lambda y: [y])[0] for _ in range(2)]
    g.node("If", [condition], then_branch=arms[0], else_branch=arms[1])


def same_shape(g, x):
    """A step or two that keep the shape and type of x."""
    for _ in range(int(g.rng.integers(1, 3))):
        how = g.rng.integers(3)
        if how == 0:
            x = g.node(g.of("Neg", "Tanh", "Sigmoid", "Relu"), [x])
        elif how == 1:
            x = g.node("Mul", [x, g.operand([1] * g.get(x).ndim, g.get(x).dtype, -1, 1)])
        else:
            x = g.node("Add", [x, g.operand(g.get(x).shape if g.chance(0.5) else [], g.get(x).dtype)])
    return x


@step(0.8)
def loop(g):
    x = g.pick(["f4"])
    trips = int(g.of(0, 1, 2, 3, 5))
    i, c, s = g.fresh(), g.fresh(), g.fresh()
    g.values.update({i: np.asarray(0, np.int64), c: np.asarray(True), s: g.get(x)})
    scans = g.chance(0.5)

    def body():
        y = same_shape(g, s)
        if g.chance(0.3):
            y = g.node("Add", [y, g.node("Cast", [i], to=1)])
        keep = g.node("Identity", [c])
        if g.chance(0.3) and g.get(y).size:
            keep = g.node("Less", [g.node("ReduceMax", [y], keepdims=0), g.constant(np.asarray(1.5, "f4"))])
        return [keep, y, *([g.node("Identity", [y])] if scans else [])]

    try:
        graph, _ = g.subgraph(body, lambda r: r, [i, c, s])
    finally:
        for n in (i, c, s):
            g.values.pop(n, None)
    count = g.constant(np.asarray(trips, np.int64)) if g.chance(0.5) else g.input(np.asarray(trips, np.int64))
    g.node("Loop", [count, "" if g.chance(0.5) else g.constant(np.asarray(True)), x], outputs=2 if scans else 1, body=graph)


@step(0.6)
def scan(g):
    x = g.pick(["f4"], least=1, where=lambda v: v.shape[0] > 0)
    element = g.get(x)[0]
    state = g.operand(element.shape)
    s, e = g.fresh(), g.fresh()
    g.values.update({s: g.get(state), e: element})

    def body():
        y = same_shape(g, g.node(g.of("Add", "Mul", "Sub"), [s, e]))
        return [g.node("Tanh", [y]), y]

    try:
        graph, _ = g.subgraph(body, lambda r: r, [s, e])
    finally:
        for n in (s, e):
            g.values.pop(n, None)
    reverse = dict(scan_input_directions=[1]) if g.chance(0.3) else {}
    g.node("Scan", [state, x], outputs=2, body=graph, num_scan_inputs=1, **reverse)
