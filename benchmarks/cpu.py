#!/usr/bin/env python3
"""tern beside other runtimes on this machine's CPU, in one interleaved run.

    benchmarks/cpu [MODEL…] [--peers quick|all|ort,openvino,…] [--threads 1,2] [--rounds 5] [--seconds 0.5] [--write]

For every model and thread count each runtime is loaded once; then, round after round, each has its turn, so that a slow
spell of the machine hits all alike. A time is the median over all rounds. A runtime counts only if its outputs agree with
ONNX Runtime's (1 % of the tensor's scale); "–" marks one that cannot convert or run the model, "≠" one whose outputs differ.
What peers convert ahead of time stays in .cache/bench. --write puts the table into docs/performance.md between its markers.
--hold CMD starts a command when all are loaded, waits for a line from it, and closes its input after the rounds: for a
machine that others use, a command that makes it quiet meanwhile.
"""

import argparse
import contextlib
import hashlib
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "support"))

import tern_tools as tools  # noqa: E402
import zoo  # noqa: E402
from peers import ALL, QUICK, module, part  # noqa: E402

PAGE = tools.ROOT / "docs" / "performance.md"
CACHE = tools.ROOT / ".cache" / "bench"
F32 = ("mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "resnet50", "vit_b16", "yolov8n", "bert_base", "gpt2_prefill", "gpt2_decode", "ppocr_det", "ppocr_rec", "minilm")  # fmt: skip
INT8 = ("mobilenet_v2_qdq", "resnet50_qdq", "bert_base_qdq")
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


class Worker:
    """A peer in its own process (worker.py), in the environment that its part of tools/setup made."""

    def __init__(self, peer, model, archive, threads, scratch):
        scratch = Path(scratch) / f"{peer}{threads}"
        scratch.mkdir()
        python = tools.ROOT / f".venv-{part(peer)}" / "bin" / "python"
        command = [python, HERE / "worker.py", peer, model, archive, str(threads), scratch, cache_of(peer, model)]
        self._process = subprocess.Popen(
            [str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=HERE
        )
        self.facts = self._answer()
        self.outputs = None
        if "error" not in self.facts:
            with np.load(scratch / f"outputs{threads}.npz") as data:
                self.outputs = [data[k] for k in data.files]

    def _answer(self):
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"error": f"the process ended ({self._process.wait()})"}

    def round(self, seconds):
        self._process.stdin.write(json.dumps({"seconds": seconds}) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        self.facts.update({k: v for k, v in answer.items() if k == "error"})
        return answer.get("times", [])

    def close(self):
        self._process.stdin.close()
        self._process.wait()


def cache_of(peer, model):
    """A folder for this peer, its version and code, and this model's bytes."""
    text = hashlib.sha256()
    for file in [*sorted((tools.ROOT / "tools" / "setup.d").glob(f"{part(peer)}*.txt")), *sorted((HERE / "peers").glob("*.py"))]:
        if file.parent.name != "peers" or file.stem in module(peer) or (file.stem == "onnx_fx" and peer == "torch"):
            text.update(file.read_bytes())
    with open(model, "rb") as data:
        text.update(hashlib.file_digest(data, "sha256").digest())
    return CACHE / peer / f"{Path(model).stem}-{text.hexdigest()[:16]}"


class Tern:
    """tern through its own command line: compiled once, checked with `tern run`, timed with `tern bench`."""

    def __init__(self, model, inputs, names, threads, scratch):
        self._module = Path(scratch) / "model.tern"
        self._options = ["--threads", str(threads)]
        self.facts, self.outputs = {}, None
        try:
            if not self._module.exists():
                tools.compile_model(model, self._module)
            self.outputs = tools.run_module(self._module, inputs, names, Path(scratch) / "tern", *self._options)
            self.facts = {"version": "tern"}
        except tools.ToolError as error:
            self.facts = {"error": str(error)[:600]}
        self._options += [x for i, n in enumerate(inputs) for x in ("--input", f"{n}={Path(scratch) / 'tern' / 'in' / f'{i}.npy'}")]

    def round(self, seconds):
        try:
            text = tools.call([tools.TERN, "bench", self._module, "--json", "--seconds", str(seconds), *self._options], timeout=60)
        except tools.ToolError as error:
            self.facts["error"] = str(error)[:600]
            return []
        facts = json.loads(text)
        for key in ("load_ms", "first_ms", "peak_rss_mb"):
            self.facts[key] = min(self.facts.get(key, facts[key]), facts[key])
        return [facts["median_ms"]]

    def close(self):
        pass


def agree(got, wanted, steps):
    """Whether the outputs are the same within what another order of float operations can explain."""
    if got is None or len(got) != len(wanted):
        return False
    compare = tools.steps_difference if steps else lambda g, w: tools.difference(g, w, 1e-2)
    return all(g.size == w.size and compare(in_order(g, w.shape).astype(w.dtype), w) is None for g, w in zip(got, wanted))


def in_order(array, shape):
    """The array in ONNX's order of dimensions: some peers give channels last, or leave out dimensions of one."""
    first = np.moveaxis(array, -1, 1) if array.ndim > 2 else array
    return first if array.shape != shape and first.shape == shape else array.reshape(shape)


@contextlib.contextmanager
def held(command):
    """What happens inside happens while the command is running, and has said a line."""
    if not command:
        yield
        return
    process = subprocess.Popen(command, shell=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    try:
        yield
    finally:
        process.stdin.close()
        process.wait()


def measure(name, counts, peers, options):
    """{threads: {runtime: facts with 'ms'}} of one model; all thread counts are loaded together, and each round has them all."""
    model, inputs, steps = zoo.path_of(name), zoo.inputs_of(name), zoo.MODELS[name].steps
    results = {}
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch) / "inputs.npz"
        np.savez(archive, **inputs)
        import onnx

        names = [o.name for o in onnx.load(model, load_external_data=False).graph.output]
        loaded, wanted = {}, None
        for threads in counts:
            for peer in sorted(peers, key=lambda p: p != "ort"):  # the reference first
                runtime = Tern(model, inputs, names, threads, scratch) if peer == "tern" else Worker(peer, model, archive, threads, scratch)
                if peer == "ort":
                    wanted = runtime.outputs
                if wanted is None:
                    raise SystemExit(f"ONNX Runtime cannot run {name}: {runtime.facts['error']}")
                if "error" not in runtime.facts and not agree(runtime.outputs, wanted, steps):
                    runtime.facts["differs"] = True
                loaded[threads, peer] = runtime
        times = {key: [] for key in loaded}
        with held(options.hold):
            for _ in range(options.rounds):
                for key, runtime in loaded.items():
                    if "error" not in runtime.facts:
                        times[key] += runtime.round(options.seconds)
        for (threads, peer), runtime in loaded.items():
            runtime.close()
            facts = results.setdefault(threads, {})[peer] = dict(runtime.facts)
            if times[threads, peer] and "differs" not in facts:
                facts["ms"] = statistics.median(times[threads, peer])
                facts["least_ms"] = min(times[threads, peer])
    return results


def cell(facts):
    if "ms" in facts:
        return f"{facts['ms']:.3g}" if facts["ms"] < 1000 else f"{facts['ms']:.0f}"
    return "≠" if facts.get("differs") else "–"


def fastest(results):
    """(time, name) of the fastest runtime besides tern."""
    return min(((f["ms"], p) for p, f in results.items() if p != "tern" and "ms" in f), default=(None, None))


def beside_least(results, key, form):
    """tern's fact over the least of the others that run the model."""
    mine = sum(results["tern"].get(k, 0) for k in key)
    others = [(sum(f[k] for k in key), p) for p, f in results.items() if p != "tern" and "ms" in f]
    least = min(others, default=None)
    return f"{mine:{form}} / {least[0]:{form}} {least[1]}" if least else f"{mine:{form}} / –"


def table(rows, peers):
    """Markdown: a line a model and thread count; the ratio is tern's time over the fastest other runtime's."""
    head = ["model", "threads", *[f"{p} ms" for p in peers], "tern/ort", "tern/best", "load + first run ms", "peak MB"]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    notes = []
    for name, threads, r in rows:
        mine = r.get("tern", {}).get("ms")
        best, who = fastest(r)
        ort = r["ort"].get("ms")
        ratio = lambda other: f"{mine / other:.2f}" if mine and other else "–"
        cells = [name, str(threads), *[cell(r[p]) + note(notes, p, r[p]) for p in peers], ratio(ort), f"{ratio(best)} {who}"]
        if mine:
            cells += [beside_least(r, ("load_ms", "first_ms"), ".3g"), beside_least(r, ("peak_rss_mb",), ".0f")]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", *[f"{i + 1}. {text}" for i, text in enumerate(notes)]] if notes else []
    return "\n".join(lines)


def short(error):
    """The line of a message that says most."""
    lines = error.strip().splitlines() or ["no message"]
    return next((line for line in reversed(lines) if "rror" in line), lines[-1])[:160]


def note(notes, peer, facts):
    """The number of the reason why a peer has no time, which is added to the list where it is new."""
    if "error" not in facts:
        return ""
    text = f"{peer}: {short(facts['error'])}"
    if text not in notes:
        notes.append(text)
    return f" ({notes.index(text) + 1})"


def means(rows):
    """How much faster than each model's fastest other runtime tern is: geometric means a group and thread count."""
    lines = []
    for title, group in (("f32", F32), ("8-bit", INT8)):
        for threads in sorted({t for _, t, _ in rows}):
            ratios = [fastest(r)[0] / r["tern"]["ms"] for n, t, r in rows if n in group and t == threads and "ms" in r.get("tern", {})]
            if len(ratios) > 1:
                mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
                lines.append(f"{title}, {threads} threads: {mean:.2f} times as fast as the fastest other ({len(ratios)} models, least {min(ratios):.2f}).")
    return "\n".join(lines)


def machine():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    facts = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    cpu = f"{facts.get('model name', platform.machine())} (family {facts.get('cpu family', '?')}, model {facts.get('model', '?')})"
    return f"{cpu}, {os.cpu_count()} cores"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="MODEL", help="without: the f32 and 8-bit models of the table; 'zoo': every model there is")
    parser.add_argument("--peers", default="quick", help=f"quick ({', '.join(QUICK)}), all ({', '.join(ALL)}), or names")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of one peer's turn in a round")
    parser.add_argument("--small", action="store_true", help="without the models of hundreds of megabytes")
    parser.add_argument("--no-tern", action="store_true", help="the other runtimes alone")
    parser.add_argument("--hold", metavar="CMD", help="run the rounds while this command runs")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    parser.add_argument("--json", metavar="FILE", help="all facts of the run, for other programs")
    options = parser.parse_args()
    names = list(zoo.MODELS) if options.names == ["zoo"] else options.names or [*F32, *INT8]
    names = [n for n in names if not (options.small and "large" in zoo.MODELS[n].tags)]
    chosen = {"quick": QUICK, "all": ALL}.get(options.peers) or options.peers.split(",")
    peers = ([] if options.no_tern else ["tern"]) + ["ort"] + [p for p in chosen if p not in ("", "ort", "tern")]
    subprocess.run([tools.ROOT / "tools" / "setup", *sorted({part(p) for p in peers})], check=True)
    rows, versions = [], {}
    counts = [int(t) for t in options.threads.split(",")]
    for name in names:
        # Several peers with half a gigabyte of weights each: one thread count at a time.
        for together in [[t] for t in counts] if "large" in zoo.MODELS[name].tags else [counts]:
            for threads, results in measure(name, together, peers, options).items():
                rows.append((name, threads, results))
                print(f"{name} × {threads}: {', '.join(f'{p} {cell(results[p])}' for p in peers)}", flush=True)
                for p in peers:
                    versions[p] = results[p].get("version", versions.get(p))
                    if "error" in results[p] and threads == counts[0]:
                        print(f"    {p}: {short(results[p]['error'])}", flush=True)
                if options.json:
                    Path(options.json).write_text(json.dumps([{"model": n, "threads": t, "results": r} for n, t, r in rows], indent=1))
    text = f"{machine()}; {', '.join(v for v in versions.values() if v)}; medians of {options.rounds} interleaved rounds, {date.today()}.\n\n"
    text += table(rows, peers) + "\n\n" + means(rows) + "\n\n"
    text += "–: cannot convert or run the model; ≠: its outputs differ from ONNX Runtime's.\n"
    print("\n" + text)
    if options.write:
        page = PAGE.read_text()
        before, after = page.split(BEGIN)[0], page.split(END)[1]
        PAGE.write_text(f"{before}{BEGIN}\n{text}{END}{after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
