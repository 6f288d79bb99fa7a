"""One peer with one model in a process of its own, driven through lines of JSON (runtimes.py), so that rounds of several peers can be
interleaved while each stays loaded.

    worker.py PEER prepare MODEL INPUTS.npz CACHE GB SECONDS               converts; says one line
    worker.py PEER run MODEL INPUTS.npz CACHE THREADS SCRATCH GB SECONDS   loads and runs; says its facts, then a line of milliseconds for
                                                                           every {"seconds": s} that comes in

CACHE is this peer's and this model's for good. The process, and each that it starts, may have GB of memory of its own, and take SECONDS of
processor time until the rounds.
"""

import importlib
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from peers import module

SLOW = 5000  # milliseconds of inferences are enough before the rounds


def milliseconds(action):
    start = time.perf_counter()
    action()
    return (time.perf_counter() - start) * 1e3


def both(action):
    """Milliseconds that passed, and milliseconds of processor time."""
    spent = time.process_time()
    return milliseconds(action), (time.process_time() - spent) * 1e3


def memory(key):
    """VmRSS (now) or VmHWM (peak) of this process in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) / 1024
    return 0.0


def prepare(peer, model, inputs, cache):
    made = Path(peer.prepare(model, inputs, cache))
    (cache / "prepared").write_text(str(made.relative_to(cache) if made.is_relative_to(cache) else made))


def reason(error):
    """What an exception says; of a program that failed, the first line about an error."""
    if isinstance(error, subprocess.CalledProcessError):
        lines = ((error.stderr or b"") + (error.stdout or b"")).decode(errors="replace").splitlines()
        said = next((line for line in lines if "rror" in line), lines[-1] if lines else "nothing said")
        return f"{Path(error.cmd[0]).name}: {said.strip()[-400:]} (exit code {error.returncode})"
    return f"{'' if isinstance(error, ValueError) else f'{type(error).__name__}: '}{error}"[:600].strip()


def load(peer, inputs, cache, threads, scratch):
    """(run, facts) of the model, run a few times."""
    ready = str(cache / (cache / "prepared").read_text())
    before = memory("VmRSS")  # Python and the peer's libraries; what the model adds is what counts
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    state = []
    load_ms = milliseconds(lambda: state.extend(peer.load(ready, inputs, threads)))
    run, outputs = state
    times = [both(run)]
    np.savez(Path(scratch) / f"outputs{threads}.npz", *outputs())
    peak = memory("VmHWM")
    facts = {"version": peer.version(), "load_ms": load_ms, "first_ms": times[0][0], "peak_rss_mb": peak - before, "process_mb": peak}
    while len(times) < 4 and sum(t for t, _ in times) < SLOW:  # some compile in the second, too
        times.append(both(run))
    return run, facts | {"again_ms": min(t for t, _ in times), "processor_ms": min(p for _, p in times) / threads}


def main():
    name, what, model, archive, cache, *more, gigabytes, seconds = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")  # peers print to stdout when they like
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_DATA, (int(float(gigabytes) * 1e9),) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), resource.RLIM_INFINITY))
    cache = Path(cache)
    with np.load(archive) as data:
        inputs = {k: np.ascontiguousarray(data[k]).reshape(data[k].shape) for k in data.files}

    def say(**facts):
        print(json.dumps(facts), file=answers, flush=True)

    try:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache / "inductor")  # or compiled code would go to the system's folder
        peer = importlib.import_module(module(name))
        if what == "prepare":
            prepare(peer, model, inputs, cache)
            say()
            return
        run, facts = load(peer, inputs, cache, int(more[0]), more[1])
        resource.setrlimit(resource.RLIMIT_CPU, (resource.RLIM_INFINITY,) * 2)
        say(**facts)
    except Exception as error:
        say(error=reason(error))
        return
    for line in sys.stdin:
        end = time.perf_counter() + json.loads(line)["seconds"]
        times = [milliseconds(run)]
        if times[0] < 1000:
            times.clear()  # it warmed the caches that the other peers have used
        while time.perf_counter() < end or len(times) < (3 if facts["again_ms"] < 1000 else 1):
            times.append(milliseconds(run))
        say(times=times)


main()
