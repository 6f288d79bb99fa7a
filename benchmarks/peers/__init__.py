"""One module a peer. Each has `version()`, and `load(prepared, inputs, threads)`, which returns (run, outputs): run() does one
inference on inputs that are already where the peer wants them; outputs() returns the last results as a list of arrays in the
model's order. What is converted ahead of time is converted in `prepare(model, inputs, folder)`, untimed; it returns a path that
`load` gets. The folder is kept from run to run (worker.py), and so is a failure.

Imports at the head of a peer's module are counted as the process, not as what loading a model costs."""

ALL = ("ort", "openvino", "litert", "torch", "mnn", "ncnn", "iree", "tvm")
QUICK = ("ort", "openvino", "litert", "mnn")  # what was ever the fastest, and needs no compilation of its own

# Peers whose dependencies suit no other's have an environment of their own: `tools/setup bench-NAME` makes .venv-bench-NAME.
PARTS = {"litert": "bench-torch", "torch": "bench-torch", "tvm": "bench-tvm"}
MODULES = {"torch": "pytorch", "tvm": "apache_tvm"}  # where the peer's name is its library's


def part(peer):
    """The argument of tools/setup that installs a peer."""
    return PARTS.get(peer, "bench")


def module(peer):
    return f"peers.{MODULES.get(peer, peer)}"
