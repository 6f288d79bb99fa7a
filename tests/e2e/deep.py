#!/usr/bin/env python3
"""Models of many nodes: values that are read twice by each of a long chain (as expressions they would double with every node), chains of
concatenations, subgraphs in subgraphs, sizes of thousands of terms. Compiled within SECONDS of a processor and MEMORY, for CPUs and GPUs; on the CPU the result is ONNX Runtime's.

    deep.py [NAME…]
"""

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
import tern_tools as tools  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

SECONDS, MEMORY = 20, 2 << 30
FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
value = helper.make_tensor_value_info


def chain(count, step, constants=(), kind=FLOAT, shape=("N", 6)):
    """step(i, last) gives the nodes of one step; the last output of the last of them is read by the next step."""
    nodes, last = [], "x"
    for i in range(count):
        nodes += [helper.make_node(op, inputs, [output], **more) for op, inputs, output, more in step(i, last)]
        last = nodes[-1].output[0]
    nodes[-1].output[0] = "y"
    initializers = [numpy_helper.from_array(np.asarray(v), n) for n, v in dict(constants).items()]
    graph = helper.make_graph(nodes, "g", [value("x", kind, shape)], [value("y", kind, None)], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def powers(count, kind=FLOAT):
    """Each a product of the two before it."""
    names = ["x", "x"]

    def step(i, last):
        names.append(f"v{i}")
        return [("Mul", [names[-3], names[-2]], f"v{i}", {})]

    return chain(count, step, kind=kind)


def gathers():
    order = {f"k{i}": np.random.default_rng(i).permutation(64) for i in range(60)}
    return chain(60, lambda i, v: [("Gather", [v, f"k{i}"], f"g{i}", {"axis": 0}), ("Add", [f"g{i}", v], f"v{i}", {})], order, shape=(64, 6))


def rolls():
    ends = {"a": [0], "b": [3], "c": [6], "axis": [0]}

    def step(i, v):
        parts = [("Slice", [v, "a", "b", "axis"], f"s{i}", {}), ("Slice", [v, "b", "c", "axis"], f"t{i}", {})]
        return [*parts, ("Concat", [f"t{i}", f"s{i}"], f"w{i}", {"axis": 0}), ("Add", [f"w{i}", v], f"v{i}", {})]

    return chain(60, step, ends, shape=(6, 6))


def doublings():
    """Of 18 doublings all sums are exact."""
    def step(i, v):
        return [("Concat", [v, v], f"v{i}", {"axis": 0})] if i < 18 else [("ReduceMax", [v], f"v{i}", {})]

    return chain(19, step)


def branches():
    """If in If, 30 deep: protobuf's own limit is 33."""
    inner = helper.make_graph([helper.make_node("Relu", ["x"], ["leaf"])], "leaf", [], [value("leaf", FLOAT, None)])
    for i in range(29):
        other = helper.make_graph([helper.make_node("Neg", ["x"], [f"e{i}"])], f"e{i}", [], [value(f"e{i}", FLOAT, None)])
        node = helper.make_node("If", ["c"], [f"o{i}"])
        for name, graph in (("then_branch", inner), ("else_branch", other)):
            attribute = node.attribute.add(name=name, type=5)
            attribute.g.CopyFrom(graph)
        inner = helper.make_graph([], f"g{i}", [], [value(f"o{i}", FLOAT, None)])
        inner.node.add().CopyFrom(node)
    nodes = [*inner.node, helper.make_node("Identity", [inner.output[0].name], ["y"])]
    graph = helper.make_graph([], "g", [value("x", FLOAT, ["N", 6]), value("c", BOOL, [])], [value("y", FLOAT, None)])
    for node in nodes:
        graph.node.add().CopyFrom(node)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def sizes():
    """Two dimensions of 3,840 terms, products of sums of unknown sizes."""
    inputs, nodes = [], []
    for k in "ab":
        rows, columns = [f"{k}r{i}" for i in range(64)], [f"{k}c{i}" for i in range(60)]
        inputs += [value(n, FLOAT, [n.upper(), 1]) for n in rows] + [value(n, FLOAT, [1, n.upper()]) for n in columns]
        nodes += [helper.make_node("Concat", rows, [f"{k}r"], axis=0), helper.make_node("Concat", columns, [f"{k}c"], axis=1)]
        nodes += [helper.make_node("Add", [f"{k}r", f"{k}c"], [f"{k}s"]), helper.make_node("Reshape", [f"{k}s", "line"], [f"{k}l"])]
        nodes += [helper.make_node("Relu", [f"{k}l"], [f"{k}p"]), helper.make_node("ReduceMax", [f"{k}p"], [k])]
    nodes.append(helper.make_node("Add", ["a", "b"], ["y"]))
    line = numpy_helper.from_array(np.array([-1]), "line")
    return helper.make_model(helper.make_graph(nodes, "g", inputs, [value("y", FLOAT, None)], [line]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


CASES = {
    "relus": lambda: chain(10000, lambda i, v: [("Relu", [v], f"v{i}", {})]),
    "sums": lambda: chain(100, lambda i, v: [("Add", [v, v], f"v{i}", {})]),
    "sums_i64": lambda: chain(60, lambda i, v: [("Add", [v, v], f"v{i}", {})], kind=INT),
    "powers": lambda: powers(60),
    "powers_i64": lambda: powers(60, INT),
    "swish": lambda: chain(100, lambda i, v: [("Sigmoid", [v], f"s{i}", {}), ("Mul", [v, f"s{i}"], f"v{i}", {})]),
    "newton": lambda: chain(60, lambda i, v: [("Mul", [v, "x"], f"a{i}", {}), ("Sub", ["two", f"a{i}"], f"b{i}", {}), ("Mul", [v, f"b{i}"], f"v{i}", {})], {"two": np.float32(2)}),
    "turned": lambda: chain(60, lambda i, v: [("Transpose", [v], f"t{i}", {}), ("Add", [f"t{i}", v], f"v{i}", {})], shape=(6, 6)),
    "gathers": gathers,
    "rolls": rolls,
    "doublings": doublings,
    "branches": branches,
    "sizes": sizes,
}
TARGETS = ("cpu:x86_64_v3", "vulkan:1.1", "cuda:sm_80")


def limited():
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    if "hostile" not in str(tools.BUILD):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def compiled(model, module, target):
    """What is wrong, or None."""
    done = subprocess.run([tools.TERNC, model, "-o", module, f"--targets={target}", "--no-cache", "-q"], capture_output=True, text=True, errors="replace", preexec_fn=limited)
    return f"{target}: exit code {done.returncode}: {done.stderr[:300]}" if done.returncode else None


def difference(model, module, folder):
    proto = model.read_bytes()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto, options, providers=["CPUExecutionProvider"])
    random, inputs = np.random.default_rng(1), {}
    for i in session.get_inputs():
        shape = [3 if isinstance(d, str) else d for d in i.shape]
        kinds = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(bool)": np.bool_}
        inputs[i.name] = np.asarray(random.integers(0, 3, shape) if i.type == "tensor(int64)" else random.random(shape) + 0.5, kinds[i.type])
    (wanted,) = session.run(None, inputs)
    (got,) = tools.run_module(module, inputs, ["y"], folder)
    return tools.difference(got, wanted)


def main():
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        model, module = Path(folder) / "m.onnx", Path(folder) / "m.tern"
        for name, make in CASES.items():
            if sys.argv[1:] and name not in sys.argv[1:]:
                continue
            model.write_bytes(make().SerializeToString())
            for target in TARGETS:
                found = compiled(model, module, target)
                if not found and target.startswith("cpu"):
                    found = difference(model, module, Path(folder) / "run")
                wrong += found is not None
                if found:
                    print(f"FAIL {name}: {found}", flush=True)
    print(f"{len(CASES)} deep models, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
