#!/usr/bin/env python3
"""Compiles vulkan_kernels.comp with glslangValidator (Debian: glslang-tools) into vulkan_kernels.spv.inc: one array a kernel."""
import re
import struct
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main():
    kernels = re.findall(r"ROW\((\w+), \d+, \d+\)", (HERE / "kernels.h").read_text())
    lines = ["// Made by make_vulkan_kernels.py: vulkan_kernels.comp as SPIR-V 1.3."]
    for kernel in kernels:
        with tempfile.NamedTemporaryFile(suffix=".spv") as out:
            subprocess.run(["glslangValidator", "-V", "--quiet", "--target-env", "vulkan1.1", f"-DKERNEL_{kernel}", "-o", out.name,
                            str(HERE / "vulkan_kernels.comp")], check=True)
            code = Path(out.name).read_bytes()
        words = [f"0x{word:08x}" for word in struct.unpack(f"<{len(code) // 4}I", code)]
        lines.append(f"static const uint32_t spirv_{kernel}[] = {{")
        lines += ["    " + ", ".join(words[i:i + 8]) + "," for i in range(0, len(words), 8)]
        lines.append("};")
    (HERE / "vulkan_kernels.spv.inc").write_text("\n".join(lines) + "\n")


main()
