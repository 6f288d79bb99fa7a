"""As random_ops.py: what exporters write around the operators. Shapes computed from shapes, causal masks by several spellings, caches, layouts
turned for one operator, quantised layers with per-channel weights, sequences, boxes, loops that carry and capture."""

import numpy as np
from random_graph import Refused
from random_layers import same_shape, scale
from random_ops import axes_input, some, step

I8 = np.int64


def scalar(g, value, dtype=I8):
    return g.constant(np.asarray(value, dtype))


def dim(g, x, axis, vector=True):
    """One dimension of x, as exporters ask for it."""
    how = g.rng.integers(3)
    if how == 0 and g.opset >= 15:
        d = g.node("Shape", [x], start=axis, end=axis + 1)
        return d if vector else axes_input(g, "Squeeze", d, [0], 13)
    s = g.node("Shape", [x])
    if how == 1:
        d = g.node("Slice", [s, g.ints(axis), g.ints(axis + 1), g.ints(0)])
        return d if vector else g.node("Reshape", [d, g.constant(np.zeros([0], I8))])
    d = g.node("Gather", [s, scalar(g, axis)], axis=0)
    return axes_input(g, "Unsqueeze", d, [0], 13) if vector else d


@step(1.5)
def computed_slice(g):
    """x[:, : x.shape[1] - 1], x[:, x.shape[1] // 2 :], and the two halves of rotary embeddings."""
    x = g.pick("f", least=1, where=lambda v: v.size > 0)
    axis = g.axis(g.get(x), negative=False)
    d = dim(g, x, axis)
    how = g.rng.integers(4)
    if how == 0:
        g.node("Slice", [x, g.ints(0), g.node("Sub", [d, g.ints(1)]), g.ints(axis)])
    elif how == 1:
        half = g.node("Div", [d, g.ints(2)])
        a = g.node("Slice", [x, g.ints(0), half, g.ints(axis)])
        b = g.node("Slice", [x, half, g.ints(2**63 - 1), g.ints(axis)])
        g.node("Concat", [g.node("Neg", [b]), a], axis=axis)
    elif how == 2:
        g.node("Slice", [x, g.node("Sub", [d, g.ints(int(g.of(1, 2, 3)))]), d, g.ints(axis)])
    else:
        table = g.operand([int(g.of(300, 512)), *[1] * (g.get(x).ndim - 1 - axis)], g.get(x).dtype, constant=1)
        g.node("Mul", [x, g.node("Slice", [table, g.ints(0), d, g.ints(0)])])


@step(1)
def computed_shape(g):
    x = g.pick("f", least=2, where=lambda v: v.size > 0)
    v = g.get(x)
    how = g.rng.integers(5)
    if how == 0:  # positions
        n = dim(g, x, 1, vector=False)
        r = g.node("Range", [scalar(g, 0), n, scalar(g, 1)])
        r = g.node("Reshape", [g.node("Cast", [r], to=1), g.constant(np.array([1, -1, *[1] * (v.ndim - 2)], I8))])
        if v.dtype == np.float32:
            g.node("Add", [x, r])
    elif how == 1:
        f = g.node("ConstantOfShape", [g.node("Concat", [dim(g, x, 0), g.ints(3)], axis=0)])
        g.node("Concat", [f, f], axis=1)
    elif how == 2 and v.ndim >= 3:
        g.node("Reshape", [x, g.node("Concat", [dim(g, x, 0), dim(g, x, 1), g.ints(-1)], axis=0)])
    elif how == 3:
        g.node("Tile", [x, g.node("Concat", [g.ints(1), dim(g, x, 0) if v.shape[0] < 5 else g.ints(2), *([g.ints(*[1] * (v.ndim - 2))] if v.ndim > 2 else [])], axis=0)])
    else:
        sizes = [dim(g, x, a) for a in range(v.ndim)]
        g.node("Expand", [axes_input(g, "ReduceMean", x, [v.ndim - 1], 18, keepdims=1), g.node("Concat", sizes, axis=0)])


def causal(g, q, k, dtype=np.float32):
    """A mask [q, k] or what broadcasts to it: added (f32) or chosen by (bool); q and k are vectors of one number."""
    how = g.rng.integers(5)
    nq, nk = (g.node("Reshape", [n, g.constant(np.zeros([0], I8))]) for n in (q, k))
    low = float(g.of(-1e4, -1e9, -3.4028234663852886e38, -np.inf))
    if how == 0 and g.opset >= 14:
        full = g.node("Expand", [g.constant(np.asarray(low, dtype)), g.node("Concat", [q, k], axis=0)])
        return "add", g.node("Trilu", [full, scalar(g, 1)], upper=1)
    rows = axes_input(g, "Unsqueeze", g.node("Range", [g.node("Sub", [nk, nq]), nk, scalar(g, 1)]), [1], 13)
    columns = axes_input(g, "Unsqueeze", g.node("Range", [scalar(g, 0), nk, scalar(g, 1)]), [0], 13)
    if how == 1:
        return "bool", g.node("Not", [g.node("Greater", [columns, rows])])
    if how == 2:
        keep = g.node("Less", [columns, g.node("Add", [rows, scalar(g, 1)])])
        return "add", g.node("Where", [keep, scalar(g, 0, dtype), g.constant(np.asarray(low, dtype))])
    if how == 3 and np.isfinite(low):
        keep = g.node("Cast", [g.node("Greater", [columns, rows])], to=1)
        return "add", g.node("Mul", [keep, g.constant(np.asarray(low, dtype))])
    table = g.constant(np.tril(np.ones([300, 300], bool)))
    table = g.node("Slice", [table, g.node("Sub", [k, q]), k, g.ints(0)])
    return "bool", g.node("Slice", [table, g.ints(0), k, g.ints(1)])


@step(2)
def decoder_attention(g):
    """Queries [b, q, h d], keys and values behind a cache, fewer heads of keys than of queries."""
    b, kv, share, q, past, d = g.of(1, 2), g.of(1, 2), g.of(1, 2, 3), g.of(1, 1, 3, 7, 33), g.of(0, 1, 5, 16, 66), g.of(2, 4, 8, 16, 20)
    h = kv * share
    x = g.input(g.array([b, q, h * d]))
    query = g.node("Transpose", [g.node("Reshape", [x, g.ints(0, 0, h, d)])], perm=[0, 2, 1, 3])
    key, value = (g.input(g.array([b, kv, q, d])) for _ in range(2))
    if past:
        key, value = (g.node("Concat", [g.input(g.array([b, kv, past, d])), n], axis=2) for n in (key, value))
    if share > 1:
        fives = []
        for n in (key, value):
            wide = axes_input(g, "Unsqueeze", n, [2], 13)
            wide = g.node("Expand", [wide, g.node("Concat", [dim(g, n, 0), g.ints(kv, share), dim(g, n, 2), g.ints(d)], axis=0)])
            fives.append(g.node("Reshape", [wide, g.node("Concat", [dim(g, n, 0), g.ints(h), dim(g, n, 2), g.ints(d)], axis=0)]))
        key, value = fives
    root = g.constant(np.asarray(d**-0.25, "f4"))
    if g.chance(0.5):
        query, key = g.node("Mul", [query, root]), g.node("Mul", [key, root])
    scores = g.node("MatMul", [query, g.node("Transpose", [key], perm=[0, 1, 3, 2])])
    if g.chance(0.3):
        scores = g.node("Mul", [g.node("Tanh", [g.node("Div", [scores, g.constant(np.asarray(5, "f4"))])]), g.constant(np.asarray(5, "f4"))])
    if g.chance(0.7):
        kind, mask = causal(g, dim(g, x, 1), dim(g, key, 2))
        scores = g.node("Add", [scores, mask]) if kind == "add" else g.node("Where", [mask, scores, g.constant(np.asarray(g.of(-1e4, -3e38), "f4"))])
    if g.chance(0.4):
        total = g.get(key).shape[2]
        scores = g.node("Add", [scores, g.operand(g.of([b, 1, 1, total], [q, total], [b, 1, q, total], [1, h, 1, total], [h, q, total], [total]), constant=0.3)])
    p = g.node("Softmax", [scores], axis=-1)
    y = g.node("MatMul", [p, value])
    g.node("Reshape", [g.node("Transpose", [y], perm=[0, 2, 1, 3]), g.ints(0, 0, -1)])


@step(1)
def channels_last(g):
    """As tf2onnx writes: an operator between two transposes, SAME padding by Pad or auto_pad."""
    x = g.pick(["f4"], rank=4, where=lambda v: v.size > 0)
    c = g.get(x).shape[3]
    y = g.node("Transpose", [x], perm=[0, 3, 1, 2])
    k, s = int(g.of(1, 2, 3, 5)), int(g.of(1, 2, 3))
    how = g.rng.integers(3)
    if how == 0:
        y = g.node("Conv", [y, g.operand([g.of(1, 3, 8, 17), c, k, k], constant=1)], auto_pad="SAME_UPPER", strides=[s, s], kernel_shape=[k, k])
    elif how == 1:
        y = g.node("Pad", [y, g.ints(0, 0, 0, 1, 0, 0, 1, 2)])
        y = g.node("Conv", [y, g.operand([c * int(g.of(1, 2)), 1, k, k], constant=1)], strides=[s, s], group=c, kernel_shape=[k, k])
    else:
        s = min(s, k)  # SAME of windows that do not touch: ONNX Runtime's padding is negative
        y = g.node(g.of("MaxPool", "AveragePool"), [y], auto_pad="SAME_UPPER", strides=[s, s], kernel_shape=[k, k])
    y = g.node("Transpose", [y], perm=[0, 2, 3, 1])
    y = g.node("Add", [y, g.operand([g.get(y).shape[3]])])
    g.node(g.of("Relu", "Sigmoid", "Clip"), [y])


@step(0.7)
def odd_convolution(g):
    spatial = int(g.of(1, 1, 2, 2, 3))
    groups, per, out = int(g.of(1, 1, 3, 5, 7)), int(g.of(1, 2, 3, 5)), int(g.of(1, 2, 3, 5))
    dims = [int(g.of(1, 2, 7, 11, 16, 31)) if spatial < 3 else int(g.of(1, 3, 5)) for _ in range(spatial)]
    x = g.input(g.array([g.of(1, 2, 3), groups * per, *dims]))
    kernel = [int(g.of(1, 2, 3, 4, 7)) if spatial < 3 else int(g.of(1, 2, 3)) for _ in range(spatial)]
    how = dict(group=groups, dilations=[int(g.of(1, 2, 3, 5)) for _ in range(spatial)], strides=[int(g.of(1, 2, 3, 4)) for _ in range(spatial)])
    how["pads"] = [int(g.of(0, 1, 2, 3, 6)) for _ in range(2 * spatial)]
    y = g.node("Conv", [x, g.operand([groups * out, per, *kernel], low=-1, high=1, constant=0.8)], **how)
    if g.chance(0.5):
        g.node("Add", [y, g.node("Sigmoid", [y])])


# -- quantisation


def zero(g, kind, shape=()):
    low, high = {"u1": (0, 255), "i1": (-128, 127), "u2": (0, 65535), "i2": (-32768, 32767)}[kind]
    return g.rng.integers(low, high, shape, endpoint=True).astype(kind)


def quantised(g, x, kind, s=None):
    s = g.constant(scale(g) if s is None else s)
    z = g.constant(np.asarray(zero(g, kind) // 4 + (96 if kind == "u1" else 0), kind))
    return g.node("DequantizeLinear", [g.node("QuantizeLinear", [x, s, z]), s, z])


@step(2.5)
def quantised_layers(g):
    """Convolution or product between pairs of quantise and dequantise, weights by channel, then what joins such values."""
    kind = g.of("u1", "u1", "i1", *(["u2", "i2"] if g.opset >= 21 else []))
    if g.chance(0.5):
        x = g.pick(["f4"], rank=4, where=lambda v: v.size > 0)
        c = g.get(x).shape[1]
        groups = c if g.chance(0.3) else 1
        out, k = groups * int(g.of(1, 2, 3, 8, 17)), int(g.of(1, 3, 3, 5))
        if out > 130:
            return
        shape, axis = [out, c // groups, k, k], 0
        call = lambda q, w, b: g.node("Conv", [q, w, *b], group=groups, pads=[k // 2] * 4, strides=[int(g.of(1, 2))] * 2)  # noqa: E731
    else:
        x = g.pick(["f4"], least=2, where=lambda v: v.size > 0)
        out, k = g.size(), g.get(x).shape[-1]
        shape, axis = [k, out], 1
        call = lambda q, w, b: g.node("Add", [g.node("MatMul", [q, w]), *b]) if b else g.node("MatMul", [q, w])  # noqa: E731
    per = g.opset >= 13 and g.chance(0.6)
    ws = g.constant(scale(g, [out] if per else []) / 8)
    wz = g.constant(np.asarray(np.zeros([out] if per else []) if g.chance(0.7) else zero(g, "i1", [out] if per else []) // 8, "i1"))
    w = g.node("DequantizeLinear", [g.constant(g.array(shape, "i1", -127, 127)), ws, wz], axis=axis if per else None)
    bias = []
    if g.chance(0.6):
        bs = g.constant(scale(g, [out] if per else []) / 128)
        bias = [g.node("DequantizeLinear", [g.constant(g.array([out], "i4", -500, 500)), bs], axis=0 if per else None)]
    y = call(quantised(g, x, kind), w, bias)
    y = g.node(g.of("Relu", "Sigmoid", "HardSigmoid", "Identity", "LeakyRelu"), [y]) if g.chance(0.5) else y
    y = quantised(g, y, kind, np.asarray(g.of(0.25, 0.1, 0.0625), "f4"))
    how = g.rng.integers(5)
    if how == 0:
        y = g.node("Add", [y, quantised(g, g.operand(g.get(y).shape, constant=0), kind)])
    elif how == 1:
        y = g.node("Concat", [y, quantised(g, g.operand(g.get(y).shape, constant=0), kind)], axis=1)
    elif how == 2 and g.get(y).ndim == 4:
        y = g.node(g.of("MaxPool", "AveragePool"), [y], kernel_shape=[2, 2], pads=[1] * 4, strides=[int(g.of(1, 2))] * 2)
    elif how == 3:
        y = g.node(g.of("Softmax", "Sigmoid", "Relu"), [y])
    quantised(g, y, kind)


@step(0.5)
def quantised_recurrence(g):
    t, n, i, h = g.of(1, 3, 6), g.of(1, 2, 3), g.of(1, 5, 16), g.of(1, 7, 16)
    op, gates = g.of(("LSTM", 4), ("GRU", 3))
    w = [g.node("DequantizeLinear", [g.constant(g.array([1, gates * h, k], "i1", -127, 127)), g.constant(np.asarray(2**-7, "f4"))]) for k in (i, h)]
    lengths = g.input(g.array([n], "i4", 0, t)) if g.chance(0.4) else ""
    g.node(op, [g.input(g.array([t, n, i])), *w, "", lengths], outputs=2, hidden_size=h)


# -- values that are lists


@step(1)
def sequences(g):
    x = g.pick("f" if g.chance(0.7) else ["i8", "i4"], least=1, where=lambda v: v.size > 0)
    v = g.get(x)
    axis = g.axis(v, negative=False)
    how = g.rng.integers(4)
    if how == 0:
        keep = g.of(0, 1)
        g.together(lambda s: [s("SplitToSequence", [x], axis=axis, keepdims=keep)], lambda s, q: [s("SequenceAt", [q, scalar(g, g.of(0, -1))]), s("SequenceLength", [q])])
    elif how == 1:
        parts = g.ints(*([v.shape[axis]] if v.shape[axis] < 2 else [1, v.shape[axis] - 1]))
        g.together(lambda s: [s("SplitToSequence", [x, parts], axis=axis)], lambda s, q: [s("ConcatFromSequence", [s("SequenceInsert", [q, x])], axis=axis)])
    elif how == 2:
        y = g.node("Neg", [x])
        g.together(lambda s: [s("SequenceConstruct", [x, y, x])], lambda s, q: [s("ConcatFromSequence", [s("SequenceErase", [q, scalar(g, g.of(0, 1, -1))])], axis=0, new_axis=1)])
    else:
        g.together(lambda s: [s("SequenceEmpty", [], dtype=1 if v.dtype == np.float32 else 7)], lambda s, q: [s("SequenceAt", [s("SequenceInsert", [q, x]), scalar(g, 0)])])


# -- choices


@step(0.7)
def boxes(g):
    batch, n, classes = g.of(1, 2), g.of(1, 3, 17, 64), g.of(1, 2, 5)
    low = g.array([batch, n, 2], low=0, high=3)
    corners = np.concatenate([low, low + g.array([batch, n, 2], low=0.25, high=2)], -1)
    scores = np.stack([g.rng.permutation(n) for _ in range(batch * classes)]).reshape(batch, classes, n).astype("f4") / n
    inputs = [g.input(corners), g.input(scores), scalar(g, g.of(1, 3, 100)), scalar(g, g.of(0.0, 0.3, 0.6), np.float32), scalar(g, g.of(0.0, 0.2), np.float32)]
    picked = g.node("NonMaxSuppression", inputs, center_point_box=g.of(0, 1))
    if g.chance(0.7) and g.get(picked).size:
        at = g.node("Slice", [picked, g.ints(2), g.ints(3), g.ints(1)])
        g.node("Gather", [g.node("Reshape", [inputs[0], g.ints(-1, 4)]), axes_input(g, "Squeeze", at, [1], 13)], axis=0)


@step(1)
def choices(g):
    how = g.rng.integers(4)
    if how == 0:  # many equal values
        x = g.input(g.array(g.shape(int(g.of(1, 2, 3))), g.of("f4", "i8", "i4"), -1, 1), symbols=False)
        if not g.get(x).size:
            return
        axis = g.axis(g.get(x))
        k = g.input(np.array([g.rng.integers(1, g.get(x).shape[axis] + 1)])) if g.chance(0.4) else g.ints(g.rng.integers(1, g.get(x).shape[axis] + 1))
        v, i = g.node("TopK", [x, k], outputs=2, axis=axis, largest=g.of(0, 1))
        g.node("GatherElements", [x, i], axis=axis)
    elif how == 1:
        x = g.input(g.array(g.shape(int(g.of(1, 2, 3)), 300), g.of("f4", "i8", "i4"), -2, 2), symbols=False)
        axis = g.axis(g.get(x), negative=False) if g.chance(0.6) else None
        g.node("Unique", [x], outputs=4, axis=axis, sorted=g.of(0, 1))
    elif how == 2:
        x = g.pick("f", least=1, where=lambda v: v.size > 0)
        mask = g.node("Greater", [x, g.constant(np.asarray(0, g.get(x).dtype))])
        at = g.node("NonZero", [mask])
        g.node("GatherND", [x, g.node("Transpose", [at], perm=[1, 0])])
    else:
        x = g.pick("f", least=2, where=lambda v: v.size > 0)
        i = g.node("ArgMax", [x], axis=-1, keepdims=1)
        g.node("GatherElements", [x, i], axis=-1)


@step(0.7)
def reduce_oddly(g):
    """Axes that come at run time, that are empty, and all of them."""
    if g.opset < 18:
        return
    x = g.pick("f", least=1)
    op = g.of("ReduceSum", "ReduceMax", "ReduceMean", "ReduceL2", "ReduceSumSquare", "ReduceLogSum")
    x = g.node("Abs", [x])
    noop = g.of(0, 1)
    axes = np.array(some(g, range(g.get(x).ndim)) if g.chance(0.5) else [], I8)
    g.node(op, [x, g.constant(axes)], keepdims=g.of(0, 1), noop_with_empty_axes=noop)


@step(0.8)
def resize_oddly(g):
    if g.opset < 18:
        return
    x = g.pick(["f4"], least=2, most=4, where=lambda v: v.size > 0)
    rank = g.get(x).ndim
    axes = sorted(int(a) for a in g.rng.permutation(rank)[: min(2, rank)])
    mode = g.of("nearest", "linear") if len(axes) < 2 else g.of("nearest", "linear", "cubic")
    how = dict(mode=mode, axes=axes, coordinate_transformation_mode=g.of("half_pixel", "half_pixel_symmetric", "align_corners", "asymmetric"))
    if g.chance(0.5):
        g.node("Resize", [x, "", g.constant(np.array([g.of(0.5, 0.7, 1.3, 2, 3) for _ in axes], "f4"))], **how)
    else:
        policy = g.of("stretch", "not_larger", "not_smaller")
        g.node("Resize", [x, "", "", g.ints(*[int(g.of(1, 2, 5, 9, 13)) for _ in axes])], keep_aspect_ratio_policy=policy, **how)


@step(0.6)
def upsample_by_shape(g):
    """interpolate(size=(2 h, 2 w)) as exporters write it."""
    x = g.pick(["f4"], rank=4, where=lambda v: v.size > 0)
    sizes = [g.node("Mul", [dim(g, x, a), g.ints(2)]) for a in (2, 3)]
    lead = g.node("Slice", [g.node("Shape", [x]), g.ints(0), g.ints(2), g.ints(0)])
    mode = g.of("nearest", "linear")
    how = dict(nearest_mode="floor", coordinate_transformation_mode="asymmetric") if mode == "nearest" else dict(coordinate_transformation_mode=g.of("half_pixel", "align_corners"))
    g.node("Resize", [x, "", "", g.node("Concat", [lead, *sizes], axis=0)], mode=mode, **how)


# -- control flow


@step(1)
def loop_that_grows(g):
    """As greedy decoding: what is carried grows by a row a turn; the body captures, and may branch."""
    x = g.pick(["f4"], rank=2, where=lambda v: v.size > 0)
    columns = g.get(x).shape[1]
    other = g.operand([columns, columns], constant=0.5)
    i, c, s = g.fresh(), g.fresh(), g.fresh()
    g.values.update({i: np.asarray(0, np.int64), c: np.asarray(True), s: g.get(x)})

    def body():
        last = g.node("Gather", [s, g.ints(-1)], axis=0)
        y = g.node("Tanh", [g.node("MatMul", [last, other])])
        if g.chance(0.5):
            arm = lambda: g.node("Add", [y, g.node("Cast", [i], to=1)])  # noqa: E731
            arms = [g.subgraph(a, lambda r: [r])[0] for a in (arm, lambda: g.node("Neg", [y]))]
            y = g.node("If", [g.node("Greater", [i, scalar(g, 1)])], then_branch=arms[0], else_branch=arms[1])
        return [g.node("Identity", [c]), g.node("Concat", [s, y], axis=0)]

    try:
        graph, _ = g.subgraph(body, lambda r: r, [i, c, s])
    finally:
        for n in (i, c, s):
            g.values.pop(n, None)
    for v in (graph.input[2], graph.output[1]):
        v.type.tensor_type.shape.dim[0].Clear()
    trips = int(g.of(0, 1, 2, 4))
    g.node("Loop", [scalar(g, trips) if g.chance(0.5) else g.input(np.asarray(trips, I8)), "", x], body=graph)


@step(0.7)
def branches_of_shapes(g):
    """Arms whose results have other sizes; what follows reads them."""
    x = g.pick(["f4"], least=1, where=lambda v: v.size > 0)
    axis = g.axis(g.get(x), negative=False)
    n = g.get(x).shape[axis]
    arms = [lambda: g.node("Concat", [x, x], axis=axis), lambda: g.node("Slice", [x, g.ints(0), g.ints(max(n // 2, 1)), g.ints(axis)]), lambda: g.node("Identity", [x])]
    graphs = [g.subgraph(arms[i], lambda y: [y])[0] for i in g.rng.permutation(3)[:2]]
    for each in graphs:
        each.output[0].type.tensor_type.shape.dim[axis].Clear()
    y = g.node("If", [g.operand([], "?", constant=0.2)], then_branch=graphs[0], else_branch=graphs[1])
    same_shape(g, y) if g.chance(0.5) else axes_input(g, "ReduceSum", y, [axis], 13, keepdims=0)


@step(0.5)
def scan_of_two(g):
    t = int(g.of(1, 2, 5))
    shape = g.shape(int(g.of(1, 2)), 200)
    x, y = g.input(g.array([t, *shape])), g.input(g.array([t, *shape]))
    state = g.operand(shape)
    w = g.operand([shape[-1], shape[-1]], low=-1, high=1)
    s, a, b = g.fresh(), g.fresh(), g.fresh()
    g.values.update({s: g.get(state), a: g.get(x)[0], b: g.get(y)[0]})

    def body():
        z = g.node("Tanh", [g.node("Add", [g.node("MatMul", [s, w]), g.node("Mul", [a, b])])])
        return [z, g.node("Identity", [z]), axes_input(g, "ReduceSum", z, [0], 13, keepdims=0)]

    try:
        graph, _ = g.subgraph(body, lambda r: r, [s, a, b])
    finally:
        for n in (s, a, b):
            g.values.pop(n, None)
    if any(d == 0 for d in shape):
        raise Refused("empty")
    g.node("Scan", [state, x, y], outputs=3, body=graph, num_scan_inputs=2, scan_output_directions=[g.of(0, 1), 0])
