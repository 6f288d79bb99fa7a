#!/usr/bin/env python3
"""Operators that ternc has no importer for: of onnx's own schemas (the latest version of each), and of ONNX Runtime's com.microsoft.

    tools/operator_gaps.py [--all]      --all: what is refused with a reason of its own, too
"""

import re
import sys
from pathlib import Path

import onnx.defs
import onnxruntime.capi.onnxruntime_pybind11_state as ort

SOURCES = Path(__file__).resolve().parent.parent / "compiler" / "onnx"
DOMAINS = {"kOnnx": "", "kMl": "ai.onnx.ml", "kMicrosoft": "com.microsoft"}


def rows(pattern):
    """(domain, operator) of each row of this form in the importers' tables."""
    text = "\n".join(p.read_text() for p in sorted(SOURCES.glob("*.cc")))
    return {(DOMAINS.get(domain, domain.strip('"')), name) for domain, name in re.findall(pattern, text)}


def main():
    built = rows(r'\{\s*(\w+|"[\w.]+"),\s*"(\w+)",\s*\d+,\s*\w+,')
    reasons = rows(r'\{\s*(\w+|"[\w.]+"),\s*"(\w+)",\s*(?:k[A-Z]\w+\}|")')
    known = {(s.domain, s.name) for s in onnx.defs.get_all_schemas() if not s.deprecated}
    known |= {(s.domain, s.name) for s in ort.get_all_operator_schema() if s.domain == "com.microsoft"}
    for domain in sorted({d for d, _ in known}):
        missing = sorted(n for d, n in known - built if d == domain)
        told = [n for n in missing if (domain, n) in reasons]
        silent = [n for n in missing if (domain, n) not in reasons]
        print(f"{domain or 'ai.onnx'}: {sum(d == domain for d, _ in known & built)} built, {len(missing)} not")
        if silent:
            print("    " + ", ".join(silent))
        if told and "--all" in sys.argv:
            print("    refused with a reason: " + ", ".join(told))


if __name__ == "__main__":
    main()
