#!/usr/bin/env python3
"""Random graphs through ternc and tern, against ONNX Runtime: three to fifteen operators of mixed types, odd sizes, symbolic dimensions,
constants of each form, control flow, quantisation.

    onnx_random.py [--count 12] [--seconds S] [--seed 1] [--targets cpu:x86_64_v3] [--driver cpu] [--keep FOLDER] [--shrink]

Each graph is built with its values known (random_graph.py), compiled, and run with one thread and with two; where it has symbols, the same
module runs at other sizes too. --as gives its floats another type, --ternc --precision=f16 computes in one; --keep writes what failed; --shrink cuts each failure down first, by making values that are computed inputs.
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
import opinions  # noqa: E402
import random_exports  # noqa: E402, F401
import random_layers  # noqa: E402, F401
import random_ops  # noqa: E402
import random_recent  # noqa: E402, F401
import random_types  # noqa: E402
import tern_tools as tools  # noqa: E402
from random_graph import Graph, Refused, info, outer_names, session  # noqa: E402


REFUSED = (  # legal, and not supported; each says so
    "cannot be split into a sequence of parts of",  # an axis of unknown size
    "must be known while compiling",  # the size of an attention's head
    "have a window of unknown size",
    "are neither [N,2,3] nor [N,3,4]",
    "Determinants are supported for square matrices of at most 64 rows",
    "is supported for one-dimensional operands",  # Unique along an axis
)


def generate(seed):
    rng = np.random.default_rng(seed)
    g = Graph(rng, int(rng.integers(11, 25)))
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


STEPS = 0.15


def tolerance(model):
    """How far an output may be off, as a part of its largest value: roundings of f16, and steps of quantisation that fall the other way."""
    if any("uantizeLinear" in n.op_type or n.op_type.startswith("QLinear") for n in model.graph.node):
        return STEPS
    kinds = {t.data_type for t in model.graph.initializer} | {i.type.tensor_type.elem_type for i in model.graph.input}
    return 2e-2 if 10 in kinds or any(a.name == "to" and a.i == 10 for n in model.graph.node for a in n.attribute) else 1e-3


def compare(names, got, wanted, limit):
    """The outputs that differ, and how. What is below a part of 1 is measured by that: roundings of sums whose terms cancel."""
    found = {}
    for name, g, w in zip(names, got, wanted):
        if w.dtype.kind in "iu" and g.shape == w.shape:  # what infinity is as an integer, nobody says
            least = np.iinfo(w.dtype).min
            g, w = np.where(w == least, 0, g).astype(g.dtype), np.where(w == least, 0, w).astype(w.dtype) if least else w
        problem = tools.difference(np.asarray(g), w, limit, floor=0.1 if limit < 0.05 else 1.0)
        if problem and w.dtype.kind in "iu" and w.dtype.itemsize == 1 and g.shape == w.shape and np.abs(g.astype(int) - w).max() <= 1:
            problem = None  # a rounding that fell the other way
        if not problem and limit == STEPS and w.dtype.kind == "f" and w.size:  # roundings that fall the other way are few
            moved = np.abs(g.astype("f8") - w) > 2e-3 * max(np.abs(w[np.isfinite(w)]).max(initial=0), 1e-3)
            problem = f"{moved.sum()} of {w.size} values are off by a step" if moved.sum() > max(3, 0.1 * w.size) else None
        if problem:
            found[name] = problem
    return found


def child_time():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def reference(data, inputs, limit):
    """What ONNX Runtime computes: names and values; its plain kernels decide where its optimiser disagrees."""
    optimised, plain = session(data), session(data, optimise=False)
    names = [o.name for o in optimised.get_outputs()]
    wanted, simple = optimised.run(None, inputs), plain.run(None, inputs)
    return names, simple if limit == STEPS or compare(names, simple, wanted, limit / 2) else wanted


def problem(model, runs, folder, options):
    """What goes wrong with this model and one of these sets of inputs, or None."""
    runs = [runs] if isinstance(runs, dict) else runs
    data, limit = model.SerializeToString(), tolerance(model)
    try:
        first = reference(data, runs[0], limit)
    except Exception:
        return None  # ONNX Runtime itself cannot run what its single nodes could
    path, module = folder / "m.onnx", folder / "m.tern"
    kind = getattr(options, "as_type", "f32")
    if kind != "f32":
        model = random_types.retyped(model, kind)
        if model is None:
            return None
    path.write_bytes(model.SerializeToString())
    begin = child_time()
    try:
        tools.compile_model(path, module, f"--targets={options.targets}", "-j1", *options.ternc, timeout=120)
    except tools.ToolError as failure:
        starved = "took longer" in str(failure) and child_time() - begin < 20
        return None if starved or any(text in str(failure) for text in REFUSED) else f"ternc: {failure}"
    if child_time() - begin > 20:
        return f"slow: ternc took {child_time() - begin:.0f} s"
    rough = kind in ("f16", "bf16") or any("precision" in o for o in options.ternc)
    if rough or kind != "f32":
        limit = None if random_types.jumps(model) else max(limit, 0.06) if rough else limit
    for number, inputs in enumerate(runs):
        found = run(module, data, inputs, first if number == 0 else None, folder, options, limit, kind)
        if found:
            return found if number == 0 else f"at other sizes: {found} for {[f'{n}{list(v.shape)}' for n, v in inputs.items()]}"
    return None


def run(module, data, inputs, known, folder, options, limit, kind):
    """What goes wrong with one set of inputs; where ONNX Runtime refuses it, tern may say anything, but must not crash."""
    try:
        names, wanted = known or reference(data, inputs, limit or 1)
    except Exception:
        names, wanted = [o.name for o in session(data).get_outputs()], None
    given = random_types.as_type(inputs, kind)
    for threads in ("1", "2") if options.driver == "cpu" and known else ("2",):
        begin = child_time()
        try:
            got = tools.run_module(module, given, names, folder / "run", "--driver", options.driver, "--threads", threads, timeout=60)
        except tools.ToolError as failure:
            guarded = "Guarded memory: " in str(failure)
            if "are equal in this model's operators" in str(failure) or wanted is None and "(exit code " in str(failure) and not guarded:
                return None  # a size that is known at run time alone is 1 and would broadcast: docs/decisions.md, 17
            if "took longer" in str(failure) and child_time() - begin < 20:
                return None  # a busy machine
            return f"tern run: {failure}"
        if wanted is None or limit is None:
            continue
        got = random_types.as_floats(got, kind, wanted)
        found = compare(names, got, wanted, limit)
        if found and kind == "f32":
            found = opinions.disagreeing(found, names, got, lambda *three: compare(*three, limit), data, inputs)
        if found:
            return f"{threads} threads: " + "; ".join(f"{n}: {p}" for n, p in found.items())
    return None


def shrink(model, runs, folder, options):
    """A smaller model that fails as well: nodes are dropped, and what they computed becomes inputs. Sizes that differ between the runs are symbols."""
    values = [opinions.Steps(model).run(inputs) for inputs in runs]
    constants = {t.name for t in model.graph.initializer}
    symbols = {}

    def given(name):
        shapes = list(zip(*[np.shape(v[name]) for v in values]))
        dims = [s[0] if len(set(s)) == 1 else symbols.setdefault(s, f"S{len(symbols)}") for s in shapes]
        return info(name, np.asarray(values[0][name]), dims)

    def build(nodes, outputs):
        made = {o for n in nodes for o in n.output}
        needed = list(dict.fromkeys(i for n in nodes for i in outer_names(n) if i not in made and i not in constants))
        old = {i.name: i for i in model.graph.input}
        small = onnx.ModelProto()
        small.CopyFrom(model)
        graph = small.graph
        used = {i for n in nodes for i in outer_names(n)}
        tensors = [t for t in model.graph.initializer if t.name in used]
        del graph.node[:], graph.input[:], graph.output[:], graph.initializer[:]
        graph.node.extend(nodes)
        graph.initializer.extend(tensors)
        graph.input.extend(old[n] if n in old else given(n) for n in needed)
        graph.output.extend(info(o, np.asarray(values[0][o]), [None] * np.ndim(values[0][o])) for o in outputs)
        return small, [{n: np.asarray(v[n]) for n in needed} for v in values]

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
            used = {i for n in rest for i in outer_names(n)}
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
    parser.add_argument("--as", dest="as_type", default="f32", choices=("f32", *random_types.TYPES))
    parser.add_argument("--ternc", nargs="*", default=[], help="more options for ternc")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--shrink", action="store_true")
    options = parser.parse_args()
    wrong, tried, end = 0, 0, time.monotonic() + options.seconds
    with tempfile.TemporaryDirectory() as temporary:
        while tried < options.count or time.monotonic() < end:
            seed = options.seed + tried
            tried += 1
            g, model, inputs = generate(seed)
            if not model.graph.output:
                continue
            runs = [inputs, *([g.resized(inputs) for _ in range(2)] if g.symbols else [])]
            found = problem(model, runs, Path(temporary), options)
            if not found:
                continue
            wrong += 1
            print(f"{seed}: opset {model.opset_import[0].version}, {' '.join(n.op_type for n in model.graph.node if n.op_type != 'Constant')}: {found}", flush=True)
            if options.shrink:
                for tries in [runs[:1], *[[inputs, r] for r in runs[1:]]]:
                    if not problem(model, tries, Path(temporary), options):
                        continue
                    try:
                        model, runs = shrink(model, tries, Path(temporary), options)
                        print(f"    smaller: {' '.join(n.op_type for n in model.graph.node if n.op_type != 'Constant')}: {problem(model, runs, Path(temporary), options)}", flush=True)
                    except Exception as failure:
                        print(f"    not smaller: {failure!r}", flush=True)
                    break
            if options.keep:
                options.keep.mkdir(parents=True, exist_ok=True)
                onnx.save(model, options.keep / f"{seed}.onnx")
                for number, each in enumerate(runs):
                    np.savez(options.keep / f"{seed}.{number}.npz", **each)
    print(f"{tried} random graphs, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    os.environ.setdefault("TERN_CACHE_DIR", str(Path(tempfile.gettempdir()) / "tern-random-cache"))
    sys.exit(main())
