"""IREE, llvm-cpu for this machine's processor at -O3, run through its Python runtime."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path


def version():
    return f"IREE {metadata.version('iree-base-compiler')}"


def prepare(model, inputs, scratch):
    tools, mlir, module = Path(sys.executable).parent, Path(scratch) / "m.mlir", Path(scratch) / "m.vmfb"
    importer = [tools / "iree-import-onnx", model, "--opset-version", "17", "-o", mlir]
    compiler = [tools / "iree-compile", mlir, "--iree-hal-target-device=local", "--iree-hal-local-target-device-backends=llvm-cpu",
                f"--iree-llvmcpu-target-cpu={os.environ.get('TERN_BENCH_CPU', 'host')}", "--iree-opt-level=O3", "-o", module]  # fmt: skip
    for command in (importer, compiler):
        subprocess.run([str(c) for c in command], check=True, capture_output=True, timeout=300)
    return module


def load(prepared, inputs, threads):
    import iree.runtime as runtime

    driver = "local-sync" if threads == 1 else "local-task"
    if threads > 1:
        runtime.flags.parse_flags(f"--task_topology_group_count={threads}")
    module = runtime.load_vm_flatbuffer_file(str(prepared), driver=driver)
    function = module.main_graph
    device = runtime.get_device(driver)
    arrays = [runtime.asdevicearray(device, a) for a in inputs.values()]
    last = []

    def run():
        got = function(*arrays)
        last[:] = [o.to_host() for o in (got if isinstance(got, (list, tuple)) else [got])]

    return run, lambda: list(last)
