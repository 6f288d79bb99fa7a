#!/usr/bin/env python3
"""Real models, end to end: compile with ternc, run with tern, compare each output with ONNX Runtime's on the same inputs.

    compare.py [NAME…] [--all | --small | --networks] [--threads 1,2] [--aarch64] [--bless]

Without names: every model but the large ones (--all takes those too, --small only the quickest, --networks those of networks.py instead). --aarch64 compiles for
that processor and runs build/aarch64's tern under qemu. --files takes ONNX files instead of names: inputs are drawn by
type, symbolic dimensions become small numbers. Each case runs once per thread count, and the
outputs must be the same bytes for each. Rows of expected_failures.txt (`model: reason`) may fail; one that passes fails
the run, so that the list stays true. Exit code 0 only when everything is as expected.
"""

import argparse
import concurrent.futures
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))

import tern_tools as tools  # noqa: E402
import numpy as np  # noqa: E402
import networks  # noqa: E402
import zoo  # noqa: E402

EXPECTED = HERE / "expected_failures.txt"
MAKING = threading.Lock()  # models are made one at a time: some are made of others
# What may differ from ONNX Runtime's f32, by --precision. Stored in 16 bits, each value errs by a part of the largest ones
# that it is summed from; so smaller ones are measured by those.
TOLERANCES = {
    None: {"relative": 1e-3, "floor": 0.01},
    "tf32": {"relative": 1e-3, "floor": 1.0},
    "f16": {"relative": 1e-2, "floor": 1.0},
    "bf16": {"relative": 8e-2, "floor": 1.0},
}


def reference(model, cases, plain=False):
    """ONNX Runtime's outputs for each case, and the outputs' names. `model`: a path or a model's bytes; `plain`: not optimised."""
    import onnxruntime as ort
    import ort_reference

    options = ort_reference.session_options(plain=model if plain else None)
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(model if isinstance(model, bytes) else str(model), options, providers=["CPUExecutionProvider"])
    return [o.name for o in session.get_outputs()], [session.run(None, case) for case in cases]


def rounding_noise(path, cases, wanted):
    """How far ONNX Runtime is from itself where roundings of floats fall otherwise, for each output of each case: mean and maximum of
    the differences as parts of the largest value. Without optimisations, and with constants and inputs changed by 1e-6; scales of weights
    too, but not those of other tensors, whose values may be multiples of half a step on purpose."""
    import onnx

    model = onnx.load(path)
    weights = {t.name for t in model.graph.initializer}
    scales = {n.input[1] for n in model.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear") and n.input[0] not in weights}
    runs = [reference(path, cases, plain=True)[1]]
    for seed in range(2):
        random = np.random.default_rng(seed)
        change = lambda a: (a * (1 + 1e-6 * random.standard_normal(a.shape))).astype(a.dtype) if a.dtype == np.float32 else a
        for tensor in model.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT and tensor.name not in scales:
                tensor.CopyFrom(onnx.numpy_helper.from_array(change(onnx.numpy_helper.to_array(tensor)), tensor.name))
        changed = [{k: change(v) for k, v in case.items()} for case in cases]
        runs.append(reference(model.SerializeToString(), changed)[1])
    measure = lambda others, w: np.max([tools.steps_error(o, w) for o in others], axis=0)
    return [[measure([run[c][i] for run in runs], w) for i, w in enumerate(outputs)] for c, outputs in enumerate(wanted)]


def any_inputs(path, seed):
    """Inputs for a model that no table knows: normal floats, token-like integers, masks of ones."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    known, sizes, random = {i.name for i in graph.initializer}, {}, np.random.default_rng(seed)
    case = {}
    for value in graph.input:
        if value.name in known:
            continue
        tensor = value.type.tensor_type
        shape = [d.dim_value or sizes.setdefault(d.dim_param, 2 + seed + 3 * len(sizes)) for d in tensor.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        if dtype.kind in "iub":
            array = np.ones(shape) if "mask" in value.name or dtype.kind == "b" else random.integers(0, 1000, shape)
        else:
            array = random.standard_normal(shape)
        case[value.name] = array.astype(dtype)
    return case


def model_of(name, args):
    """The model's file and its cases."""
    if not args.files:
        return zoo.path_of(name), [zoo.inputs_of(name, i) for i in range(len(zoo.MODELS[name].cases))]
    first, second = any_inputs(name, 0), any_inputs(name, 1)
    dynamic = any(first[k].shape != second[k].shape for k in first)
    return Path(name), [first, second] if dynamic else [first]


def check_model(name, threads, folder, args):
    """Compiles and runs one model; the list of what is wrong (empty: all is well) and a line of facts."""
    with MAKING:
        path, cases = model_of(name, args)
    name = path.stem
    names, wanted = reference(path, cases)
    agree = lambda c, i, g, w: tools.difference(g, w, **TOLERANCES[args.precision])
    if name in zoo.MODELS and zoo.MODELS[name].steps:
        noise = rounding_noise(path, cases, wanted)
        agree = lambda c, i, g, w: tools.steps_difference(g, w, *noise[c][i])
    module = Path(folder) / f"{name}.tern"
    start = time.time()
    try:
        options = [f"--targets={args.targets}"] if args.targets else []
        tools.compile_model(path, module, *options, *([f"--precision={args.precision}"] if args.precision else []))
    except tools.ToolError as error:
        return [f"does not compile: {error}"], ""
    facts = f"compiled in {time.time() - start:.1f} s, {module.stat().st_size / 1e6:.1f} MB"
    tern, timeout = (["qemu-aarch64", tools.AARCH64], 600) if args.aarch64 else ([tools.TERN], 120)
    problems, worst = [], 0.0
    for i, (case, expected) in enumerate(zip(cases, wanted)):
        first = None
        for count in threads:
            where = f"case {i}, {count} threads"
            try:
                options = ["--driver", args.driver, "--threads", str(count)]
                got = tools.run_module(module, case, names, Path(folder) / name, *options, timeout=timeout, tern=tern)
            except tools.ToolError as error:
                problems.append(f"{where}: {error}")
                continue
            for k, (output, g, w) in enumerate(zip(names, got, expected)):
                problem = agree(i, k, g, w)
                if problem:
                    problems.append(f"{where}, output '{output}': {problem}")
                elif w.dtype.kind == "f" and w.size:
                    error = tools.relative_error(g.astype("f8"), w.astype("f8"), TOLERANCES[args.precision]["floor"])
                    worst = max(worst, float(error.max()))
            if first is not None and any(a.tobytes() != b.tobytes() for a, b in zip(first, got)):
                problems.append(f"{where}: not the same bytes as with {threads[0]} threads")
            first = got if first is None else first
    module.unlink()
    return problems, f"{facts}, {len(cases)} cases, error {worst:.1e}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--all", action="store_true", help="the large models too")
    parser.add_argument("--files", action="store_true", help="the names are paths of ONNX files")
    parser.add_argument("--small", action="store_true", help="only models that compile and run in moments")
    parser.add_argument("--networks", action="store_true", help="those that benchmarks/cpu has beside the zoo's")
    parser.add_argument("--aarch64", action="store_true", help="under qemu-aarch64, one thread")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--driver", default="cpu")
    parser.add_argument("--targets", help="passed to ternc")
    parser.add_argument("--precision", choices=["tf32", "f16", "bf16"], help="passed to ternc; sets the tolerance")
    parser.add_argument("-j", type=int, help="models at once; by default two where each runs on one thread, else 1")
    parser.add_argument("--bless", action="store_true", help="rewrite expected_failures.txt from what this run finds")
    args = parser.parse_args()
    if args.aarch64:
        tools.need_aarch64()
    every = list(networks.NETWORKS if args.networks else zoo.MODELS)
    zoo.MODELS.update(networks.NETWORKS)
    unknown = [n for n in args.names if n not in zoo.MODELS and not args.files]
    if unknown:
        parser.error(f"no such model: {', '.join(unknown)}")
    wanted = lambda tags: "small" in tags if args.small else args.all or "large" not in tags
    names = args.names or [n for n in every if wanted(zoo.MODELS[n].tags)]
    threads = [int(t) for t in args.threads.split(",")]
    if args.aarch64:
        threads, args.targets = [1], "cpu:aarch64"
    expected = tools.read_expected(EXPECTED)
    passed, failed, skipped, reasons = 0, 0, 0, dict(expected)
    at_once = args.j or (min(os.cpu_count(), 2) if threads == [1] else 1)
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        for name, (problems, facts) in zip(names, pool.map(lambda n: check_model(n, threads, tempfile.mkdtemp(dir=folder), args), names)):
            reasons.pop(name, None)
            if problems:
                reasons[name] = problems[0].splitlines()[0][:200]
            if problems and name not in expected:
                verdict, failed = "FAIL", failed + 1
            elif not problems and name in expected:
                verdict, failed = "PASSES, its row in expected_failures.txt must go", failed + 1
            elif problems:
                verdict, skipped = "expected failure", skipped + 1
            else:
                verdict, passed = "ok", passed + 1
            print(f"{name:24} {verdict} {facts}", flush=True)
            for problem in problems[:4]:
                print("    " + problem.replace("\n", "\n    ")[:2000], flush=True)
    if args.bless:
        head = "# Models that do not pass yet: 'name: reason'. One that starts to pass fails the run until its row is gone.\n"
        EXPECTED.write_text(head + "".join(f"{k}: {v}\n" for k, v in sorted(reasons.items())))
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed and not args.bless else 0


if __name__ == "__main__":
    sys.exit(main())
