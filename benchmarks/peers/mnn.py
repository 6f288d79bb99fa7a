"""MNN through its module interface, converted with mnnconvert, f32 ("high" precision)."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import onnx


def version():
    return f"MNN {metadata.version('MNN')}"


def prepare(model, inputs, scratch):
    path = Path(scratch) / "model.mnn"
    tool = Path(sys.executable).parent / "mnnconvert"
    command = [tool, "-f", "ONNX", "--modelFile", model, "--MNNModel", path, "--bizCode", "bench"]
    # Without an index pip cannot fetch what the tool reports its use with; it converts all the same.
    environment = os.environ | {"PIP_NO_INDEX": "1"}
    subprocess.run([str(c) for c in command], cwd=scratch, env=environment, check=True, capture_output=True, timeout=300)
    names = [o.name for o in onnx.load(model, load_external_data=False).graph.output]
    (Path(scratch) / "model.outputs").write_text("\n".join(names))
    return path


def load(prepared, inputs, threads):
    import MNN.expr as expr
    import MNN.nn as nn

    types = {np.dtype(np.float32): expr.float, np.dtype(np.int32): expr.int}
    arrays = [a.astype(np.int32) if a.dtype == np.int64 else a for a in inputs.values()]  # its 64-bit integers have 32 bits
    wrong = [str(a.dtype) for a in arrays if a.dtype not in types]
    if wrong:
        raise ValueError(f"its Python interface takes no {wrong[0]}")
    names = Path(prepared).with_suffix(".outputs").read_text().split("\n")
    runtime = nn.create_runtime_manager(({"precision": "high", "backend": 0, "numThread": threads},))
    net = nn.load_module_from_file(str(prepared), list(inputs), names, runtime_manager=runtime)
    variables = [expr.const(a, list(a.shape), expr.NCHW, types[a.dtype]) for a in arrays]
    last = []

    def run():
        last[:] = [v.read() for v in net.onForward(variables)]

    return run, lambda: [np.array(a) for a in last]
