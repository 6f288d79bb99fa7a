#!/usr/bin/env python3
"""Random graphs through ternc and tern, against ONNX Runtime: three to fifteen operators of mixed types, odd sizes, symbolic dimensions,
constants of each form, control flow, quantisation.

    onnx_random.py [--count 12] [--seconds S] [--seed 1] [--targets cpu:x86_64_v3] [--driver cpu] [--keep FOLDER] [--shrink]

Each graph is built with its values known (random_graph.py), compiled, and run with one thread and with two; its symbols have one set of
sizes. --keep writes what failed; --shrink cuts each failure down first, by making values that are computed inputs.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import random_layers  # noqa: E402, F401
import random_ops  # noqa: E402
import tern_tools as tools  # noqa: E402
from onnx import helper  # noqa: E402
from random_graph import Graph, Refused, info, session  # noqa: E402


def generate(seed):
    rng = np.random.default_rng(seed)
    g = Graph(rng, int(rng.integers(11, 23)))
    steps = [s for s, _ in random_ops.GENERATORS]
    weights = np.array([w for _, w in random_ops.GENERATORS])
    wanted = int(rng.integers(2, 13))
    for _ in range(wanted * 3):
        if sum(n.op_type != "Constant" for n in g.nodes) >= wanted:
            break
        before = len(g.nodes), len(g.initializers)
        try:
            steps[rng.choice(len(steps), p=weights / weights.sum())](g)
        except (Refused, KeyError, ValueError, IndexError):
            if any(n.op_type != "Constant" for n in g.nodes[before[0] :]):
                continue  # what came before the refused node is a graph as well
    return g, *g.model()


def tolerance(model):
    """How far an output may be off, as a part of its largest value: roundings of f16, and steps of quantisation that fall the other way."""
    if any("uantizeLinear" in n.op_type or n.op_type.startswith("QLinear") for n in model.graph.node):
        return 0.15
    kinds = {t.data_type for t in model.graph.initializer} | {i.type.tensor_type.elem_type for i in model.graph.input}
    return 2e-2 if 10 in kinds or any(a.name == "to" and a.i == 10 for n in model.graph.node for a in n.attribute) else 1e-3


def compare(names, got, wanted, limit):
    found = []
    for name, g, w in zip(names, got, wanted):
        if w.dtype.kind in "iu" and g.shape == w.shape:  # what infinity is as an integer, nobody says
            least = np.iinfo(w.dtype).min
            g, w = np.where(w == least, 0, g).astype(g.dtype), np.where(w == least, 0, w).astype(w.dtype) if least else w
        problem = tools.difference(np.asarray(g), w, limit, floor=0.1 if limit < 0.1 else 1.0)
        if problem and w.dtype.kind in "iu" and w.dtype.itemsize == 1 and g.shape == w.shape and np.abs(g.astype(int) - w).max() <= 1:
            problem = None  # a rounding that fell the other way
        if problem:
            found.append(f"{name}: {problem}")
    return found


def child_time():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def problem(model, inputs, folder, options):
    """What goes wrong with this model, or None."""
    data = model.SerializeToString()
    try:
        reference = session(data)
        names = [o.name for o in reference.get_outputs()]
        wanted = reference.run(None, inputs)
        plain = session(data, optimise=False).run(None, inputs)
    except Exception:
        return None  # ONNX Runtime itself cannot run what its single nodes could
    limit = tolerance(model)
    if compare(names, plain, wanted, limit / 2):
        wanted = plain  # its optimiser and its kernels disagree: the plain ones decide
    path, module = folder / "m.onnx", folder / "m.tern"
    path.write_bytes(data)
    begin = child_time()
    try:
        tools.compile_model(path, module, f"--targets={options.targets}", "-j1", *options.ternc, timeout=120)
    except tools.ToolError as failure:
        return f"ternc: {failure}"
    if child_time() - begin > 20:
        return f"slow: ternc took {child_time() - begin:.0f} s"
    for threads in ("1", "2") if options.driver == "cpu" else ("2",):
        try:
            got = tools.run_module(module, inputs, names, folder / "run", "--driver", options.driver, "--threads", threads, timeout=60)
        except tools.ToolError as failure:
            if "are equal in this model's operators" in str(failure):
                return None  # a size that is known at run time alone is 1 and would broadcast: docs/decisions.md, 17
            return f"tern run: {failure}"
        found = compare(names, got, wanted, limit)
        if found and not compare(names, got, session(data).run(None, inputs), limit):
            found = []
        if found:
            return f"{threads} threads: " + "; ".join(found)
    return None


def shrink(model, inputs, folder, options):
    """A smaller model that fails as well: nodes are dropped, and what they computed becomes inputs."""
    names = list(dict.fromkeys(o for n in model.graph.node if n.op_type != "Constant" for o in n.output if o))
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    have = {o.name for o in wide.graph.output}
    wide.graph.output.extend(helper.make_empty_tensor_value_info(n) for n in names if n not in have)
    values = dict(zip([o.name for o in wide.graph.output], session(wide.SerializeToString(), False).run(None, inputs))) | inputs
    constants = {t.name for t in model.graph.initializer}

    def build(nodes, outputs):
        made = {o for n in nodes for o in n.output}
        needed = list(dict.fromkeys(i for n in nodes for i in outer(n) if i not in made and i not in constants))
        old = {i.name: i for i in model.graph.input}
        small = onnx.ModelProto()
        small.CopyFrom(model)
        graph = small.graph
        used = {i for n in nodes for i in outer(n)}
        tensors = [t for t in model.graph.initializer if t.name in used]
        del graph.node[:], graph.input[:], graph.output[:], graph.initializer[:]
        graph.node.extend(nodes)
        graph.initializer.extend(tensors)
        graph.input.extend(old[n] if n in old else info(n, np.asarray(values[n])) for n in needed)
        graph.output.extend(info(o, np.asarray(values[o]), [None] * np.ndim(values[o])) for o in outputs)
        return small, {n: np.asarray(values[n]) for n in needed}

    def outer(node):
        return Graph.outer_names(None, node) if not any(a.type == onnx.AttributeProto.GRAPH for a in node.attribute) else deep(node)

    def deep(node):
        class Walk(Graph):
            def __init__(self):
                pass

        return Walk().outer_names(node)

    nodes = list(model.graph.node)
    outputs = [o.name for o in model.graph.output]
    kind = (problem(*build(nodes, outputs), folder, options) or "none").split(":")[0]

    def fails(nodes, outputs):
        if not nodes or not outputs:
            return False
        try:
            found = problem(*build(nodes, outputs), folder, options)
        except Exception:
            return False
        return found is not None and found.split(":")[0] == kind

    for single in outputs:
        if len(outputs) > 1 and fails(nodes, [single]):
            outputs = [single]
            break
    changed = True
    while changed:
        changed = False
        for node in list(nodes):
            rest = [n for n in nodes if n is not node]
            made = {o for n in rest for o in n.output}
            used = {i for n in rest for i in outer(n)}
            if node.op_type == "Constant":
                if node.output[0] in used:
                    continue
                nodes = rest
                continue
            keep = [o for o in outputs if o in made] or [o for n in rest if n.op_type != "Constant" for o in n.output if o and o not in used]
            if fails(rest, keep):
                nodes, outputs, changed = rest, keep, True
    return build(nodes, outputs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--targets", default="cpu:x86_64_v3")
    parser.add_argument("--driver", default="cpu")
    parser.add_argument("--ternc", nargs="*", default=[], help="more options for ternc")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--shrink", action="store_true")
    options = parser.parse_args()
    wrong, tried, end = 0, 0, time.monotonic() + options.seconds
    with tempfile.TemporaryDirectory() as temporary:
        while tried < options.count or time.monotonic() < end:
            seed = options.seed + tried
            tried += 1
            _, model, inputs = generate(seed)
            if not model.graph.output:
                continue
            found = problem(model, inputs, Path(temporary), options)
            if not found:
                continue
            wrong += 1
            print(f"{seed}: opset {model.opset_import[0].version}, {' '.join(n.op_type for n in model.graph.node if n.op_type != 'Constant')}: {found}", flush=True)
            if options.shrink:
                try:
                    model, inputs = shrink(model, inputs, Path(temporary), options)
                    print(f"    smaller: {' '.join(n.op_type for n in model.graph.node if n.op_type != 'Constant')}: {problem(model, inputs, Path(temporary), options)}", flush=True)
                except Exception as failure:
                    print(f"    not smaller: {failure!r}", flush=True)
            if options.keep:
                options.keep.mkdir(parents=True, exist_ok=True)
                onnx.save(model, options.keep / f"{seed}.onnx")
                np.savez(options.keep / f"{seed}.npz", **inputs)
    print(f"{tried} random graphs, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    os.environ.setdefault("TERN_CACHE_DIR", str(Path(tempfile.gettempdir()) / "tern-random-cache"))
    sys.exit(main())
