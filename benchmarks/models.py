#!/usr/bin/env python3
"""Any folder of ONNX files: how often tern is ahead of other runtimes on this CPU, by how much, and where it is behind.

    .venv-bench/bin/python benchmarks/models.py DIR [--peers ort_exact,openvino] [--threads 1] [--rounds 3] [--seconds 0.02] [--below 1.15]

Each model has a process of its own a runtime, as in cpu.py, whose rounds these are; the module is compiled without a flag. Inputs are
seeded, of batch 1; a dimension that is a symbol is 224 in pictures, 80 in signals, else 32. A ratio is the time of the fastest runtime
whose outputs agree over tern's: above 1 tern is ahead. Peers are called from Python, which adds about a microsecond to theirs; tern's
time is `tern bench`'s. With two threads, runtimes that keep their threads awake disturb the next one: let rounds be long then.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

import cpu
import numpy as np
import zoo

LIMITS = (0.5, 0.8, 0.9, 1, 1.15, 1.5, 2, 4, 8)


def extent(dim, axis, rank):
    """A dimension's size, or a usual one where it has none."""
    if dim.HasField("dim_value") and dim.dim_value > 0:
        return dim.dim_value
    return 1 if axis == 0 or "batch" in dim.dim_param.lower() else {3: 80, 4: 224}.get(rank, 32)


def inputs_of(path):
    """Normal floats, small integers, masks of ones; the same symbol is the same size everywhere."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    random, sizes, case = np.random.default_rng(0), {}, {}
    for value in graph.input:
        if value.name in {i.name for i in graph.initializer}:
            continue
        tensor = value.type.tensor_type
        dims = tensor.shape.dim
        shape = [sizes.setdefault(d.dim_param or f"{value.name}.{i}", extent(d, i, len(dims))) for i, d in enumerate(dims)]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        ones = "mask" in value.name.lower() or dtype.kind == "b"
        array = np.ones(shape) if ones else random.integers(0, 100, shape) if dtype.kind in "iu" else random.standard_normal(shape)
        case[value.name] = array.astype(dtype)
    return case


def ratio(results):
    """The fastest other runtime's time over tern's, its name, and tern's milliseconds; None where one of them has no time."""
    mine = results.get("tern", {}).get("ms")
    best, who = cpu.report.fastest(results)
    return (best / mine, who, mine) if mine and best else None


def summary(rows, below):
    lines = []
    for threads in sorted({t for _, t, _ in rows}):
        found = sorted((ratio(r), name) for name, t, r in rows if t == threads and ratio(r))
        if not found:
            continue
        ratios = [r[0] for r, _ in found]
        counts = ", ".join(f"{limit:g}: {sum(r < limit for r in ratios)}" for limit in LIMITS)
        lines.append(f"{threads} threads: {len(ratios)} models, median {statistics.median(ratios):.2f}; so many are below {counts}")
        lines += [f"    {r:.2f}  {mine:.4g} ms, {who} {mine * r:.4g}  {name}" for (r, who, mine), name in found if r < below]
        lines += [f"    {name}: tern: {cpu.report.short(r['tern']['error'])}" for name, t, r in rows if t == threads and "error" in r.get("tern", {})]
        lines += [f"    {name}: tern's outputs differ" for name, t, r in rows if t == threads and r.get("tern", {}).get("differs")]
    return "\n".join(lines)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--peers", default="ort_exact,openvino")
    parser.add_argument("--threads", default="1")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.02, help="of one runtime's turn in a round")
    parser.add_argument("--below", type=float, default=1.15, help="name the models whose ratio is less")
    parser.add_argument("--json", type=Path, help="keep the facts; models that are there are not run again")
    parser.set_defaults(level="", hold=None, prepare=False)
    return parser.parse_args()


def main():
    options = arguments()
    counts, peers = [int(t) for t in options.threads.split(",")], ["tern", "ort", *options.peers.split(",")]
    rows = [tuple(row) for row in json.loads(options.json.read_text())] if options.json and options.json.exists() else []
    for path in sorted(options.folder.rglob("*.onnx")):
        name = str(path.relative_to(options.folder))
        if any(row[0] == name for row in rows):
            continue
        try:
            given = inputs_of(path)
            zoo.MODELS[name] = zoo.Model([{key: lambda random, array=array: array for key, array in given.items()}], path=path)
            measured = cpu.measure(name, counts, peers, options)
        except Exception as error:  # of this model: damaged, or nobody runs it
            print(f"{name}: {cpu.report.short(str(error) or repr(error))}", flush=True)
            continue
        for threads, results in measured.items():
            rows.append((name, threads, results))
            cpu.tell(name, threads, results, peers)
        if options.json:
            options.json.write_text(json.dumps(rows, indent=1))
    print("\n" + summary(rows, options.below))
    return 0


if __name__ == "__main__":
    sys.exit(main())
