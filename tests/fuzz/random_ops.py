"""What a random graph's steps do: each function adds one operator, or a few that belong together, to a Graph. GENERATORS has them all, with
how often each is chosen beside the others."""

import numpy as np
from random_graph import Refused

GENERATORS = []


def step(weight=1.0):
    def add(function):
        GENERATORS.append((function, weight))
        return function

    return add


def some(g, items, least=1):
    items = list(items)
    count = int(g.rng.integers(least, len(items) + 1))
    return sorted(int(i) for i in g.rng.permutation(items)[:count])


def axes_input(g, op, x, axes, since, **attributes):
    """An operator whose axes became an input in opset `since`."""
    if g.opset >= since:
        return g.node(op, [x, g.ints(*axes)] if axes is not None else [x], **attributes)
    return g.node(op, [x], axes=axes, **attributes)


# -- elementwise

FLOATS = [
    ("Abs", 1), ("Neg", 1), ("Exp", 1), ("Sigmoid", 1), ("Tanh", 1), ("Relu", 1), ("LeakyRelu", 1), ("Elu", 1), ("Selu", 1), ("HardSigmoid", 1),
    ("HardSwish", 14), ("Softplus", 1), ("Softsign", 1), ("Erf", 9), ("Floor", 1), ("Ceil", 1), ("Round", 11), ("Sign", 9), ("Sin", 7), ("Cos", 7),
    ("Atan", 7), ("Asinh", 9), ("Gelu", 20), ("Mish", 18), ("Celu", 12), ("ThresholdedRelu", 10), ("Shrink", 9), ("IsNaN", 9), ("IsInf", 10),
    ("Reciprocal", 1), ("Sqrt", 1), ("Log", 1), ("Identity", 1), ("Dropout", 12), ("Tan", 7), ("Acos", 7), ("Asin", 7), ("Sinh", 9), ("Cosh", 9),
]  # fmt: skip


@step(4)
def unary_float(g):
    op, since = FLOATS[g.rng.integers(len(FLOATS))]
    if g.opset >= since:
        g.node(op, [g.pick("f")])


@step(1)
def unary_other(g):
    op = g.of("Abs", "Neg", "Sign", "Not", "BitwiseNot", "Identity", "Relu")
    g.node(op, [g.pick("b" if op == "Not" else "iu")])


def broadcastable(g, x, dtype, kinds):
    """Another operand for an elementwise operator with x: a value that is there, or a new one of a shape that broadcasts."""
    array = g.get(x)

    def fits(v):
        try:
            return v.dtype == array.dtype and np.broadcast_shapes(v.shape, array.shape) is not None
        except ValueError:
            return False

    if g.chance(0.5):
        try:
            return g.pick(kinds, where=fits)
        except Refused:
            pass
    shape = [d if g.chance(0.6) else 1 for d in array.shape]
    shape = [g.size() if d == 1 and a == 1 and g.chance(0.3) else d for d, a in zip(shape, array.shape)]
    shape = shape[int(g.rng.integers(0, len(shape) + 1)) :] if g.chance(0.4) else shape
    return g.operand(shape, dtype)


@step(5)
def binary_float(g):
    op = g.of("Add", "Sub", "Mul", "Div", "Min", "Max", "Add", "Mul", "PRelu", "Less", "Greater", "Equal", "LessOrEqual", "Mod", "Pow")
    x = g.pick("f")
    y = broadcastable(g, x, g.get(x).dtype, "f")
    if op == "Pow":
        y = g.constant(g.array([], g.of("f4", "i8", "i4"), 0, 3)) if g.chance(0.7) else y
    if op != "PRelu" and g.chance(0.5):
        x, y = y, x
    g.node(op, [x, y], fmod=1 if op == "Mod" else None)


@step(2)
def binary_integer(g):
    op = g.of("Add", "Sub", "Mul", "Div", "Min", "Max", "Less", "Greater", "Equal", "Mod", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitShift")
    if op.startswith("Bitwise") and g.opset < 18:
        return
    x = g.pick("u" if op == "BitShift" else "iu")
    dtype = g.get(x).dtype
    if op in ("Div", "Mod", "BitShift"):
        y = g.constant(g.array([d if g.chance(0.5) else 1 for d in g.get(x).shape], dtype, 1, 7))
    else:
        y = broadcastable(g, x, dtype, "iu")
    g.node(op, [x, y], direction=g.of("LEFT", "RIGHT") if op == "BitShift" else None)


@step(1)
def logic(g):
    x = g.pick("b")
    g.node(g.of("And", "Or", "Xor", "Equal"), [x, broadcastable(g, x, "?", "b")])


@step(1.5)
def where(g):
    x = g.pick("fiu" if g.chance(0.9) else "b")
    y = broadcastable(g, x, g.get(x).dtype, "fiub")
    shape = [d if g.chance(0.6) else 1 for d in g.get(x).shape]
    g.node("Where", [g.operand(shape, "?", constant=0.2) if g.chance(0.5) else broadcastable_bool(g, x), x, y])


def broadcastable_bool(g, x):
    shape = g.get(x).shape
    return g.pick("b", where=lambda v: v.ndim <= len(shape) and all(a in (1, b) for a, b in zip(v.shape[::-1], shape[::-1])))


@step(2)
def cast(g):
    to = g.of(1, 1, 1, 10, 6, 7, 2, 3, 9, 12, 11)
    x = g.pick("fiub")
    if to in (2, 3, 12) and g.get(x).dtype.kind == "f":
        x = g.node("Clip", [x, g.constant(np.asarray(0, g.get(x).dtype)), g.constant(np.asarray(100, g.get(x).dtype))])
    g.node("Cast", [x], to=to)


@step(1)
def clip(g):
    x = g.pick("f" if g.chance(0.8) else ["i4", "i8"])
    dtype = g.get(x).dtype
    low = g.constant(np.asarray(-1, dtype)) if g.chance(0.7) else ""
    high = g.constant(np.asarray(1, dtype)) if g.chance(0.7) else ""
    g.node("Clip", [x, low, high])


@step(0.7)
def variadic(g):
    x = g.pick("f")
    others = [broadcastable(g, x, g.get(x).dtype, "f") for _ in range(g.rng.integers(0, 3))]
    g.node(g.of("Sum", "Mean", "Min", "Max"), [x, *others])


# -- reductions and what runs along an axis


@step(3)
def reduce(g):
    op = g.of("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceSumSquare", "ReduceMean")
    x = g.pick("f" if g.chance(0.8) or op in ("ReduceLogSumExp", "ReduceL2", "ReduceMean") else ["i4", "i8"])  # a root or logarithm as an integer: the last bit decides
    axes = [a - g.get(x).ndim if g.chance(0.2) else a for a in some(g, range(g.get(x).ndim))] if g.get(x).ndim and g.chance(0.9) else None
    keep = g.of(0, 1)
    axes_input(g, op, x, axes, 13 if op == "ReduceSum" else 18, keepdims=keep, noop_with_empty_axes=1 if g.opset >= 18 and g.chance(0.1) else None)


@step(1)
def arg(g):
    x = g.pick("fi", least=1)
    g.node(g.of("ArgMax", "ArgMin"), [x], axis=g.axis(g.get(x)), keepdims=g.of(0, 1), select_last_index=g.of(0, 1))


@step(1.5)
def softmax(g):
    x = g.pick("f", least=1)
    g.node(g.of("Softmax", "Softmax", "LogSoftmax", "Hardmax"), [x], axis=g.axis(g.get(x)))


@step(0.7)
def cumsum(g):
    x = g.pick("f" if g.chance(0.7) else ["i4", "i8"], least=1)
    axis = g.constant(np.asarray(g.axis(g.get(x)), np.int64))
    g.node("CumSum", [x, axis], exclusive=g.of(0, 1), reverse=g.of(0, 1))


@step(1)
def top_k(g):
    x = g.pick("f" if g.chance(0.8) else ["i4", "i8"], least=1)
    axis = g.axis(g.get(x))
    k = int(g.rng.integers(0 if g.chance(0.1) else 1, g.get(x).shape[axis] + 1))
    g.node("TopK", [x, g.ints(k)], outputs=2, axis=axis, largest=g.of(0, 1), sorted=1)


@step(0.5)
def data_dependent(g):
    op = g.of("NonZero", "Compress", "Unique")
    x = g.pick("fib" if op == "NonZero" else "fi", least=1)
    if op == "NonZero":
        g.node(op, [x])
    elif op == "Unique":
        g.node(op, [x], outputs=4, sorted=g.of(0, 1))
    else:
        axis = g.axis(g.get(x), negative=False)
        g.node(op, [x, g.operand([g.get(x).shape[axis]], "?", constant=0.3)], axis=axis)


@step(0.3)
def suppression(g):
    b, n, c = g.of(1, 1, 2), int(g.of(1, 5, 33, 150)), g.of(1, 1, 3)
    y, x = g.array([b, n], low=0, high=9), g.array([b, n], low=0, high=9)
    corners = np.stack([y, x, y + g.array([b, n], low=0, high=4), x + g.array([b, n], low=0, high=4)], -1)
    scores = g.array([b, c, n])
    if g.chance(0.3):
        scores[g.array([b, c, n]) > 1.5] = -np.inf
    limits = [g.ints(int(g.of(0, 1, 7, 1000))), g.constant(g.array([1], low=0.125, high=0.875)), g.constant(g.array([1], low=-0.5, high=0.5))]
    limits = limits[: g.of(1, 2, 3)]
    g.node("NonMaxSuppression", [g.input(corners.astype("f4")), g.input(scores), *limits], center_point_box=g.of(0, 1))


@step(1.5)
def normalise(g):
    op = g.of("LayerNormalization", "InstanceNormalization", "BatchNormalization", "GroupNormalization", "LpNormalization", "MeanVarianceNormalization", "LRN")
    if op == "LayerNormalization" and g.opset >= 17:
        x = g.pick(["f4"], least=1)
        shape = g.get(x).shape
        axis = g.axis(g.get(x))
        inner = shape[axis:]
        g.node(op, [x, g.operand(inner), *([g.operand(inner)] if g.chance(0.8) else [])], axis=axis, epsilon=1e-3)
    elif op in ("InstanceNormalization", "BatchNormalization", "GroupNormalization"):
        x = g.pick(["f4"], least=3 if op != "BatchNormalization" else 2)
        c = g.get(x).shape[1]
        if op == "BatchNormalization":
            g.node(op, [x, g.operand([c]), g.operand([c]), g.operand([c]), g.operand([c], low=0.5, high=2)])
        elif op == "InstanceNormalization":
            g.node(op, [x, g.operand([c]), g.operand([c])], epsilon=1e-3)
        elif g.opset >= 18 and c:
            groups = int(g.of(*[d for d in range(1, c + 1) if c % d == 0]))
            scales = c if g.opset >= 21 else groups
            g.node(op, [x, g.operand([scales]), g.operand([scales])], num_groups=groups, epsilon=1e-3)
    elif op == "LpNormalization":
        x = g.pick(["f4"], least=1)
        g.node(op, [x], axis=g.axis(g.get(x)), p=g.of(1, 2))
    elif op == "LRN":
        g.node(op, [g.pick(["f4"], rank=4)], size=g.of(1, 3, 5), alpha=0.01, bias=1.5)
    elif op == "MeanVarianceNormalization" and g.opset >= 13:
        x = g.pick(["f4"], rank=4)
        g.node(op, [x], axes=some(g, range(4)))


@step(1)
def own_norm(g):
    """Layer norm or softmax as older exporters spell it."""
    x = g.pick("f", least=1)
    axis = g.get(x).ndim - 1 if g.chance(0.7) else g.axis(g.get(x), negative=False)
    dtype = g.get(x).dtype
    if g.chance(0.5):
        mean = axes_input(g, "ReduceMean", x, [axis], 18, keepdims=1)
        centred = g.node("Sub", [x, mean])
        square = g.node("Pow", [centred, g.constant(np.asarray(2, dtype))]) if g.chance(0.5) else g.node("Mul", [centred, centred])
        variance = axes_input(g, "ReduceMean", square, [axis], 18, keepdims=1)
        root = g.node("Sqrt", [g.node("Add", [variance, g.constant(np.asarray(1e-2, dtype))])])
        y = g.node("Div", [centred, root])
        g.node("Mul", [y, g.operand([g.get(x).shape[axis], *[1] * (g.get(x).ndim - 1 - axis)], dtype)])
    else:
        most = axes_input(g, "ReduceMax", x, [axis], 18, keepdims=1)
        e = g.node("Exp", [g.node("Sub", [x, most])])
        g.node("Div", [e, axes_input(g, "ReduceSum", e, [axis], 13, keepdims=1)])


# -- moving data


@step(3)
def reshape(g):
    x = g.pick("fiub")
    size, shape = g.get(x).size, list(g.get(x).shape)
    if g.chance(0.3):
        return g.node("Flatten", [x], axis=int(g.rng.integers(0, len(shape) + 1)))
    if g.chance(0.3) and len(shape) >= 2:
        at = int(g.rng.integers(len(shape) - 1))
        target = [0] * at + [-1] + shape[at + 2 :] if g.chance(0.5) else shape[:at] + [-1] + shape[at + 2 :]
    else:
        target, rest = [], size
        for _ in range(int(g.rng.integers(0, 4))):
            divisors = [d for d in (1, 2, 3, 4, 5, 7, 8, 16) if rest and rest % d == 0]
            d = int(g.of(*divisors)) if divisors else 1
            target.append(d)
            rest //= max(d, 1)
        target.insert(int(g.rng.integers(0, len(target) + 1)), -1 if g.chance(0.6) and size else rest)
    g.node("Reshape", [x, g.ints(*target)])


@step(1.5)
def reshape_by_shape(g):
    """Dimensions taken out of a Shape, as traced exporters do."""
    x = g.pick("f", least=2)
    shape = g.node("Shape", [x])
    rank = g.get(x).ndim
    dims = []
    for a in range(rank):
        d = g.node("Gather", [shape, g.constant(np.asarray(a, np.int64))], axis=0)
        dims.append(axes_input(g, "Unsqueeze", d, [0], 13))
    how = g.rng.integers(4)
    if how == 0:
        merged = g.node("Mul", [dims[0], dims[1]])
        g.node("Reshape", [x, g.node("Concat", [merged, *dims[2:]], axis=0)])
    elif how == 1:
        g.node("Reshape", [x, g.node("Concat", [dims[0], g.ints(-1)], axis=0)])
    elif how == 2:
        small = g.node("ConstantOfShape", [g.node("Concat", dims[::-1], axis=0)], value=None)
        g.node("Add", [g.node("Transpose", [x]), small]) if g.get(x).dtype == np.float32 else None
    else:
        g.node("Expand", [g.operand([1] * rank), g.node("Concat", dims, axis=0)])


@step(2)
def squeeze(g):
    if g.chance(0.5):
        x = g.pick("fiub", where=lambda v: 1 in v.shape)
        ones = [i for i, d in enumerate(g.get(x).shape) if d == 1]
        axes_input(g, "Squeeze", x, some(g, ones) if g.chance(0.8) else None, 13)
    else:
        x = g.pick("fiub", most=3)
        rank = g.get(x).ndim
        count = int(g.rng.integers(1, 3))
        axes_input(g, "Unsqueeze", x, sorted(int(a) for a in g.rng.permutation(rank + count)[:count]), 13)


@step(2)
def transpose(g):
    x = g.pick("fiub", least=2)
    g.node("Transpose", [x], perm=[int(a) for a in g.rng.permutation(g.get(x).ndim)] if g.chance(0.9) else None)


@step(0.8)
def expand(g):
    x = g.pick("fiub", most=3)
    shape = [g.size() if d == 1 and g.chance(0.6) else 1 if g.chance(0.2) else d for d in g.get(x).shape]
    g.node("Expand", [x, g.ints(*([g.of(1, 2, 3)] if g.chance(0.3) else []), *shape)])


@step(0.6)
def tile(g):
    x = g.pick("fiub", least=1)
    g.node("Tile", [x, g.ints(*[int(g.of(1, 1, 2, 3)) for _ in g.get(x).shape])])


@step(1.2)
def pad(g):
    x = g.pick("f" if g.chance(0.8) else "i", least=1)
    mode = g.of("constant", "constant", "reflect", "edge", *(["wrap"] if g.opset >= 19 else []))
    shape = g.get(x).shape
    pads = [int(g.of(0, 0, 1, 2, 3)) for _ in range(2 * len(shape))]
    if mode in ("reflect", "wrap"):
        pads = [min(p, max(shape[i % len(shape)] - 1, 0)) for i, p in enumerate(pads)]
    if mode == "constant" and g.chance(0.2):
        pads[g.rng.integers(len(pads))] = -1
    value = [g.constant(np.asarray(1.5, g.get(x).dtype))] if mode == "constant" and g.chance(0.5) else []
    g.node("Pad", [x, g.ints(*pads), *value], mode=mode)


@step(2.5)
def slice_(g):
    x = g.pick("fiub", least=1)
    axes = some(g, range(g.get(x).ndim))
    starts, ends, steps = [], [], []
    for a in axes:
        d = g.get(x).shape[a]
        s = int(g.of(1, 1, 1, 2, 3, -1, -2))
        i, j = sorted(int(v) for v in g.rng.integers(-1, d + 2, 2))
        if s < 0:
            i, j = j, (i if g.chance(0.5) else -(2**63))
        elif g.chance(0.3):
            j = 2**63 - 1 if g.chance(0.5) else -1
        starts.append(i), ends.append(j), steps.append(s)
    kind = g.of(np.int64, np.int64, np.int32)
    if kind == np.int32:
        ends = [max(min(e, 2**31 - 1), -(2**31)) for e in ends]
    arrays = [np.array(v, kind) for v in (starts, ends, axes, steps)]
    if g.chance(0.15):  # bounds that are only known at run time
        g.node("Slice", [x, g.input(arrays[0], symbols=False), g.input(arrays[1], symbols=False), *[g.constant(a) for a in arrays[2:]]])
    else:
        g.node("Slice", [x, *[g.constant(a) for a in arrays]])


@step(2)
def concat(g):
    x = g.pick("fiub", least=1)
    axis = g.axis(g.get(x), negative=False)
    shape, dtype = list(g.get(x).shape), g.get(x).dtype
    fits = lambda v: v.dtype == dtype and v.ndim == len(shape) and all(a == axis or p == q for a, (p, q) in enumerate(zip(v.shape, shape)))  # noqa: E731
    parts = [x]
    for _ in range(int(g.rng.integers(0, 4))):
        if g.chance(0.5):
            parts.append(g.pick(dtype.kind, where=fits))
        else:
            parts.append(g.operand([g.size() if a == axis else d for a, d in enumerate(shape)], dtype))
    order = g.rng.permutation(len(parts))
    g.node("Concat", [parts[i] for i in order], axis=axis - (len(shape) if g.chance(0.2) else 0))


@step(1.2)
def split(g):
    x = g.pick("fiub", least=1)
    axis = g.axis(g.get(x), negative=False)
    d = g.get(x).shape[axis]
    count = int(g.rng.integers(1, min(d, 4) + 1)) if d else 1
    cuts = np.sort(g.rng.integers(0, d + 1, count - 1))
    sizes = np.diff([0, *cuts, d])
    if g.opset >= 13:
        g.node("Split", [x, g.ints(*sizes)], outputs=count, axis=axis) if not (g.opset >= 18 and g.chance(0.3)) else g.node(
            "Split", [x], outputs=count, axis=axis, num_outputs=count
        )
    else:
        g.node("Split", [x], outputs=count, axis=axis, split=[int(s) for s in sizes])


def indices(g, shape, size, dtype=None):
    if size == 0:
        raise Refused("nothing to index")
    return g.operand(shape, dtype or g.of("i8", "i8", "i4"), -size if g.chance(0.3) else 0, size - 1, constant=0.5)


@step(1.5)
def gather(g):
    x = g.pick("fiub", least=1)
    axis = g.axis(g.get(x))
    g.node("Gather", [x, indices(g, g.shape(int(g.rng.integers(0, 3)), 60), g.get(x).shape[axis])], axis=axis)


@step(0.8)
def gather_elements(g):
    x = g.pick("fiub", least=1)
    axis = g.axis(g.get(x), negative=False)
    shape = [g.size() if a == axis else int(g.rng.integers(1, d + 1)) if d else 0 for a, d in enumerate(g.get(x).shape)]
    g.node("GatherElements", [x, indices(g, shape, g.get(x).shape[axis])], axis=axis)


@step(0.7)
def gather_nd(g):
    x = g.pick("fiub", least=1)
    batch = int(g.rng.integers(0, g.get(x).ndim)) if g.chance(0.3) else 0
    depth = int(g.rng.integers(1, g.get(x).ndim - batch + 1))
    sizes = g.get(x).shape[batch : batch + depth]
    lead = [*g.get(x).shape[:batch], *g.shape(int(g.rng.integers(0, 3)), 40)]
    array = np.stack([g.array(lead, "i8", 0, max(s - 1, 0)) for s in sizes], -1)
    g.node("GatherND", [x, g.constant(array) if g.chance(0.5) else g.input(array, symbols=False)], batch_dims=batch)


@step(0.8)
def scatter_nd(g):
    x = g.pick("f" if g.chance(0.8) else ["i4", "i8"], least=1)
    shape = g.get(x).shape
    depth = int(g.rng.integers(1, len(shape) + 1))
    reduction = g.of(None, *(["add", "mul"] if g.opset >= 16 else []), *(["min", "max"] if g.opset >= 18 else []))
    count = int(g.rng.integers(1, 6))
    flat = g.rng.permutation(int(np.prod(shape[:depth])))[:count] if reduction is None else g.rng.integers(0, max(np.prod(shape[:depth]), 1), count)
    array = np.stack(np.unravel_index(flat, shape[:depth]), -1).astype(np.int64)
    update = g.operand([len(flat), *shape[depth:]], g.get(x).dtype)
    g.node("ScatterND", [x, g.constant(array) if g.chance(0.5) else g.input(array, symbols=False), update], reduction=reduction)


@step(0.8)
def scatter_elements(g):
    x = g.pick("f" if g.chance(0.8) else ["i4", "i8"], least=1)
    shape, axis = g.get(x).shape, g.axis(g.get(x), negative=False)
    reduction = g.of(None, *(["add", "mul"] if g.opset >= 16 else []), *(["min", "max"] if g.opset >= 18 else []))
    count = int(g.rng.integers(1, shape[axis] + 1)) if shape[axis] else 0
    part = [count if a == axis else d for a, d in enumerate(shape)]
    array = np.argsort(g.rng.random(shape), axis).take(range(count), axis).astype(g.of("i8", "i4"))
    if reduction is not None:
        array = g.array(part, "i8", 0, max(shape[axis] - 1, 0))
    g.node("ScatterElements", [x, g.constant(array) if g.chance(0.4) else g.input(array), g.operand(part, g.get(x).dtype)], axis=axis, reduction=reduction)


@step(0.8)
def rearrange(g):
    op = g.of("DepthToSpace", "SpaceToDepth", "Trilu", "ReverseSequence", "EyeLike", "Size", "Shape")
    if op in ("DepthToSpace", "SpaceToDepth"):
        b = int(g.of(2, 3))
        shape = [g.of(1, 2), 3 * b * b, 4, 5] if op == "DepthToSpace" else [g.of(1, 2), 3, 4 * b, 3 * b]
        g.node(op, [g.input(g.array(shape))], blocksize=b, mode=g.of("DCR", "CRD") if op == "DepthToSpace" else None)
    elif op == "Trilu" and g.opset >= 14:
        g.node(op, [g.pick("fib", least=2), *([g.constant(np.asarray(g.of(-2, -1, 0, 1, 3), np.int64))] if g.chance(0.7) else [])], upper=g.of(0, 1))
    elif op == "ReverseSequence":
        x = g.pick("f", least=2)
        time = g.of(0, 1)
        t, n = g.get(x).shape[time], g.get(x).shape[1 - time]
        g.node(op, [x, g.input(g.array([n], "i8", min(1, t), t))], time_axis=time, batch_axis=1 - time)
    elif op == "EyeLike":
        g.node(op, [g.pick("fi", rank=2)], k=g.of(-1, 0, 1))
    else:
        g.node(op, [g.pick("fiub")])


@step(0.6)
def ranges(g):
    if g.chance(0.5):
        n = g.node("Size", [g.pick("f", least=1)])
        if g.get(n) > 300:
            return
        r = g.node("Range", [g.constant(np.asarray(0, np.int64)), n, g.constant(np.asarray(g.of(1, 2, 3), np.int64))])
        g.node("Cast", [r], to=1)
    else:
        x = g.pick(["i8", "i4"])
        g.node("OneHot", [x, g.constant(np.asarray(g.size(), np.int64)), g.constant(np.array([0, 1], g.of("f4", "i4", "i8")))], axis=g.of(-1, 0))
