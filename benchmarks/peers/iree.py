"""IREE, llvm-cpu for this machine's processor at -O3, run through its Python runtime."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import onnx


def version():
    return f"IREE {metadata.version('iree-base-compiler')}"


def prepare(model, inputs, scratch):
    tools, static, mlir, module = Path(sys.executable).parent, *(Path(scratch) / name for name in ("static.onnx", "m.mlir", "m.vmfb"))
    network = onnx.load(model)
    for value in network.graph.input:  # static shapes, as every peer gets them
        for dim, n in zip(value.type.tensor_type.shape.dim, inputs[value.name].shape if value.name in inputs else []):
            dim.dim_value = n
    onnx.save(network, static)
    importer = [tools / "iree-import-onnx", static, "--opset-version", "17", "-o", mlir]
    # Its own limit of the stack refuses some of the kernels that it makes.
    compiler = [tools / "iree-compile", mlir, "--iree-hal-target-device=local", "--iree-hal-local-target-device-backends=llvm-cpu",
                f"--iree-llvmcpu-target-cpu={os.environ.get('TERN_BENCH_CPU', 'host')}", "--iree-llvmcpu-stack-allocation-limit=262144",
                "--iree-opt-level=O3", "-o", module]  # fmt: skip
    for command in (importer, compiler):
        subprocess.run([str(c) for c in command], check=True, capture_output=True)
    static.unlink()
    mlir.unlink()
    return module


def load(prepared, inputs, threads):
    import iree.runtime as runtime

    driver = "local-sync" if threads == 1 else "local-task"
    if threads > 1:
        runtime.flags.parse_flags(f"--task_topology_group_count={threads}")
    module = runtime.load_vm_flatbuffer_file(str(prepared), driver=driver)
    names = [n for n in module.vm_module.function_names if not n.startswith("__") and not n.endswith("$async")]
    function = module[names[0]]
    device = runtime.get_device(driver)
    arrays = [runtime.asdevicearray(device, a) for a in inputs.values()]
    last = []

    def run():
        got = function(*arrays)
        last[:] = [o.to_host() for o in (got if isinstance(got, (list, tuple)) else [got])]

    return run, lambda: list(last)
