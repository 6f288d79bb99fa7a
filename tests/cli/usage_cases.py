"""Command lines that make no sense, and what is said of them: all problems in one report, each line behind the tool's name."""

import os
import subprocess
from pathlib import Path

import numpy as np
import tern_tools as tools
from common import compiled, invoke, save, small


def refused(code, *command, **options):
    """What the tool says; every line of it is the tool's own."""
    got, text = invoke(*command, **options)
    assert got == code, f"exit code {got}, not {code}: {text}"
    tool = Path(command[0]).name
    lines = text.splitlines()
    assert lines and all(line.startswith(f"{tool}: ") for line in lines), text
    assert all(line.endswith(".") for line in lines), f"no full sentence: {text}"
    return text


def test_help(folder):
    for command in ([tools.TERNC], [tools.TERN], [tools.TERN, "run"], [tools.TERN, "bench"], [tools.TERN, "inspect"]):
        code, text = invoke(*command, "--help")
        assert code == 0 and len(text) > 100, f"{command}: {text}"
    for tool in (tools.TERNC, tools.TERN):
        code, text = invoke(tool, "--version")
        assert code == 0 and text.startswith(f"{Path(tool).name} 0."), text


def test_all_problems_of_a_command_line(folder):
    model, module = small(folder), Path(folder) / "m.tern"
    wrong = ["--targets=tpu,cpu,npu", "--precision=f9", "--shape", "x=3xx", "--shape", "x", "--dim", "N=3", "--dim", "N=4"]
    wrong += ["--value", "k", "--value", "k=1", "--value", "k=2"]
    wrong += ["--disable-pass=foo", "--frob", "--chek", "-j", "0", "-o", ""]
    text = refused(2, tools.TERNC, model, *wrong)
    for said in (
        "The targets 'tpu', 'npu' are unknown;",
        "--precision is f32, tf32, f16 or bf16, not 'f9'.",
        "--shape 'x=3xx' must be",
        "--shape takes NAME=1x3x224x224; 'x' is not",
        "--dim says what 'N' is more than once",
        "--value takes NAME=8 or NAME=0.5,2,…; 'k' is not of that form.",
        "--value gives the value of 'k' more than once ('k=2').",
        "There is no pass 'foo'",
        "There is no option '--frob'",
        "--check is the nearest",
        "--jobs takes a whole number from 1 to 1024, not '0'.",
        "The value of --output is empty.",
    ):
        assert said in text, f"not said: {said}\n{text}"
    assert "has no value behind its '='" in refused(2, tools.TERNC, model, "--targets=", "-o", module)
    assert "'-o', which follows it, is an option" in refused(2, tools.TERNC, model, "--targets", "-o", module)
    assert "--output is given 2 times" in refused(2, tools.TERNC, model, "-o", module, "-o", module)
    assert "The option -o has no value." in refused(2, tools.TERNC, model, "-o")
    assert "No model is given" in refused(2, tools.TERNC)
    text = refused(2, tools.TERNC, "g.tg", "-o", module, "--shape", "x=3", "--dim", "N=3", "--value", "k=1")
    for option in ("--shape", "--dim", "--value"):
        assert f"{option} is for ONNX models; 'g.tg' is a graph as text" in text, text
    assert "'b' is one too many" in refused(2, tools.TERNC, model, "b")
    assert not module.exists(), "a command line that makes no sense left an output file"


def test_all_problems_of_a_model(folder):
    model, module = small(folder), Path(folder) / "m.tern"
    text = refused(1, tools.TERNC, model, "-o", module, "--shape", "a=1", "--shape", "b=2", "--dim", "N=3")
    assert text.count("which the model does not have; its inputs are 'x'.") == 2 and "the symbol 'N'" in text, text
    text = refused(4, tools.TERNC, model, "--targets=vulkan:absent.json,tpu,cuda:absent.json", "--require=cpu")
    for said in ("The device file 'absent.json' is not there.", "Target 'tpu' is unknown", "which only vulkan takes", "--require names GPUs (cuda, vulkan);"):
        assert said in text, f"not said: {said}\n{text}"
    unreadable = Path(folder) / "folder.json"
    unreadable.mkdir()
    assert "folder.json' is a folder, not a file." in refused(4, tools.TERNC, model, f"--targets=vulkan:{unreadable}")
    assert "takes no value; '3' is given." in refused(2, tools.TERNC, model, "--check=3")


def test_models_that_are_no_files(folder):
    module = Path(folder) / "m.tern"
    for option in ("--check", f"-o{module}"):
        assert "is a folder, not a file." in refused(4, tools.TERNC, folder, option)
        assert "is a device or a pipe" in refused(4, tools.TERNC, "/dev/null", option)
        assert "is not there." in refused(4, tools.TERNC, Path(folder) / "absent.onnx", option)
        assert "File name too long" in refused(4, tools.TERNC, "x" * 5000, option)
    pipe = Path(folder) / "pipe"
    os.mkfifo(pipe)
    assert "is a device or a pipe; it would be replaced" in refused(4, tools.TERNC, small(folder), "-o", pipe)
    text = refused(4, tools.TERNC, Path(folder) / "absent.onnx", "-o", Path(folder) / "no" / "m.tern")
    assert "is not there." in text and "there is no folder" in text, text
    odd = Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe odd=name.onnx"))
    small(folder).rename(odd)
    for name in (odd, odd.with_suffix(".tern")):
        assert "is the model itself" in refused(2, tools.TERNC, odd, "-o", odd)
        code, text = invoke(tools.TERNC, odd, "-o", odd.with_suffix(".tern"))
        assert code == 0 and odd.with_suffix(".tern").exists(), text
    code, text = invoke(tools.TERN, "verify", odd.with_suffix(".tern"))
    assert code == 0, text


def test_modules_that_are_no_files(folder):
    pipe = Path(folder) / "pipe"
    os.mkfifo(pipe)
    for command in ("run", "bench", "inspect", "verify"):
        assert "is a folder, not a file." in refused(4, tools.TERN, command, folder)
        assert "is a device or a pipe" in refused(4, tools.TERN, command, pipe)
        assert "absent.tern' is not there." in refused(4, tools.TERN, command, Path(folder) / "absent.tern")
    module = compiled(folder)
    assert "has no function 'f'; it has 'main'." in refused(2, tools.TERN, "run", module, "--function", "f")
    assert "has no function 'f'; it has 'main'." in refused(2, tools.TERN, "bench", module, "--function", "f")


def test_standard_output_is_full(folder):
    model, module = small(folder), compiled(folder)
    for command in ([tools.TERNC, model, "-o", module], [tools.TERNC, model, "--check"], [tools.TERN, "inspect", module], [tools.TERN, "devices", "--json"]):
        with open("/dev/full", "w") as full:
            done = subprocess.run([str(c) for c in command], stdout=full, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 4 and "Standard output cannot be written" in done.stderr, f"{command}: {done.returncode} {done.stderr}"


def test_files_that_would_be_lost(folder):
    """What --explain and -o name is not the model, nor one file; - is no module's name."""
    folder = Path(folder)
    model, module = small(folder), folder / "m.tern"
    before = model.read_bytes()
    (folder / "link.onnx").symlink_to("small.onnx")
    for explained in (model, folder / "link.onnx"):
        for options in (["-o", module], ["--check"]):
            text = refused(2, tools.TERNC, model, *options, f"--explain={explained}")
            assert "is the model itself." in text and model.read_bytes() == before, text
    for explained in (module, folder / "." / "m.tern"):
        assert "is the output file, too." in refused(2, tools.TERNC, model, "-o", module, f"--explain={explained}")
    text = refused(2, tools.TERNC, model, "-o", "-", cwd=folder)
    assert "A module is not written to standard output; -o ./- names a file." in text and not (folder / "-").exists(), text


def test_files_of_terabytes(folder):
    """Sparse files: what is no graph, device or tensor is said before all of it is read."""
    folder, module = Path(folder), compiled(folder)
    for kind in ("tg", "json", "npy", "npz", "pb", "bin", "onnx", "tern"):
        with open(folder / f"huge.{kind}", "wb") as file:
            file.truncate(4 << 40)
    ternc, run = [tools.TERNC, "-o", folder / "x.tern"], [tools.TERN, "run"]
    assert "has 4398046511104 bytes; a graph as text has at most 2147483647." in refused(1, *ternc, folder / "huge.tg")
    text = refused(2, *ternc, folder / "small.onnx", f"--targets=vulkan:{folder}/huge.json")
    assert "has 4398046511104 bytes; a device file has at most 16777216." in text, text
    assert "an ONNX file holds at most 2147483647" in refused(1, *ternc, folder / "huge.onnx")
    code, text = invoke(*run, folder / "huge.tern")
    assert code == 3 and "does not begin with 'TERN'" in text, text
    for word in ("x=huge.npy", "huge.npz", "x=huge.pb", "x=huge.bin"):
        text = refused(4, *run, module, "-i", word, cwd=folder)
        assert "has 4398046511104 bytes; at most half of this machine's memory (" in text, text


def test_help_of_the_developers_tools(folder):
    for name in ("tern-as", "tern-opt", "tern-render", "lower_report", "onnx_eval"):
        code, text = invoke(tools.BUILD / "bin" / name, "--help")
        assert code == 0 and text.startswith("usage: "), f"{name}: {text}"


def test_commands_of_tern(folder):
    module = compiled(folder)
    assert "tern needs a command: run, bench," in refused(2, tools.TERN)
    assert "There is no command 'rnu';" in refused(2, tools.TERN, "rnu", module)
    assert "No module is given; `tern run --help` shows how." in refused(2, tools.TERN, "run")
    assert "'run' is a second command" in refused(2, tools.TERN, "verify", "run", module)
    assert "The option --json takes no value; '3' is given." in refused(2, tools.TERN, "inspect", module, "--json=3")
    wrong = ["--runs", "0", "--seconds", "x", "--threads", "300", "--device", "64", "--sead=1", "--driver", "cud"]
    text = refused(2, tools.TERN, "bench", module, *wrong)
    for said in (
        "--driver is cpu, cuda, vulkan, null or auto, not 'cud'.",
        "--runs takes a whole number from 1 to",
        "--seconds takes a number from 0",
        "--threads takes a whole number from 0 to 256, not '300'.",
        "--device takes a whole number from 0 to 63, not '64'.",
        "--seed is the nearest",
    ):
        assert said in text, f"not said: {said}\n{text}"


def test_all_problems_of_inputs(folder):
    module = compiled(folder)
    x = save(folder, np.ones((1, 3, 16, 16), np.float32))
    wrong = ["-i", f"x={folder}/absent.npy", "-i", f"x={x}", "-i", f"z={x}", "-i", "foo"]
    wrong += ["--shape", "q=3", "--shape", "x=1x3x16x15", "--shape", "x=1x2", "--shape", "x=1xx2"]
    text = refused(2, tools.TERN, "run", module, *wrong)
    for said in (
        "absent.npy' cannot be read: No such file",
        "Input 'x' is given twice",
        "The module has no input 'z'; its inputs are 'x'.",
        "'foo' is not of that form.",
        "no symbolic dimension of that name (--shape q=3)",
        "Dimension 3 of input 'x' is 16;",
        "The dimensions of 'x' are given twice",
        "The shape in 'x=1xx2' must be numbers",
    ):
        assert said in text, f"not said: {said}\n{text}"


def test_sizes_of_symbols_that_disagree(folder):
    module = Path(folder) / "n.tern"
    tools.compile_model(small(folder, batch="N"), module)
    x = save(folder, np.ones((3, 3, 16, 16), np.float32))
    text = refused(1, tools.TERN, "run", module, "-i", f"x={x}", "--shape", "N=2")
    assert "The symbolic dimension 'N' is 2 by --shape N=2 and 3 by the file" in text, text


def test_null_driver_shows_no_values(folder):
    module = compiled(folder)
    code, text = invoke(tools.TERN, "run", module, "--driver", "null")
    assert code == 0 and "The null driver computes nothing" in text and "\ny f32[1x4]\n" in "\n" + text, text
    assert "there are no outputs for --output-dir" in refused(2, tools.TERN, "run", module, "--driver", "null", "-o", folder)


def test_output_folders(folder):
    module, file = compiled(folder), Path(folder) / "file"
    file.write_text("")
    assert "is a file, not a folder." in refused(4, tools.TERN, "run", module, "-o", file)
    text = refused(2, tools.TERN, "run", Path(folder) / "absent.tern", "--driver", "cud")
    assert "not 'cud'." in text and "absent" not in text, f"the driver's name was not looked at first: {text}"
    assert "cannot be made: there is no folder" in refused(4, tools.TERN, "run", module, "-o", Path(folder) / "no" / "out")
    outputs = Path(folder) / "out"
    (outputs / "y.npy").mkdir(parents=True)
    code, text = invoke(tools.TERN, "run", module, "-o", outputs)
    assert code == 4 and "y.npy' cannot be written" in text, text
    assert [p.name for p in outputs.iterdir()] == ["y.npy"], "half a file was left"


def test_one_is_no_plural(folder):
    """A module of one dispatch and one kernel."""
    graph, module = Path(folder) / "one.tg", Path(folder) / "one.tern"
    graph.write_text('graph "one" {\n  input %x: f32[8] as "x"\n  %y = neg(%x)\n  output %y as "y"\n}\n')
    code, text = invoke(tools.TERNC, graph, "-o", module, "--targets=cpu:x86_64_v3", "-v", "--explain")
    assert code == 0 and "x86_64: 1 dispatch," in text and "x86_64: 1 dispatch;" in text and "(1 kernel)" in text, text
    code, more = invoke(tools.TERN, "inspect", module)
    assert code == 0 and "1 kernel, Elf" in more and "1 command list\n" in more, more
    for word in ("dispatches", "kernels", "units", "barriers", "command lists", "instructions", "constants"):
        assert f" 1 {word}" not in text + more and f"(1 {word}" not in text + more, f"1 {word} in\n{text}{more}"
