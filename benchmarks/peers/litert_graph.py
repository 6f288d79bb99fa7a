"""An ONNX graph as LiteRT wants it, with the same results: GELU as one operator, activations of 8 bits signed."""

import numpy as np
import onnx
from onnx import numpy_helper


def rewrite(model):
    fuse_gelu(model.graph)
    make_signed(model.graph)
    weights_as_floats(model.graph)


def fuse_gelu(graph):
    """x * 0.5 * (1 + erf(x / sqrt(2))) becomes one Gelu: LiteRT has that operator but no Erf."""
    readers, made = {}, {o: n for n in graph.node for o in n.output}
    for node in graph.node:
        for operand in node.input:
            readers.setdefault(operand, []).append(node)
    reader = lambda n: (readers.get(n.output[0]) or [None])[0]
    for erf in [n for n in graph.node if n.op_type == "Erf"]:
        divided, one = made[erf.input[0]], reader(erf)
        scaled = reader(one)
        whole = reader(scaled)
        x = divided.input[0]
        if [n.op_type for n in (divided, one, scaled, whole)] != ["Div", "Add", "Mul", "Mul"] or x not in scaled.input:
            continue
        gelu = onnx.helper.make_node("Gelu", [x], [whole.output[0]], name=f"{erf.name}_gelu")
        graph.node.insert(list(graph.node).index(whole), gelu)
        for n in (divided, erf, one, scaled, whole):
            graph.node.remove(n)


def make_signed(graph):
    """Unsigned 8-bit values become signed ones 128 lower, with their zero points: the numbers that they stand for stay."""
    tensors = {t.name: t for t in graph.initializer}
    constants = {n.output[0]: n.attribute[0].t for n in graph.node if n.op_type == "Constant" and n.attribute[0].name == "value"}
    lowered = {}
    for node in graph.node:
        for i in range(3 if node.op_type in ("QuantizeLinear", "DequantizeLinear") else 0):
            name = node.input[i]
            tensor = tensors.get(name) or constants.get(name)
            if tensor is None or tensor.data_type != onnx.TensorProto.UINT8:
                continue
            if name not in lowered:
                values = (numpy_helper.to_array(tensor).astype(np.int16) - 128).astype(np.int8)
                lowered[name] = f"{name}_signed"
                graph.initializer.append(numpy_helper.from_array(values, lowered[name]))
            node.input[i] = lowered[name]


def weights_as_floats(graph):
    """8-bit weights become floats that are quantised and dequantised: the converter wants to quantise them itself."""
    tensors = {t.name: t for t in graph.initializer}
    for node in [n for n in graph.node if n.op_type == "DequantizeLinear"]:
        weight = tensors.get(node.input[0])
        if weight is None or weight.data_type != onnx.TensorProto.INT8:
            continue
        values, scale, zero = (numpy_helper.to_array(tensors[n]) for n in node.input)
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        shape = [-1 if i == axis and scale.size > 1 else 1 for i in range(values.ndim)]
        floats = (values.astype(np.float32) - zero.astype(np.float32).reshape(shape)) * scale.reshape(shape)
        graph.initializer.append(numpy_helper.from_array(floats, f"{weight.name}_float"))
        quantised = onnx.helper.make_node("QuantizeLinear", [f"{weight.name}_float", *node.input[1:]], [f"{weight.name}_quantised"], axis=axis)
        graph.node.insert(list(graph.node).index(node), quantised)
        node.input[0] = quantised.output[0]
