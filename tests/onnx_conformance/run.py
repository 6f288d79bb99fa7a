#!/usr/bin/env python3
"""ONNX's own node tests (the folders in PyPI's onnx package) through ternc and tern.

    run.py [FILTER…] [--driver cpu] [--targets cpu] [--bless] [-j N]

Each folder is a model with inputs and expected outputs. Folders named in expected_failures_<driver>.txt, grouped there by
reason, may fail and count as skipped; one of them that passes fails the run with its name, so that the list stays true.
--bless rewrites the list from what this run finds. FILTER: only folders whose name contains one of these (or is it,
where it begins with test_). No GPU's list may name what the CPU's does not: what runs on the CPU runs on every target.

Compiled modules are kept in .cache/conformance under the hash of ternc, model and options, so that a second run with
the same compiler only runs them.
"""

import argparse
import concurrent.futures
import hashlib
import os
import re
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import tern_tools as tools  # noqa: E402
from onnx import numpy_helper  # noqa: E402

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data" / "node"
CACHE = tools.ROOT / ".cache" / "conformance"

# Relative tolerance by type, where ONNX's own runner (1e-3 for all) asks for less than one unit in the last place.
TOLERANCE = {"float16": 2e-3, "bfloat16": 1.6e-2}

# Folders whose expected values are one draw of a random generator: only shape and type can be compared.
RANDOM = re.compile(r"test_(bernoulli|training_dropout(?!.*zero_ratio))")


SERVERS = threading.local()  # one for each thread of the pool


class Mismatch(Exception):
    pass


def compile_cached(model, targets, compiler_hash, server):
    """The compiled module, from the cache if this very compiler has made it (or failed to) before."""
    options = [f"--targets={targets}"] if targets else []
    key = hashlib.sha256(model.read_bytes() + compiler_hash + repr(options).encode()).hexdigest()[:32]
    module, error = CACHE / f"{key}.tern", CACHE / f"{key}.error"
    if module.exists():
        return module
    if error.exists():
        raise tools.ToolError(error.read_text())
    part = CACHE / f"{key}.{os.getpid()}.{threading.get_ident()}.part"
    try:
        tools.compile_model(model, part, "--jobs=1", *options, timeout=120, server=server)
    except tools.ServerError:  # says nothing of the model
        raise
    except tools.ToolError as failure:
        error.write_text(str(failure))
        raise
    part.rename(module)
    return module


def load(path, value_info):
    """A tensor of a test data set; sequences that are inputs, and optionals, have no .npy form yet."""
    kind = value_info.type.WhichOneof("value")
    if kind != "tensor_type":
        raise Mismatch(f"the runner has no way to pass a {kind.removesuffix('_type')} yet")
    array = numpy_helper.to_array(onnx.load_tensor(path))
    if array.dtype == object:
        array = np.array([x.decode() if isinstance(x, bytes) else x for x in array.ravel()], dtype=np.str_).reshape(array.shape)
    return array


def load_list(path, value_info):
    """The tensors of an output that is a list, which a program has as an output each; None where it is none."""
    if value_info.type.WhichOneof("value") != "sequence_type":
        return None
    return numpy_helper.to_list(onnx.SequenceProto.FromString(path.read_bytes()))


def check_output(name, got, wanted):
    if got.shape != wanted.shape:
        raise Mismatch(f"output '{name}' has the wrong shape: {list(got.shape)}, expected {list(wanted.shape)}")
    if wanted.dtype.kind == "U":
        if got.dtype.kind != "U" or not np.array_equal(got, wanted):
            raise Mismatch(f"output '{name}' has wrong strings")
        return
    if got.dtype != wanted.dtype:
        # Types that NumPy has no letter for (bfloat16, float8, int4…) travel as bytes of the same width.
        if got.dtype.itemsize != wanted.dtype.itemsize or got.dtype.kind not in "Vu":
            raise Mismatch(f"output '{name}' has the wrong type: {got.dtype}, expected {wanted.dtype}")
        got = got.view(wanted.dtype)
    if wanted.dtype.kind in "biu":
        same = np.array_equal(got, wanted)
    elif wanted.dtype.kind in "fc" or wanted.dtype.name == "bfloat16":
        wide = np.complex128 if wanted.dtype.kind == "c" else np.float64
        relative = TOLERANCE.get(wanted.dtype.name, 1e-3)
        same = np.allclose(got.astype(wide), wanted.astype(wide), rtol=relative, atol=1e-7, equal_nan=True)
    else:
        same = np.array_equal(got.astype(np.float32), wanted.astype(np.float32), equal_nan=True)
    if not same:
        wrong = int(np.count_nonzero(np.asarray(got != wanted)))
        raise Mismatch(f"output '{name}' has wrong values ({wrong} of {wanted.size} differ)")


def run_folder(folder, options, compiler_hash):
    """One folder: None when it passes, else the reason."""
    if not hasattr(SERVERS, "own"):
        SERVERS.own, SERVERS.compiler = tools.Server(options.driver), tools.Server()
    try:
        model = onnx.load(folder / "model.onnx", load_external_data=False).graph
        module = compile_cached(folder / "model.onnx", options.targets, compiler_hash, SERVERS.compiler)
        initialized = {i.name for i in model.initializer}
        inputs = [v for v in model.input if v.name not in initialized and v.name]
        if any(v.type.tensor_type.elem_type == onnx.TensorProto.STRING for v in inputs):
            raise Mismatch("the runner has no way to pass strings yet")  # programs have numbers for them: tests/e2e/strings.py
        if options.compile_only:
            return None
        for data in sorted(folder.glob("test_data_set_*")):
            arrays = {v.name: load(data / f"input_{i}.pb", v) for i, v in enumerate(inputs)}
            names, wanted = [], []
            for i, v in enumerate(model.output):
                parts = load_list(data / f"output_{i}.pb", v)
                names += [v.name if parts is None else f"{v.name}.{k}" for k in range(1 if parts is None else len(parts))]
                wanted += [load(data / f"output_{i}.pb", v)] if parts is None else parts
            with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
                got = tools.run_module(module, arrays, names, scratch, "--driver", options.driver, "--threads", "1", timeout=30, server=SERVERS.own)
            for name, g, w in zip(names, got, wanted):
                if RANDOM.match(folder.name):
                    g = g if g.dtype != w.dtype or g.shape != w.shape else w
                check_output(name, g, w)
    except (tools.ToolError, Mismatch) as failure:
        return str(failure)
    except Exception as failure:  # a file that is missing or cannot be read: a failure of this folder, not of the run
        return f"{type(failure).__name__}: {failure}"
    return None


def reason_of(text):
    """The first sentence of an error without what differs from test to test (quoted names, numbers, shapes): a group's name."""
    line = next((s for s in text.splitlines() if s.strip()), "no message").strip()
    line = re.sub(r"\(exit code \d+\)$", "", line).strip()
    line = re.sub(r"/\S*/", "", line)
    line = re.sub(r"'[^']*'", "'…'", line)
    line = re.sub(r"\[[^\]]*\]", "[…]", line)
    line = re.sub(r"\b\d+(\.\d+)?\b", "N", line)
    return line[:160]


def read_table(path):
    """{folder: reason} from '[reason]' lines, each followed by folders."""
    table, reason = {}, ""
    for line in path.read_text().splitlines() if path.exists() else []:
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            reason = line[1:-1]
        elif line and not line.startswith("#"):
            table[line] = reason
    return table


def write_table(path, table):
    groups = {}
    for folder, reason in table.items():
        groups.setdefault(reason, []).append(folder)
    text = "# ONNX node tests that may fail, by reason. Written by run.py --bless; a folder that starts to pass fails the run.\n"
    for reason, folders in sorted(groups.items(), key=lambda g: (-len(g[1]), g[0])):
        text += f"\n# {len(folders)}\n[{reason}]\n" + "".join(f"{f}\n" for f in sorted(folders))
    path.write_text(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("filters", nargs="*", metavar="FILTER")
    parser.add_argument("--driver", default="cpu")
    parser.add_argument("--targets", help="passed to ternc")
    parser.add_argument("--data", type=Path, default=DATA, help="the folder of node tests, where the installed onnx has none (since 1.23)")
    parser.add_argument("--bless", action="store_true")
    parser.add_argument("--compile-only", action="store_true", help="right is what compiles; no device is needed")
    parser.add_argument("--reasons", action="store_true", help="print every failure with its whole text")
    parser.add_argument("-j", type=int, default=os.cpu_count())
    options = parser.parse_args()
    compilers = (tools.TERNC, tools.BUILD / "bin" / "ternc_server")
    for program in (*compilers, tools.TERN):
        if not program.exists():
            raise SystemExit(f"{program} is not there: build it first (tools/test builds everything)")
    CACHE.mkdir(parents=True, exist_ok=True)
    options.scratch = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    compiler_hash = hashlib.sha256(b"".join(program.read_bytes() for program in compilers)).digest()
    table_path = HERE / f"expected_failures_{options.driver}.txt"
    table = read_table(table_path)
    folders = sorted(f for f in options.data.iterdir() if f.is_dir() and (not options.filters or any(x == f.name or (x in f.name and not x.startswith("test_")) for x in options.filters)))
    if not folders:
        parser.error(f"no folder of {options.data} is or has {' or '.join(options.filters) or 'a test'}")
    start = time.time()
    with concurrent.futures.ThreadPoolExecutor(options.j) as pool:
        failures = dict(zip((f.name for f in folders), pool.map(lambda f: run_folder(f, options, compiler_hash), folders)))
    broken = {n: r for n, r in failures.items() if r and n not in table}
    # What fails only when it runs is right where nothing runs.
    tells = lambda reason: not options.compile_only or reason.startswith("ternc:")
    surprises = [n for n, r in failures.items() if not r and n in table and tells(table[n])]
    known = sum(1 for n, r in failures.items() if r and n in table)
    for name, reason in (failures if options.reasons else broken).items():
        if reason:
            print(f"FAIL {name}: {reason if options.reasons else reason[:300]}")
    lacking = sorted(set(table) - set(read_table(HERE / "expected_failures_cpu.txt")))
    for name in lacking:
        print(f"LACKING {name}: in {table_path.name}, though the CPU runs it")
    for name in surprises:
        print(f"PASSES {name}: its row in {table_path.name} must go (run.py --bless)")
    if options.bless:
        for name, reason in failures.items():
            table.pop(name, None)
            if reason:
                table[name] = reason_of(reason)
        write_table(table_path, table)
    passed = sum(1 for r in failures.values() if not r) - len(surprises)
    print(f"{len(folders)} folders in {time.time() - start:.0f} s, {passed + len(surprises)} right, {known} known failures")
    print(f"{passed} passed, {len(broken) + len(surprises) + len(lacking)} failed, {known} skipped")
    return 1 if (broken or surprises or lacking) and not options.bless else 0


if __name__ == "__main__":
    sys.exit(main())
