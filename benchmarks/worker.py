"""One peer with one model in a process of its own, driven through lines of JSON, so that rounds of several peers can be
interleaved while each stays loaded. Lines in: {"seconds": s} for one round, or end of file. Lines out: facts of the load,
then one line of milliseconds a round.

    worker.py PEER MODEL INPUTS.npz THREADS SCRATCH CACHE

CACHE is this peer's and this model's for good: what `prepare` makes stays there, and so does the reason why it could not.
"""

import importlib
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
from peers import module


def milliseconds(action):
    start = time.perf_counter()
    action()
    return (time.perf_counter() - start) * 1e3


def memory(key):
    """VmRSS (now) or VmHWM (peak) of this process in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) / 1024
    return 0.0


def prepared(peer, model, inputs, cache):
    """The path that the peer's `load` gets; made once."""
    ready, failed = cache / "prepared", cache / "failed"
    if failed.exists():
        raise ValueError(failed.read_text())
    if not ready.exists():
        cache.mkdir(parents=True, exist_ok=True)
        try:
            made = Path(peer.prepare(model, inputs, cache))
            ready.write_text(str(made.relative_to(cache) if made.is_relative_to(cache) else made))
        except Exception as error:
            failed.write_text(reason(error))
            raise
    return str(cache / ready.read_text())


def reason(error):
    text = getattr(error, "stderr", b"") or b""
    kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
    return f"{kind}{error} {text.decode(errors='replace')[-300:]}"[:600].strip()


SLOW = 5000  # milliseconds: an inference that takes longer is not repeated


def main():
    name, model, archive, threads, scratch, cache = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")  # peers print to stdout when they like
    os.dup2(2, 1)
    with np.load(archive) as data:
        inputs = {k: np.ascontiguousarray(data[k]).reshape(data[k].shape) for k in data.files}

    def say(**facts):
        print(json.dumps(facts), file=answers, flush=True)

    try:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(cache) / "inductor")  # or compiled code would go to the system's folder
        peer = importlib.import_module(module(name))
        ready = prepared(peer, model, inputs, Path(cache))
        before = memory("VmRSS")  # Python and the peer's libraries; what the model adds is what counts
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
        state = []
        load_ms = milliseconds(lambda: state.extend(peer.load(ready, inputs, int(threads))))
        run, outputs = state
        first_ms = milliseconds(run)
        np.savez(Path(scratch) / f"outputs{threads}.npz", *outputs())
        say(version=peer.version(), load_ms=load_ms, first_ms=first_ms, peak_rss_mb=memory("VmHWM") - before)
    except Exception as error:
        say(error=reason(error))
        return
    if first_ms > SLOW:
        first_ms = milliseconds(run)
    for line in sys.stdin:
        if first_ms > SLOW:
            say(times=[first_ms])
            continue
        end = time.perf_counter() + json.loads(line)["seconds"]
        run()  # warms the caches that the other peers have used
        times = []
        while not times or (time.perf_counter() < end or len(times) < 3):
            times.append(milliseconds(run))
        say(times=times)


main()
