#!/usr/bin/env python3
"""How often ternc's choice of what shares a dispatch is the faster one, and what wrong choices cost: small graphs whose fusion is a
question, at several sizes, compiled as predicted, together and apart (ternc --fusion), timed in turns on one CPU thread.

    benchmarks/fusion.py [--only NAMES] [--sizes 0,1,2,3] [--targets cpu] [--rounds 5] [--seconds 0.05] [--threads 1] [--compile-only DIR | --from DIR] [--all]

A choice is right where it is within 3 % of the faster of the other two. Compiling (any machine load) and timing (a quiet one) may be apart:
--compile-only writes the modules to a folder, --from times them. --all prints every graph, else those whose two ways differ.
"""

import argparse
import json
import math
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "tests" / "support"), str(HERE.parent / "tests" / "models")]

import numpy as np  # noqa: E402
import tern_tools as tools  # noqa: E402
from builder import FLOAT, INT64, Graph  # noqa: E402

WAYS = ("predicted", "together", "apart")
SLACK = 1.03
# Rows and columns: values of L1, L2, the last cache, memory.
SIZES = ((8, 128), (96, 256), (768, 512), (4096, 2048))


def silu(g, x):
    return g.op("Mul", x, g.op("Sigmoid", x))


def cheap(g, x):
    return g.op("Add", g.op("Mul", x, g.const(2.0)), g.const(1.0))


def distance(g, x):
    return g.op("Sqrt", g.op("Add", g.op("Mul", x, x), g.const(1.0)))


def powers(g, x):
    return g.op("Pow", g.op("Add", g.op("Abs", x), g.const(1.0)), g.const(0.37))


MAKERS = {"cheap": cheap, "relu": lambda g, x: g.op("Relu", x), "distance": distance, "exp": lambda g, x: g.op("Exp", x), "silu": silu, "sine": lambda g, x: g.op("Sin", x),
          "power": powers}
TURNED = ("Neg", "Relu", "Abs", "Floor")


def readers(maker, number):
    """Outputs that read one computed value; each lies in another order, so that no two are one dispatch."""

    def build(g, rows, cols):
        v = MAKERS[maker](g, g.input("x", FLOAT, [rows, cols]))
        for i in range(number):
            other = g.input(f"z{i}", FLOAT, [rows, cols])
            g.output(g.op("Mul", g.op(TURNED[i % 4], v), other), f"y{i}", FLOAT, [rows, cols])

    return build


def row_and_map(maker):
    """A residual: rows are normed, and the sum is read again behind them."""

    def build(g, rows, cols):
        v = MAKERS[maker](g, g.op("Add", g.input("x", FLOAT, [rows, cols]), g.input("z", FLOAT, [rows, cols])))
        g.output(g.op("ReduceMean", v, axes=[-1], keepdims=0), "mean", FLOAT, [rows])
        g.output(g.op("Mul", v, g.input("u", FLOAT, [rows, cols])), "y", FLOAT, [rows, cols])

    return build


def broadcast(maker, down):
    """A row, or a column, that is computed and then read by the whole matrix."""

    def build(g, rows, cols):
        shape = [1, cols] if down else [rows, 1]
        v = MAKERS[maker](g, g.input("b", FLOAT, shape))
        g.output(g.op("Add", g.input("x", FLOAT, [rows, cols]), v), "y", FLOAT, [rows, cols])

    return build


def broadcast_to_rows(maker):
    def build(g, rows, cols):
        v = MAKERS[maker](g, g.input("b", FLOAT, [1, cols]))
        x = g.op("Mul", g.input("x", FLOAT, [rows, cols]), v)
        g.output(g.op("ReduceSum", x, g.ints(-1), keepdims=0), "y", FLOAT, [rows])

    return build


def gathered(maker, share):
    """Rows of a computed table: `share` of as many as it has."""

    def build(g, rows, cols):
        taken = max(int(rows * share), 1)
        table = MAKERS[maker](g, g.input("x", FLOAT, [rows, cols]))
        order = g.param("order", np.random.default_rng(1).integers(0, rows, taken))
        g.output(g.op("Add", g.op("Gather", table, order, axis=0), g.input("z", FLOAT, [taken, cols])), "y", FLOAT, [taken, cols])

    return build


def gathered_elements(maker, share):
    def build(g, rows, cols):
        taken = max(int(rows * cols * share), 1)
        table = MAKERS[maker](g, g.input("x", FLOAT, [rows * cols]))
        order = g.param("order", np.random.default_rng(1).integers(0, rows * cols, taken))
        g.output(g.op("Add", g.op("Gather", table, order, axis=0), g.input("z", FLOAT, [taken])), "y", FLOAT, [taken])

    return build


def repeated(maker):
    """Nearest neighbours twice as large, plus another picture: a decoder's step."""

    def build(g, rows, cols):
        v = MAKERS[maker](g, g.input("x", FLOAT, [1, 8, rows // 4, cols // 4]))
        big = g.op("Resize", v, "", g.const([1.0, 1.0, 2.0, 2.0]), mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
        g.output(g.op("Add", big, g.input("z", FLOAT, [1, 8, rows // 4 * 2, cols // 4 * 2])), "y", FLOAT, [1, 8, rows // 4 * 2, cols // 4 * 2])

    return build


def rotated(maker):
    """Rotary embedding: both halves of a row are read in two orders."""

    def build(g, rows, cols):
        v = MAKERS[maker](g, g.input("x", FLOAT, [rows, cols]))
        first, second = g.op("Split", v, outputs=2, axis=1)
        turned = g.op("Concat", g.op("Neg", second), first, axis=1)
        a = g.op("Mul", v, g.input("c", FLOAT, [rows, cols]))
        g.output(g.op("Add", a, g.op("Mul", turned, g.input("s", FLOAT, [rows, cols]))), "y", FLOAT, [rows, cols])

    return build


def halves(maker):
    """A gate: the halves of a row multiply each other."""

    def build(g, rows, cols):
        v = MAKERS[maker](g, g.input("x", FLOAT, [rows, cols]))
        first, second = g.op("Split", v, outputs=2, axis=1)
        g.output(g.op("Mul", first, second), "y", FLOAT, [rows, cols // 2])

    return build


def turned(maker):
    def build(g, rows, cols):
        v = MAKERS[maker](g, g.input("x", FLOAT, [rows, cols]))
        g.output(g.op("Mul", g.op("Transpose", v, perm=[1, 0]), g.input("z", FLOAT, [cols, rows])), "y", FLOAT, [cols, rows])
        g.output(g.op("Neg", v), "n", FLOAT, [rows, cols])

    return build


def product_and_map(maker, number):
    """A value that products add behind themselves, `number` of them."""

    def build(g, rows, cols):
        v = MAKERS[maker](g, g.input("x", FLOAT, [rows, cols]))
        for i in range(number):
            w = g.param(f"w{i}", g.normal((64, cols), 0.1))
            a = g.input(f"a{i}", FLOAT, [rows, 64])
            g.output(g.op("Add", g.op("MatMul", a, w), v), f"y{i}", FLOAT, [rows, cols])

    return build


def behind_product(maker):
    """Elementwise behind a matrix product."""

    def build(g, rows, cols):
        k = min(cols, 256)
        y = g.op("MatMul", g.input("x", FLOAT, [rows, k]), g.param("w", g.normal((k, cols), 0.1)))
        g.output(MAKERS[maker](g, y), "y", FLOAT, [rows, cols])

    return build


def behind_rows(maker):
    """A softmax, and elementwise behind it."""

    def build(g, rows, cols):
        y = g.op("Softmax", g.input("x", FLOAT, [rows, cols]), axis=-1)
        g.output(MAKERS[maker](g, y), "y", FLOAT, [rows, cols])

    return build


def before_rows(maker):
    """A layer norm of something that is computed."""

    def build(g, rows, cols):
        v = MAKERS[maker](g, g.input("x", FLOAT, [rows, cols]))
        scale = g.param("g", g.normal((cols,)))
        g.output(g.op("LayerNormalization", v, scale, g.param("b", g.normal((cols,))), axis=-1), "y", FLOAT, [rows, cols])

    return build


def sum_down(maker):
    def build(g, rows, cols):
        v = MAKERS[maker](g, g.input("x", FLOAT, [rows, cols]))
        g.output(g.op("ReduceSum", v, g.ints(0), keepdims=0), "y", FLOAT, [cols])

    return build


def conv_pool(g, rows, cols):
    """A convolution, what is behind it, and a pool."""
    h, w = rows // 4 * 2, cols // 4
    x = g.op("Conv", g.input("x", FLOAT, [1, 16, h, w]), g.param("w", g.normal((16, 16, 3, 3), 0.1)), pads=[1, 1, 1, 1])
    g.output(g.op("MaxPool", silu(g, x), kernel_shape=[2, 2], strides=[2, 2]), "y", FLOAT, [1, 16, h // 2, w // 2])


def map_pool(maker, kernel, stride):
    """A pool of something that is computed."""

    def build(g, rows, cols):
        h, w = rows // 4 * 2, cols // 4
        v = MAKERS[maker](g, g.input("x", FLOAT, [1, 16, h, w]))
        out = [(n - kernel) // stride + 1 for n in (h, w)]
        g.output(g.op("MaxPool", v, kernel_shape=[kernel, kernel], strides=[stride, stride]), "y", FLOAT, [1, 16, *out])

    return build


def separable(channels, outputs):
    """A depthwise convolution, its activation, and a 1 x 1 convolution."""

    def build(g, rows, cols):
        h = {8: 7, 96: 14, 768: 28, 4096: 112}[rows]
        x = g.op("Conv", g.input("x", FLOAT, [1, channels, h, h]), g.param("d", g.normal((channels, 1, 3, 3), 0.3)), pads=[1, 1, 1, 1], group=channels)
        y = g.op("Conv", g.op("Relu", x), g.param("w", g.normal((outputs, channels, 1, 1), 0.1)))
        g.output(y, "y", FLOAT, [1, outputs, h, h])

    return build


def joined(maker):
    """Parts of a concatenation, which two readers take."""

    def build(g, rows, cols):
        parts = [MAKERS[maker](g, g.input(f"x{i}", FLOAT, [rows, cols // 2])) for i in range(2)]
        v = g.op("Concat", *parts, axis=1)
        g.output(g.op("Mul", v, g.input("z", FLOAT, [rows, cols])), "y", FLOAT, [rows, cols])
        g.output(g.op("ReduceMax", v, axes=[-1], keepdims=0), "m", FLOAT, [rows])

    return build


def halved(g, rows, cols):
    """A product whose result is rounded to 16 bits and read as f32 again by a softmax."""
    k = min(cols, 256)
    y = g.op("MatMul", g.input("x", FLOAT, [rows, k]), g.param("w", g.normal((k, cols), 0.1)))
    v = g.op("Cast", g.op("Cast", y, to=10), to=FLOAT)
    g.output(g.op("Softmax", v, axis=-1), "y", FLOAT, [rows, cols])


def quantised(g, rows, cols):
    """What a product gives goes through bytes before it is added to."""
    k = min(cols, 256)
    y = g.op("MatMul", g.input("x", FLOAT, [rows, k]), g.param("w", g.normal((k, cols), 0.1)))
    q = g.op("QuantizeLinear", y, g.const(0.05), g.const(128, np.uint8))
    v = g.op("DequantizeLinear", q, g.const(0.05), g.const(128, np.uint8))
    g.output(g.op("Add", v, g.input("z", FLOAT, [rows, cols])), "y", FLOAT, [rows, cols])


def indexed(g, rows, cols):
    """Embedding: a row looked up, scaled, and position added."""
    ids = g.input("ids", INT64, [rows])
    v = g.op("Gather", g.param("t", g.normal((1000, cols))), ids, axis=0)
    v = g.op("Add", v, g.param("p", g.normal((rows, cols))))
    g.output(g.op("LayerNormalization", v, g.param("g", g.normal((cols,))), axis=-1), "y", FLOAT, [rows, cols])


def cases():
    out = {}
    for maker in MAKERS:
        out[f"two readers of {maker}"] = readers(maker, 2)
        out[f"row of {maker}"] = broadcast(maker, True)
    for maker in ("cheap", "exp", "power"):
        out[f"four readers of {maker}"] = readers(maker, 4)
        out[f"column of {maker}"] = broadcast(maker, False)
        out[f"row of {maker} into sums"] = broadcast_to_rows(maker)
        out[f"halves of {maker}"] = halves(maker)
        out[f"rows and reader of {maker}"] = row_and_map(maker)
        out[f"rotated {maker}"] = rotated(maker)
        out[f"repeated {maker}"] = repeated(maker)
        out[f"turned {maker}"] = turned(maker)
        out[f"concat of {maker}"] = joined(maker)
        out[f"two products and {maker}"] = product_and_map(maker, 2)
        for share in (0.25, 1, 4):
            out[f"{share} rows of {maker}"] = gathered(maker, share)
    for maker in ("relu", "exp", "power"):
        out[f"product, {maker}"] = behind_product(maker)
        out[f"softmax, {maker}"] = behind_rows(maker)
        out[f"{maker}, norm"] = before_rows(maker)
        out[f"{maker}, sum down"] = sum_down(maker)
        out[f"1 elements of {maker}"] = gathered_elements(maker, 1)
        for kernel, stride in ((2, 2), (3, 1)):
            out[f"{maker}, pool of {kernel} by {stride}"] = map_pool(maker, kernel, stride)
    for channels, outputs in ((32, 16), (96, 24), (144, 32), (32, 256), (384, 64)):
        out[f"depthwise {channels}, 1x1 {outputs}"] = separable(channels, outputs)
    return {**out, "conv, silu, pool": conv_pool, "halved product": halved, "quantised product": quantised, "lookup, norm": indexed}


def compile_case(name, build, size, folder, targets):
    """The modules of the three ways; equal ones are one file. None where all are equal."""
    rows, cols = SIZES[size]
    g = Graph("fusion", seed=1)
    build(g, rows, cols)
    stem = folder / f"{size}.{name.replace(' ', '_').replace(',', '')}"
    model = stem.with_name(stem.name + ".onnx")
    g.save(model)
    texts, files = {}, {}
    for way in WAYS:
        text = tools.call([tools.TERNC, "--check", "-q", "--explain", "--targets", targets, "--fusion", way, model], 120)
        plan = "\n".join(line for line in text.splitlines() if line.startswith(("#", "  kernel", "  work")))
        if plan not in texts:
            texts[plan] = stem.with_name(f"{stem.name}.{way}.tern")
        files[way] = texts[plan].name
    if len(texts) > 1:
        for module in texts.values():
            way = module.name.split(".")[-2]
            tools.compile_model(model, module, "--targets", targets, "--fusion", way)
    model.unlink()
    return {"name": name, "size": size, "files": files}


def time_of(module, seconds, threads):
    return json.loads(tools.call([tools.TERN, "bench", module, "--threads", threads, "--seconds", seconds, "--json"], 120))["min_ms"] * 1e3


def report(results, everything):
    right = wrong = 0
    lost, against = [], {"together": [], "apart": []}
    print(f"{'graph':34} {'elements':>9} {'predicted':>10} {'together':>10} {'apart':>10}   us")
    for r in results:
        us, best = r["us"], min(r["us"].values())
        loss = us["predicted"] / best
        differ = max(us["together"], us["apart"]) / best > SLACK
        if loss > SLACK:
            wrong += 1
        else:
            right += 1
        lost.append(loss)
        for way, ratios in against.items():
            ratios.append(us[way] / us["predicted"])
        if everything or differ or loss > SLACK:
            rows, cols = SIZES[r["size"]]
            print(f"{r['name']:34} {rows * cols:>9} {us['predicted']:>10.2f} {us['together']:>10.2f} {us['apart']:>10.2f}   {f'lost {loss:.2f}' if loss > SLACK else ''}")

    def mean(values):
        return math.exp(sum(map(math.log, values)) / len(values)) if values else 1.0

    print(f"{right} of {right + wrong} choices are the faster one; the others cost {mean([x for x in lost if x > SLACK]):.3f} on average, {max(lost, default=1):.2f} at worst")
    print(f"always together takes {mean(against['together']):.3f} of the predicted ones' time, always apart {mean(against['apart']):.3f} (geometric means)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="graphs whose names have one of these words, with commas between")
    parser.add_argument("--sizes", default="0,1,2,3")
    parser.add_argument("--targets", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", default="0.05")
    parser.add_argument("--threads", default="1")
    parser.add_argument("--compile-only", type=Path)
    parser.add_argument("--from", dest="source", type=Path)
    parser.add_argument("--all", action="store_true")
    args = parser.parse_args()
    folder = args.source or args.compile_only or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    words, sizes = args.only.split(","), [int(s) for s in args.sizes.split(",")]
    todo, same = [], 0
    if args.source:
        todo = [t for t in json.loads((folder / "cases.json").read_text()) if t["size"] in sizes and any(w in t["name"] for w in words)]
    else:
        for name, build in cases().items():
            if not any(word in name for word in words):
                continue
            todo += [compile_case(name, build, size, folder, args.targets) for size in sizes]
        (folder / "cases.json").write_text(json.dumps(todo))
    same = sum(len(set(t["files"].values())) == 1 for t in todo)
    todo = [t for t in todo if len(set(t["files"].values())) > 1]
    print(f"{len(todo)} graphs whose ways differ, {same} where all are one")
    if args.compile_only:
        return
    for t in todo:
        best = {}
        for _ in range(args.rounds):
            for name in sorted(set(t["files"].values())):
                us = time_of(folder / name, args.seconds, args.threads)
                best[name] = min(us, best.get(name, us))
        t["us"] = {way: best[name] for way, name in t["files"].items()}
    report(todo, args.all)
    if not args.source:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
