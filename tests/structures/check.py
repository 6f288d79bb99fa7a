#!/usr/bin/env python3
"""A hundred networks that no table of ours was made for, against ONNX Runtime: heavy (an hour on two cores), so not in the default tests.

    PYTHON tests/structures/check.py [NAME…] [--driver cpu] [--targets cpu] [--list]

PYTHON needs torch, torchvision, timm, transformers, onnx, onnxscript and onnxruntime (an environment of your own). Weights are random
and seeded; models and their inputs are kept in the model cache. Errors are measured by an output's largest value: random networks add
roundings up (Inception-v3 against f64: 9.5e-5 with Winograd, 5.3e-5 without, PyTorch 4.4e-5, ONNX Runtime 3.4e-5).
"""

import argparse
import json
import sys
import tempfile
import time
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support"), str(HERE.parent / "e2e")]

import compare  # noqa: E402
import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
import ort_reference  # noqa: E402
import tern_tools as tools  # noqa: E402
import torch  # noqa: E402
from common import FOLDER, MODELS  # noqa: E402

LISTS = ("library", "vision", "sequences", "tables", "language", "exports", "tensorflow", "recent")


def check(name, args, folder):
    """What is wrong (empty: nothing), the worst error, and how long one thread takes beside ONNX Runtime's (with --time)."""
    path, first = FOLDER / f"{name}.onnx", FOLDER / f"{name}.npz"
    if not first.exists():
        torch.manual_seed(0)
        MODELS[name]()
    module = folder / f"{name}.tern"
    tools.compile_model(path, module, f"--targets={args.targets}", *args.ternc)
    known = {i.name for i in onnx.load(path, load_external_data=False).graph.input}
    problems, worst, times = [], 0.0, []
    for inputs in [first, *sorted(FOLDER.glob(f"{name}.[0-9].npz"))]:
        given = {k: v for k, v in np.load(inputs).items() if k in known}
        try:
            names, (wanted,) = compare.reference(path, [given])
        except Exception:
            if inputs == first:
                raise
            continue  # ONNX Runtime cannot run these sizes
        got = tools.run_module(module, given, names, folder / name, "--driver", args.driver, timeout=300)
        at = "" if inputs == first else f" at {[list(v.shape) for v in given.values()]}"
        problems += [f"'{n}'{at}: {p}" for n, g, w in zip(names, got, wanted) if (p := tools.difference(g, w, args.limit, floor=1.0))]
        floats = [tools.relative_error(g.astype("f8"), w.astype("f8"), 1.0).max() for g, w in zip(got, wanted) if w.dtype.kind == "f" and w.size]
        worst = max([worst, *floats])
        if args.time:
            times.append(timing(path, module, given, folder, args))
    return problems, worst, times


def timing(path, module, given, folder, args):
    """Milliseconds of tern and of ONNX Runtime on one thread, the least of several in turns."""
    options = ort_reference.session_options()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    theirs = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [o.name for o in theirs.get_outputs()]
    ours, least = [], float("inf")
    for _ in range(2):
        end, count = time.monotonic() + 0.4, 0
        while time.monotonic() < end or count < 3:
            begin = time.perf_counter()
            theirs.run(None, given)
            least, count = min(least, time.perf_counter() - begin), count + 1
        sent = [f"--input={n}={folder / 'times' / f'{i}.npy'}" for i, n in enumerate(given)]
        (folder / "times").mkdir(exist_ok=True)
        for i, array in enumerate(given.values()):
            np.save(folder / "times" / f"{i}.npy", array)
        said = json.loads(tools.call([tools.TERN, "bench", module, "--threads", "1", "--driver", args.driver, "--json", "--seconds", "0.4", *sent], 120))
        ours.append(said["min_ms"])
    return min(ours), least * 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--driver", default="cpu")
    parser.add_argument("--targets", default="cpu", help="passed to ternc")
    parser.add_argument("--ternc", nargs="*", default=[], help="more options for ternc")
    parser.add_argument("--limit", type=float, default=1e-3, help="of errors, as a part of an output's largest value")
    parser.add_argument("--time", action="store_true", help="also times, beside ONNX Runtime on one thread")
    parser.add_argument("--list", action="store_true", help="print the names only")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.backends.mha.set_fastpath_enabled(False)
    for each in LISTS:
        __import__(each)
    if args.list:
        print(*MODELS)
        return 0
    if unknown := [n for n in args.names if n not in MODELS]:
        parser.error(f"no such network: {', '.join(unknown)} (--list shows them)")
    FOLDER.mkdir(parents=True, exist_ok=True)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in args.names or MODELS:
            start = time.time()
            try:
                problems, worst, times = check(name, args, Path(folder))
            except Exception as failure:  # an exporter or library that fails on one network must not hide the others
                problems, worst, times = [f"{type(failure).__name__}: {str(failure)[:300]}"], 0.0, []
            failed += bool(problems)
            said = "FAIL " + "; ".join(problems) if problems else f"ok, error {worst:.1e}"
            ratios = "".join(f", {a:.2f} of {b:.2f} ms ({a / b:.2f})" for a, b in times)
            print(f"{name:28} {said}{ratios}, {time.time() - start:.0f} s", flush=True)
    print(f"{failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
