"""Apache TVM: relax's ONNX importer and its default pipeline for this processor, not tuned (tuning takes hours a model)."""

from importlib import metadata
from pathlib import Path

import onnx
import os
import tvm
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx


def version():
    return f"TVM {metadata.version('apache-tvm')} (untuned)"


def prepare(model, inputs, folder):
    graph = onnx.load(model)
    module = from_onnx(graph, shape_dict={name: list(a.shape) for name, a in inputs.items()})
    processor = os.environ.get("TERN_BENCH_CPU") or tvm.target.codegen.llvm_get_system_cpu()
    target = tvm.target.Target({"kind": "llvm", "mcpu": processor, "num-cores": os.cpu_count()})
    with target:
        module = relax.get_pipeline("zero")(module)
    path = Path(folder) / "model.so"
    tvm.compile(module, target).export_library(str(path))
    return path


def load(prepared, inputs, threads):
    tvm.get_global_func("runtime.config_threadpool")(1, threads)
    machine = relax.VirtualMachine(tvm.runtime.load_module(str(prepared)), tvm.cpu())
    arguments = [tvm.runtime.tensor(a) for a in inputs.values()]
    last = []

    def run():
        got = machine["main"](*arguments)
        last[:] = list(got) if not hasattr(got, "numpy") else [got]

    return run, lambda: [t.numpy() for t in last]
