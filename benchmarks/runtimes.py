"""The runtimes that cpu.py measures: peers in processes of their own (worker.py), and tern through its command line; tern's memory in such
a process too.

A peer may take any time and memory, crash or hang: each step has a limit, the process that exceeds it is ended, and the reason is a
fact like any other. What is known from an earlier run stays in the peer's cache folder: what it converted, why it could not, and,
where it is far behind and costs seconds, its time (`slow-THREADS`).
"""

import hashlib
import json
import os
import signal
import subprocess
import threading
from pathlib import Path

import numpy as np
import tern_tools as tools
from peers import module, part

HERE = Path(__file__).resolve().parent
CACHE = tools.ROOT / ".cache" / "bench"
PREPARE_SECONDS, LOAD_SECONDS = 420, 120  # of one core; load with the first two runs
MEMORY_GB = 9
# What holds a peer's kernels to a level of instructions: variables, where it can be told; the others are told by their libraries' own
# questions to the processor (hold.py), which those of LIBRARIES ask.
LIBRARIES = {"bench": ("onnxruntime", "openvino", "_mnncengine", "ncnn"), "bench-torch": ("ai_edge_litert",)}
HELD = {
    "x86_64_v3": {
        **{peer: {} for peer in ("ort", "ort_exact", "openvino", "litert", "mnn", "ncnn")},
        "torch": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
        "iree": {"TERN_BENCH_CPU": "x86-64-v3"},
        "tvm": {"TERN_BENCH_CPU": "x86-64-v3"},
    }
}


def cache_of(peer, model, level=""):
    """A folder for this peer, its version and code, and this model's bytes."""
    text = hashlib.sha256()
    code = {module(peer).removeprefix("peers."), *(("onnx_fx",) if peer in ("torch", "litert") else ()), *(("litert_graph",) if peer == "litert" else ())}
    for file in [*sorted((tools.ROOT / "tools" / "setup.d").glob(f"{part(peer)}*.txt")), *sorted((HERE / "peers").glob("*.py"))]:
        if file.parent.name != "peers" or file.stem in code:
            text.update(file.read_bytes())
    with open(model, "rb") as data:
        text.update(hashlib.file_digest(data, "sha256").digest())
    text.update(json.dumps(HELD.get(level, {}).get(peer, {})).encode())
    return CACHE / peer / f"{Path(model).stem}-{text.hexdigest()[:16]}"


def held_environment(peer, level):
    """(folder of the environment, variables) in which the peer's libraries see a processor of this level."""
    folder = tools.ROOT / f".venv-{part(peer)}"
    if HELD.get(level, {}).get(peer) != {}:
        return folder, HELD.get(level, {}).get(peer, {})
    target = folder.with_name(f"{folder.name}-{level}")
    made = target / "hold.so"  # the last that hold.py makes
    sources = [HERE / "hold.py", HERE / "hold_cpuid.c", *folder.glob("lib/python*/site-packages")]
    if not made.exists() or made.stat().st_mtime < max(s.stat().st_mtime for s in sources):
        subprocess.run([HERE / "hold.py", folder, target, *LIBRARIES[part(peer)]], check=True)
    return target, {"LD_PRELOAD": str(made)}


class Process:
    """worker.py with these arguments: lines of JSON go in and come out. One that takes longer than it may is ended."""

    patience = 1.5  # times the seconds of processor time may pass

    def __init__(self, peer, arguments, level, seconds):
        folder, variables = held_environment(peer, level)
        command = [str(c) for c in (folder / "bin" / "python", HERE / "worker.py", peer, *arguments, MEMORY_GB, seconds)]
        environment = os.environ | variables | {"TERN_LIBRARY": str(tools.BUILD / "lib" / "libtern.so")}
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, **streams, text=True, cwd=HERE, env=environment, start_new_session=True)

    def answer(self, seconds):
        late = threading.Timer(seconds, self._kill)
        late.start()
        line = self._process.stdout.readline()
        ended = not late.is_alive()
        late.cancel()
        if line:
            return json.loads(line)
        code = self._process.wait()
        if ended or code == -signal.SIGXCPU:
            return {"error": f"Error: took longer than {seconds:.0f} s or its share of processor time"}
        return {"error": f"Error: ended with {f'signal {-code}' if code < 0 else f'exit code {code}'} (memory allowed: {MEMORY_GB} GB)"}

    def send(self, what):
        try:
            self._process.stdin.write(json.dumps(what) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the next answer says how it ended

    def _kill(self):
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def close(self):
        try:
            self._process.stdin.close()
            self._process.wait(timeout=5)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            pass
        self._kill()
        self._process.wait()


def prepare(peer, model, archive, level):
    """What the peer makes of the model ahead of time, in a process of its own; a failure is kept, with its reason."""
    cache = cache_of(peer, model, level)
    if (cache / "prepared").exists() or (cache / "failed").exists():
        return
    cache.mkdir(parents=True, exist_ok=True)
    process = Process(peer, ["prepare", model, archive, cache], level, PREPARE_SECONDS)
    facts = process.answer(Process.patience * PREPARE_SECONDS)
    process.close()
    if "error" in facts:
        (cache / "failed").write_text(f"conversion: {facts['error']}")


class Worker:
    """A peer with one model, loaded and run once."""

    converts = True  # else only what an earlier run has converted is run

    def __init__(self, peer, model, archive, threads, scratch, level=""):
        self.outputs, self._process, cache = None, None, cache_of(peer, model, level)
        self._slow = cache / f"slow-{threads}"
        if self.converts or peer in ("ort", "ort_exact"):
            prepare(peer, model, archive, level)
        elif not (cache / "prepared").exists() and not (cache / "failed").exists():
            self.facts = {"error": "not converted before this run"}
            return
        for known in (cache / "failed", cache / f"failed-{threads}"):
            if known.exists():
                self.facts = {"error": known.read_text()}
                return
        if self._slow.exists():
            self.facts = json.loads(self._slow.read_text()) | {"recorded": True}
            return
        scratch = Path(scratch) / f"{peer}{threads}"
        scratch.mkdir()
        self._process = Process(peer, ["run", model, archive, cache, threads, scratch], level, LOAD_SECONDS)
        self.facts = self._process.answer(Process.patience * LOAD_SECONDS)
        if "error" in self.facts:
            (cache / f"failed-{threads}").write_text(self.facts["error"])
            return
        with np.load(scratch / f"outputs{threads}.npz") as data:
            self.outputs = [data[k] for k in data.files]

    def remember(self):
        """It is so far behind that the next run takes its time from here."""
        self._slow.write_text(json.dumps(self.facts))

    def without_waiting(self, slow_alone):
        """Takes its times from the processor's, which others on this machine do not change: good enough to see who is far behind. Threads
        that wait for one another make that wrong: with several it is believed only of one that is slow alone."""
        alone = self._slow.with_name("slow-1").exists()
        if "processor_ms" in self.facts:
            self.facts["again_ms"] = self.facts["first_ms"] = self.facts["processor_ms"] if alone or not slow_alone else 0

    def round(self, seconds):
        self._process.send({"seconds": seconds})
        answer = self._process.answer(10 * seconds + self.facts["again_ms"] / 25 + 60)
        self.facts.update({k: v for k, v in answer.items() if k == "error"})
        return answer.get("times", [])

    def close(self):
        if self._process:
            self._process.close()


class Tern:
    """tern through its own command line: compiled once, checked with `tern run`, timed with `tern bench`. Its peak memory is taken as the
    peers' is: what it adds to a Python process that loads libtern.so, and that process as a whole."""

    def __init__(self, model, inputs, names, threads, scratch, level=""):
        self._module = Path(scratch) / "model.tern"
        self._options = ["--threads", str(threads)]
        self.facts, self.outputs = {}, None
        try:
            if not self._module.exists():
                tools.compile_model(model, self._module, *([f"--targets=cpu:{level}"] if level else []))
            self.outputs = tools.run_module(self._module, inputs, names, Path(scratch) / "tern", *self._options)
            self.facts = {"version": f"tern held to {level}" if level else "tern"}
            self.facts |= self._memory(model, Path(scratch), threads)
        except tools.ToolError as error:
            self.facts = {"error": str(error)[:600]}
        self._options += [x for i, n in enumerate(inputs) for x in ("--input", f"{n}={Path(scratch) / 'tern' / 'in' / f'{i}.npy'}")]

    def _memory(self, model, scratch, threads):
        (scratch / "prepared").write_text(self._module.name)
        outputs = scratch / f"memory{threads}"
        outputs.mkdir(exist_ok=True)
        process = Process("tern", ["run", model, scratch / "inputs.npz", scratch, threads, outputs], "", LOAD_SECONDS)
        facts = process.answer(Process.patience * LOAD_SECONDS)
        process.close()
        if "error" in facts:
            raise tools.ToolError(f"libtern.so in a Python process: {facts['error']}")
        return {key: facts[key] for key in ("peak_rss_mb", "process_mb")}

    def round(self, seconds):
        try:
            text = tools.call([tools.TERN, "bench", self._module, "--json", "--seconds", str(seconds), *self._options], timeout=60)
        except tools.ToolError as error:
            self.facts["error"] = str(error)[:600]
            return []
        facts = json.loads(text)
        for key in ("load_ms", "first_ms"):
            self.facts[key] = min(self.facts.get(key, facts[key]), facts[key])
        return [facts["median_ms"]]

    def close(self):
        pass
