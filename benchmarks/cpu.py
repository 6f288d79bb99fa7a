#!/usr/bin/env python3
"""tern beside other runtimes on this machine's CPU, in one interleaved run.

    benchmarks/cpu [MODEL…] [--peers quick|all|ort,openvino,…] [--threads 1,2] [--rounds 5] [--seconds 0.5] [--write]

A model is a name of tests/models/zoo.py or networks.py, `zoo` or `networks` (all of them), or an ONNX file, whose inputs are then seeded.
For every model and thread count each runtime is loaded once; then, round after round, each has its turn, so that a slow
spell of the machine hits all alike. A time is the median over all rounds. A runtime counts only if its outputs agree with
ONNX Runtime's (1 % of the tensor's scale); "–" marks one that cannot convert or run the model, "≠" one whose outputs differ.
One that takes 100 ms and five times as long as ONNX Runtime has one round ("*"); one that takes seconds has no more than its first
inference, and later runs take that time ("~").
What peers convert ahead of time stays in .cache/bench, with the reasons for what they cannot do; --prepare makes all of it, one
process at a time, and measures nothing. --write puts the table into docs/performance.md between its markers, also when the run
is interrupted; --json FILE --resume goes on with what FILE holds.
--level x86_64_v3 holds tern and the peers to a CPU without AVX-512 (hold.py). With ort_exact among the peers, it says what is right: there
ONNX Runtime's default saturates in 8 bits.
--hold CMD starts a command when all are loaded, waits for a line from it, and closes its input after the rounds: for a
machine that others use, a command that makes it quiet meanwhile.
"""

import argparse
import contextlib
import json
import math
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "tests" / "support"), str(HERE.parent / "tests" / "e2e")]

import compare  # noqa: E402
import networks  # noqa: E402
import report  # noqa: E402
import tern_tools as tools  # noqa: E402
import zoo  # noqa: E402
from peers import ALL, QUICK, part  # noqa: E402
from runtimes import HELD, Process, Tern, Worker  # noqa: E402

PAGE = tools.ROOT / "docs" / "performance.md"
FAR_BEHIND = 5  # times ONNX Runtime's time: not worth more than one round


def agree(got, wanted, noise):
    """Whether the outputs are the same within what another order of float operations can explain. `noise`: for each output, how far
    ONNX Runtime is from itself (compare.rounding_noise), of quantised models whose roundings move whole steps; None for others."""
    if got is None or len(got) != len(wanted):
        return False
    same = lambda g, w, n: tools.difference(g, w, 1e-2, floor=1) if n is None else tools.steps_difference(g, w, *n)
    return all(g.size == w.size and same(in_order(g, w.shape).astype(w.dtype), w, n) is None for g, w, n in zip(got, wanted, noise or [None] * len(wanted)))


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


class Measurement:
    """One model: its runtimes, loaded, checked against ONNX Runtime's outputs, and run in turns."""

    def __init__(self, name, scratch, options):
        self._model, self._inputs, self._steps = zoo.path_of(name), zoo.inputs_of(name), zoo.MODELS[name].steps
        self._name, self._scratch, self._options = name, scratch, options
        self._archive = Path(scratch) / "inputs.npz"
        np.savez(self._archive, **self._inputs)
        import onnx

        self._results = [o.name for o in onnx.load(self._model, load_external_data=False).graph.output]
        self._wanted = self._noise = None
        self.loaded = {}

    def load(self, peer, threads):
        """Loads, checks and keeps a runtime; one that takes seconds and is far behind is ended at once."""
        if peer == "tern":
            runtime = Tern(self._model, self._inputs, self._results, threads, self._scratch, self._options.level)
        else:
            runtime = Worker(peer, self._model, self._archive, threads, self._scratch, self._options.level)
        facts = runtime.facts
        if peer in ("ort", "ort_exact") and self._wanted is None:
            if "error" in facts:
                raise tools.ToolError(f"ONNX Runtime cannot run it, so nothing says what is right: {facts['error']}")
            self._wanted = runtime.outputs
            if self._steps:
                self._noise = compare.rounding_noise(self._model, [self._inputs], [self._wanted])[0]
        if not {"error", "recorded"} & set(facts) and not agree(runtime.outputs, self._wanted, self._noise):
            facts["differs"] = True
        runtime.outputs = None
        self.loaded[threads, peer] = runtime
        if peer in ("tern", "ort", "ort_exact") and not self._options.prepare:
            return
        if self._options.prepare:
            runtime.without_waiting(slow_alone=threads > 1 and peer != "ort")
        reference = self.loaded[threads, "ort"].facts["again_ms"] if (threads, "ort") in self.loaded else math.inf
        behind = self._far_behind(facts.get("again_ms", 0), reference)
        if behind and facts["load_ms"] + facts["first_ms"] > 5000 and (self._options.prepare or facts["again_ms"] > 5000):
            facts["once"] = True
            runtime.remember()
            runtime.close()

    def _far_behind(self, time, reference):
        """Both in milliseconds."""
        return time > max(100, FAR_BEHIND * reference)

    def _drop(self, times):
        """After the first round: leaves the rest of them to those that are not far behind."""
        median = {key: statistics.median(values) for key, values in times.items() if values}
        for (threads, peer), value in median.items():
            if peer not in ("tern", "ort") and self._far_behind(value, median.get((threads, "ort"), math.inf)):
                self.loaded[threads, peer].facts["once"] = True

    def rounds(self):
        """{threads: {runtime: facts with 'ms'}}"""
        times, results = {key: [] for key in self.loaded}, {}
        with held(self._options.hold):
            for number in range(self._options.rounds):
                for key, runtime in self.loaded.items():
                    if not {"error", "once", "recorded"} & set(runtime.facts):
                        times[key] += runtime.round(self._options.seconds)
                if number == 0:
                    self._drop(times)
        for (threads, peer), runtime in self.loaded.items():
            facts = results.setdefault(threads, {})[peer] = dict(runtime.facts)
            got = times[threads, peer] or ([facts["again_ms"]] if {"once", "recorded"} & set(facts) else [])
            if got and not {"differs", "error"} & set(facts):
                facts["ms"], facts["least_ms"] = statistics.median(got), min(got)
            if self._options.level and peer != "tern" and peer not in HELD[self._options.level]:
                facts["free"] = True
        return results

    def close(self):
        for runtime in self.loaded.values():
            runtime.close()


def measure(name, counts, peers, options):
    """{threads: {runtime: facts}} of one model; all thread counts are loaded together, and each round has them all."""
    with tempfile.TemporaryDirectory() as scratch:
        measurement = Measurement(name, scratch, options)
        try:
            for threads in counts:
                for peer in sorted(peers, key=lambda p: (p != "ort_exact", p != "ort")):  # the reference first
                    measurement.load(peer, threads)
                    if options.prepare:
                        measurement.loaded[threads, peer].close()
                        tell(name, threads, {peer: measurement.loaded[threads, peer].facts}, [peer])
            return {} if options.prepare else measurement.rounds()
        finally:
            measurement.close()


def tell(name, threads, results, peers):
    print(f"{name} × {threads}: {', '.join(f'{p} {report.cell(results[p])}' for p in peers)}", flush=True)
    for p in peers:
        if "error" in results[p]:
            print(f"    {p}: {report.short(results[p]['error'])}", flush=True)


def marks(options):
    """The lines around the table on the page."""
    name = f"bench-{options.level}" if options.level else "bench"
    return f"<!-- {name}:begin -->", f"<!-- {name}:end -->"


def write(rows, peers, options):
    """The table on the page, between the markers of its level."""
    begin, end = marks(options)
    page = PAGE.read_text()
    PAGE.write_text(f"{page.split(begin)[0]}{begin}\n{report.text(rows, peers, options)}{end}{page.split(end)[1]}")


def add_file(path):
    """Adds an ONNX file to the models under its stem, which is returned."""
    inputs = compare.any_inputs(path, 0)
    zoo.MODELS[path.stem] = zoo.Model([{name: lambda random, array=array: array for name, array in inputs.items()}], path=path)
    return path.stem


def chosen(options):
    """(models, runtimes) of the command line."""
    groups = {"zoo": list(zoo.MODELS), "networks": list(networks.NETWORKS)}
    zoo.MODELS.update(networks.NETWORKS)
    wanted = options.names or [*report.F32, *report.INT8]
    names = [n for w in wanted for n in groups.get(w) or [add_file(Path(w)) if w.endswith(".onnx") else w]]
    unknown = [n for n in names if n not in zoo.MODELS]
    if unknown:
        raise SystemExit(f"no such model: {', '.join(unknown)}")
    names = [n for n in names if not (options.small and "large" in zoo.MODELS[n].tags)]
    peers = {"quick": QUICK, "all": ALL}.get(options.peers) or options.peers.split(",")
    return names, ([] if options.no_tern or options.prepare else ["tern"]) + ["ort"] + [p for p in peers if p not in ("", "ort", "tern")]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="MODEL", help="without: the f32 and 8-bit models of the table")
    parser.add_argument("--peers", default="quick", help=f"quick ({', '.join(QUICK)}), all ({', '.join(ALL)}), or names")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of one peer's turn in a round")
    parser.add_argument("--small", action="store_true", help="without the models of hundreds of megabytes")
    parser.add_argument("--no-tern", action="store_true", help="the other runtimes alone")
    parser.add_argument("--prepare", action="store_true", help="convert, load and check everything, measure nothing")
    parser.add_argument("--prepared", action="store_true", help="convert nothing: leave out what no earlier run has converted")
    parser.add_argument("--level", default="", choices=["", *HELD], help="hold tern, and the peers that can be held, to a level of instructions")
    parser.add_argument("--hold", metavar="CMD", help="run the rounds while this command runs")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    parser.add_argument("--json", metavar="FILE", help="all facts of the run, for other programs")
    parser.add_argument("--resume", action="store_true", help="leave out what the file of --json holds already")
    return parser.parse_args()


def main():
    options = arguments()
    names, peers = chosen(options)
    Worker.converts = not options.prepared
    if options.prepare:
        Process.patience = 6  # what takes minutes is made while others use the machine
    if options.write and not all(mark in PAGE.read_text() for mark in marks(options)):
        raise SystemExit(f"{PAGE} has no {' and '.join(marks(options))}")
    subprocess.run([tools.ROOT / "tools" / "setup", *sorted({part(p) for p in peers})], check=True)
    counts = [int(t) for t in options.threads.split(",")]
    facts = Path(options.json or "/dev/null")
    rows = [(r["model"], r["threads"], r["results"]) for r in json.loads(facts.read_text() or "[]")] if options.resume and facts.exists() else []
    try:
        for name in names:
            wanted = [t for t in counts if (name, t) not in [row[:2] for row in rows]]
            # Several peers with half a gigabyte of weights each: one thread count at a time.
            for together in [[t] for t in wanted] if "large" in zoo.MODELS[name].tags else [wanted] if wanted else []:
                try:
                    measured = measure(name, together, peers, options)
                except tools.ToolError as error:
                    print(f"{name}: {error}", flush=True)
                    continue
                for threads, results in measured.items():
                    rows.append((name, threads, results))
                    tell(name, threads, results, peers)
                    facts.write_text(json.dumps([{"model": n, "threads": t, "results": r} for n, t, r in rows], indent=1))
    finally:
        if rows:
            print("\n" + report.text(rows, peers, options))
            if options.write:
                write(rows, peers, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
