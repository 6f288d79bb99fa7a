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
add_executable(options options.c)
target_link_libraries(options PRIVATE tern::tern)
"""
# A device that is told more than where it is: what the CPU driver's options change can be seen, those of GPUs compile.
OPTIONS = r"""#include <stdio.h>
#include <tern/driver_options.h>
#include <tern/tern.h>

enum {
#define TERN_VULKAN_QUIRK(bit, name, condition, reason) quirk_##name = 1 << bit,
#include <tern/vulkan_quirks.def>
#undef TERN_VULKAN_QUIRK
#define TERN_CAPABILITY(id, name, meaning) capability_##name = id,
#include <tern/capabilities.def>
#undef TERN_CAPABILITY
};

int main(void) {
  tern_cpu_options_t cpu = {.spin_ns = 1, .x86_level_limit = 2};
  tern_cuda_options_t cuda = {.pool_bytes = 1 << 20};
  tern_vulkan_options_t vulkan = {.cache_dir = "", .quirks_on = quirk_staged_transfers};
  tern_device_desc_t desc = {.driver = "cpu", .driver_options = &cpu};
  tern_instance_t* instance;
  tern_device_t* device;
  int64_t level = -1;
  if (tern_instance_create(NULL, &instance) || tern_cpu_driver_register(tern_instance_drivers(instance)) ||
      tern_device_create(instance, &desc, &device) || tern_device_query_capability(device, capability_x86_level, &level))
    return 1;
  printf("level at most 2: %s\n", level <= 2 && cuda.pool_bytes && vulkan.quirks_on ? "yes" : "no");
  tern_device_release(device);
  tern_instance_destroy(instance);
  return 0;
}
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
        (user / "options.c").write_text(OPTIONS)
        call("cmake", "-S", user, "-B", user / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
        call("cmake", "--build", user / "build")
        said = call(user / "build" / "options")
        if said != "level at most 2: yes\n":
            sys.exit(f"install_test: options said {said!r}")
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
