"""LiteRT (formerly TensorFlow Lite) with XNNPACK, f32 kernels. onnx2tf converts: images become channels-last, which is how
LiteRT wants them, so inputs and outputs are brought to that order outside of what is timed."""

import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import onnx
from ai_edge_litert.interpreter import Interpreter


def version():
    return f"LiteRT {metadata.version('ai-edge-litert')} (XNNPACK)"


def prepare(model, inputs, folder):
    folder = Path(folder)
    copy, out = folder / "model.onnx", folder / "converted"
    network = onnx.load(model)
    for value in network.graph.input:  # static shapes, as every peer gets them
        for dim, n in zip(value.type.tensor_type.shape.dim, inputs[value.name].shape if value.name in inputs else []):
            dim.dim_value = n
    fuse_gelu(network.graph)
    for o in network.opset_import:
        o.version = max(o.version, 20) if o.domain == "" and any(n.op_type == "Gelu" for n in network.graph.node) else o.version
    onnx.save(network, copy)
    results = [o.name for o in network.graph.output]
    del network
    # The converter compares some layouts on sample images that it would download; any will do.
    np.save(folder / "calibration_image_sample_data_20x128x128x3_float32.npy", np.random.default_rng(0).random((20, 128, 128, 3), np.float32))
    convert(copy, out, folder)
    made = sorted(out.glob("*_float32.tflite"))
    path = folder / "model.tflite"
    made[0].rename(path)
    (folder / "model.outputs").write_text("\n".join(results))
    shutil.rmtree(out)
    copy.unlink()
    return path


def convert(model, out, folder):
    """Runs onnx2tf until it has written the f32 model: what it makes after that takes as long, and twice the memory. Its strict mode
    runs the network once an operator, which for large ones takes longer than anything else; outputs are compared here anyway."""
    tool = Path(sys.executable).parent / "onnx2tf"
    command = [tool, "-i", model, "-o", out, "--verbosity", "info", "--copy_onnx_input_output_names_to_tflite"]
    if model.stat().st_size > 300e6:
        command.append("--disable_strict_mode")
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3", "PATH": f"{tool.parent}:{os.environ['PATH']}"}
    with subprocess.Popen([str(c) for c in command], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        wrong = ""
        for line in process.stdout:
            if "Float32 tflite output complete" in line:
                process.kill()
                return
            wrong = line.strip() if "Error" in line or "ERROR" in line else wrong
    if process.returncode == -9:
        raise ValueError("onnx2tf was killed: it wants more memory than this machine has")
    raise ValueError(f"onnx2tf fails: {wrong or f'exit code {process.returncode}'}")


def fuse_gelu(graph):
    """x * 0.5 * (1 + erf(x / sqrt(2))) becomes one Gelu: LiteRT has that operator but no Erf."""
    graph_readers, made = {}, {o: n for n in graph.node for o in n.output}
    for node in graph.node:
        for operand in node.input:
            graph_readers.setdefault(operand, []).append(node)
    reader = lambda n: (graph_readers.get(n.output[0]) or [None])[0]
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


def load(prepared, inputs, threads):
    interpreter = Interpreter(model_path=str(prepared), num_threads=threads)
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()
    by_name = {d["name"].removeprefix("serving_default_").split(":")[0]: d for d in given}
    for i, (name, array) in enumerate(inputs.items()):
        detail = by_name.get(name) or by_name.get(name.replace(":", "_")) or given[i]
        interpreter.set_tensor(detail["index"], _ordered(array, tuple(detail["shape"])).astype(detail["dtype"]))
    names = Path(prepared).with_suffix(".outputs").read_text().split("\n")
    details = {d["name"].removeprefix("StatefulPartitionedCall").lstrip(":"): d for d in interpreter.get_output_details()}
    order = [details[n] for n in names] if set(names) <= set(details) else sorted(interpreter.get_output_details(), key=lambda d: d["name"])
    return interpreter.invoke, lambda: [interpreter.get_tensor(d["index"]) for d in order]


def _ordered(array, shape):
    """The array with its channels last if the converted model wants that."""
    if array.shape == shape:
        return array
    moved = np.moveaxis(array, 1, -1)
    if moved.shape != shape:
        raise ValueError(f"the converted model wants shape {shape} for an input of {array.shape}")
    return np.ascontiguousarray(moved)
