"""A random graph's floats as another type: what ONNX Runtime has no kernels for is measured by what it computes in f32."""

import ml_dtypes
import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, numpy_helper

TYPES = {"f16": (TensorProto.FLOAT16, np.float16), "bf16": (TensorProto.BFLOAT16, ml_dtypes.bfloat16), "f64": (TensorProto.DOUBLE, np.float64)}
JUMPS = set("""ArgMax ArgMin Bernoulli BitShift Ceil Compress DynamicQuantizeLinear Equal Floor Greater GreaterOrEqual GridSample Hardmax If IsInf
IsNaN Less LessOrEqual Loop Mod NonZero OneHot QuantizeLinear Range Round Sign Shrink ThresholdedRelu Tile TopK Trilu Unique Where""".split())


def graphs(graph):
    yield graph
    for node in graph.node:
        for a in node.attribute:
            if a.type == AttributeProto.GRAPH:
                yield from graphs(a.g)


def jumps(model):
    """Whether a rounding may change a result by any amount."""
    nodes = [n for g in graphs(model.graph) for n in g.node]
    casts = any(a.name == "to" and a.i not in (1, 10, 11, 16) for n in nodes for a in n.attribute)
    return casts or any(n.op_type in JUMPS for n in nodes)


def retyped(model, kind):
    """The model with f32 replaced; None where ONNX has no such operators."""
    number, dtype = TYPES[kind]
    new = onnx.ModelProto()
    new.CopyFrom(model)

    def tensor(t):
        if t.data_type == TensorProto.FLOAT:
            t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t).astype(dtype), t.name))

    for g in graphs(new.graph):
        kept = {name for n in g.node if n.op_type in ("Resize", "Upsample") for name in n.input[1:3]}
        for t in g.initializer:
            t.name in kept or tensor(t)
        for v in [*g.input, *g.output, *g.value_info]:
            if v.type.tensor_type.elem_type == TensorProto.FLOAT:
                v.type.tensor_type.elem_type = number
        for n in g.node:
            if n.op_type == "ConstantOfShape" and not n.attribute:
                n.attribute.append(onnx.helper.make_attribute("value", numpy_helper.from_array(np.zeros(1, np.float32))))
            for a in n.attribute:
                if a.type == AttributeProto.TENSOR and not set(n.output) & kept:
                    tensor(a.t)
                if n.op_type in ("Cast", "EyeLike") and a.name in ("to", "dtype") and a.i == TensorProto.FLOAT:
                    a.i = number
    try:
        onnx.checker.check_model(new)
        onnx.shape_inference.infer_shapes(new, check_type=True, strict_mode=True)
    except Exception:
        return None
    return new


def as_type(inputs, kind):
    return {n: v.astype(TYPES[kind][1]) if kind != "f32" and v.dtype == np.float32 else v for n, v in inputs.items()}


def as_floats(outputs, kind, wanted):
    """Outputs in the types of the model before; bf16 comes from its file as two bytes."""
    outputs = [v.view(ml_dtypes.bfloat16) if v.dtype.kind == "V" else v for v in outputs]
    return [v.astype(w.dtype) if kind != "f32" and w.dtype == np.float32 and v.dtype == TYPES[kind][1] else v for v, w in zip(outputs, wanted)]
