#!/usr/bin/env python3
"""Compiles FILE.comp with glslangValidator (Debian: glslang-tools) into FILE.spv.inc: one array `spirv_NAME` for each
`KERNEL_NAME` that the file asks for.

    make_spirv.py FILE.comp...
"""
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path


def compile_kernel(source, kernel):
    with tempfile.NamedTemporaryFile(suffix=".spv") as out:
        subprocess.run(["glslangValidator", "-V", "--quiet", "--target-env", "vulkan1.1", f"-DKERNEL_{kernel}", "-o", out.name,
                        str(source)], check=True)
        code = Path(out.name).read_bytes()
    return [f"0x{word:08x}" for word in struct.unpack(f"<{len(code) // 4}I", code)]


for source in map(Path, sys.argv[1:]):
    lines = [f"// Made by make_spirv.py: {source.name} as SPIR-V 1.3.", "#include <stdint.h>"]
    for name in dict.fromkeys(re.findall(r"defined\(KERNEL_(\w+)\)", source.read_text())):
        words = compile_kernel(source, name)
        lines.append(f"static const uint32_t spirv_{name}[] = {{")
        lines += ["    " + ", ".join(words[i:i + 8]) + "," for i in range(0, len(words), 8)]
        lines.append("};")
    source.with_suffix(".spv.inc").write_text("\n".join(lines) + "\n")
