"""GPU modules on whatever GPUs, or stand-ins for them, are here."""

import json
import os
import re
import sys
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
    gpu = {"env": {**os.environ, "LD_LIBRARY_PATH": str(folder), "TERN_CACHE_DIR": str(folder / "cache")}}
    x = save(folder, np.array([1, 2, 3, 4], np.int32))
    code, text = invoke(tools.TERN, "run", module, "--driver", "auto", "-i", f"x={x}", "-o", folder, **gpu)
    assert code == 0 and "on cuda:0" in text and "code cuda_ptx" in text, text
    assert np.load(folder / "y.npy").tolist() == [11, 22, 33, 44]
    assert [file.suffix for file in (folder / "cache").iterdir()] == [".cubin"]
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


def bytes_model():
    """Convolutions of few, 16 and 20 channels and a product of few rows, of u8 with i8 in i32."""
    def weights(*shape):
        numbers = ", ".join(str(i * 37 % 255 - 127) for i in range(int(np.prod(shape))))
        return f"i8[{','.join(map(str, shape))}] {{{numbers}}}"

    def layer(number, x, kernel, stride, pad, shape):
        both = lambda n: f"[{n},{n}]"
        return f"""  %w{number} = constant {kernel}
  %s{number} = conv(%{x}, %w{number}) <strides={both(stride)}, low={both(pad)}, high={both(pad)}, dilations=[1,1], lhs_dilations=[1,1], groups=1, accumulate=i32, pad_value=7>
  %c{number} = constant i32[] {{255}}
  %m{number} = broadcast(%c{number}) <shape=[{shape}]>
  %a{number} = and(%s{number}, %m{number})
  %u{number} = cast(%a{number}) <to=u8>
"""
    return ('graph "bytes" {\n  input %x: u8[1,3,17,15] as "x"\n' + layer(0, "x", weights(16, 3, 3, 3), 2, 1, "1,16,9,8")
            + layer(1, "u0", weights(20, 16, 3, 3), 1, 1, "1,20,9,8") + layer(2, "u1", weights(24, 20, 1, 1), 1, 0, "1,24,9,8")
            + f"""  %r = reshape(%u2) <shape=[2,864]>
  %w3 = constant {weights(864, 10)}
  %y = dot(%r, %w3) <accumulate=i32>
  output %y as "y"
}}
""")


def test_bytes_on_vulkan(folder):
    """Bytes as floats and by dot products of both kinds: the CPU's numbers, and no message of the validation layers."""
    folder = Path(folder)
    code, devices = invoke(tools.TERN, "devices", "--json")
    assert code == 0, devices
    row = r'("vulkan_integer_dot_product": )[1-9]'
    if not re.search(row, devices):  # no Vulkan device here that has them, or a build without the driver
        return
    (folder / "m.tg").write_text(bytes_model())
    x = save(folder, np.arange(3 * 17 * 15, dtype=np.int64).reshape(1, 3, 17, 15).astype(np.uint8))
    want = None
    for fast, targets in ((0, "cpu"), (0, "device"), (2, "device"), (3, "device"), (3, "vulkan")):
        (folder / "device.json").write_text(re.sub(row, rf"\g<1>{fast}", devices))
        targets = f"vulkan:{folder}/device.json" if targets == "device" else targets
        module = folder / "m.tern"
        code, text = invoke(tools.TERNC, folder / "m.tg", "-o", module, f"--targets={targets}")
        assert code == 0, text
        run = [tools.TERN, "run", module, "--driver", "cpu" if targets == "cpu" else "vulkan", "-i", f"x={x}", "-o", folder]
        if targets != "cpu":
            code, text = invoke(tools.TERN, "inspect", module)
            assert code == 0 and ("dot products of four" in text) == (fast > 0), text
            if fast == 2 or targets == "vulkan":
                code, text = invoke(sys.executable, tools.ROOT / "tests/hal_cts/vulkan_validation.py", *run)
                assert code == 77 or text.count(" 0 validation messages") == 2, text
        code, text = invoke(*run)
        assert code == 0, text
        y = np.load(folder / "y.npy")
        if want is None:
            want = y
        assert (y == want).all(), (targets, fast, y, want)


def attention_model():
    """A product by constant weights, a convolution, and attention of 40 queries, in f32."""
    def weights(*shape):
        numbers = ", ".join(str((i * 5 % 13 - 6) * 0.125) for i in range(int(np.prod(shape))))
        return f"f32[{','.join(map(str, shape))}] {{{numbers}}}"

    return f"""graph "attention" {{
  input %x: f32[40,32] as "x"
  input %i: f32[1,16,6,7] as "i"
  %w = constant {weights(32, 96)}
  %p = dot(%x, %w)
  %q0 = slice(%p) <starts=[0,0], sizes=[40,32], steps=[1,1]>
  %k0 = slice(%p) <starts=[0,32], sizes=[40,32], steps=[1,1]>
  %v0 = slice(%p) <starts=[0,64], sizes=[40,32], steps=[1,1]>
  %q = abs(%q0)
  %k = neg(%k0)
  %v = abs(%v0)
  %kt = transpose(%k) <perm=[1,0]>
  %s = dot(%q, %kt)
  %m = reduce(%s) <op=max, axes=[1]>
  %mr = reshape(%m) <shape=[40,1]>
  %mb = broadcast(%mr) <shape=[40,40]>
  %d = sub(%s, %mb)
  %e = exp(%d)
  %t = reduce(%e) <op=add, axes=[1]>
  %tr = reshape(%t) <shape=[40,1]>
  %tb = broadcast(%tr) <shape=[40,40]>
  %a = div(%e, %tb)
  %o = dot(%a, %v)
  %n = neg(%i)
  %f = constant {weights(24, 16, 3, 3)}
  %c = conv(%n, %f) <strides=[1,1], low=[1,1], high=[1,1], dilations=[1,1], lhs_dilations=[1,1], groups=1>
  output %o as "o"
  output %c as "c"
}}
"""


def test_device_lacks(folder):
    """Kernels that a device's file says it cannot run: an error with what it lacks, or a warning beside another target."""
    folder = Path(folder)
    (folder / "m.tg").write_text('graph "m" {\n  input %x: i64[8] as "x"\n  %y = mul(%x, %x)\n  output %y as "y"\n}\n')
    (folder / "phone.json").write_text(json.dumps([{"driver": "vulkan", "capabilities": {"vulkan_api_version": 101}}], indent=2))
    module = folder / "m.tern"
    targets = f"vulkan:{folder}/phone.json"
    lacks = "vulkan_int64 must be at least 1 and is 0 (Vulkan: 64-bit integers in shaders)"
    code, text = invoke(tools.TERNC, folder / "m.tg", "-o", module, f"--targets={targets}")
    assert code == 1 and "do not run on the device of" in text and lacks in text and not module.exists(), (code, text)
    code, text = invoke(tools.TERNC, folder / "m.tg", "-o", module, f"--targets=cpu,{targets}", "--require=vulkan")
    assert code == 1 and lacks in text and not module.exists(), (code, text)
    code, text = invoke(tools.TERNC, folder / "m.tg", "-o", module, f"--targets=cpu,{targets}")
    assert code == 0 and "warning: " in text and lacks in text, (code, text)


def test_shapes_of_matrices(folder):
    """A device's file with each shape of cooperative matrices: a module of that level, whose shaders the validator takes."""
    folder = Path(folder)
    table = (tools.ROOT / "schemas/abi/matrix_shapes.def").read_text()
    shapes = re.findall(r"^TERN_MATRIX_SHAPE\((\w+), \w+, (\d+), (\d+), (\d+), (\d+)\)", table, re.M)
    levels = (tools.ROOT / "compiler/lower/matrix_levels.def").read_text()
    levels = re.findall(r"^TERN_MATRIX_LEVEL\(\w+, \"(\w+)\", (\w+), (\w+),", levels, re.M)
    assert len(shapes) > 10 and {row for row, *_ in shapes} == {row for _, _, row in levels}, (shapes, levels)
    (folder / "bytes.tg").write_text(bytes_model())
    (folder / "floats.tg").write_text(attention_model())
    rows = {"vulkan_api_version": 103, "vulkan_subgroup_size": 32, "vulkan_subgroup_shuffle": 1, "vulkan_int8": 1,
            "vulkan_float16": 1, "vulkan_storage_16bit": 1, "vulkan_storage_8bit": 1, "vulkan_workgroup_memory": 49152,
            "vulkan_workgroup_invocations": 1024, "vulkan_matrix_rate": 16, "vulkan_int64": 1, "vulkan_storage_buffers": 24}
    models = {"kI8": [("bytes", "f32")], "kF16": [("floats", "f16"), ("bytes", "f32")], "kBF16": [("floats", "bf16")],
              "kF32": [("floats", "f32")]}
    for level, tiles, row in levels:
        m, n, k, subgroup = next(shape[1:] for shape in shapes if shape[0] == row)
        device = folder / "device.json"
        device.write_text(json.dumps([{"driver": "vulkan", "capabilities": rows | {row: 1}}], indent=2))
        for model, precision in models[tiles]:
            module = folder / "m.tern"
            code, text = invoke(tools.TERNC, folder / f"{model}.tg", "-o", module, f"--targets=vulkan:{device}", f"--precision={precision}")
            if "cooperative matrices are left out" in text:  # Debian's Shaderc does not know them
                return
            assert code == 0, (level, text)
            code, text = invoke(tools.TERN, "inspect", module)
            usual = subgroup == "32" and (m, n) == ("16", "16")
            assert code == 0 and f"code {level}:" in text, (level, model, precision, text)
            assert usual or f"tiles {m}x{n}x{k} of {subgroup}" in text, (level, model, precision, text)


def test_floor(folder):
    """What is compiled for the floor of Vulkan alone binds four buffers, and what a device lacks is said by name and value."""
    folder = Path(folder)
    names = "abcdef"
    shape = "f32[3,50]"
    lines = [f'  input %{n}: {shape} as "{n}"' for n in names]
    lines += [f"  %s{i} = {'add' if i % 2 else 'mul'}(%{f's{i - 1}' if i > 1 else 'a'}, %{names[i]})" for i in range(1, 6)]
    (folder / "m.tg").write_text('graph "sums" {\n' + "\n".join(lines) + '\n  output %s5 as "y"\n}\n')
    (folder / "few.json").write_text(json.dumps([{"driver": "vulkan", "capabilities": {"vulkan_api_version": 103, "vulkan_storage_buffers": 4}}], indent=2))
    inputs = {n: np.random.default_rng(i).standard_normal((3, 50)).astype(np.float32) for i, n in enumerate(names)}
    for n, x in inputs.items():
        np.save(folder / f"{n}.npy", x)
    given = [word for n in names for word in ("-i", f"{n}={folder}/{n}.npy")]
    want = inputs["a"]
    for i in range(1, 6):
        want = want + inputs[names[i]] if i % 2 else want * inputs[names[i]]
    code, devices = invoke(tools.TERN, "devices")
    for targets, few in ("vulkan:1.1", True), (f"vulkan:{folder}/few.json", True), ("vulkan", False):
        code, text = invoke(tools.TERNC, folder / "m.tg", "-o", folder / "m.tern", f"--targets={targets}")
        assert code == 0, text
        code, text = invoke(tools.TERN, "inspect", folder / "m.tern")
        assert code == 0 and ("vulkan_storage_buffers >= 7" not in text) == few, (targets, text)
        assert not few or "vulkan_storage_buffers" not in text, text
        if "vulkan:0" in devices:
            code, text = invoke(tools.TERN, "run", folder / "m.tern", "--driver", "vulkan", *given, "-o", folder)
            assert code == 0, text
            assert np.allclose(np.load(folder / "y.npy"), want, rtol=1e-6), targets
    (folder / "m.tg").write_text('graph "long" {\n  input %x: f32[40000000] as "x"\n  %y = neg(%x)\n  output %y as "y"\n}\n')
    code, text = invoke(tools.TERNC, folder / "m.tg", "-o", folder / "m.tern", "--targets=vulkan:1.1")
    assert code == 0, text
    code, text = invoke(tools.TERN, "inspect", folder / "m.tern")
    assert code == 0 and "vulkan_storage_range >= 160000000" in text, text
