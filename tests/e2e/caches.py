#!/usr/bin/env python3
"""Caches of keys and values in place: the same memory for past and present over many steps, against results in memory of their own (equal
in every byte) and ONNX Runtime; caches that grow by concatenation, given room by --cache-room; and what must be refused.

    caches.py [--filter TEXT] [--driver cpu] [--targets LIST]
"""

import argparse
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import operator_cases  # noqa: E402
import tern_tools as tools  # noqa: E402
from onnx import TensorProto  # noqa: E402
from onnxruntime import InferenceSession  # noqa: E402
from operator_cases import FLOAT, Graph  # noqa: E402

HEADS, KV, SIZE, ROOM = 4, 2, 16, 12
INT32, INT64 = TensorProto.INT32, TensorProto.INT64


def grouped(half=False):
    """Two layers of GroupQueryAttention; sequences of several lengths in one batch."""
    g, kind = Graph(3), TensorProto.FLOAT16 if half else FLOAT
    y = g.input("x", kind, ["B", "S", HEADS * SIZE])
    lengths, total = g.input("lengths", INT32, ["B"]), g.input("total", INT32, [])
    angles = np.outer(np.arange(ROOM + 2), 1 / 10000 ** (np.arange(0, SIZE, 2) / SIZE))
    tables = [g.constant(n, f(angles).astype(np.float16 if half else np.float32)) for n, f in (("cos", np.cos), ("sin", np.sin))]
    for layer in range(2):
        past = [g.input(f"past{layer}.{n}", kind, ["B", KV, "M", SIZE]) for n in "kv"]
        parts = [g.node("Slice", [y, g.constant(f"from{layer}{i}", np.array([0])), g.constant(f"to{layer}{i}", np.array([KV * SIZE])),
                                  g.constant(f"axis{layer}{i}", np.array([2]))], [f"kv{layer}{i}"], domain="") for i in range(2)]  # fmt: skip
        parts[1] = g.node("Neg", [parts[1]], [f"v{layer}"], domain="")
        inputs = [y, *parts, *past, lengths, total, *tables]
        y = g.node("GroupQueryAttention", inputs, [f"y{layer}", f"k{layer}", f"v_out{layer}"], num_heads=HEADS, kv_num_heads=KV, do_rotary=1)
        for n in (f"k{layer}", f"v_out{layer}"):
            g.output(n, None, kind)
    g.output(y, None, kind)
    return g


def grouped_steps(g, dtype, steps):
    for lengths, queries in steps:
        lengths = np.asarray(lengths)
        x = g.random.standard_normal((len(lengths), queries, HEADS * SIZE)).astype(dtype)
        yield {"x": x, "lengths": (lengths - 1).astype(np.int32), "total": np.array(lengths.max(), np.int32)}


def multi_head():
    """MultiHeadAttention with room to spare, of which past_sequence_length positions count."""
    g = Graph(4)
    names = [g.input(n, FLOAT, [2, "S", HEADS * SIZE]) for n in "qkv"]
    past = [g.input(f"past.{n}", FLOAT, [2, HEADS, ROOM, SIZE]) for n in "kv"]
    names += ["", "", "", *past, g.input("filled", INT32, [1])]
    g.node("MultiHeadAttention", names, ["y", "present.k", "present.v"], num_heads=HEADS, unidirectional=1)
    for n in ("y", "present.k", "present.v"):
        g.output(n, None)
    return g


def scattered():
    """TensorScatter (opset 24) and the attention that reads what it wrote."""
    g = Graph(5)
    past, new = g.input("past", FLOAT, ["B", KV, ROOM, SIZE]), g.input("new", FLOAT, ["B", KV, "S", SIZE])
    g.node("TensorScatter", [past, new, g.input("first", INT64, ["B"])], ["present"], domain="")
    g.node("ReduceSum", ["present", g.constant("axes", np.array([2]))], ["sum"], domain="")
    g.output("present", None)
    g.output("sum", None)
    return g


def concatenated():
    """Attention as frameworks spell it, two layers whose caches grow by concatenation."""
    g = Graph(6)
    y = g.input("x", FLOAT, [1, HEADS, "S", SIZE])
    for layer in range(2):
        past = [g.input(f"past{layer}.{n}", FLOAT, [1, HEADS, "P", SIZE]) for n in "kv"]
        scale = [g.normal(f"w{layer}{i}", SIZE, SIZE, std=0.4) for i in range(3)]
        q, k, v = (g.node("MatMul", [y, s], [f"{n}{layer}"], domain="") for n, s in zip("qkv", scale))
        k, v = (g.node("Concat", [p, x], [f"present{layer}.{n}"], domain="", axis=2) for p, x, n in zip(past, (k, v), "kv"))
        turned = g.node("Transpose", [k], [f"t{layer}"], domain="", perm=[0, 1, 3, 2])
        scores = g.node("Softmax", [g.node("MatMul", [q, turned], [f"s{layer}"], domain="")], [f"p{layer}"], domain="", axis=-1)
        y = g.node("MatMul", [scores, v], [f"y{layer}"], domain="")
        g.output(k, None)
        g.output(v, None)
    g.output(y, None)
    return g


class Case:
    """A model and its module. feed(): a step in place must give what a step apart gives; its results are the next one's past."""

    def __init__(self, g, opset, folder, args, *options):
        self.path, self.module, self.folder, self.driver = folder / "m.onnx", folder / "m.tern", folder, args.driver
        onnx.save(g.model(opset), self.path)
        self.compile(args, *options)
        self.names = [o.name for o in g.outputs]

    def compile(self, args, *options):
        targets = [f"--targets={args.targets}"] if args.targets else []
        tools.compile_model(self.path, self.module, *targets, *options)

    def run(self, inputs, *options):
        results = tools.run_module(self.module, inputs, self.names, self.folder, "--driver", self.driver, "--threads", "2", *options)
        return dict(zip(self.names, results))

    def both(self, inputs, what):
        apart, together = self.run(inputs), self.run(inputs, "--in-place")
        for name in self.names:
            if apart[name].tobytes() != together[name].tobytes():
                raise AssertionError(f"{what}: '{name}' is another in place")
        return together


def refused(sentence, call):
    try:
        call()
    except tools.ToolError as error:
        if sentence not in str(error):
            raise AssertionError(f"refused otherwise: {error}") from None
        return
    raise AssertionError("was not refused")


def near(got, wanted, what):
    error = float(np.abs(got.astype(np.float64) - wanted).max() / np.abs(wanted).max())
    if got.shape != wanted.shape or not error < (1e-2 if got.dtype == np.float16 else 1e-4):
        raise AssertionError(f"{what}: differs by {error:.1e} of the largest value")


def check_grouped(folder, args, half=False):
    g = grouped(half)
    dtype = np.float16 if half else np.float32
    case = Case(g, 21, folder, args)
    peer = InferenceSession(str(case.path), providers=["CPUExecutionProvider"])
    cache = {f"past{layer}.{n}": np.zeros((2, KV, ROOM, SIZE), dtype) for layer in range(2) for n in "kv"}
    steps = [([6, 3], 6), ([7, 4], 1), ([10, 7], 3), ([11, 8], 1), ([12, 9], 1)]
    for number, step in enumerate(grouped_steps(g, dtype, steps)):
        got = case.both(step | cache, f"step {number}")
        if number == 0 or step["x"].shape[1] == 1:  # ONNX Runtime takes one row of each sequence behind a cache
            wanted = dict(zip(case.names, peer.run(case.names, step | cache)))
            rows = slice(None) if number else slice(0, 1)  # behind a prompt's end results are unspecified
            near(got["y1"][rows], wanted["y1"][rows], f"step {number}, 'y1'")
        cache = {f"past{layer}.{n}": got[f"k{layer}" if n == "k" else f"v_out{layer}"] for layer in range(2) for n in "kv"}
    full = next(grouped_steps(g, dtype, [([13, 10], 1)]))
    grown = case.run(full | cache)["k0"]
    if grown.shape[2] != 13:
        raise AssertionError(f"a full cache grows to {grown.shape}")
    refused("needs 1664 bytes; 1536 were given" if half else "needs 3328 bytes; 3072 were given", lambda: case.run(full | cache, "--in-place"))


def check_multi_head(folder, args):
    g = multi_head()
    case = Case(g, 21, folder, args)
    cache = {f"past.{n}": g.random.standard_normal((2, HEADS, ROOM, SIZE)).astype(np.float32) for n in "kv"}

    def step(filled, count):
        qkv = {n: g.random.standard_normal((2, count, HEADS * SIZE)).astype(np.float32) for n in "qkv"}
        return qkv | {"filled": np.array([filled], np.int32)} | cache

    for filled, count in ((0, 5), (5, 1), (6, 4), (10, 2)):
        inputs = step(filled, count)
        got = case.both(inputs, f"{filled} filled")
        rows = inputs["k"].reshape(2, count, HEADS, SIZE).transpose(0, 2, 1, 3)
        wanted = cache["past.k"].copy()
        wanted[:, :, filled : filled + count] = rows
        near(got["present.k"], wanted, f"{filled} filled, 'present.k'")
        cache = {f"past.{n}": got[f"present.{n}"] for n in "kv"}
    for filled in (ROOM, -1):
        refused("The cache has no room", lambda: case.run(step(filled, 1), "--in-place"))


def check_scattered(folder, args):
    g = scattered()
    case = Case(g, 24, folder, args)
    past = g.random.standard_normal((3, KV, ROOM, SIZE)).astype(np.float32)
    for first, count in (([0, 3, 8], 4), ([11, 0, 5], 1)):
        new = g.random.standard_normal((3, KV, count, SIZE)).astype(np.float32)
        wanted = past.copy()
        for b, f in enumerate(first):
            wanted[b, :, f : f + count] = new[b]
        got = case.both({"past": past, "new": new, "first": np.array(first, np.int64)}, f"from {first}")
        near(got["present"], wanted, "'present'")
        near(got["sum"], wanted.sum(2, keepdims=True), "'sum'")
        past = got["present"]
    beyond = {"past": past, "new": new, "first": np.array([0, 0, ROOM], np.int64)}
    refused("index", lambda: case.run(beyond))


def check_concatenated(folder, args):
    g = concatenated()
    for number, room in enumerate((str(ROOM), "4:64:12")):
        case = Case(g, 21, folder, args, f"--cache-room={room}")
        peer = InferenceSession(str(case.path), providers=["CPUExecutionProvider"])
        names = [f"{layer}.{n}" for layer in range(2) for n in "kv"]
        cache = {f"past{n}": np.full((1, HEADS, ROOM, SIZE), 7, np.float32) for n in names}
        filled = 0
        for count in (3, 1, 5, 3):
            x = {"x": g.random.standard_normal((1, HEADS, count, SIZE)).astype(np.float32)}
            got = case.both(x | cache | {"P": np.array(filled)}, f"room {number}, {filled} filled")
            wanted = dict(zip(case.names, peer.run(case.names, x | {n: a[:, :, :filled] for n, a in cache.items()})))
            near(got["y1"], wanted["y1"], f"{filled} filled, 'y1'")
            filled += count
            for n in names:
                near(got[f"present{n}"][:, :, :filled], wanted[f"present{n}"], f"{filled} filled, cache {n}")
            cache = {f"past{n}": got[f"present{n}"] for n in names}
        refused("has no room for", lambda: case.run(x | cache | {"P": np.array(filled)}, "--in-place"))
        refused("less than 0", lambda: case.run(x | cache | {"P": np.array(-1)}))
    case.compile(args)  # as the model has it: nothing is in place
    grown = {n: a[:, :, :5] for n, a in cache.items()}
    refused("No output of the function may lie in the memory of an input", lambda: case.run(x | grown, "--in-place"))


CASES = {
    "grouped": check_grouped,
    "grouped_half": lambda folder, args: check_grouped(folder, args, half=True),
    "multi_head": check_multi_head,
    "scattered": check_scattered,
    "concatenated": check_concatenated,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--filter", default="")
    parser.add_argument("--driver", default="cpu")
    parser.add_argument("--targets", default=operator_cases.ONE_LEVEL)
    args = parser.parse_args()
    failed = 0
    for name in (n for n in CASES if args.filter in n):
        with tempfile.TemporaryDirectory() as folder:
            try:
                CASES[name](Path(folder), args)
                print(f"{name:40} ok", flush=True)
            except (AssertionError, tools.ToolError) as error:
                failed += 1
                print(f"{name:40} FAIL\n    {error}", flush=True)
    print(f"{sum(args.filter in n for n in CASES) - failed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
