"""Weights are stored once: a module for cpu, vulkan and cuda is little more than the CPU's and its GPU code.

A small model with a convolution that CPUs run by Winograd's algorithm and products that matrix units run, in
f32, f16 and bf16, and the same quantised: the size, and that the programs agree on the devices that are here."""

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


def make_model(path, quantised):
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
    initializers = [weights("c", 128, 128, 3, 3), weights("m", 128, 2048), weights("n", 2048, 256)]
    if quantised:
        nodes, initializers = quantise(nodes, initializers)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "sizes", [value("x", TensorProto.FLOAT, [1, 128, 28, 28])], [value("y", TensorProto.FLOAT, [1, 256])],
        initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)


def quantise(nodes, initializers):
    """Weights of bytes, and bytes between the nodes."""
    made = [numpy_helper.from_array(np.float32(1 / 16), "s"), numpy_helper.from_array(np.uint8(128), "z")]
    out = []
    for tensor in initializers:
        data = numpy_helper.to_array(tensor)
        scale = np.float32(np.abs(data).max() / 127)
        made += [numpy_helper.from_array(np.round(data / scale).astype(np.int8), tensor.name + "_q"),
                 numpy_helper.from_array(scale, tensor.name + "_s")]
        out.append(helper.make_node("DequantizeLinear", [tensor.name + "_q", tensor.name + "_s"], [tensor.name]))
    for node in nodes:
        bytes_, back = node.input[0] + "_u", node.input[0] + "_f"
        out += [helper.make_node("QuantizeLinear", [node.input[0], "s", "z"], [bytes_]),
                helper.make_node("DequantizeLinear", [bytes_, "s", "z"], [back])]
        node.input[0] = back
        out.append(node)
    return out, made


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
        for kind in "f32", "f16", "bf16", "quantised":
            precision = "f32" if kind == "quantised" else kind
            make_model(folder / "m.onnx", kind == "quantised")
            sizes, gpu_code = {}, 0
            for name, targets in ("one", "cpu"), ("three", "cpu,vulkan,cuda"):
                file = folder / f"{name}.tern"
                run(ternc, folder / "m.onnx", "-o", file, f"--targets={targets}", f"--precision={precision}")
                sizes[name] = file.stat().st_size
                executables = json.loads(run(tern, "inspect", "--json", file))["executables"]
                gpu_code = sum(e["bytes"] for e in executables if e["format"] != "Elf")
            ratio = (sizes["three"] - gpu_code) / sizes["one"]
            good = ratio <= MOST
            print(f"{kind}: {sizes['three']} bytes without {gpu_code} of GPU code are {ratio:.3f} of {sizes['one']}")
            results = {}
            for driver in "cpu", "vulkan", "cuda":
                if driver not in devices:
                    continue
                out = folder / f"{kind}-{driver}"
                run(tern, "run", file, f"--driver={driver}", "--seed", 3, "--output-dir", out)
                results[driver] = np.load(out / "y.npy")
            for driver, result in results.items():
                error = np.abs(result - results["cpu"]).max() / np.abs(results["cpu"]).max()
                print(f"{kind}: {driver} differs from cpu by {error:.1e}")
                good = good and error <= {"f32": 1e-3, "f16": 1e-2, "bf16": 5e-2, "quantised": 5e-2}[kind]
            passed, failed = passed + good, failed + (not good)
    print(f"{passed} passed, {failed} failed")
    return failed


if __name__ == "__main__":
    sys.exit(main())
