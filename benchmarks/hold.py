#!/usr/bin/env python3
"""An environment whose libraries see a processor without AVX-512 and VNNI, whatever this one has.

    hold.py ENVIRONMENT FOLDER PACKAGE...   makes FOLDER: ENVIRONMENT's files, but libraries of those packages that ask what the
                                            processor can do are copies that ask hold_cpuid.c

Each `cpuid` instruction of those becomes `ud0`, two bytes as well, which hold_cpuid.c (FOLDER/hold.so, preloaded) answers; compilers'
own traps are `ud2`. A package of which no library asks is an error: its name is not what it was, and nothing would be held. What a
library asks otherwise (few do), or asks in code that it makes at run time, is not held.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CPUID, UD0 = b"\x0f\xa2", b"\x0f\xff"
LARGEST = 100 << 20  # what is larger compiles or trains: nobody's kernels here


def segments(library):
    """(address, offset, size) of what is loaded."""
    text = subprocess.run(["readelf", "-lW", library], capture_output=True, text=True, check=True).stdout
    return [tuple(int(n, 16) for n in (m[2], m[1], m[3])) for m in re.finditer(r"^\s+LOAD\s+(0x\w+) (0x\w+) 0x\w+ (0x\w+)", text, re.M)]


def questions(library):
    """Offsets in the file of its cpuid instructions."""
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", library], capture_output=True, text=True, check=True).stdout
    addresses = [int(m, 16) for m in re.findall(r"^\s*(\w+):\s+cpuid", text, re.M)]
    return [offset + a - start for a in addresses for start, offset, size in segments(library) if start <= a < start + size]


def held(library):
    """The library's bytes with its questions replaced, or None if it has none."""
    code = library.read_bytes()
    if code[:4] != b"\x7fELF" or CPUID not in code or len(code) > LARGEST:
        return None
    code, places = bytearray(code), questions(library)
    for place in places:
        if code[place : place + 2] != CPUID:
            raise SystemExit(f"{library}: no cpuid at {place:#x}")
        code[place : place + 2] = UD0
    return code if places else None


def link(source, target, packages):
    """Links target to source, but for folders on the way to libraries of those packages; the copies."""
    target.mkdir(parents=True, exist_ok=True)
    copies = []
    for file in source.iterdir():
        copy = target / file.name
        if file.is_symlink() and file.resolve() == (source / "lib").resolve() and file.name != "lib":
            copy.symlink_to("lib")
        elif file.is_dir() and (file.name in ("bin", "lib", "site-packages") or file.name.startswith("python") or "*" in packages):
            copies += link(file, copy, packages)
        elif file.is_dir() and any(file.name.startswith(p) for p in packages):
            copies += link(file, copy, ["*"])
        else:
            wanted = ".so" in file.name and ("*" in packages or any(file.name.startswith(p) for p in packages))
            code = held(file) if wanted else None
            if code:
                copy.write_bytes(code)
                copies.append(copy)
            else:
                copy.symlink_to(file)
    return copies


def main():
    source, target, *packages = sys.argv[1:]
    shutil.rmtree(target, ignore_errors=True)
    missing = [tool for tool in ("cc", "objdump", "readelf") if not shutil.which(tool)]
    if missing:
        raise SystemExit(f"hold.py needs {' and '.join(missing)}, which this machine lacks.")
    copies = link(Path(source).absolute(), Path(target).absolute(), packages)
    for package in packages:
        if not any(part.startswith(package) for copy in copies for part in copy.relative_to(Path(target).absolute()).parts):
            raise SystemExit(f"No library of {package} in {source} asks for the processor's features by cpuid, so it cannot be held.")
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", HERE / "hold_cpuid.c", "-o", Path(target) / "hold.so"], check=True)


main()
