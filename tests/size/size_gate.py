#!/usr/bin/env python3
"""Builds the smallest program that loads and runs a CPU module, runs it, and gates its size.

    size_gate.py SOURCE_DIR BUILD_DIR MODULE [--limit BYTES]

The program is tests/size/minimal.c against libtern.a of the min-size preset: static, sections collected, stripped. Its code and
data without the C library's own is what the linker's map assigns to our objects. What must hold: at most --limit bytes (default
65536), and libtern.a wants no symbol of libstdc++ or of C++'s runtime.
"""
import argparse
import collections
import re
import subprocess
import sys
from pathlib import Path

# Bytes of the GPU drivers, by the same measure as the rest; they are not part of libtern.a.
DRIVER_LIMITS = {"cuda": 61440, "vulkan": 61440}


def run(*command):
    result = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"size_gate: {' '.join(map(str, command))}\n{result.stdout}{result.stderr}")
    return result.stdout


def sizes_by_object(map_text):
    """Bytes of each of our objects, by kind of section, from an ld.lld map."""
    sizes = collections.defaultdict(collections.Counter)
    line_form = re.compile(r"^\s*[0-9a-f]+\s+[0-9a-f]+\s+([0-9a-f]+)\s+\d+ {9}(\S+):\((\.[^)]*)\)$")
    for line in map_text.splitlines():
        match = line_form.match(line)
        if not match:
            continue
        size, origin, section = int(match[1], 16), match[2], match[3]
        ours = re.search(r"libtern\.a\((.*)\)$", origin) or re.search(r"(minimal\.o)$", origin)
        kind = section.split(".")[1].split("+")[0]
        if ours and kind in ("text", "rodata", "data", "bss", "eh_frame", "init_array", "tdata", "tbss"):
            sizes[ours[1]][kind] += size
    return sizes


def add_strings(sizes, archive):
    """The linker merges string literals of all objects and does not say whose they are: counted here as each object has them."""
    member = None
    for line in run("llvm-size-19", "-A", archive).splitlines():
        name = re.match(r"(\S+\.o)\s", line)
        member = name[1] if name else member
        section = re.match(r"\.rodata\.str\S*\s+(\d+)", line)
        if section and member in sizes:
            sizes[member]["strings"] += int(section[1])


def driver_bytes(archive):
    """What a driver's archive adds to a program, before the linker leaves out what nobody calls: code, data, strings."""
    total = 0
    for line in run("llvm-size-19", "-A", archive).splitlines():
        section = re.match(r"\.(text|rodata|data|bss|eh_frame|init_array|tdata|tbss)\S*\s+(\d+)", line)
        total += int(section[2]) if section else 0
    return total


def gate_drivers(build):
    """The drivers that programs add to libtern.a: each within the limit of its row, where it is built."""
    run("ninja", "-C", build, "-j2", "drivers/all")
    for name, limit in DRIVER_LIMITS.items():
        archive = build / "lib" / f"libtern_driver_{name}.a"
        if not archive.exists():
            print(f"{name} driver: not built here")
            continue
        total = driver_bytes(archive)
        print(f"{name} driver: {total} bytes of {limit}")
        if not 5000 < total <= limit:
            sys.exit(f"size_gate: the {name} driver has {total} bytes; its limit is {limit}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("build", type=Path)
    parser.add_argument("module", type=Path)
    parser.add_argument("--limit", type=int, default=65536)
    args = parser.parse_args()

    if not (args.build / "build.ninja").exists():
        run("cmake", "-S", args.source, "-B", args.build, "-G", "Ninja", "-DCMAKE_C_COMPILER=clang-19",
            "-DCMAKE_CXX_COMPILER=clang++-19", "-DCMAKE_BUILD_TYPE=MinSizeRel", "-DTERN_MIN_SIZE=ON",
            "-DTERN_BUILD_COMPILER=OFF", "-DTERN_BUILD_TESTS=OFF",
            "-DCMAKE_C_COMPILER_LAUNCHER=ccache", "-DCMAKE_CXX_COMPILER_LAUNCHER=ccache")
    run("ninja", "-C", args.build, "-j2", "libtern")
    archive = args.build / "lib" / "libtern.a"

    foreign = [line for line in run("llvm-nm-19", "-u", archive).splitlines()
               if re.search(r" U (_ZS|_Zn|_Zd|_ZTI|_ZTV|__cxa|__gxx|_Unwind|__dynamic_cast)", line)]
    if foreign:
        sys.exit("size_gate: libtern.a needs the C++ runtime:\n" + "\n".join(foreign))

    program, linker_map, minimal = args.build / "minimal", args.build / "minimal.map", args.build / "minimal.o"
    run("clang-19", "-Oz", "-ffunction-sections", "-fdata-sections", f"-I{args.source}/vm/include",
        "-c", args.source / "tests/size/minimal.c", "-o", minimal)
    run("clang-19", "-static", "-s", "-fuse-ld=lld", f"-Wl,--gc-sections,-Map={linker_map}", minimal, archive,
        "-lm", "-lpthread", "-o", program)
    sys.stdout.write(run(program, args.module))

    sizes = sizes_by_object(linker_map.read_text())
    add_strings(sizes, archive)
    kinds = collections.Counter()
    for name, by_kind in sorted(sizes.items(), key=lambda item: -sum(item[1].values())):
        kinds.update(by_kind)
        print(f"{sum(by_kind.values()):7}  {name}")
    total = sum(kinds.values())
    print(", ".join(f"{kind} {size}" for kind, size in kinds.most_common()))
    print(f"code and data without the C library: {total} bytes of {args.limit} ({total / 1024:.1f} KB)")
    print(f"whole static program: {program.stat().st_size} bytes")
    if total < 10000:
        sys.exit("size_gate: that is too little to be true: the linker map was not understood")
    if total > args.limit:
        sys.exit(f"size_gate: {total} bytes are over the limit of {args.limit}")
    gate_drivers(args.build)


main()
