"""What tern promises: results, reports, messages, exit codes."""

import json
from pathlib import Path

import numpy as np
import tern_tools as tools
from common import compiled, invoke, save, small


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
    assert code == 4 and "The file of --explain" in text and "there is no folder" in text, text


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
