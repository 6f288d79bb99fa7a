#!/usr/bin/env python3
"""Random graphs with symbols under session_abuse: sizes that grow and shrink, allocations that fail, timeouts, limits, threads.

    careless.py [--count 10] [--seed 1] [--driver cpu] [--targets cpu:x86_64_v3]
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]

import onnx_random  # noqa: E402
import tern_tools as tools  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--driver", default="cpu")
    parser.add_argument("--targets", default="cpu:x86_64_v3")
    options = parser.parse_args()
    modules, seed = [], options.seed
    with tempfile.TemporaryDirectory() as folder:
        while len(modules) < options.count:
            graph, model, _ = onnx_random.generate(seed)
            path = Path(folder) / f"{seed}.onnx"
            seed += 1
            if not graph.symbols or not model.graph.output:
                continue
            path.write_bytes(model.SerializeToString())
            try:
                tools.compile_model(path, path.with_suffix(".tern"), f"--targets={options.targets}", "-j1", timeout=120)
            except tools.ToolError as failure:
                if any(text in str(failure) for text in onnx_random.REFUSED):
                    continue
                raise
            modules.append(path.with_suffix(".tern"))
        codes = []
        for threads in (1, 3):
            command = [tools.BUILD / "bin" / "session_abuse", "--driver", options.driver, "--threads", threads, *modules]
            codes.append(subprocess.run([str(c) for c in command]).returncode)
    return 1 if any(codes) else 0


if __name__ == "__main__":
    os.environ.setdefault("TERN_CACHE_DIR", str(Path(tempfile.gettempdir()) / "tern-random-cache"))
    sys.exit(main())
