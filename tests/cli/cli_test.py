#!/usr/bin/env python3
"""What ternc and tern promise on the command line: exit codes, messages, files, and that no damaged file crashes them.

    cli_test.py [NAME…]      every test function whose name contains one of the words
"""

import sys
import tempfile
import traceback

import common  # noqa: F401  # finds what the others import
import damaged_cases
import gpu_cases
import tensor_cases
import tern_cases
import ternc_cases
import usage_cases

CASES = (ternc_cases, usage_cases, tern_cases, tensor_cases, gpu_cases, damaged_cases)


def main():
    tests = {}
    for module in CASES:
        tests.update((n, f) for n, f in vars(module).items() if n.startswith("test_") and f.__module__ == module.__name__)
    if sys.argv[1:]:
        tests = {n: f for n, f in tests.items() if any(w in n for w in sys.argv[1:])}
        if not tests:
            sys.exit(f"cli_test: no test has {' or '.join(sys.argv[1:])} in its name")
    failed = 0
    for name, test in tests.items():
        with tempfile.TemporaryDirectory() as folder:
            try:
                test(folder)
                print(f"ok   {name}", flush=True)
            except (Exception, SystemExit) as error:
                failed += 1
                trace = traceback.extract_tb(error.__traceback__)
                line = next((t.lineno for t in reversed(trace) if t.filename.endswith("_cases.py")), 0)
                print(f"FAIL {name} (line {line}): {type(error).__name__}: {str(error)[:1500]}", flush=True)
    print(f"{len(tests) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
