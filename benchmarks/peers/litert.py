"""LiteRT (formerly TensorFlow Lite) with XNNPACK. The ONNX graph becomes PyTorch calls (onnx_fx.py), which litert-torch converts:
images become channels-last, which is how LiteRT wants them, and 8-bit networks have 8-bit inputs and outputs. Both are brought to that
form outside of what is timed."""

from importlib import metadata
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def version():
    return f"LiteRT {metadata.version('ai-edge-litert')} (XNNPACK)"


def prepare(model, inputs, folder):
    import litert_torch
    import onnx
    import torch
    from litert_torch.quantize import pt2e_quantizer, quant_config

    from peers import litert_graph, onnx_fx

    source = onnx.load(model)
    litert_graph.rewrite(source)
    quantised = any(n.op_type == "QuantizeLinear" for n in source.graph.node)
    arguments = [torch.from_numpy(a) for a in inputs.values()]
    with torch.no_grad():
        network = onnx_fx.Network(source, arguments).eval()
        images = [i for i, a in enumerate(arguments) if a.dim() == 4 and a.shape[1] == 3]
        if images:
            arguments = [a.permute(0, 2, 3, 1).contiguous() if i in images else a for i, a in enumerate(arguments)]
            network = litert_torch.to_channel_last_io(network, args=images)
        config = None
        if quantised:  # says only that the quantisation that is there is to be kept
            quantizer = pt2e_quantizer.PT2EQuantizer()
            quantizer.set_global(pt2e_quantizer.get_symmetric_quantization_config(is_per_channel=True, is_dynamic=False))
            config = quant_config.QuantConfig(pt2e_quantizer=quantizer)
        path = Path(folder) / "model.tflite"
        litert_torch.convert(network, tuple(arguments), quant_config=config).export(str(path))
    return path


def load(prepared, inputs, threads):
    interpreter = Interpreter(model_path=str(prepared), num_threads=threads)
    interpreter.allocate_tensors()
    for detail, array in zip(_in_order(interpreter.get_input_details()), inputs.values()):
        interpreter.set_tensor(detail["index"], _stored(_ordered(array, tuple(detail["shape"])), detail))
    results = _in_order(interpreter.get_output_details())
    return interpreter.invoke, lambda: [_number(interpreter.get_tensor(d["index"]), d) for d in results]


def _in_order(details):
    """By the number in names like serving_default_args_3."""
    return sorted(details, key=lambda d: int("".join(c for c in d["name"].partition(":")[0] if c.isdigit()) or 0))


def _stored(array, detail):
    scale, zero = detail["quantization"]
    if not scale:
        return array.astype(detail["dtype"])
    bounds = np.iinfo(detail["dtype"])
    return np.clip(np.rint(array / scale) + zero, bounds.min, bounds.max).astype(detail["dtype"])


def _number(array, detail):
    scale, zero = detail["quantization"]
    return (array.astype(np.float32) - zero) * np.float32(scale) if scale else array


def _ordered(array, shape):
    """The array with its channels last if the converted model wants that."""
    if array.shape == shape:
        return array
    moved = np.moveaxis(array, 1, -1)
    if moved.shape != shape:
        raise ValueError(f"the converted model wants shape {shape} for an input of {array.shape}")
    return np.ascontiguousarray(moved)
