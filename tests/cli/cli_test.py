#!/usr/bin/env python3
"""What ternc and tern promise on the command line: exit codes, messages, files, and that no damaged file crashes them.

    cli_test.py [NAME…]      every test function whose name contains one of the words
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import tern_tools as tools  # noqa: E402
from builder import FLOAT, Graph, conv, gemm  # noqa: E402
from onnx import TensorProto, helper  # noqa: E402

FLIPS = 300  # damaged files tried per kind


def invoke(*command, **options):
    """(exit code, output and errors together). A death by signal is a failure of the test that called."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, errors="replace", timeout=120, **options)
    assert done.returncode >= 0, f"{Path(command[0]).name} died of signal {-done.returncode}\n{done.stderr[-800:]}"
    return done.returncode, done.stdout + done.stderr


def small_graph(**options):
    g = Graph("small", seed=1)
    x = g.input("x", FLOAT, [options.get("batch", 1), 3, 16, 16])
    y = g.op("Relu", conv(g, x, 3, 8, 3, name="conv"))
    y = gemm(g, g.op("Flatten", g.op("GlobalAveragePool", y), axis=1), 8, 4)
    g.output(y, "y", FLOAT, [options.get("batch", 1), 4])
    return g


def small(folder, **options):
    path = Path(folder) / "small.onnx"
    small_graph(**options).save(path)
    return path


def compiled(folder):
    module = Path(folder) / "small.tern"
    code, text = invoke(tools.TERNC, small(folder), "-o", module)
    assert code == 0, text
    return module


# ---- ternc ------------------------------------------------------------------------------------------------------------


def test_same_input_gives_same_bytes(folder):
    model = small(folder)
    modules = [Path(folder) / f"{i}.tern" for i in range(2)]
    for m in modules:
        tools.compile_model(model, m)
    assert modules[0].read_bytes() == modules[1].read_bytes(), "two compilations differ"


def test_ternc_reports_what_it_made(folder):
    code, text = invoke(tools.TERNC, small(folder), "-o", Path(folder) / "m.tern")
    assert code == 0, text
    for word in ("dispatch", "weights", "arena"):
        assert word in text.lower(), f"the report does not mention {word}:\n{text}"


def test_precision(folder):
    model, x = small(folder), np.random.default_rng(2).standard_normal((1, 3, 16, 16)).astype(np.float32)
    results = {}
    for precision in ("f32", "f16", "bf16"):
        module = Path(folder) / f"{precision}.tern"
        code, text = invoke(tools.TERNC, model, "-o", module, f"--precision={precision}", "-v")
        assert code == 0, text
        assert (f"stored as {precision}: " in text) == (precision != "f32"), text
        (results[precision],) = tools.run_module(module, {"x": x}, ["y"], folder)
    error = {p: np.abs(y - results["f32"]).max() / np.abs(results["f32"]).max() for p, y in results.items()}
    assert 0 < error["f16"] < 2e-3 and error["f16"] < error["bf16"] < 2e-2, error


def test_keep_f32(folder):
    model, module = small(folder), Path(folder) / "m.tern"
    name = next(n.name for n in onnx.load(model).graph.node if n.op_type == "Conv")
    output = next(n.output[0] for n in onnx.load(model).graph.node if n.op_type == "Conv")
    for word in (name, output):
        code, text = invoke(tools.TERNC, model, "-o", module, "--precision=f16", f"--keep-f32={word}", "-v")
        assert code == 0 and "--keep-f32 asks for it" in text, text


def test_precision_errors(folder):
    model, module = small(folder), Path(folder) / "m.tern"
    for options, expected, words in (
        (["--precision=f8"], 2, "--precision is f32, tf32, f16 or bf16, not 'f8'."),
        (["--keep-f32=conv"], 2, "--keep-f32 makes exceptions to --precision=tf32, f16 or bf16; with f32 there are none."),
        (["--precision=f16", "--keep-f32=absent"], 1, "--keep-f32 names 'absent', which is no node of the model"),
    ):
        code, text = invoke(tools.TERNC, model, "-o", module, *options)
        assert code == expected and words in text, text
        assert not module.exists(), "a failed compilation left an output file"


def test_what_a_new_user_tries(folder):
    """An option does not take the model that follows it; names that nothing has are said, with what there is."""
    model, module = small(folder), compiled(folder)
    code, text = invoke(tools.TERNC, "--shape", "x=1x3x16x16", model, "-o", Path(folder) / "m.tern")
    assert code == 0, text
    code, text = invoke(tools.TERNC, "--dim", "N=3", model, "-o", Path(folder) / "n.tern")
    assert code == 1 and "--dim names the symbol 'N', which no input has; all their dimensions are fixed." in text, text
    symbolic = Path(folder) / "symbolic.tern"
    for dim, said in (("N=1:10:20", "the usual value (20) is not between 1 and 10."), ("N=5:1", "the least value (5) is above the greatest (1).")):
        code, text = invoke(tools.TERNC, small(folder, batch="N"), "--dim", dim, "-o", symbolic)
        assert code == 2 and said in text and not symbolic.exists(), text
    code, text = invoke(tools.TERNC, small(folder, batch="N"), "-o", symbolic)
    assert code == 0, text
    for words, expected, said in (
        (["run", symbolic, "--shape", f"N={1 << 40}"], 1, f"There is no memory for the {(3 * 16 * 16 * 4) << 40} bytes of input 'x'."),
        (["run", symbolic, "--shape", f"N={1 << 62}"], 1, "would have more than"),
        (["bench", module, "--seconds", "nan"], 2, "'nan' is no number between 0 and 1e+06."),
        (["bench", module, "--peak-gbs", "-4"], 2, "'-4' is no number between 0.001 and 1e+09."),
        (["run", module, "--driver", "cud"], 2, "--driver is cpu, cuda, vulkan, null or auto, not 'cud'."),
        (["run", Path(folder) / "absent.tern"], 4, "No such file"),
        (["run", model], 3, "is no tern module: `ternc "),
    ):
        code, text = invoke(tools.TERN, *words)
        assert code == expected and said in text, f"{code} {text}"


def test_output_path_is_checked_first(folder):
    model = small(folder)
    before = model.read_bytes()
    code, text = invoke(tools.TERNC, model, "-o", model)
    assert code == 2 and "is the model itself" in text and model.read_bytes() == before, text
    code, text = invoke(tools.TERNC, model, "-o", folder)
    assert code == 4 and "is a folder" in text, text
    code, text = invoke(tools.TERNC, model, "-o", Path(folder) / "absent" / "m.tern")
    assert code == 4 and "there is no folder" in text, text


def test_library_from_python(folder):
    """What benchmarks/peers/tern.py declares is what tern.h declares."""
    library = tools.BUILD / "lib" / "libtern.so"
    if not library.exists():
        return  # not in builds with sanitizers
    module, x = compiled(folder), np.random.default_rng(6).standard_normal((1, 3, 16, 16)).astype(np.float32)
    os.environ["TERN_LIBRARY"] = str(library)
    sys.path.insert(0, str(tools.ROOT / "benchmarks"))
    from peers import tern

    run, outputs = tern.load(module, {"x": x}, 2)
    run()
    (wanted,) = tools.run_module(module, {"x": x}, ["y"], folder)
    assert np.array_equal(outputs()[0], wanted), f"{outputs()[0]} is not {wanted}"


def test_check_writes_nothing(folder):
    model = small(folder)
    code, text = invoke(tools.TERNC, "--check", model, cwd=folder)
    assert code == 0, text
    assert [p.name for p in Path(folder).iterdir()] == ["small.onnx"], "--check left a file"


def test_all_unsupported_operators_in_one_report(folder):
    nodes = [helper.make_node("Frobnicate", ["x"], ["a"], domain="example"), helper.make_node("Twist", ["a"], ["y"], domain="example")]
    info = lambda n: helper.make_tensor_value_info(n, FLOAT, [2])
    graph = helper.make_graph(nodes, "g", [info("x")], [info("y")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("example", 1)])
    model.ir_version = 8
    path, module = Path(folder) / "odd.onnx", Path(folder) / "odd.tern"
    onnx.save(model, path)
    code, text = invoke(tools.TERNC, path, "-o", module)
    assert code != 0 and "Frobnicate" in text and "Twist" in text, text
    assert not module.exists(), "a failed compilation left an output file"


def test_no_such_file(folder):
    code, text = invoke(tools.TERNC, Path(folder) / "absent.onnx", "-o", Path(folder) / "m.tern")
    assert code != 0 and "absent.onnx" in text, text


def test_shape_fixes_a_dimension(folder):
    model, module = small(folder, batch="N"), Path(folder) / "m.tern"
    tools.compile_model(model, module, "--shape", "x=2x3x16x16")
    x = np.ones((2, 3, 16, 16), np.float32)
    (y,) = tools.run_module(module, {"x": x}, ["y"], folder)
    assert y.shape == (2, 4)
    code, text = invoke(tools.TERN, "run", module, "--input", f"x={save(folder, np.ones((3, 3, 16, 16), np.float32))}")
    assert code != 0, "a fixed dimension was not enforced"


def save(folder, array):
    path = Path(folder) / "array.npy"
    np.save(path, array)
    return path


def with_external_data(folder, location):
    model = small_graph().model()
    weight = model.graph.initializer[0]
    raw = weight.raw_data
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(len(raw)))):
        entry = weight.external_data.add()
        entry.key, entry.value = key, value
    path = Path(folder) / "model" / "external.onnx"
    path.parent.mkdir()
    path.write_bytes(model.SerializeToString())
    return path, raw


def test_external_data(folder):
    path, raw = with_external_data(folder, "weights.bin")
    (path.parent / "weights.bin").write_bytes(raw)
    module, plain = Path(folder) / "m.tern", compiled(folder)
    tools.compile_model(path, module)
    x = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    a, b = (tools.run_module(m, {"x": x}, ["y"], folder)[0] for m in (module, plain))
    assert np.array_equal(a, b), "weights from another file give another result"


def test_external_data_stays_in_its_folder(folder):
    for location in ("../weights.bin", str(Path(folder) / "weights.bin"), "link.bin"):
        path, raw = with_external_data(folder, location)
        (Path(folder) / "weights.bin").write_bytes(raw)
        (path.parent / "link.bin").symlink_to(Path(folder) / "weights.bin")
        code, text = invoke(tools.TERNC, path, "-o", Path(folder) / "m.tern")
        assert code != 0, f"external data at '{location}' was read"
        assert "external" in text.lower() or location in text, text
        shutil.rmtree(path.parent)


def test_external_data_too_short(folder):
    path, raw = with_external_data(folder, "weights.bin")
    (path.parent / "weights.bin").write_bytes(raw[: len(raw) // 2])
    code, text = invoke(tools.TERNC, path, "-o", Path(folder) / "m.tern")
    assert code != 0 and "weights.bin" in text, text


def test_dump_dir(folder):
    dump = Path(folder) / "dump"
    tools.compile_model(small(folder), Path(folder) / "m.tern", f"--dump-dir={dump}")
    kinds = {p.suffix for p in dump.rglob("*")}
    assert {".tg", ".tk", ".c"} <= kinds, f"the dump has {sorted(kinds)}"


# ---- damaged files ----------------------------------------------------------------------------------------------------


def damaged(data, count, random):
    """Copies of some bytes, each cut short, with bits flipped, or with a stretch overwritten."""
    for i in range(count):
        copy = bytearray(data)
        where = int(random.integers(0, min(len(copy), 4096) if i % 2 else len(copy)))  # headers get half of it
        if i % 3 == 0:
            del copy[where:]
        elif i % 3 == 1:
            copy[where] ^= 1 << int(random.integers(0, 8))
        else:
            copy[where : where + 8] = random.bytes(8)
        yield bytes(copy[: max(len(copy), 0)])


def test_damaged_models(folder):
    data = small(folder).read_bytes()
    path, module = Path(folder) / "bad.onnx", Path(folder) / "bad.tern"
    for bad in [b"", b"\0", b"not a model", *damaged(data, FLIPS // 3, np.random.default_rng(3))]:
        path.write_bytes(bad)
        code, text = invoke(tools.TERNC, "--check", path)
        assert code == 0 or text.strip(), "a refusal without a message"
    for bad in (b"", data[: len(data) // 2]):
        path.write_bytes(bad)
        code, text = invoke(tools.TERNC, path, "-o", module)
        assert code != 0 and text.strip() and not module.exists(), f"{len(bad)} bytes of a model compiled: {text}"


def test_damaged_modules(folder):
    data = compiled(folder).read_bytes()
    path = Path(folder) / "bad.tern"
    accepted = 0
    for bad in [b"", b"TERN", *damaged(data, FLIPS, np.random.default_rng(4))]:
        path.write_bytes(bad)
        code, text = invoke(tools.TERN, "verify", path)
        assert code == 0 or text.strip(), "a refusal without a message"
        accepted += code == 0
        if len(bad) < len(data) // 2:
            assert code != 0, f"a module cut to {len(bad)} of {len(data)} bytes was accepted"
    print(f"    {FLIPS} damaged modules: {accepted} differ where nothing depends on it (padding, names, weights)")


def test_damaged_modules_run(folder):
    """A module whose damage the verifier does not see may give other numbers, never a crash. Code is left whole: it is trusted."""
    data = compiled(folder).read_bytes()
    path = Path(folder) / "bad.tern"
    random = np.random.default_rng(5)
    end = data.find(b"\x7fELF")
    for _ in range(FLIPS // 3):
        copy = bytearray(data)
        copy[int(random.integers(0, end))] ^= 1 << int(random.integers(0, 8))
        path.write_bytes(copy)
        code, text = invoke(tools.TERN, "run", path)
        assert code == 0 or text.strip(), "a refusal without a message"


def test_wrong_version(folder):
    data = bytearray(compiled(folder).read_bytes())
    at = data.find(b"TERN")
    assert 0 <= at < 16, "the header does not begin with TERN"
    data[at + 4] ^= 0x7F
    path = Path(folder) / "new.tern"
    path.write_bytes(data)
    code, text = invoke(tools.TERN, "verify", path)
    assert code != 0 and "format" in text, text


# ---- tern -------------------------------------------------------------------------------------------------------------


def test_run_without_inputs_says_that_they_are_random(folder):
    code, text = invoke(tools.TERN, "run", compiled(folder))
    assert code == 0 and "random" in text.lower() and "x" in text, text


def test_run_wrong_shape_and_type(folder):
    module = compiled(folder)
    for array in (np.ones((1, 3, 16, 15), np.float32), np.ones((1, 3, 16, 16), np.float64), np.ones(3, np.float32)):
        code, text = invoke(tools.TERN, "run", module, "--input", f"x={save(folder, array)}")
        assert code != 0 and "x" in text, f"{array.shape} {array.dtype}: {text}"


def test_run_unknown_input(folder):
    code, text = invoke(tools.TERN, "run", compiled(folder), "--input", f"nope={save(folder, np.ones(3, np.float32))}")
    assert code != 0 and "nope" in text, text


def test_bench_dispatches(folder):
    path, module = small(folder, batch="N"), Path(folder) / "symbolic.tern"
    code, text = invoke(tools.TERNC, path, "-o", module)
    assert code == 0 and "arena bytes = " in text, text
    operations = []
    for batch in (1, 4):
        code, text = invoke(tools.TERN, "bench", module, "--json", "--dispatches", "--runs", "5", "--shape", f"N={batch}")
        assert code == 0, text
        report = json.loads(text[text.index("{"):])
        assert report["peak_gflops"] > 1 and report["peak_gbs"] > 0.1, text
        conv_row = next(d for d in report["dispatches"] if "(Conv)" in d["label"])
        assert conv_row["gflops"] > 0 and conv_row["roofline"] > 0, text
        operations.append(conv_row["operations"])
    assert operations == [2 * 3 * 9 * 8 * 256, 4 * 2 * 3 * 9 * 8 * 256], operations
    code, text = invoke(tools.TERN, "bench", module, "--dispatches", "--runs", "5", "--peak-gflops", "100", "--peak-gbs", "10")
    assert code == 0 and "limits: 100 GFLOP/s of f32, 10.0 GB/s from memory;" in text and "roofline" in text, text


def test_explain(folder):
    path, why = small(folder), Path(folder) / "why.txt"
    code, text = invoke(tools.TERNC, path, "--check", "-q", "--explain", "--targets=cpu:x86_64_v3")
    assert code == 0 and "x86_64_v3: contraction; tile" in text and "does not join: it" in text, text
    code, nothing = invoke(tools.TERNC, path, "--check", "-q", f"--explain={why}", "--targets=cpu:x86_64_v3")
    assert code == 0 and nothing == "" and why.read_text() == text, nothing
    code, text = invoke(tools.TERNC, path, "--check", f"--explain={folder}/no/such/folder")
    assert code == 4 and "--explain cannot be written" in text, text


def test_bench_json(folder):
    code, text = invoke(tools.TERN, "bench", compiled(folder), "--json")
    assert code == 0, text
    facts = json.loads(text[text.index("{") :])
    for key in ("median_ms", "min_ms", "p90_ms", "load_ms", "first_ms", "peak_rss_mb"):
        assert facts[key] > 0, f"{key} is {facts.get(key)}"
    assert facts["min_ms"] <= facts["median_ms"] <= facts["p90_ms"]


def test_inspect(folder):
    module = compiled(folder)
    code, text = invoke(tools.TERN, "inspect", module)
    assert code == 0 and "/conv/Conv" in text, f"no source node in:\n{text[:2000]}"
    code, text = invoke(tools.TERN, "inspect", module, "--json")
    assert code == 0, text
    json.loads(text)


def test_verify_and_devices(folder):
    code, text = invoke(tools.TERN, "verify", compiled(folder))
    assert code == 0, text
    code, text = invoke(tools.TERN, "devices")
    assert code == 0 and "cpu" in text.lower() and "x86_level" in text or "cpu_arch" in text, text


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


def test_help(folder):
    for command in ([tools.TERNC], [tools.TERN], [tools.TERN, "run"], [tools.TERN, "bench"], [tools.TERN, "inspect"]):
        code, text = invoke(*command, "--help")
        assert code == 0 and len(text) > 100, f"{command}: {text}"


def main():
    tests = {n: f for n, f in globals().items() if n.startswith("test_") and (not sys.argv[1:] or any(w in n for w in sys.argv[1:]))}
    failed = 0
    for name, test in tests.items():
        with tempfile.TemporaryDirectory() as folder:
            try:
                test(folder)
                print(f"ok   {name}", flush=True)
            except (Exception, SystemExit) as error:
                failed += 1
                trace = traceback.extract_tb(error.__traceback__)
                line = next((t.lineno for t in reversed(trace) if t.filename == __file__), 0)
                print(f"FAIL {name} (line {line}): {type(error).__name__}: {str(error)[:1500]}", flush=True)
    print(f"{len(tests) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
