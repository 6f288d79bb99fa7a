"""ONNX Runtime with session.x64quantprecision=1: where the CPU lacks VNNI its 8-bit products are exact then, as tern's are; its default
saturates. On a CPU with VNNI both are exact, and this one is the slower. Not in ALL: ask for it with --peers ort_exact.
"""

from peers import ort
from peers.ort import prepare  # noqa: F401


def version():
    return f"{ort.version()} (x64quantprecision=1)"


def load(prepared, inputs, threads):
    return ort.load(prepared, inputs, threads, [("session.x64quantprecision", "1")])
