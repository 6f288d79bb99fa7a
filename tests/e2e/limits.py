#!/usr/bin/env python3
"""Limits on what a user waits for: ResNet-50's compile time and memory, load and first result. Times are the best of a few
tries, since a busy machine only ever adds to them."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))

import tern_tools as tools  # noqa: E402
import zoo  # noqa: E402

COMPILE_SECONDS = 10.0  # on 2 cores
COMPILE_MEMORY = (4, 300)  # times the model's size, plus MB
LOAD_MS = 5.0
FIRST_RATIO = 1.3  # load to first result, over one steady run


def compile_once(model, module):
    """(seconds, peak MB of the largest process)."""
    start = time.time()
    process = subprocess.Popen([tools.TERNC, model, "-o", module, "--no-cache"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"ternc failed: {errors}")
    return time.time() - start, usage.ru_maxrss / 1024


def main():
    results = []

    def check(what, value, limit, unit):
        results.append(value <= limit)
        print(f"{'ok  ' if results[-1] else 'FAIL'} {what}: {value:.3g} {unit}, at most {limit:.3g}")

    model = zoo.path_of("resnet50")
    size = model.stat().st_size / 1e6
    with tempfile.TemporaryDirectory() as folder:
        module = Path(folder) / "m.tern"
        tries = [compile_once(model, module)]
        while len(tries) < 4 and tries[-1][0] > COMPILE_SECONDS:  # others may have kept the processors busy
            tries.append(compile_once(model, module))
        check("ResNet-50 compiles", min(t for t, _ in tries), COMPILE_SECONDS, "s")
        check("ternc's memory for it", max(m for _, m in tries), COMPILE_MEMORY[0] * size + COMPILE_MEMORY[1], "MB")
        bench = [tools.TERN, "bench", module, "--json", "--threads", "1", "--seconds", "1"]
        facts = [json.loads(tools.call(bench, 120)) for _ in range(4)]
        check("load", min(f["load_ms"] for f in facts), LOAD_MS, "ms")
        check("load to first result over one run", min((f["load_ms"] + f["first_ms"]) / f["median_ms"] for f in facts), FIRST_RATIO, "times")
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
