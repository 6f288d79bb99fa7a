#!/usr/bin/env python3
"""Instructions that aarch64 kernels execute, counted under QEMU: there is no such processor here to take times on.

    aarch64.py [NAME…] [--cpu max]

For each model (tests/models/zoo.py) and level: executed instructions of one run, in millions, loading included; the share of
multiply-adds (fmla, sdot, usdot, bfdot: four, 16 or eight products each) in all of them, and in the inner loops: the blocks
whose instructions are multiply-adds by a third or more. Needs qemu-aarch64 with plugins, clang and build/aarch64's tern
(cmake --preset aarch64 && cmake --build --preset aarch64 --target tern).
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "support"))
sys.path.insert(0, str(HERE.parent / "tests" / "models"))

import tern_tools as tools  # noqa: E402
import zoo  # noqa: E402

LEVELS = {
    "mobilenet_v2": ["aarch64"],
    "resnet18": ["aarch64"],
    "bert_small": ["aarch64"],
    "mobilenet_v2_qdq": ["aarch64", "aarch64+dotprod", "aarch64+i8mm"],
    "bert_small_qdq": ["aarch64", "aarch64+dotprod", "aarch64+i8mm"],
}


def counts(model, level, plugin, cpu, folder):
    """[[all, products, loads, stores] of everything, of inner loops]"""
    module = folder / "m.tern"
    base = level.split("+")[0]
    targets = f"cpu:{base}" + ("" if base == level else f",cpu:{level}")
    subprocess.run([tools.TERNC, model, "-o", module, f"--targets={targets}", "-q"], check=True)
    run = subprocess.run(["qemu-aarch64", "-cpu", cpu, "-L", "/usr/aarch64-linux-gnu", "-plugin", plugin, tools.AARCH64, "run", module, "--threads", "1"],
                         check=True, capture_output=True, text=True)
    return [[int(n) for n in row.split()] for row in re.findall(r"^counts \d (.*)$", run.stderr, re.M)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(LEVELS), metavar="NAME")
    parser.add_argument("--cpu", default="max", help="of qemu-aarch64")
    options = parser.parse_args()
    tools.need_aarch64()
    print("| model | level | instructions, millions | multiply-adds | of inner loops | loads of inner loops |")
    print("|---|---|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        plugin = folder / "count.so"
        subprocess.run(["clang-19", "-O2", "-shared", "-fPIC", "-o", plugin, HERE / "aarch64" / "count_instructions.c"], check=True)
        for name in options.names:
            model = zoo.path_of(name)
            for level in LEVELS.get(name, ["aarch64"]):
                whole, inner = counts(model, level, plugin, options.cpu, folder)
                print(f"| {name} | {level} | {whole[0] / 1e6:.1f} | {whole[1] / whole[0]:.0%} | {inner[1] / max(inner[0], 1):.0%} | {inner[2] / max(inner[0], 1):.0%} |", flush=True)


if __name__ == "__main__":
    main()
