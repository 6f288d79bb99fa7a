#!/usr/bin/env python3
"""Operators of odd sizes between guard pages: products, convolutions, pools, reductions, attention, recurrences, rows; large enough that kernels
have blocks, panels and tiles, and sizes that are whole in none of them.

    random_shapes.py [--count 6] [--seconds S] [--seed 1] [--targets cpu:x86_64_v3] [--precision f16] [--kinds matmul conv]

With --bounds nothing is compiled or run: what lowering makes for every level of x86-64 and aarch64 is walked by the evaluator, at the ends of its
loops alone (lower_report --bounds), which is thousands of kernels in minutes, of sizes as real models have them.

A model has twelve such operators, each of inputs of its own; some axes are symbols, and the module runs at several sizes. It runs by
tern_guarded (tests/guarded): an access outside of what a kernel was given is an error. Results are compared with ONNX Runtime's.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TERN_GUARDED", "1")
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import tern_tools as tools  # noqa: E402
from onnx import helper, numpy_helper  # noqa: E402
from random_graph import ELEMENT, session  # noqa: E402

SIZES = [1, 2, 3, 5, 7, 8, 9, 13, 15, 16, 17, 20, 24, 31, 32, 33, 40, 47, 48, 49, 63, 64, 65, 70, 96, 100, 127, 128, 129, 191, 192, 200, 255, 256, 257, 270, 320, 384, 515]
KINDS = {}
STEPS = ("quantised", "dynamic_rows", "integers")


def kind(function):
    KINDS[function.__name__] = function
    return function


class Shapes:
    """A model of independent operators, and what its symbols may be."""

    def __init__(self, seed, large=False):
        self.rng, self.large = np.random.default_rng(seed), large
        self.nodes, self.tensors, self.inputs, self.outputs, self.sizes, self.made = [], [], {}, [], {}, 0

    def of(self, *items):
        return items[int(self.rng.integers(len(items)))]

    def chance(self, p):
        return self.rng.random() < p

    def size(self, most=600, least=1):
        if self.large and most >= 300 and self.chance(0.4):  # as the widths of real models
            return int(self.of(512, 640, 768, 1000, 1024, 1280, 2048, 2304, 3072, 4096, 5000))
        return int(self.of(*[s for s in SIZES if least <= s <= most]))

    def fresh(self):
        self.made += 1
        return f"v{self.made}"

    def array(self, shape, dtype="f4"):
        dtype = np.dtype(dtype)
        if dtype.kind == "f":
            return self.rng.standard_normal(shape).astype(dtype)
        if dtype.kind == "b":
            return self.rng.random(shape) < 0.7
        info = np.iinfo(dtype)
        return self.rng.integers(max(info.min, -128), min(info.max, 255), shape, dtype=np.int64, endpoint=True).astype(dtype)

    def constant(self, array):
        name = self.fresh()
        self.tensors.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def weights(self, shape, dtype="f4"):
        array = self.array(shape, dtype)
        fan = max(int(np.prod(shape[1:])), 1)
        return self.constant(array / np.float32(np.sqrt(fan)) if np.dtype(dtype).kind == "f" else array)

    def input(self, shape, dtype="f4", symbolic=(0,), chance=0.5):
        """An input some of whose axes are symbols."""
        name, dims = self.fresh(), []
        for axis, d in enumerate(shape):
            if axis in symbolic and self.chance(chance):
                symbol = f"S{len(self.sizes)}"
                self.sizes[symbol] = sorted({int(d), 1, self.size(80)}, reverse=True)
                d = symbol
            dims.append(d)
        self.inputs[name] = (dims, np.dtype(dtype))
        return name

    def node(self, op, inputs, outputs=1, keep=None, **how):
        names = [self.fresh() if keep is None or keep[i] else "" for i in range(outputs)]
        domain = "com.microsoft" if op in MICROSOFT else ""
        self.nodes.append(helper.make_node(op, inputs, names, name=f"{op}_{self.made}", domain=domain, **{k: v for k, v in how.items() if v is not None}))
        return names[0] if outputs == 1 else names

    def result(self, name, form):
        self.outputs.append((name, form))

    def model(self):
        inputs = [helper.make_tensor_value_info(n, ELEMENT[t], dims) for n, (dims, t) in self.inputs.items()]
        outputs = [helper.make_empty_tensor_value_info(n) for n, _ in self.outputs]
        graph = helper.make_graph(self.nodes, "shapes", inputs, outputs, self.tensors)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)], ir_version=8)

    def values(self, run):
        sizes = {s: v[run % len(v)] for s, v in self.sizes.items()}
        return {n: self.array([sizes.get(d, d) for d in dims], t) for n, (dims, t) in self.inputs.items()}


MICROSOFT = {"MatMulNBits", "MultiHeadAttention", "FusedMatMul", "SkipLayerNormalization", "BiasGelu", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "GroupQueryAttention"}


def behind(g, x, channels, tail=()):
    """Nothing, or what is fused behind a product."""
    if g.chance(0.4):
        x = g.node("Add", [x, g.constant(g.array([channels, *tail]))])
    if g.chance(0.4):
        x = g.node(g.of("Relu", "Sigmoid", "Tanh", "Softplus"), [x])
    return x


@kind
def matmul(g):
    m, k, n = g.size(300), g.size(), g.size()
    batch = [g.of(1, 2, 3)] if g.chance(0.3) else []
    x = g.input([*batch, m, k], symbolic=(len(batch),))
    if g.chance(0.7):
        y = g.weights([k, n]) if g.chance(0.7) else g.node("Transpose", [g.weights([n, k])], perm=[1, 0])
    else:
        y = g.input([*batch, k, n], symbolic=(len(batch) + 1,), chance=0.3)
        g.result(g.node("MatMul", [x, y]), "float")
        return
    g.result(behind(g, g.node("MatMul", [x, y]), n), "float")


@kind
def gemm(g):
    m, k, n = g.size(200), g.size(300), g.size(300)
    ta, tb = g.of(0, 1), g.of(0, 1)
    x = g.input([k, m] if ta else [m, k], symbolic=(1 if ta else 0,))
    y = g.weights([n, k] if tb else [k, n])
    g.result(behind(g, g.node("Gemm", [x, y, g.constant(g.array(g.of([n], [1, n], [1])))], transA=ta, transB=tb, alpha=g.of(1.0, 0.5)), n), "float")


@kind
def batched(g):
    """Products of two inputs, as attention spelt out has them."""
    b, h, s, t, d = g.of(1, 2), g.of(1, 2, 3), g.size(130), g.size(130), g.of(8, 16, 20, 32, 64, 65)
    q, k, v = g.input([b, h, s, d], symbolic=(2,)), g.input([b, h, d, t], symbolic=()), g.input([b, h, t, g.of(d, 24)], symbolic=())
    scores = g.node("MatMul", [q, k])
    if g.chance(0.6):
        scores = g.node("Mul", [scores, g.constant(np.float32(0.2))])
        scores = g.node("Softmax", [scores], axis=-1)
    g.result(g.node("MatMul", [scores, v]), "float")


@kind
def digits(g):
    """Weights of 4 bits (or 8) in blocks."""
    bits, block = g.of(4, 4, 4, 8), g.of(16, 32, 64, 128, 256)
    m, k, n = g.size(130), g.size(515, 16), g.size(400)
    blocks = -(-k // block)
    packed = g.constant(g.array([n, blocks, block * bits // 8], "u1"))
    scales = g.constant(np.abs(g.array([n * blocks])) * np.float32(0.02) + np.float32(0.01))
    zeros = [g.constant(g.array([n * (-(-blocks * bits // 8))], "u1"))] if g.chance(0.5) else []
    x = g.input(g.of([m, k], [1, m, k]), symbolic=(0,))
    how = dict(K=k, N=n, bits=bits, block_size=block, accuracy_level=g.of(0, 0, 4) if bits == 4 else None)
    g.result(behind(g, g.node("MatMulNBits", [x, packed, scales, *zeros], **how), n), "integers" if how["accuracy_level"] == 4 else "float")


@kind
def integers(g):
    m, k, n = g.size(200), g.size(), g.size(400)
    a, b = g.of(("u1", "u1"), ("u1", "i1"), ("i1", "i1"), ("i1", "u1"))
    zeros = [g.constant(np.asarray(g.of(0, 3, 100), a)), g.constant(np.asarray(g.of(0, 7), b) if g.chance(0.6) else g.array([n], b))] if g.chance(0.7) else []
    x = g.input([m, k], a)
    g.result(g.node("MatMulInteger", [x, g.constant(g.array([k, n], b)), *zeros]), "exact")


def steps(g, x, signed, scale):
    scale, zero = g.constant(np.float32(scale)), g.constant(np.asarray(g.of(0, 5) if signed else g.of(128, 100), "i1" if signed else "u1"))
    return g.node("DequantizeLinear", [g.node("QuantizeLinear", [x, scale, zero]), scale, zero])


def coded(g, shape, signed, axis):
    """Weights as a DequantizeLinear of bytes."""
    channels = g.chance(0.6)
    scale = np.abs(g.array([shape[axis]] if channels else [])) * np.float32(0.01) + np.float32(0.002)
    zero = np.zeros(scale.shape, "i1") if signed else np.full(scale.shape, 127, "u1")
    return g.node("DequantizeLinear", [g.constant(g.array(shape, "i1" if signed else "u1")), g.constant(scale), g.constant(zero)], axis=axis if channels else None)


@kind
def quantised(g):
    signed_x, signed_w = g.of(0, 1), g.of(0, 1, 1)
    if g.chance(0.5):
        m, k, n = g.size(200), g.size(400), g.size(300)
        y = g.node("MatMul", [steps(g, g.input([m, k]), signed_x, 0.03), coded(g, [k, n], signed_w, 1)])
        y = behind(g, y, n)
    else:
        groups, c = g.of((1, g.size(70)), (1, g.size(70)), (2, 10), (17, 1), (64, 1))
        o, f = groups * g.of(1, 2, 5, 16), g.of(1, 3, 3, 5)
        x = g.input([g.of(1, 2), c * groups, g.of(5, 7, 14, 20), g.of(6, 9, 28)], symbolic=(2, 3), chance=0.3)
        x = steps(g, x, signed_x, 0.03)
        how = dict(group=groups, pads=[f // 2] * 4, strides=[g.of(1, 2)] * 2, kernel_shape=[f, f])
        y = behind(g, g.node("Conv", [x, coded(g, [o, c, f, f], signed_w, 0)], **how), o, (1, 1))
    g.result(steps(g, y, g.of(0, 1), 0.05) if g.chance(0.7) else y, "quantised")


@kind
def dynamic_rows(g):
    m, k, n = g.size(130), g.size(400), g.size(300)
    q, s, z = g.node("DynamicQuantizeLinear", [g.input([m, k])], outputs=3)
    y = g.node("MatMulInteger", [q, g.constant(g.array([k, n], "i1")), z])
    y = g.node("Mul", [g.node("Cast", [y], to=1), g.node("Mul", [s, g.constant(np.float32(0.01))])])
    g.result(behind(g, y, n), "dynamic_rows")


@kind
def conv(g):
    spatial = g.of(1, 2, 2, 2, 3)
    groups = g.of(1, 1, 1, 2, 3, 8)
    c, o = g.size(70 if groups == 1 else 20), g.size(130 if groups == 1 else 20)
    kernel = [g.of(1, 2, 3, 3, 5, 7) for _ in range(spatial)]
    extent = [g.of(7, 8, 14, 15, 20, 28, 33, 56) if spatial < 3 else g.of(5, 6, 8) for _ in range(spatial)]
    x = g.input([g.of(1, 1, 2, 3), c * groups, *extent], symbolic=(0, *range(2, spatial + 2)), chance=0.25)
    how = dict(group=groups, kernel_shape=kernel, strides=[g.of(1, 1, 2, 3) for _ in kernel], dilations=[g.of(1, 1, 1, 2, 3) for _ in kernel])
    how["pads"] = [((k - 1) * d + g.of(1, 2, 2)) // 2 for k, d in list(zip(kernel, how["dilations"]))] * 2
    how["pads"] = [max(p, ((k - 1) * d + 1) // 2) for p, k, d in zip(how["pads"], kernel * 2, how["dilations"] * 2)]
    y = g.node("Conv", [x, g.weights([o * groups, c, *kernel]), *([g.constant(g.array([o * groups]))] if g.chance(0.6) else [])], **how)
    y = behind(g, y, o * groups, [1] * spatial)
    g.result(y, "float")


@kind
def depthwise(g):
    c, times, spatial = g.size(130), g.of(1, 1, 1, 2, 3), g.of(1, 2, 2)
    f, d = g.of(3, 3, 5, 7), g.of(1, 1, 2)
    padded = (f - 1) * d >= 7 or g.chance(0.7)  # planes of one element have windows then
    x = g.input([g.of(1, 2), c, *[g.of(7, 14, 15, 28, 33) for _ in range(spatial)]], symbolic=(0, 2, 3) if padded else (0,), chance=0.25)
    y = g.node("Conv", [x, g.weights([c * times, 1, *[f] * spatial]), g.constant(g.array([c * times]))], group=c, kernel_shape=[f] * spatial, strides=[g.of(1, 2)] * spatial,
               dilations=[d] * spatial, pads=[f * d // 2 if padded else 0] * 2 * spatial)  # fmt: skip
    g.result(behind(g, y, c * times, [1] * spatial), "float")


@kind
def winograd(g):
    c, o = g.size(200, 16), g.size(200, 16)
    x = g.input([g.of(1, 2), c, g.of(7, 14, 15, 28, 30), g.of(7, 13, 28, 31)], symbolic=(2, 3), chance=0.2)
    y = g.node("Conv", [x, g.weights([o, c, 3, 3])], pads=[1, 1, 1, 1], kernel_shape=[3, 3])
    g.result(behind(g, y, o, [1, 1]), "float")


@kind
def transposed(g):
    groups, spatial = g.of(1, 1, 2), g.of(1, 2, 2)
    c, o = groups * g.size(33), g.size(33)
    x = g.input([g.of(1, 2), c, *[g.of(5, 7, 14, 17) for _ in range(spatial)]], symbolic=(2, 3), chance=0.3)
    f, s = g.of(2, 3, 4, 5), g.of(1, 2, 2, 3)
    y = g.node("ConvTranspose", [x, g.weights([c, o, *[f] * spatial])], group=groups, kernel_shape=[f] * spatial, strides=[s] * spatial, pads=[g.of(0, min(f // 3, 1))] * 2 * spatial)
    g.result(behind(g, y, o * groups, [1] * spatial), "float")


@kind
def pool(g):
    op, spatial = g.of("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool"), g.of(1, 2, 2, 3)
    x = g.input([g.of(1, 2), g.size(70), *[g.of(7, 14, 15, 28, 33) if spatial < 3 else g.of(5, 8) for _ in range(spatial)]], symbolic=(0, 2, 3), chance=0.3)
    f = g.of(2, 3, 5)
    how = {} if op.startswith("Global") else dict(kernel_shape=[f] * spatial, strides=[g.of(1, 2, 3)] * spatial, pads=[f // 2] * 2 * spatial)
    g.result(g.node(op, [x], **how), "float")


@kind
def reduction(g):
    rank = g.of(2, 3, 4)
    shape = [g.size(70) for _ in range(rank)]
    shape[g.of(*range(rank))] = g.size(515)
    while np.prod(shape) > 400000:
        shape[int(np.argmax(shape))] //= 3
    x = g.input(shape, symbolic=range(rank), chance=0.3)
    axes = sorted(int(a) for a in g.rng.permutation(rank)[: g.of(1, 1, 2)])
    op = g.of("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceLogSumExp", "ArgMax", "Softmax", "LogSoftmax", "CumSum", "TopK")
    if op == "ArgMax":
        g.result(g.node(op, [x], axis=axes[0], keepdims=g.of(0, 1)), "exact")
    elif op in ("Softmax", "LogSoftmax"):
        g.result(g.node(op, [x], axis=axes[0]), "float")
    elif op == "CumSum":
        g.result(g.node(op, [x, g.constant(np.int64(axes[0]))], reverse=g.of(0, 1)), "float")
    elif op == "TopK":
        y, _ = g.node(op, [x, g.constant(np.array([1]))], outputs=2, axis=axes[0])
        g.result(y, "float")
    elif op == "ReduceSum":
        g.result(g.node(op, [x, g.constant(np.array(axes))], keepdims=g.of(0, 1)), "float")
    else:
        g.result(g.node(op, [x], axes=axes, keepdims=g.of(0, 1)), "float")


@kind
def moved(g):
    rank, dtype = g.of(2, 3, 4, 5), g.of("f4", "f4", "f2", "u1", "i8", "?")
    shape = [g.size(40) for _ in range(rank)]
    while np.prod(shape) > 300000:
        shape[int(np.argmax(shape))] //= 3
    x = g.input(shape, dtype, symbolic=range(rank), chance=0.3)
    perm = [int(a) for a in g.rng.permutation(rank)]
    y = g.node("Transpose", [x], perm=perm)
    if g.chance(0.3) and dtype == "f4":
        y = g.node("Pad", [y, g.constant(np.array([g.of(0, 1, 3) for _ in range(2 * rank)]))], mode=g.of("constant", "edge"))
    elif g.chance(0.3):
        y = g.node("Concat", [y, y, y], axis=g.of(*range(rank)))
    elif g.chance(0.3):
        y = g.node("Slice", [y, g.constant(np.array([0])), g.constant(np.array([2**62])), g.constant(np.array([rank - 1])), g.constant(np.array([g.of(2, 3)]))])
    g.result(y, "exact")


@kind
def rows(g):
    m, n = g.size(200), g.size()
    x = g.input([g.of(1, 2), m, n], symbolic=(1,))
    if g.chance(0.5):
        x = g.node("Add", [x, g.input([1, 1, n], symbolic=())])
    y = g.node("LayerNormalization", [x, g.constant(g.array([n])), g.constant(g.array([n]))], epsilon=1e-3)
    g.result(behind(g, y, n), "float")


@kind
def attention(g):
    b, s, t, h, d = g.of(1, 2), g.size(130), g.size(130), g.of(1, 2, 3), g.of(8, 16, 24, 32, 64, 80)
    q, k, v = g.input([b, s, h * d], symbolic=(1,)), g.input([b, t, h * d], symbolic=()), g.input([b, t, h * d], symbolic=())
    g.result(g.node("MultiHeadAttention", [q, k, v], num_heads=h), "float")


@kind
def recurrent(g):
    op, t, b, i, h, directions = g.of("LSTM", "GRU", "RNN"), g.of(1, 3, 7), g.of(1, 2, 5, 9), g.size(70), g.size(130), g.of(1, 1, 2)
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    x = g.input([t, b, i], symbolic=(0,))
    how = dict(hidden_size=h, direction="bidirectional" if directions == 2 else g.of("forward", "reverse"), linear_before_reset=g.of(0, 1) if op == "GRU" else None)
    y = g.node(op, [x, g.weights([directions, gates * h, i]), g.weights([directions, gates * h, h]), g.constant(g.array([directions, 2 * gates * h]) * np.float32(0.1))],
               outputs=2, **how)  # fmt: skip
    g.result(y[0], "float")
    g.result(y[1], "float")


@kind
def resized(g):
    x = g.input([g.of(1, 2), g.size(40), g.of(5, 7, 14, 28), g.of(5, 9, 16)], symbolic=(2, 3), chance=0.3)
    how = dict(mode=g.of("nearest", "linear", "cubic"), coordinate_transformation_mode=g.of("half_pixel", "asymmetric", "align_corners"))
    g.result(g.node("Resize", [x, "", g.constant(np.array([1, 1, g.of(2, 3), 2], np.float32))], nearest_mode="floor" if how["mode"] == "nearest" else None, **how), "float")


def difference(name, form, got, wanted, rough):
    if form == "exact" and not rough:
        return None if got.shape == wanted.shape and np.array_equal(got, wanted) else tools.difference(got, wanted) or "differs"
    if form in STEPS:  # a rounding that falls the other way is a step
        if got.shape != wanted.shape:
            return f"shape {list(got.shape)}, expected {list(wanted.shape)}"
        off = np.abs(got.astype("f8") - wanted) > 0.02 * max(np.abs(wanted).max(initial=0), 1e-3)
        most = np.abs(got.astype("f8") - wanted).max(initial=0) / max(np.abs(wanted).max(initial=0), 1e-3)
        return f"{off.sum()} of {off.size} values are off, by up to {most:.2g} of the largest" if off.sum() > max(3, 0.03 * off.size) or most > 0.2 or not np.isfinite(most) else None
    if form == "exact":
        return None
    return tools.difference(got, wanted, 0.05 if rough else 1e-3, floor=1.0 if rough else 0.1)


def problems(g, names, folder, options):
    """What goes wrong with one model, a sentence each."""
    model = g.model()
    path, module = folder / "m.onnx", folder / "m.tern"
    onnx.save(model, path)
    try:
        here = session(model.SerializeToString())
    except Exception as failure:
        return [f"ONNX Runtime: {str(failure)[:200]}"]
    more = [f"--precision={options.precision}"] if options.precision else []
    try:
        tools.compile_model(path, module, f"--targets={options.targets}", "-j1", *more, *options.ternc, timeout=300)
    except tools.ToolError as failure:
        return [f"ternc: {failure}"]
    found = []
    for run in range(3 if g.sizes else 1):
        values = g.values(run)
        try:
            wanted = here.run(None, values)
        except Exception as failure:
            found.append(f"ONNX Runtime: {str(failure)[:200]}")
            continue
        try:
            got = tools.run_module(module, values, names, folder / "run", timeout=200)
        except tools.ToolError as failure:
            found.append(f"run {run}: {failure}")
            continue
        for (name, form), a, b in zip(g.outputs, got, wanted):
            wrong = difference(name, form, np.asarray(a), b, options.precision)
            if wrong:
                node = next(n for n in g.nodes if name in n.output)
                found.append(f"run {run}: {name} ({node.op_type}): {wrong}")
    return found


LEVELS = ("cpu:x86_64_v2,cpu:x86_64_v3,cpu:x86_64_v4,cpu:x86_64_v3+vnni,cpu:x86_64_v4+vnni,cpu:x86_64_v4+bf16,cpu:x86_64_v4+amx", "cpu:aarch64,cpu:aarch64+dotprod,cpu:aarch64+i8mm,cpu:aarch64+bf16")


GPUS = ("cuda", "vulkan")


def bounds(g, folder, options):
    """What the evaluator says of the kernels' indices, a sentence each."""
    path, found = folder / "m.onnx", []
    onnx.save(g.model(), path)
    for levels in GPUS if options.gpus else LEVELS:
        try:
            tools.call([tools.BUILD / "bin" / "lower_report", "--bounds", "--target", levels, "--precision", options.precision or "f32", path], 300)
        except tools.ToolError as failure:
            found.append(f"{levels}: {failure}")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--operators", type=int, default=12)
    parser.add_argument("--targets", default="cpu:x86_64_v3")
    parser.add_argument("--precision", choices=("f16", "bf16"))
    parser.add_argument("--kinds", nargs="*", choices=sorted(KINDS), default=sorted(KINDS))
    parser.add_argument("--ternc", nargs="*", default=[])
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--bounds", action="store_true")
    parser.add_argument("--gpus", action="store_true", help="with --bounds: kernels of GPUs instead, whose every thread is walked")
    options = parser.parse_args()
    wrong = tried = 0
    end = time.monotonic() + options.seconds
    with tempfile.TemporaryDirectory() as temporary:
        while tried < options.count or time.monotonic() < end:
            seed = options.seed + tried
            tried += 1
            g = Shapes(seed, options.bounds)
            for _ in range(options.operators):
                KINDS[g.of(*options.kinds)](g)
            found = bounds(g, Path(temporary), options) if options.bounds else problems(g, [n for n, _ in g.outputs], Path(temporary), options)
            wrong += bool(found)
            for text in found:
                print(f"{seed}: {text}", flush=True)
            if found and options.keep:
                options.keep.mkdir(parents=True, exist_ok=True)
                onnx.save(g.model(), options.keep / f"{seed}.onnx")
    print(f"{tried} models of {options.operators} operators, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    os.environ.setdefault("TERN_CACHE_DIR", str(Path(tempfile.gettempdir()) / "tern-random-cache"))
    sys.exit(main())
