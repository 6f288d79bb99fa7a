"""Weights are stored once: a module for cpu, vulkan and cuda is little more than the CPU's and its GPU code.

A small model with a convolution that CPUs run by Winograd's algorithm and products that matrix units run, in
f32 and f16: the size, and that the programs agree on the devices that are here."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MOST = 1.15  # times the CPU-only module, beside the executables for GPUs


def make_model(path):
    rng = np.random.default_rng(1)

    def weights(name, *shape):
        fan = np.prod(shape[1:]) if len(shape) == 4 else shape[0]
        data = (rng.standard_normal(shape) / np.sqrt(fan)).astype(np.float32)
        return numpy_helper.from_array(data, name)

    nodes = [
        helper.make_node("Conv", ["x", "c"], ["a"], pads=[1, 1, 1, 1], name="conv"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("GlobalAveragePool", ["b"], ["d"]),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("MatMul", ["e", "m"], ["f"], name="widen"),
        helper.make_node("Relu", ["f"], ["g"]),
        helper.make_node("MatMul", ["g", "n"], ["y"], name="narrow"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "sizes", [value("x", TensorProto.FLOAT, [1, 128, 28, 28])], [value("y", TensorProto.FLOAT, [1, 256])],
        [weights("c", 128, 128, 3, 3), weights("m", 128, 2048), weights("n", 2048, 256)])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


def main():
    binaries = pathlib.Path(os.environ.get("TERN_BUILD", "build/release")) / "bin"
    ternc, tern = binaries / "ternc", binaries / "tern"
    passed = failed = 0
    devices = run(tern, "devices")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        make_model(folder / "m.onnx")
        for precision in "f32", "f16":
            sizes, gpu_code = {}, 0
            for name, targets in ("one", "cpu"), ("three", "cpu,vulkan,cuda"):
                file = folder / f"{name}.tern"
                run(ternc, folder / "m.onnx", "-o", file, f"--targets={targets}", f"--precision={precision}")
                sizes[name] = file.stat().st_size
                executables = json.loads(run(tern, "inspect", "--json", file))["executables"]
                gpu_code = sum(e["bytes"] for e in executables if e["format"] != "Elf")
            ratio = (sizes["three"] - gpu_code) / sizes["one"]
            good = ratio <= MOST
            print(f"{precision}: {sizes['three']} bytes without {gpu_code} of GPU code are {ratio:.3f} of {sizes['one']}")
            results = {}
            for driver in "cpu", "vulkan", "cuda":
                if driver not in devices:
                    continue
                out = folder / f"{precision}-{driver}"
                run(tern, "run", file, f"--driver={driver}", "--seed", 3, "--output-dir", out)
                results[driver] = np.load(out / "y.npy")
            for driver, result in results.items():
                error = np.abs(result - results["cpu"]).max() / np.abs(results["cpu"]).max()
                print(f"{precision}: {driver} differs from cpu by {error:.1e}")
                good = good and error <= (1e-3 if precision == "f32" else 1e-2)
            passed, failed = passed + good, failed + (not good)
    print(f"{passed} passed, {failed} failed")
    return failed


if __name__ == "__main__":
    sys.exit(main())
