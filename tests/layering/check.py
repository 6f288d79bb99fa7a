#!/usr/bin/env python3
"""Checks what no compiler checks: which folder includes which (the arrows of docs/architecture.md), what the runtime may not
use, how long files are, and that no file names a machine's paths or hosts. Prints each breach as path:line: sentence."""

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Folder: folders that it may include from. The longest matching folder decides; unit tests (_test.cc) may include anything.
ARROWS = {
    "schemas/abi": ["schemas/abi"],
    "schemas/module": ["schemas"],
    "hal": ["hal", "schemas/abi"],
    "drivers/null": ["drivers/null", "hal", "schemas/abi"],
    "drivers/cpu": ["drivers/cpu", "hal", "schemas/abi"],
    "drivers/cuda": ["drivers/cuda", "hal", "schemas/abi"],
    "drivers/vulkan": ["drivers/vulkan", "hal", "schemas/abi"],
    "vm": ["vm", "tern", "hal", "schemas"],
    "compiler": ["compiler", "schemas"],
    "compiler/tools": ["compiler", "schemas", "tools/command_line"],
    # inside the compiler, in the order that data flows
    "compiler/support": ["compiler/support", "schemas"],
    "compiler/scalar": ["compiler/scalar", "compiler/support", "schemas"],
    "compiler/graph": ["compiler/graph", "compiler/scalar", "compiler/support", "schemas"],
    "compiler/onnx": ["compiler/onnx", "compiler/graph", "compiler/scalar", "compiler/support", "schemas"],
    "compiler/kernel": ["compiler/kernel", "compiler/scalar", "compiler/support", "schemas"],
    "compiler/render": ["compiler/render", "compiler/kernel", "compiler/scalar", "compiler/support", "schemas"],
}
OURS = ("compiler/", "vm/", "hal/", "drivers/", "schemas/", "tools/", "tests/", "samples/", "benchmarks/", "tern/")
RUNTIME = ("hal/", "drivers/", "vm/")
# Parts of those folders that run on the developer's machine only; the runtime may not include them.
HOST_ONLY = ("vm/text/", "drivers/cuda/fake/")
# Headers whose use in the runtime means allocation, exceptions or static constructors from the C++ library.
RUNTIME_FORBIDS = {
    "deque": "", "exception": "", "fstream": "", "functional": "", "iostream": "", "list": "", "map": "",
    "memory": "", "ostream": "", "regex": "", "set": "", "sstream": "", "stdexcept": "", "string": "", "thread": "", "mutex": "",
    "unordered_map": "", "unordered_set": "", "vector": "", "condition_variable": "",
}  # fmt: skip
MAX_LINES, SOFT_LINES, MAX_FUNCTION = 800, 500, 80
CODE = {".cc", ".h", ".c", ".def", ".py", ".fbs"}
URL_HOSTS = ("www.apache.org", "www.w3.org", "github.com", "onnx.ai", "numpy.org")
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|root|home/\w+|Users/\w+|opt/wheels)/")
UNCHECKED = re.compile(r"type\.shape(\[|\.(front|back|at)\(|\.(begin|end)\(\) *[-+])|std::vector<Dim>[ &]|\btern::Shape\b[ &]*\w")
INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]')


def tracked():
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    return [n for n in names if n and (ROOT / n).is_file()]


def lines_of(name):
    return (ROOT / name).read_text(errors="replace").splitlines()


def includes(name):
    for number, line in enumerate(lines_of(name), 1):
        found = INCLUDE.match(line)
        if found:
            yield number, found[1], found[2]


def check_arrows(files):
    for name in files:
        if Path(name).suffix not in {".cc", ".h", ".c", ".def"} or name.endswith("_test.cc"):
            continue
        folder = max((f for f in ARROWS if name.startswith(f + "/")), key=len, default=None)
        if not folder:
            continue
        for number, _, target in includes(name):
            if target.startswith(OURS) and not any(target.startswith(f + "/") for f in ARROWS[folder]):
                yield f"{name}:{number}: {folder} may not include {target} (it may see {', '.join(ARROWS[folder])})"
            if target.startswith(HOST_ONLY) and name.startswith(RUNTIME) and not name.startswith(HOST_ONLY):
                yield f"{name}:{number}: {target} is for tools, not for the runtime"


def check_runtime(files):
    for name in files:
        if not name.startswith(RUNTIME) or name.startswith(HOST_ONLY) or name.endswith("_test.cc"):
            continue
        if Path(name).suffix not in {".cc", ".h", ".c"}:
            continue
        for number, bracket, target in includes(name):
            if bracket == "<" and RUNTIME_FORBIDS.get(target) is not None:
                yield f"{name}:{number}: the runtime does without <{target}>: it brings allocation or the C++ library with it"
            if "flatbuffers" in target and not name.startswith("vm/"):
                yield f"{name}:{number}: only vm and the compiler know FlatBuffers"


def check_own_header_first(files):
    """foo.cc includes foo.h before anything else, which proves that foo.h stands alone."""
    known = set(files)
    for name in files:
        path = Path(name)
        own = str(path.with_suffix(".h"))
        if path.suffix != ".cc" or own not in known:
            continue
        first = next(includes(name), None)
        if first and first[2] != own:
            yield f"{name}:{first[0]}: includes {first[2]} before its own header {own}"


def check_length(files):
    for name in files:
        if Path(name).suffix in CODE and len(lines_of(name)) > MAX_LINES:
            yield f"{name}:1: {len(lines_of(name))} lines; a file has at most {MAX_LINES} (split it by concept)"


def check_pragma_once(files):
    for name in files:
        if name.endswith(".h") and "#pragma once" not in (ROOT / name).read_text():
            yield f"{name}:1: a header begins with #pragma once"


def check_machine(files):
    for name in files:
        if name == "LICENSE" or Path(name).suffix in {".png", ".npy", ".onnx", ".tern", ".bin"}:
            continue
        for number, line in enumerate(lines_of(name), 1):
            if MACHINE_PATH.search(line) and name != "tests/layering/check.py":
                yield f"{name}:{number}: names a path of one machine: {line.strip()[:80]}"
            for host in re.findall(r"https?://([\w.-]+)", line):
                if host not in URL_HOSTS:
                    yield f"{name}:{number}: names a host ({host}); link to nothing but {', '.join(URL_HOSTS)}"


def check_dimensions(files):
    """Importers read a value's dimensions by what refuses those that it lacks (compiler/onnx/dimensions.h)."""
    for name in files:
        if not name.startswith("compiler/onnx/") or name.endswith("_test.cc") or name.startswith("compiler/onnx/dimensions."):
            continue
        for number, line in enumerate(lines_of(name), 1):
            if UNCHECKED.search(line):
                yield f"{name}:{number}: dimension(), last_dimension() and dimensions() read what a model may lack; this does not: {line.strip()[:80]}"


def long_functions(files):
    """Functions over the limit, seen by layout: clang-format puts a definition's braces in column 0 (or one namespace deep)."""
    for name in files:
        if Path(name).suffix not in {".cc", ".c"}:
            continue
        start = None
        for number, line in enumerate(lines_of(name), 1):
            if re.match(r"^[\w].*\)( const| noexcept)? \{$", line) and not line.startswith(("namespace", "TEST_CASE")):
                start = number
            elif line.startswith("}") and start:
                if number - start > MAX_FUNCTION:
                    yield f"{name}:{start}: {number - start} lines"
                start = None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-v", action="store_true", help="also list files and functions over the soft limits")
    args = parser.parse_args()
    files = tracked()
    rules = [check_arrows, check_runtime, check_own_header_first, check_length, check_pragma_once, check_machine, check_dimensions]
    failed = 0
    for rule in rules:
        breaches = list(rule(files))
        failed += bool(breaches)
        for breach in breaches:
            print(breach)
        print(f"{rule.__name__.removeprefix('check_')}: {len(breaches)} breaches" if breaches else f"{rule.__name__.removeprefix('check_')}: ok")
    long_files = [n for n in files if Path(n).suffix in CODE and len(lines_of(n)) > SOFT_LINES]
    functions = list(long_functions(files))
    counts = sorted(len(lines_of(n)) for n in files if Path(n).suffix in {".cc", ".h", ".c"})
    middle = counts[len(counts) // 2] if counts else 0
    print(f"numbers: {len(counts)} C and C++ files, median {middle} lines, {len(long_files)} over {SOFT_LINES}, "
          f"{len(functions)} functions over {MAX_FUNCTION} lines")  # fmt: skip
    for item in [*long_files, *functions] if args.v else []:
        print("  " + item)
    print(f"{len(rules) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
