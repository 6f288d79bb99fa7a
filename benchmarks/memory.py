#!/usr/bin/env python3
"""Kernels that memory bounds, through the ordinary path (ONNX → ternc → tern bench), as shares of the bandwidth that plain loops
(memory_peak.c) reach in the same run on as many threads: in memory, and with all operands in L2. In memory means 256 MB, kernels
and loops alike: of 96 MB a last cache of 32 answers so much that plain loops read 20 % faster.

    benchmarks/memory.py [--only softmax,add] [--threads 1,2] [--where memory,l2] [--level x86_64_v3] [--modules FOLDER]

The limit of a kernel that reads R bytes and writes W: what both share goes as fast as the fastest of the copies, the rest
as the fastest reads or writes do; a gather's as copies of shuffled rows do. What a kernel can reach besides is what it takes
for as many bytes out of L2, where its operations bind it: the last column says which of the two takes longer, and the share of
that. --modules keeps what was compiled there, so that a second run only measures.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "support"))

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import tern_tools as tools  # noqa: E402
from builder import FLOAT, Graph  # noqa: E402

INT64 = onnx.TensorProto.INT64
MEMORY, L2 = 256 << 20, 384 << 10  # bytes of all operands, about
CASES = {}


def case(f):
    """f(graph, n): nodes on about n f32 elements; returns bytes read and written."""
    CASES[f.__name__] = f
    return f


def simple(kind, g, shape, out=None, constants=(), **attributes):
    x = g.input("x", FLOAT, shape)
    out = out or shape
    g.output(g.op(kind, x, *constants, **attributes), "y", FLOAT, out)
    return int(np.prod(shape)) * 4, int(np.prod(out)) * 4


def axes(g, *values):
    return g.param("axes", np.array(values, np.int64))


@case
def relu(g, n):
    return simple("Relu", g, [n // 2])


@case
def gelu(g, n):
    x = g.input("x", FLOAT, [n // 2])
    scalar = lambda name, value: g.param(name, np.array(value, np.float32))  # noqa: E731
    erf = g.op("Add", g.op("Erf", g.op("Div", x, scalar("root", 2**0.5))), scalar("one", 1))
    g.output(g.op("Mul", g.op("Mul", x, erf), scalar("half", 0.5)), "y", FLOAT, [n // 2])
    return n * 2, n * 2


@case
def add(g, n):
    x, y = g.input("x", FLOAT, [n // 3]), g.input("y", FLOAT, [n // 3])
    g.output(g.op("Add", x, y), "z", FLOAT, [n // 3])
    return n // 3 * 8, n // 3 * 4


@case
def mul_by_row(g, n):
    return simple("Mul", g, [n // 2 // 768, 768], constants=[g.param("row", g.normal((768,), 1))])


@case
def softmax(g, n):
    return simple("Softmax", g, [n // 2 // 512, 512], axis=-1)


@case
def layer_norm(g, n):
    return simple("LayerNormalization", g, [n // 2 // 768, 768], constants=[g.param("g", g.normal((768,), 1)), g.param("b", g.normal((768,), 1))], axis=-1)


@case
def sum_inner(g, n):
    return simple("ReduceSum", g, [n // 1024, 1024], [n // 1024], [axes(g, 1)], keepdims=0)


@case
def sum_outer(g, n):
    return simple("ReduceSum", g, [n // 1024, 1024], [1024], [axes(g, 0)], keepdims=0)


@case
def sum_middle(g, n):
    return simple("ReduceSum", g, [n // (64 * 128), 64, 128], [n // (64 * 128), 128], [axes(g, 1)], keepdims=0)


@case
def max_inner(g, n):
    return simple("ReduceMax", g, [n // 1024, 1024], [n // 1024], axes=[1], keepdims=0)


@case
def transpose(g, n):
    rows = 1 << (max(n // 2, 1).bit_length() // 2)
    shape = [n // 2 // rows, rows]
    return simple("Transpose", g, shape, shape[::-1], perm=[1, 0])


@case
def transpose_heads(g, n):
    b = n // 2 // (12 * 64)
    return simple("Transpose", g, [1, b, 12, 64], [1, 12, b, 64], perm=[0, 2, 1, 3])


@case
def transpose_pixels(g, n):
    b = n // 2 // 64
    return simple("Transpose", g, [b, 64], [64, b], perm=[1, 0])


@case
def concat(g, n):
    rows = n // 2 // 512
    x, y = g.input("x", FLOAT, [rows, 256]), g.input("y", FLOAT, [rows, 256])
    g.output(g.op("Concat", x, y, axis=1), "z", FLOAT, [rows, 512])
    return rows * 2048, rows * 2048


@case
def slice_rows(g, n):
    rows = n // 2 // 512
    consts = [g.param(k, np.array([v], np.int64)) for k, v in (("start", 64), ("end", 576), ("axis", 1))]
    x = g.input("x", FLOAT, [rows, 640])
    g.output(g.op("Slice", x, *consts), "y", FLOAT, [rows, 512])
    return rows * 2048, rows * 2048


@case
def average_pool(g, n):
    side = max(8, int((n // 64 / 1.25) ** 0.5) // 2 * 2)
    return simple("AveragePool", g, [1, 64, side, side], [1, 64, side // 2, side // 2], kernel_shape=[2, 2], strides=[2, 2])


@case
def global_average_pool(g, n):
    side = max(7, int((n // 256) ** 0.5))
    return simple("GlobalAveragePool", g, [1, 256, side, side], [1, 256, 1, 1])


@case
def gather(g, n):
    rows = n // 2 // 512
    x = g.input("x", FLOAT, [rows, 512])
    index = g.param("i", np.random.default_rng(1).permutation(rows).astype(np.int64))
    g.output(g.op("Gather", x, index, axis=0), "y", FLOAT, [rows, 512])
    return rows * 2048 + rows * 8, rows * 2048


@case
def gemv(g, n):
    k = 768
    return simple("MatMul", g, [1, k], [1, n // k], [g.param("w", g.normal((k, n // k), k**-0.5))])[0] + n * 4, n // k * 4


@case
def matmul_4_bits(g, n):
    k, columns = 2048, n * 8 // 2048 // 9 * 8
    x = g.input("x", FLOAT, [1, k])
    w = g.param("w", g.random.integers(0, 256, (columns, k // 32, 16)).astype(np.uint8))
    scales = g.param("s", np.abs(g.normal((columns * k // 32,), 0.01)))
    g.output(g.op("MatMulNBits", x, w, scales, K=k, N=columns, bits=4, block_size=32, domain="com.microsoft"), "y", FLOAT, [1, columns])
    return columns * k // 2 + columns * k // 32 * 4 + k * 4, columns * 4


def peak(program, size, threads, seconds):
    return json.loads(subprocess.run([program, str(size), str(threads), str(seconds)], capture_output=True, text=True, check=True).stdout)


def limit_seconds(read, written, rates):
    """rates in GB/s."""
    both = min(read, written)
    copy, read_rate, write = (max(v for k, v in rates.items() if k.startswith(kind)) for kind in ("copy", "read", "write"))
    return (2 * both / copy + (read - both) / read_rate + (written - both) / write) * 1e-9


def measured(module, threads, seconds):
    """The least ms of a run."""
    return json.loads(tools.call([tools.TERN, "bench", module, "--threads", threads, "--seconds", str(seconds), "--json"], 60))["min_ms"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help=f"of {', '.join(CASES)}")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--where", default="memory,l2")
    parser.add_argument("--level")
    parser.add_argument("--modules", help="folder that keeps the compiled modules")
    parser.add_argument("--seconds", type=float, default=0.3, help="of each measurement")
    parser.add_argument("--compile-only", action="store_true")
    args = parser.parse_args()
    names = args.only.split(",") if args.only else list(CASES)
    if unknown := [n for n in names if n not in CASES]:
        parser.error(f"--only: there is no {', '.join(unknown)}; there are {', '.join(CASES)}")
    if unknown := [w for w in args.where.split(",") if w not in ("memory", "l2")]:
        parser.error(f"--where is memory or l2, not {', '.join(unknown)}")
    os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"  # inputs in large pages, as those of memory_peak and of libtern's own buffers
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.modules or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        program = folder / "memory_peak"
        tools.call(["clang-19", "-O2", "-march=native", HERE / "memory_peak.c", "-o", program, "-lpthread"], 60)
        wheres = args.where.split(",")
        sizes = {}
        for where in ("memory", "l2") if "memory" in wheres else wheres:
            for name in names:
                model, module = folder / f"{name}_{where}.onnx", folder / f"{name}_{where}{args.level or ''}.tern"
                g = Graph(name, seed=1)
                sizes[where, name] = CASES[name](g, (MEMORY if where == "memory" else L2) // 4)
                if module.exists():
                    continue
                g.save(model)
                tools.compile_model(model, module, *(["--targets", f"cpu:{args.level}"] if args.level else []))
                model.unlink()
        if args.compile_only:
            return
        print("| kernel | operands | threads | ms | GB/s | share | bound, share of it |\n|---|---|---:|---:|---:|---:|---|")
        for where in wheres:
            for threads in args.threads.split(","):
                size = MEMORY if where == "memory" else L2 * int(threads)
                rates = peak(program, size, threads, 2)
                took = {n: measured(folder / f"{n}_{where}{args.level or ''}.tern", threads, args.seconds) for n in names}
                # On one thread, as kernels of so few elements run anyway.
                near = {n: measured(folder / f"{n}_l2{args.level or ''}.tern", "1", args.seconds) / int(threads) for n in names if where == "memory"}
                again = peak(program, size, threads, 2)
                rates = {k: max(v, again[k]) for k, v in rates.items()}
                for name in names:
                    read, written = sizes[where, name]
                    limit = limit_seconds(read, written, rates) * 1e3
                    bound = ""
                    if where == "memory":
                        bytes_limit = (read + written) / rates["rows_shuffled"] * 1e-6 if name == "gather" else limit
                        operations = near[name] * (read + written) / sum(sizes["l2", name])
                        bound = f"{'bytes' if bytes_limit > operations else 'operations'}, {max(bytes_limit, operations) / took[name]:.0%}"
                    print(f"| {name} | {where} | {threads} | {took[name]:.4g} | {(read + written) / took[name] * 1e-6:.1f} | {limit / took[name]:.0%} | {bound} |")
                print(f"| (plain loops) | {where} | {threads} | | {', '.join(f'{k} {v:.0f}' for k, v in rates.items())} | | |".replace("_", " "))


if __name__ == "__main__":
    sys.exit(main())
