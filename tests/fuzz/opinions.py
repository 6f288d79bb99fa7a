"""What else a graph's outputs may be where tern differs from ONNX Runtime. Nobody says what overflowing integers are, whose bounds a rounding
crosses, or which of two nearly equal values is first; and ONNX Runtime's optimiser joins nodes that are not one."""

import numpy as np
import onnx
import ort_reference
from onnx import helper
from onnx.reference import ReferenceEvaluator
from random_graph import ELEMENT, info, outer_names, session

# Nodes whose results are some of their operands' values: a rounding comes from elsewhere.
EXACT = set("""Abs Neg Relu Clip Max Min Where Concat ConcatFromSequence Split SplitToSequence SequenceAt SequenceConstruct Slice Gather GatherElements
GatherND Transpose Reshape Flatten Squeeze Unsqueeze Expand Tile Pad Identity Cast CastLike TopK MaxPool GlobalMaxPool MaxUnpool ReduceMax ReduceMin
DepthToSpace SpaceToDepth Ceil Floor Round Sign Compress Scatter ScatterElements ScatterND Shape Size OneHot Hardmax ReverseSequence Trilu EyeLike Unique
NonZero Range Constant ConstantOfShape DequantizeLinear Dropout CenterCropPad IsNaN IsInf Not And Or Xor Equal Less Greater LessOrEqual GreaterOrEqual
ArgMax ArgMin""".split())
# Nodes that are exact, in any order of their sums, where all results are numbers of few bits.
SUMS = set("""Add Sub Mul Sum MatMul Gemm Conv ConvTranspose ReduceSum ReduceL1 ReduceSumSquare CumSum Einsum AveragePool GlobalAveragePool
ReduceMean Mean If Loop Scan Col2Im""".split())


def by_definition(data, inputs):
    """What ONNX's own evaluator computes, where it can (cubic samples outside an image, corners aligned by a size that is no whole number)."""
    model = onnx.load_from_string(data)
    for node in model.graph.node:
        for a in node.attribute if node.op_type == "GridSample" else []:
            if a.name == "mode":  # it knows the names of opset 20 alone
                a.s = {b"bilinear": b"linear", b"bicubic": b"cubic"}.get(a.s, a.s)
    try:
        return ReferenceEvaluator(model).run(None, inputs)
    except Exception:
        return None


def typed(name, value):
    if isinstance(value, list):
        return helper.make_tensor_sequence_value_info(name, ELEMENT[value[0].dtype], None)
    return info(name, value, [None] * value.ndim)


class Steps:
    """A model's nodes, each in ONNX Runtime alone, with its optimiser off."""

    def __init__(self, model):
        self.model, self.graph, self.sessions = model, model.graph, {}

    def session(self, node, needed, values):
        key = node.output[0] or node.output[-1]
        if key not in self.sessions:
            results = [helper.make_empty_tensor_value_info(o) for o in node.output if o]
            graph = helper.make_graph([node], "one", [typed(n, values[n]) for n in needed], results)
            one = helper.make_model(graph, opset_imports=self.model.opset_import, ir_version=self.model.ir_version)
            self.sessions[key] = session(one.SerializeToString(), optimise=False)
        return self.sessions[key]

    def run(self, inputs, moved=None):
        """Every value by its name. `moved`, a random generator: results of floats are off by some roundings."""
        values = {t.name: onnx.numpy_helper.to_array(t) for t in self.graph.initializer} | dict(inputs)
        for node in self.graph.node:
            node, own = exact_product(node, values)
            needed = outer_names(node)
            results = self.session(node, needed, own).run(None, {n: own[n] for n in needed})
            for name, result in zip([o for o in node.output if o], results):
                result = result if isinstance(result, list) else np.asarray(result)
                values[name] = rounded(node, result, moved) if moved is not None and not isinstance(result, list) else result
        return values

# Where a product of quantised values has its weights; operands' zero points are two inputs on.
WEIGHTS = {"MatMulInteger": 1, "ConvInteger": 1, "QLinearMatMul": 3, "QLinearConv": 3, "QGemm": 3}


def exact_product(node, values):
    """The node with unsigned operands where ONNX Runtime's signed ones saturate (ort_reference.py), and the values that it reads."""
    if node.op_type not in WEIGHTS or not ort_reference.SATURATES:
        return node, values
    changed, own = onnx.NodeProto(), dict(values)
    changed.CopyFrom(node)
    for at in (0, WEIGHTS[node.op_type]):
        zero_at = at + 2
        if values[node.input[at]].dtype != np.int8:
            continue
        changed.input.extend([""] * (zero_at + 1 - len(changed.input)))
        zero = changed.input[zero_at]
        for i, signed in ((at, values[node.input[at]]), (zero_at, values[zero] if zero else np.int8(0))):
            changed.input[i] = f"unsigned {i}"
            own[changed.input[i]] = np.asarray(np.bitwise_xor(signed, np.int8(-128)).view(np.uint8))
    return changed, own


def rounded(node, value, rng):
    if node.op_type in ("Loop", "Scan") and value.shape[:1] == (0,):  # nobody says what is the shape of what no iteration made
        return np.empty((0, *(d + 1 for d in value.shape[1:])), value.dtype)
    if value.dtype.kind != "f" or node.op_type in EXACT or not value.size:
        return value
    with np.errstate(all="ignore"):
        noise = rng.uniform(-4, 4, value.shape) * np.finfo(value.dtype).eps
        if node.op_type not in SUMS:
            return (value * (1 + noise)).astype(value.dtype)
        size = np.maximum(np.abs(value), np.sqrt(np.mean(np.square(value, dtype="f8"))))  # terms that cancel are larger than their sum
        short = np.abs(value) * 4096 % 1 == 0
        return np.where(short, value, value + size * noise).astype(value.dtype)


def disagreeing(found, names, got, compare, data, inputs):
    """Of `found`, the problems by output's name, those that no other opinion explains. `compare(names, got, wanted)` finds such."""

    def left(found, wanted):
        return {n: p for n, p in found.items() if n in compare(names, got, wanted)} if found and wanted is not None else found

    optimised = session(data).run(None, inputs)
    # A size that is 0 copies another one where Reshape is asked for it. tern takes what Shape gave as a size, as exporters mean it.
    if any(n.op_type == "Reshape" for n in onnx.load_from_string(data).graph.node):
        empty = {n for n, g, w in zip(names, got, optimised) if g.size == 0 and w.size == 0 and g.ndim == w.ndim}
        found = {n: p for n, p in found.items() if n not in empty}
    found = left(found, optimised)
    found = left(found, session(data, optimise=False).run(None, inputs))
    found = left(found, by_definition(data, inputs))
    if not found:
        return found
    try:
        steps = Steps(onnx.load_from_string(data))
        plain = steps.run(inputs)
        wanted = [plain[n] for n in names]
        found = left(found, wanted)
        for seed in range(8):
            if not found:
                break
            moved = steps.run(inputs, np.random.default_rng(seed))
            unstable = compare(names, [moved[n] for n in names], wanted)
            found = {n: p for n, p in found.items() if n not in unstable}
    except Exception:  # values between nodes that are no tensors
        pass
    return found
