#!/usr/bin/env python3
"""Installs a build into a folder, moves that folder, and builds and runs samples/run_model.c and run_model_cpp.cc against it.

    install_test.py BUILD SOURCE MODULE
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

EXPECTED = "y [2x4] 33 63 93 123 33 63 93 123"
PROJECT = """cmake_minimum_required(VERSION 3.16)
project(user LANGUAGES C CXX)
set(CMAKE_CXX_STANDARD 17)
find_package(tern 0.1 REQUIRED)
find_package(Threads REQUIRED)
foreach(kind tern shared)
  add_executable(c_${kind} run_model.c)
  target_link_libraries(c_${kind} PRIVATE tern::${kind})
  add_executable(cpp_${kind} run_model_cpp.cc)
  target_link_libraries(cpp_${kind} PRIVATE tern::${kind} Threads::Threads)
endforeach()
"""


def call(*command, **options):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **options)
    if done.returncode:
        sys.exit(f"install_test: {' '.join(map(str, command))} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def check(program, module, expected=EXPECTED, **options):
    said = call(program, module, **options)
    if expected not in said:
        sys.exit(f"install_test: {program} said {said!r}, not {expected!r}")
    print(f"{Path(program).name}: ok")


def main():
    build, source, module = map(Path, sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        call("cmake", "--install", build, "--prefix", folder / "first")
        prefix = folder / "moved here"
        (folder / "first").rename(prefix)
        names = {p.name for p in prefix.rglob("*")}
        for name in ("tern", "tern.h", "tern.hpp", "libtern.a", "libtern.so", "tern.pc", "ternConfig.cmake"):
            if name not in names:
                sys.exit(f"install_test: {name} is not installed; there are {', '.join(sorted(names))}")
        for file in prefix.rglob("*"):
            if file.suffix in (".cmake", ".pc", ".h", ".hpp") and re.search(f"{source}|{build}", file.read_text()):
                sys.exit(f"install_test: {file} names a folder of the build")
        if "is sound" not in call(prefix / "bin" / "tern", "verify", module):
            sys.exit("install_test: the installed tern does not verify a module")
        user = folder / "user"
        user.mkdir()
        (user / "CMakeLists.txt").write_text(PROJECT)
        for name in ("run_model.c", "run_model_cpp.cc"):
            shutil.copy(source / "samples" / name, user)
        call("cmake", "-S", user, "-B", user / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
        call("cmake", "--build", user / "build")
        for kind in ("tern", "shared"):
            check(user / "build" / f"c_{kind}", module)
            check(user / "build" / f"cpp_{kind}", module, "inputs of 0: 30, inputs of 1: 33")
        if not shutil.which("pkg-config"):
            print("pkg-config is not here: left out")
            return
        library = next(prefix.rglob("libtern.a")).parent
        where = {**os.environ, "PKG_CONFIG_PATH": str(library / "pkgconfig")}
        compiler = os.environ.get("CC", "cc")
        call("sh", "-c", f'eval "{compiler} -o by_pc run_model.c $(pkg-config --cflags --libs tern)"', cwd=user, env=where)
        check(user / "by_pc", module, env={**where, "LD_LIBRARY_PATH": str(library)})


main()
