#!/usr/bin/env python3
"""What the fuzzers begin with, made anew: a folder for each of tests/fuzz/*_fuzzer.cc.

    corpora.py FOLDER [--rounds 2] [--seed 1] [--replay]

--replay runs NAME_replay, the fuzzer's function without libFuzzer that every build has, on each folder and on what tests/fuzz/found keeps of
earlier findings: everything must come through. For libFuzzer itself: docs/testing.md.
"""

import argparse
import io
import random
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnx_operands  # noqa: E402
import tern_tools as tools  # noqa: E402
from onnx import numpy_helper  # noqa: E402


def onnx_models(options):
    """ONNX's node tests, and models of each operator with operands that nobody thought of."""
    for path in sorted((Path(onnx.__file__).parent / "backend/test/data/node").glob("*/model.onnx")):
        if path.stat().st_size <= 16384:
            yield f"{path.parent.name}.onnx", path.read_bytes()
    for schema in sorted(onnx_operands.schemas(), key=lambda s: s.title):
        for seed in range(options.seed, options.seed + options.rounds):
            yield f"{schema.title}_{seed}.onnx", onnx_operands.model_of(schema, seed)


def device_files(options):
    """This machine's devices, and one that has everything."""
    yield "here.json", subprocess.run([tools.TERN, "devices", "--json"], capture_output=True, check=True).stdout
    rows = [line.split(",")[1].strip() for line in (tools.ROOT / "schemas/abi/capabilities.def").read_text().splitlines() if line.startswith("TERN_CAPABILITY(")]
    values = ", ".join(f'"{row}": 1000000' for row in rows)
    yield "all.json", f'[{{"driver": "vulkan", "capabilities": {{{values}}}}}]'.encode()


def executables(options):
    """Images of the CPU's kernels."""
    for path in sorted((tools.BUILD / "tests/hal_cts").glob("*.elf")):
        yield path.name, path.read_bytes()


def modules(options):
    """The VM's text tests, assembled."""
    for path in sorted((HERE.parent / "filetests/vm").glob("*.tvm")):
        out = options.folder / "module.tern"
        if subprocess.run([tools.BUILD / "bin/tern-as", path, "-o", out], capture_output=True).returncode == 0:
            yield f"{path.stem}.tern", out.read_bytes()
            out.unlink()


def tensor_files(options):
    arrays = [np.arange(6, dtype=t).reshape(2, 3) for t in ("f4", "f2", "i8", "u1", ">f4", "c8")] + [np.float32(1), np.zeros((0, 3), "f8"), np.array([True])]
    for i, array in enumerate(arrays):
        text = io.BytesIO()
        np.save(text, array)
        yield f"{i}.npy", text.getvalue()
    for save in (np.savez, np.savez_compressed):
        text = io.BytesIO()
        save(text, a=arrays[0], b=arrays[3])
        yield f"{save.__name__}.npz", text.getvalue()
    for i, array in enumerate(arrays[:4]):
        yield f"{i}.pb", numpy_helper.from_array(array, "t").SerializeToString()


MAKERS = {"onnx": onnx_models, "device_file": device_files, "elf_loader": executables, "module": modules, "tensor_file": tensor_files}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=MAKERS, default=[*MAKERS])
    parser.add_argument("--replay", action="store_true")
    options = parser.parse_args()
    failed = []
    for name in options.only:
        folder, count = options.folder / name, 0
        folder.mkdir(parents=True, exist_ok=True)
        for file, data in MAKERS[name](options):
            (folder / file).write_bytes(data)
            count += 1
        if not count:
            sys.exit(f"{name}: nothing to begin with")
        print(f"{name}: {count} files", end="", flush=True)
        if options.replay:
            found, begin = HERE / "found" / name, time.monotonic()
            done = subprocess.run([tools.BUILD / f"bin/{name}_replay", folder, *([found] if found.exists() else [])], capture_output=True, text=True, errors="replace")
            print(f", {done.stdout.strip()} run in {time.monotonic() - begin:.1f} s", end="")
            if done.returncode:
                failed.append(name)
                print(f"\n{done.stderr[-3000:]}", end="")
        print(flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
