"""Models of a few operators, built node by node, compiled and compared with ONNX Runtime: what the tests of operators share."""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import tern_tools as tools
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


class Graph:
    """Nodes, initialisers, inputs and outputs of a model under construction."""

    def __init__(self, seed=0):
        self.random = np.random.default_rng(seed)
        self.nodes, self.initializers, self.inputs, self.outputs = [], [], [], []

    def constant(self, name, array):
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def normal(self, name, *shape, std=1.0):
        return self.constant(name, (self.random.standard_normal(shape) * std).astype(np.float32))

    def node(self, op, inputs, outputs, domain="com.microsoft", **attributes):
        self.nodes.append(helper.make_node(op, inputs, outputs, domain=domain, **attributes))
        return outputs[0]

    def input(self, name, kind, shape):
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name, shape, kind=FLOAT):
        self.outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def model(self):
        graph = helper.make_graph(self.nodes, "g", self.inputs, self.outputs, self.initializers)
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def check(name, build, folder, args):
    """What differs, as sentences. build() gives a model, its input cases and, for quantised ones, how many steps of the largest
    value (mean, most) results may be off."""
    model, cases, *steps = build()
    path, module = Path(folder) / f"{name}.onnx", Path(folder) / f"{name}.tern"
    onnx.save(model, path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Its optimiser makes other operators of some (MatMulNBits of DequantizeLinear and MatMul, on activations of 8 bits).
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        all_wanted = [session.run(None, {k: np.asarray(v, order="C") for k, v in case.items()}) for case in cases]
    except Exception as error:  # noqa: BLE001: its exceptions have no common class
        return [f"ONNX Runtime: {error}"]
    tools.compile_model(path, module, *([f"--targets={args.targets}"] if args.targets else []))
    names, problems = [o.name for o in session.get_outputs()], []
    for i, (case, wanted) in enumerate(zip(cases, all_wanted)):
        case = {k: np.asarray(v, order="C") for k, v in case.items()}
        got = tools.run_module(module, case, names, Path(folder) / name, "--driver", args.driver, "--threads", "2")
        for output, g, w in zip(names, got, wanted):
            problem = tools.steps_difference(g, w, *steps[0]) if steps else tools.difference(g, w)
            if problem:
                problems.append(f"case {i}, output '{output}': {problem}")
    return problems


def refusal(name, build, folder, args, sentence):
    """The same for a model that ternc must refuse, with a text that contains the sentence."""
    path = Path(folder) / f"{name}.onnx"
    onnx.save(build()[0], path)
    try:
        tools.compile_model(path, Path(folder) / f"{name}.tern")
    except tools.ToolError as error:
        return [] if sentence in str(error) else [f"refused otherwise: {error}"]
    return ["was not refused"]


def main(cases, refusals, doc):
    """cases: name to build(); refusals: name to build() and a sentence."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--filter", default="")
    parser.add_argument("--driver", default="cpu")
    parser.add_argument("--targets")
    args = parser.parse_args()
    passed = failed = 0
    for name in (n for n in [*cases, *refusals] if args.filter in n):
        with tempfile.TemporaryDirectory() as folder:
            try:
                problems = check(name, cases[name], folder, args) if name in cases else refusal(name, refusals[name][0], folder, args, refusals[name][1])
            except tools.ToolError as error:
                problems = [str(error)]
        print(f"{name:40} {'FAIL' if problems else 'ok'}", flush=True)
        for problem in problems:
            print(f"    {problem}")
        passed, failed = passed + (not problems), failed + bool(problems)
    print(f"{passed} passed, {failed} failed")
    return failed != 0
