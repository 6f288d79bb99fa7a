"""GPU modules on whatever GPUs, or stand-ins for them, are here."""

import os
import re
from pathlib import Path

import numpy as np
import tern_tools as tools
from common import compiled, invoke, save


GPU_MODULE = r'''
function main
  input x i32 [4]
  output y i32 [4]
segment constants i32 10 20 30 40
segment code text ".version 7.5\n.entry add(\n"
executable cuda_ptx ptx segment 1 if cuda_compute_capability >= 80 entries "add" workgroup 64 1 1
source "add1" "Add"
program cuda
  slot input 0
  slot output 0
  slot constants 0
  kernel add (read, read, write) params 1 variants 0:0
  list {
    dispatch add [s0 +0 16, s2 +0 16, s1 +0 16] params 4 grid 1 1 1 scratch 0 source 0
  }
  routine main {
    submit 0
    return
  }
  entry main
'''


def test_require(folder):
    """What a GPU lacks: left out with a warning, or an error with the whole list."""
    model, module = Path(folder) / "m.tg", Path(folder) / "m.tern"
    # Nothing that ONNX can say is beyond Vulkan; sums of complex doubles are.
    model.write_text("""graph "wide" {
  input %x: c128[8,64] as "x"
  %s = reduce(%x) <op=add, axes=[1]>
  %m = reduce(%x) <op=mul, axes=[0]>
  output %s as "s"
  output %m as "m"
}
""")
    code, text = invoke(tools.TERNC, model, "-o", module, "--targets=cpu,vulkan")
    assert code == 0 and "there is no program for vulkan" in text and "--require=vulkan lists them" in text, text
    code, text = invoke(tools.TERNC, model, "-o", module, "--require=vulkan")
    assert code == 1 and "The model cannot run on vulkan; what it lacks (2)" in text, text
    assert text.count("workgroup memory of c128 has no form") == 2, text


def test_gpu_module(folder):
    """The cuda driver on the tests' libcuda, whose kernels are those of the HAL suite."""
    folder = Path(folder)
    (folder / "m.tvm").write_text(GPU_MODULE)
    module = folder / "m.tern"
    code, text = invoke(tools.BUILD / "bin" / "tern-as", folder / "m.tvm", "-o", module)
    assert code == 0, text
    code, text = invoke(tools.TERN, "run", module, "--driver", "auto")
    if "on cuda" not in text:  # no NVIDIA GPU here
        assert code == 3 and "no cuda device" in text and "no program for this device (driver 'cpu')" in text, text
    fake = next(tools.BUILD.glob("drivers/cuda/fake/*tern_fake_cuda*.so"))
    (folder / "libcuda.so.1").symlink_to(fake)
    gpu = {"env": {**os.environ, "LD_LIBRARY_PATH": str(folder)}}
    x = save(folder, np.array([1, 2, 3, 4], np.int32))
    code, text = invoke(tools.TERN, "run", module, "--driver", "auto", "-i", f"x={x}", "-o", folder, **gpu)
    assert code == 0 and "on cuda:0" in text and "code cuda_ptx" in text, text
    assert np.load(folder / "y.npy").tolist() == [11, 22, 33, 44]
    code, text = invoke(tools.TERN, "bench", module, "--driver", "cuda", "--runs", "5", "--dispatches", **gpu)
    assert code == 0 and "without copying inputs and outputs" in text and "add1 (Add)" in text, text
    code, text = invoke(tools.TERN, "run", compiled(folder), "--driver", "auto", **gpu)
    assert code == 0 and "on cpu:0" in text and "not on cuda:0: The module has no program for this device" in text, text
    code, text = invoke(tools.TERN, "devices", **gpu)
    assert code == 0 and "cuda_compute_capability" in text, text
    code, text = invoke(tools.TERN, "inspect", module)
    assert code == 0 and "64 threads" in text and "Ptx, for devices of cuda_compute_capability >= 80" in text, text
    code, text = invoke(tools.TERN, "run", module, "--driver", "cuda", "--device", "5", **gpu)
    assert code != 0, text


VULKAN_MODULE = GPU_MODULE.replace(
    GPU_MODULE[GPU_MODULE.index("segment code"):GPU_MODULE.index("source")],
    """segment code file "add.spv"
executable vulkan11 spirv segment 1 if vulkan_api_version >= 101 entries "add"@0 workgroup 64 1 1
""").replace("program cuda", "program vulkan")


def test_vulkan_module(folder):
    """The vulkan driver on whatever device there is (lavapipe in CI), with a kernel of the HAL suite."""
    folder = Path(folder)
    text = (tools.ROOT / "tests/hal_cts/vulkan_kernels.spv.inc").read_text()
    words = re.findall(r"0x([0-9a-f]{8})", text[text.index("spirv_add"):].split("};")[0])
    (folder / "add.spv").write_bytes(b"".join(int(word, 16).to_bytes(4, "little") for word in words))
    (folder / "v.tvm").write_text(VULKAN_MODULE.replace("add.spv", str(folder / "add.spv")))
    module = folder / "v.tern"
    code, text = invoke(tools.BUILD / "bin" / "tern-as", folder / "v.tvm", "-o", module)
    assert code == 0, text
    code, text = invoke(tools.TERN, "devices")
    if "vulkan:0" not in text:  # no Vulkan device here, or a build without the driver
        return
    assert "vulkan_workgroup_memory" in text, text
    x = save(folder, np.array([1, 2, 3, 4], np.int32))
    for driver in ("vulkan", "auto"):
        code, text = invoke(tools.TERN, "run", module, "--driver", driver, "-i", f"x={x}", "-o", folder)
        assert code == 0, text
        assert np.load(folder / "y.npy").tolist() == [11, 22, 33, 44]
    assert "on vulkan:0" in text and "code vulkan11" in text, text
    code, text = invoke(tools.TERN, "bench", module, "--driver", "vulkan", "--runs", "5", "--dispatches")
    assert code == 0 and "add1 (Add)" in text, text
    code, text = invoke(tools.TERN, "run", compiled(folder), "--driver", "vulkan")
    assert code == 3 and "no program for this device (driver 'vulkan')" in text, text
