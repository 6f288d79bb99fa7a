"""What ternc promises: modules, reports, messages, exit codes, files."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import numpy as np
import onnx
import tern_tools as tools
from common import FLOAT, Graph, compiled, gemm, invoke, save, small, small_graph
from onnx import TensorProto, helper


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
        (["bench", module, "--seconds", "nan"], 2, "--seconds takes a number from 0 to 1e+06, not 'nan'."),
        (["bench", module, "--peak-gbs", "-4"], 2, "--peak-gbs takes a number from 0.001 to 1e+09, not '-4'."),
        (["run", module, "--driver", "cud"], 2, "--driver is cpu, cuda, vulkan, null or auto, not 'cud'."),
        (["run", Path(folder) / "absent.tern"], 4, "is not there."),
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
    result = weakref.ref(outputs()[0])
    del outputs
    assert result() is not None, "run() writes into memory that nothing keeps"


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


def test_value_fixes_an_input(folder):
    g = Graph("scaled", seed=1)
    x, scale = g.input("x", FLOAT, [2, 3]), g.input("scale", FLOAT, ["K"])
    g.output(g.op("Mul", x, scale), "y", FLOAT, [2, 3])
    model, module = Path(folder) / "scaled.onnx", Path(folder) / "m.tern"
    g.save(model)
    tools.compile_model(model, module, "--value", "scale=2,0.5,-1")
    x = np.ones((2, 3), np.float32)
    (y,) = tools.run_module(module, {"x": x}, ["y"], folder)
    assert np.array_equal(y, x * np.array([2, 0.5, -1], np.float32))
    code, text = invoke(tools.TERNC, model, "-o", module, "--value", "scale=2,1.5e39,-1")
    assert code == 1 and "--value gives the input 'scale' (f32[3]) '1.5e39', which is no value of f32." in text, text
    code, text = invoke(tools.TERNC, model, "-o", module, "--value", "scale=2,a=b,-1")  # a name ends at the first '='
    assert code == 1 and "--value gives the input 'scale' (f32[3]) 'a=b', which is no value of f32." in text, text


def test_shape_fixes_a_dimension(folder):
    model, module = small(folder, batch="N"), Path(folder) / "m.tern"
    tools.compile_model(model, module, "--shape", "x=2x3x16x16")
    x = np.ones((2, 3, 16, 16), np.float32)
    (y,) = tools.run_module(module, {"x": x}, ["y"], folder)
    assert y.shape == (2, 4)
    code, text = invoke(tools.TERN, "run", module, "--input", f"x={save(folder, np.ones((3, 3, 16, 16), np.float32))}")
    assert code != 0, "a fixed dimension was not enforced"


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


def test_external_data_that_would_be_lost(folder):
    """Weights are not where the module or the explanation goes, and not in a pipe."""
    path, raw = with_external_data(folder, "weights.tern")
    weights = path.parent / "weights.tern"
    weights.write_bytes(raw)
    for options in (["-o", weights], ["--check", f"--explain={weights}"], ["-o", Path(folder) / "m.tern", f"--explain={weights}"]):
        code, text = invoke(tools.TERNC, path, *options)
        assert code == 1 and "The external data's file 'weights.tern' is one that is to be written ('" in text, f"{code} {text}"
        assert weights.read_bytes() == raw, options
    weights.unlink()
    os.mkfifo(weights)
    code, text = invoke(tools.TERNC, path, "-o", Path(folder) / "m.tern")
    assert code == 1 and "weights.tern' is not a regular file." in text, f"{code} {text}"


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


def ternc_with(folder, *options, **how):
    return invoke(tools.TERNC, small(folder), "-o", Path(folder) / "m.tern", *options, **how)


def files_end_at(size):
    """For preexec_fn: a disk that is full behind so many bytes of a file."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


def test_dumps_and_explanations_that_cannot_be_written(folder):
    dump, module = Path(folder) / "dump", Path(folder) / "m.tern"
    for size, options in ((64, [f"--dump-dir={dump}"]), (64, ["--check", f"--dump-dir={dump}"]), (700, [f"--dump-dir={dump}", "--targets=vulkan:1.1"])):
        code, text = ternc_with(folder, *options, preexec_fn=files_end_at(size))
        assert code == 4 and "cannot be written: File too large." in text and not module.exists(), f"{code} {text}"
        shutil.rmtree(dump)
    (dump / "kernels").mkdir(parents=True)
    (dump / "kernels" / "x86_64_v3").write_text("")
    code, text = ternc_with(folder, f"--dump-dir={dump}", "--targets=cpu:x86_64_v3")
    assert code == 4 and "/kernels/x86_64_v3' cannot be made: Not a directory." in text and not module.exists(), text
    for options in ([], ["--check"]):
        code, text = ternc_with(folder, "--explain=/dev/full", *options)
        assert code == 4 and "The file '/dev/full' cannot be written: No space left on device." in text and not module.exists(), text
    explained = Path(folder) / "why.txt"
    code, text = ternc_with(folder, f"--explain={explained}", "--check", preexec_fn=files_end_at(64))
    assert code == 4 and "cannot be written: File too large." in text and not explained.exists() and not module.exists(), text


def test_temporary_folders(folder):
    """Of any name; the reason where none can be used."""
    for name in ("two words", 'a "quoted" one', "back\\slash", "two\nlines", "#", "@file"):
        place = Path(folder) / name
        place.mkdir()
        code, text = ternc_with(folder, "--targets=cpu:x86_64_v3", "--no-cache", env={**os.environ, "TMPDIR": str(place)})
        assert code == 0 and not list(place.iterdir()), f"{name!r}: {text}"
    for place, why in (("absent", "No such file or directory"), ("small.onnx", "it is a file")):
        code, text = ternc_with(folder, "--targets=cpu:x86_64_v3", env={**os.environ, "TMPDIR": str(Path(folder) / place)})
        assert code == 4 and f"{place}' cannot be used ({why}); TMPDIR names another one." in text, f"{code} {text}"
    code, text = ternc_with(folder, "--targets=cpu:x86_64_v3", "--no-cache", preexec_fn=files_end_at(64))
    assert code == 3 and "/0.c' cannot be written: File too large." in text, f"{code} {text}"


def test_output_through_links(folder):
    """The file that a link names is replaced, or made, and the link stays."""
    folder = Path(folder)
    (folder / "far").mkdir()
    link, second, far = folder / "link.tern", folder / "second.tern", folder / "far" / "m.tern"
    second.symlink_to("link.tern")
    link.symlink_to("far/m.tern")
    for _ in range(2):
        tools.compile_model(small(folder), second)
        assert link.is_symlink() and second.is_symlink() and far.is_file() and len(list(far.parent.iterdir())) == 1, list(folder.rglob("*"))
        far.write_text("")
    link.unlink()
    link.symlink_to("second.tern")
    code, text = invoke(tools.TERNC, small(folder), "-o", link)
    assert code == 4 and "Too many levels of symbolic links" in text, f"{code} {text}"


def test_what_a_killed_process_left(folder):
    """In a container every process may have the number of the one that was killed before it."""
    small(folder)
    script = 'for i in "" -1 -2; do : > m.tern.$$$i.part; done; exec "$@" small.onnx -o m.tern --targets=cpu:x86_64_v3'
    code, text = invoke("/bin/sh", "-c", script, "sh", tools.TERNC, cwd=folder)
    assert code == 0 and (Path(folder) / "m.tern").exists() and len(list(Path(folder).glob("*.part"))) == 3, text


def test_limits_of_files(folder):
    """ulimit -f: the signal is not heeded, the write is refused, and nothing is left."""
    folder, module = Path(folder), compiled(folder)
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))  # noqa: E731
    code, text = invoke(tools.TERNC, small(folder), "-o", folder / "limited.tern", preexec_fn=limit)
    assert code in (3, 4) and "cannot be written: File too large." in text, f"{code} {text}"
    code, text = invoke(tools.TERN, "run", module, "-o", folder / "out", preexec_fn=limit)
    assert code == 4 and "y.npy' cannot be written: File too large." in text, f"{code} {text}"
    assert not list(folder.glob("*.part")) and not list((folder / "out").iterdir()), list(folder.rglob("*"))


def test_too_little_memory(folder):
    """With any amount of memory in which ternc begins at all, it compiles the model or says that it has too little."""
    if "hostile" in str(tools.BUILD):
        return  # sanitizers reserve terabytes
    g = Graph("large", seed=1)
    x = g.input("x", FLOAT, [1, 1500])
    g.output(gemm(g, gemm(g, x, 1500, 1500), 1500, 1500), "y", FLOAT, [1, 1500])
    model = Path(folder) / "large.onnx"
    g.save(model)
    said = []
    for megabytes in range(24, 400, 4):
        limit = lambda size=megabytes << 20: resource.setrlimit(resource.RLIMIT_AS, (size, size))  # noqa: E731
        if not said and subprocess.run([tools.TERNC, "--version"], capture_output=True, preexec_fn=limit).returncode:
            continue  # the system cannot load it
        code, text = invoke(tools.TERNC, model, "--check", "-q", "-j", "1", "--targets=cpu:x86_64_v3", preexec_fn=limit)
        assert code == 0 or (code == 1 and "memory" in text and text.rstrip().split("\n")[0].endswith(".")), f"{megabytes} MB: {code} {text}"
        said.append(code)
        if code == 0:
            break
    assert said[0] == 1 and said[-1] == 0, said


def holds_open(process, path):
    """Whether the process has a file in the folder open; files come and go meanwhile."""
    try:
        return any(str(path) in os.readlink(f) for f in Path(f"/proc/{process.pid}/fd").iterdir())
    except OSError:
        return False


def test_interrupted_run(folder):
    """No part of an output stays when tern is killed while it writes: the file has no name yet."""
    folder = Path(folder)
    graph, module, out = folder / "big.tg", folder / "big.tern", folder / "out"
    graph.write_text(f'graph "big" {{\n  input %x: f32[{1 << 26}] as "x"\n  %y = neg(%x)\n  output %y as "y"\n}}\n')
    tools.compile_model(graph, module, "--targets=cpu:x86_64_v3")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        for _ in range(10):  # on a busy machine the signal may come behind the end of the run
            started = subprocess.Popen([tools.TERN, "run", module, "-o", out], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while started.poll() is None and not holds_open(started, out):
                time.sleep(0.001)
            started.send_signal(number)
            if started.wait(timeout=30) != 0:
                break
            (whole,) = out.iterdir()
            assert whole.stat().st_size > 4 << 26, f"{whole.stat().st_size} bytes of a run that went well"
            whole.unlink()
        assert started.returncode == -number and not list(out.iterdir()), f"{started.returncode}: {list(out.iterdir())}"


def test_compilers_by_name(folder):
    """TERN_CLANG and TERN_LLD name a program in PATH, or a file; what fails is said, also if it says nothing itself."""
    for clang, lld, said in (
        ("clang-19", "ld.lld-19", ""),
        ("no-such-clang", "ld.lld-19", "The program 'no-such-clang' cannot be started (No such file or directory)."),
        ("clang-19", "false", "false', exit code 1) and says nothing."),
        ("/bin/true", "ld.lld-19", "'/bin/true' ends well, but leaves no object file."),
    ):
        code, text = ternc_with(folder, "--no-cache", "--targets=cpu:x86_64_v3", env={**os.environ, "TERN_CLANG": clang, "TERN_LLD": lld})
        assert code == (3 if said else 0) and said in text, f"{clang} {lld}: {code} {text}"


def test_interrupted(folder):
    """A signal leaves no file beside the module's place, no temporary folder, and nothing half in the cache."""
    slow, temporary = Path(folder) / "clang", Path(folder) / "tmp"
    temporary.mkdir()
    ready = Path(folder) / "ready"
    slow.write_text(f'#!/bin/sh\ncase "$1" in --version) exec clang-19 --version;; esac\necho > {ready}\nexec sleep 30\n')
    slow.chmod(0o755)
    environment = {**os.environ, "TMPDIR": str(temporary), "TERN_CLANG": str(slow), "TERN_CACHE_DIR": str(Path(folder) / "cache")}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGXCPU, signal.SIGPIPE):
        ready.unlink(missing_ok=True)
        model, module = small(folder), Path(folder) / "m.tern"
        command = [tools.TERNC, model, "-o", module, "--targets=cpu:x86_64_v3"]
        # Where this test runs under nohup, ternc would heed that SIGHUP is ignored.
        heeded = lambda number=number: signal.signal(number, signal.SIG_DFL)  # noqa: E731
        started = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, start_new_session=True, preexec_fn=heeded)
        deadline = time.monotonic() + 60
        while not ready.exists() and started.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert any(temporary.iterdir()), "ternc has no temporary folder: the test looks at the wrong moment"
        os.kill(started.pid, number)
        started.wait(timeout=30)
        os.killpg(started.pid, signal.SIGKILL)  # the compilers
        assert started.returncode == -number, f"{started.returncode} {started.stderr.read()}"
        assert not module.exists() and not list(Path(folder).glob("*.part")), "half a module was left"
        assert not list(temporary.iterdir()), f"left: {list(temporary.rglob('*'))}"


def test_model_from_standard_input(folder):
    model, module, temporary = small(folder), Path(folder) / "m.tern", Path(folder) / "tmp"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with open(model, "rb") as piped:
        code, text = invoke(tools.TERNC, "-", "-o", module, stdin=piped, env=environment)
    assert code == 0 and module.read_bytes() == compiled(folder).read_bytes(), text
    code, text = invoke(tools.TERNC, "-", "--check", stdin=subprocess.DEVNULL, env=environment)
    assert code == 1 and text, text
    code, text = invoke(tools.TERNC, "-", stdin=subprocess.DEVNULL, env=environment)
    assert code == 2 and "say with -o what to write." in text, text
    assert not list(temporary.iterdir()), f"left: {list(temporary.rglob('*'))}"
