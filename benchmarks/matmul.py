#!/usr/bin/env python3
"""One core's f32 matrix product through the ordinary path (ONNX → ternc → tern bench), as a share of the core's FMA peak
measured in the same run, beside ONNX Runtime's. With --int8, u8 by i8 and the peak of the core's best exact 8-bit products.

    benchmarks/matmul.py [--sizes 1024] [--int8] [--level x86_64_v3] [--at-least 0.85]      exits with 1 below the share

--level holds tern and the peak to a level of the processor; ONNX Runtime cannot be held.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "support"))

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
import tern_tools as tools  # noqa: E402
from builder import FLOAT, Graph  # noqa: E402


def matmul(m, k, n):
    """[m,k] x [k,n], the right side a weight."""
    g = Graph("matmul", seed=1)
    x = g.input("x", FLOAT, [m, k])
    g.output(g.op("MatMul", x, g.param("w", g.normal((k, n), k**-0.5))), "y", FLOAT, [m, n])
    return g


def byte_matmul(m, k, n):
    g = Graph("matmul", seed=1)
    x = g.input("x", onnx.TensorProto.UINT8, [m, k])
    w = g.param("w", g.random.integers(-128, 128, (k, n)).astype(np.int8))
    g.output(g.op("MatMulInteger", x, w), "y", onnx.TensorProto.INT32, [m, n])
    return g


def peak(folder, source, level):
    program = Path(folder) / "peak"
    tools.call(["clang-19", "-O2", f"-march={level.replace('_', '-') if level else 'native'}", HERE / source, "-o", program], 60)
    return float(subprocess.run([program], capture_output=True, text=True, check=True).stdout)


def ort_ms(model, x, rounds=9):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options)
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        session.run(None, {"x": x})
        times.append((time.perf_counter() - start) * 1e3)
    return min(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1024", help="each N (a cube) or MxKxN, with commas between")
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--level", choices=["x86_64_v2", "x86_64_v3", "x86_64_v4"])
    parser.add_argument("--at-least", type=float, default=0.0)
    args = parser.parse_args()
    shares = []
    with tempfile.TemporaryDirectory() as folder:
        for size in args.sizes.split(","):
            m, k, n = (list(map(int, size.split("x"))) * 3)[:3]
            model, module = Path(folder) / "m.onnx", Path(folder) / "m.tern"
            (byte_matmul if args.int8 else matmul)(m, k, n).save(model)
            tools.compile_model(model, module, *(["--targets", f"cpu:{args.level}"] if args.level else []))
            peaks, mine = [], []
            for _ in range(3):  # interleaved, so that a slow spell of the machine does not make a share
                peaks.append(peak(folder, "byte_peak.c" if args.int8 else "fma_peak.c", args.level))
                mine.append(json.loads(tools.call([tools.TERN, "bench", module, "--threads", "1", "--seconds", "1", "--json"], 60))["min_ms"])
            gflop = 2e-9 * m * k * n
            rate, other = gflop / min(mine) * 1e3, gflop / ort_ms(model, np.ones((m, k), np.uint8 if args.int8 else np.float32)) * 1e3
            shares.append(rate / max(peaks))
            print(f"{m}x{k}x{n}: {rate:.0f} {'GOP' if args.int8 else 'GFLOP'}/s of {max(peaks):.0f}, {shares[-1]:.0%} of one core's peak; ONNX Runtime {other:.0f}, "
                  f"{other / max(peaks):.0%} (median of peaks {statistics.median(peaks):.0f})")  # fmt: skip
    return 1 if min(shares) < args.at_least else 0


if __name__ == "__main__":
    sys.exit(main())
