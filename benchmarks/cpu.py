#!/usr/bin/env python3
"""tern beside other runtimes on this machine's CPU, in one interleaved run.

    benchmarks/cpu [MODEL…] [--peers ort,openvino,mnn,ncnn,iree] [--threads 1,2] [--rounds 5] [--seconds 0.5] [--write]

For every model and thread count each runtime is loaded once; then, round after round, each has its turn, so that a slow
spell of the machine hits all alike. A time is the median over all rounds. A runtime counts only if its outputs agree with
ONNX Runtime's (1 % of the tensor's scale); "–" marks one that cannot convert or run the model, "≠" one whose outputs differ.
--write puts the table into docs/performance.md between its markers.
"""

import argparse
import json
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
from peers import ALL  # noqa: E402

PAGE = tools.ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


class Worker:
    """A peer in its own process (worker.py)."""

    def __init__(self, peer, model, archive, threads, scratch):
        scratch = Path(scratch) / peer
        scratch.mkdir(exist_ok=True)
        command = [sys.executable, HERE / "worker.py", peer, model, archive, str(threads), scratch]
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
    return all(g.size == w.size and compare(g.reshape(w.shape).astype(w.dtype), w) is None for g, w in zip(got, wanted))


def measure(name, threads, peers, options):
    """{runtime: facts with 'ms'} of one model at one thread count."""
    model, inputs = zoo.path_of(name), zoo.inputs_of(name)
    results = {}
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch) / "inputs.npz"
        np.savez(archive, **inputs)
        import onnx

        names = [o.name for o in onnx.load(model, load_external_data=False).graph.output]
        loaded = {"ort": Worker("ort", model, archive, threads, scratch)}
        wanted = loaded["ort"].outputs
        if wanted is None:
            raise SystemExit(f"ONNX Runtime cannot run {name}: {loaded['ort'].facts['error']}")
        for peer in peers:
            if peer == "tern":
                loaded[peer] = Tern(model, inputs, names, threads, scratch)
            elif peer != "ort":
                loaded[peer] = Worker(peer, model, archive, threads, scratch)
        times = {p: [] for p in loaded}
        for p, r in loaded.items():
            if "error" not in r.facts and not agree(r.outputs, wanted, zoo.MODELS[name].steps):
                r.facts["differs"] = True
        able = [p for p in loaded if "error" not in loaded[p].facts]
        for _ in range(options.rounds):
            for p in able:
                times[p] += loaded[p].round(options.seconds)
        for p, r in loaded.items():
            r.close()
            results[p] = dict(r.facts)
            if times[p] and "differs" not in r.facts:
                results[p]["ms"] = statistics.median(times[p])
    return results


def cell(facts):
    if "ms" in facts:
        return f"{facts['ms']:.3g}"
    return "≠" if facts.get("differs") else "–"


def table(rows, peers):
    """Markdown: a line a model and thread count; the ratio is tern's time over the fastest other runtime's."""
    head = ["model", "threads", *[f"{p} ms" for p in peers], "tern/ort", "tern/best", "load ms tern/ort", "peak MB tern/ort"]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    for name, threads, r in rows:
        mine = r.get("tern", {}).get("ms")
        others = [f["ms"] for p, f in r.items() if p != "tern" and "ms" in f]
        ort = r.get("ort", {}).get("ms")
        ratio = lambda other: f"{mine / other:.2f}" if mine and other else "–"
        pair = lambda key, f: " / ".join(format(r[p][key], f) if key in r.get(p, {}) else "–" for p in ("tern", "ort"))
        cells = [name, str(threads), *[cell(r[p]) if p in r else "–" for p in peers]]
        cells += [ratio(ort), ratio(min(others, default=None)), pair("load_ms", ".3g"), pair("peak_rss_mb", ".0f")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def machine():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    facts = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    cpu = f"{facts.get('model name', platform.machine())} (family {facts.get('cpu family', '?')}, model {facts.get('model', '?')})"
    return f"{cpu}, {os.cpu_count()} cores"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="MODEL")
    parser.add_argument("--peers", default=",".join(ALL))
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of one peer's turn in a round")
    parser.add_argument("--small", action="store_true", help="without the models of hundreds of megabytes")
    parser.add_argument("--no-tern", action="store_true", help="the other runtimes alone")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    parser.add_argument("--json", metavar="FILE", help="all facts of the run, for other programs")
    options = parser.parse_args()
    names = options.names or [n for n, m in zoo.MODELS.items() if not (options.small and "large" in m.tags)]
    peers = ([] if options.no_tern else ["tern"]) + ["ort"] + [p for p in options.peers.split(",") if p not in ("", "ort", "tern")]
    rows, versions = [], {}
    for name in names:
        for threads in map(int, options.threads.split(",")):
            results = measure(name, threads, peers, options)
            rows.append((name, threads, results))
            line = ", ".join(f"{p} {cell(results[p])}" for p in peers)
            print(f"{name} × {threads}: {line}", flush=True)
            for p in peers:
                versions[p] = results[p].get("version", versions.get(p))
                if "error" in results[p] and threads == int(options.threads.split(",")[0]):
                    print(f"    {p}: {results[p]['error'].splitlines()[-1][:200] if results[p]['error'] else 'no message'}", flush=True)
    text = f"{machine()}; {', '.join(v for v in versions.values() if v)}; f32, medians of {options.rounds} interleaved rounds, {date.today()}.\n\n"
    text += table(rows, peers) + "\n\n"
    text += "–: cannot convert or run the model; ≠: its outputs differ from ONNX Runtime's.\n"
    print("\n" + text)
    if options.json:
        Path(options.json).write_text(json.dumps([{"model": n, "threads": t, "results": r} for n, t, r in rows], indent=1))
    if options.write:
        page = PAGE.read_text()
        before, after = page.split(BEGIN)[0], page.split(END)[1]
        PAGE.write_text(f"{before}{BEGIN}\n{text}{END}{after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
