"""ONNX Runtime's sessions, where tests ask it what is right."""

from pathlib import Path

import onnx
import onnxruntime

# Without VNNI its products of u8 by i8 saturate sums of two. Told to be exact, its optimiser makes constant weights unsigned; its
# plain kernels stay wrong. Products of i8 by i8 are exact as they are, and have no kernel with unsigned weights.
SATURATES = "vnni" not in Path("/proc/cpuinfo").read_text()
PRODUCTS = ("QLinearConv", "QLinearMatMul", "MatMulInteger", "ConvInteger", "QAttention", "QGemm", "DynamicQuantize")


def session_options(plain=None):
    """Options of a session whose products of constant 8-bit weights are exact. `plain`: the model (a ModelProto, its bytes or its path) that is not to be
    optimised; it is all the same where only that makes its products exact."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    # Its optimiser joins DequantizeLinear and MatMul to one operator that would round the other operand to 8 bits.
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    if plain is not None and not (SATURATES and _saturates(plain)):
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options


def _saturates(model):
    if isinstance(model, bytes):
        model = onnx.load_from_string(model)
    elif not isinstance(model, onnx.ModelProto):
        model = onnx.load(model, load_external_data=False)
    signed = {x.name for x in model.graph.initializer if x.data_type == onnx.TensorProto.INT8}
    # Input 2 is the zero point of the activations in the operators whose activations may be signed; what is quantised on the way is not.
    exact = lambda node: not node.op_type.startswith("DynamicQuantize") and not signed.isdisjoint(node.input[2:3])
    return any(node.op_type.startswith(PRODUCTS) and not exact(node) for node in model.graph.node)
