"""What the files of the command-line tests share: small models, and how the tools are called."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

import numpy as np  # noqa: E402
import tern_tools as tools  # noqa: E402
from builder import FLOAT, Graph, conv, gemm  # noqa: E402


def invoke(*command, **options):
    """(exit code, output and errors together). A death by signal is a failure of the test that called."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, errors="replace", timeout=120, **options)
    assert done.returncode >= 0, f"{Path(command[0]).name} died of signal {-done.returncode}\n{done.stderr[-800:]}"
    return done.returncode, done.stdout + done.stderr


def small_graph(**options):
    g = Graph("small", seed=1)
    x = g.input("x", FLOAT, [options.get("batch", 1), 3, 16, 16])
    y = g.op("Relu", conv(g, x, 3, 8, 3, name="conv"))
    y = gemm(g, g.op("Flatten", g.op("GlobalAveragePool", y), axis=1), 8, 4)
    g.output(y, "y", FLOAT, [options.get("batch", 1), 4])
    return g


def small(folder, **options):
    path = Path(folder) / "small.onnx"
    small_graph(**options).save(path)
    return path


def compiled(folder):
    module = Path(folder) / "small.tern"
    code, text = invoke(tools.TERNC, small(folder), "-o", module)
    assert code == 0, text
    return module


def save(folder, array):
    path = Path(folder) / "array.npy"
    np.save(path, array)
    return path
