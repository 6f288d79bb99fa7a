"""Models of a few operators, built node by node, compiled and compared with ONNX Runtime: what the tests of operators share."""

import argparse
import platform
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import ort_reference
import tern_tools as tools
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT
# One level of instructions, for tests of what operators mean (others are of kernels too).
ONE_LEVEL = "cpu:x86_64_v3" if platform.machine() == "x86_64" else None


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

    def model(self, opset=21, ml=3):
        graph = helper.make_graph(self.nodes, "g", self.inputs, self.outputs, self.initializers)
        opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1), helper.make_opsetid("ai.onnx.ml", ml)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)


class Given:
    """An input of the model: its values, one array a case, and the names of its symbolic dimensions by axis."""

    def __init__(self, *arrays, **names):
        self.arrays, self.names = arrays, names


def kind(dtype):
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def one(op, inputs, outputs=1, domain="com.microsoft", steps=0, version=21, expected=None, **attributes):
    """A model of one node. inputs: Given, an array (a constant) or None; outputs: how many, or their types (None: left out);
    steps: what integer results may be off by, floats by as many hundredths; version: of ai.onnx; expected: instead of ONNX Runtime, where its CPU has no kernel, a
    function of the inputs (None where left out) that gives the list of outputs."""
    g, names, given = Graph(), [], {}
    for i, x in enumerate(inputs):
        name = f"i{i}" if x is not None else ""
        names.append(name)
        if isinstance(x, Given):
            shape = [x.names.get(f"d{a}", n) for a, n in enumerate(x.arrays[0].shape)]
            g.input(name, kind(x.arrays[0].dtype), shape)
            given[name] = x.arrays
        elif x is not None:
            g.constant(name, x)
    types = [np.float32] * outputs if isinstance(outputs, int) else outputs
    results = [f"o{i}" if t else "" for i, t in enumerate(types)]
    g.node(op, names, results, domain=domain, **attributes)
    for name, t in zip(results, types):
        if t:
            g.output(name, None, kind(t))
    count = max([1, *(len(arrays) for arrays in given.values())])
    cases = [{n: arrays[min(i, len(arrays) - 1)] for n, arrays in given.items()} for i in range(count)]
    if not expected:
        return g.model(version), cases, steps
    wanted = [expected(*(case.get(f"i{i}", x) for i, x in enumerate(inputs))) for case in cases]
    return g.model(version), cases, steps, [r for r in results if r], wanted


RANDOM = np.random.default_rng(0)


def f(*shape, scale=1.0):
    return (RANDOM.standard_normal(shape) * scale).astype(np.float32)


def ints(low, high, *shape, dtype=np.int32):
    return RANDOM.integers(low, high, shape).astype(dtype)


def quantised(shape, dtype, spread=100):
    info = np.iinfo(dtype)
    middle = (info.max + info.min + 1) // 2
    return ints(middle - spread, middle + spread, *shape, dtype=dtype)


def bits_of(values, bits):
    """Integers along the last axis as bytes, the lowest bits first; every row begins at a byte."""
    digits = np.unpackbits(values.astype(np.uint8)[..., None], axis=-1, count=bits, bitorder="little")
    return np.packbits(digits.reshape(*values.shape[:-1], -1), axis=-1, bitorder="little")


def check(name, build, folder, args):
    """What differs, as sentences. build() gives a model, its input cases, perhaps what integer results may be off by, and perhaps
    the outputs' names and values for each case."""
    built = build()
    model, cases, steps, names, all_wanted = *built, *(0, None, None)[len(built) - 2 :]
    path, module = Path(folder) / f"{name}.onnx", Path(folder) / f"{name}.tern"
    onnx.save(model, path)
    # Its optimiser makes other operators of some (MatMulNBits of DequantizeLinear and MatMul, on activations of 8 bits).
    options = ort_reference.session_options(plain=model)
    options.log_severity_level = 3
    options.intra_op_num_threads = 1  # by more, DynamicQuantizeLSTM quantises parts of a batch apart
    try:
        if not names:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            names = [o.name for o in session.get_outputs()]
            all_wanted = [session.run(None, {k: np.asarray(v, order="C") for k, v in case.items()}) for case in cases]
    except Exception as error:  # noqa: BLE001: its exceptions have no common class
        return [f"ONNX Runtime: {error}"]
    tools.compile_model(path, module, *([f"--targets={args.targets}"] if args.targets else []))
    problems = []
    for i, (case, wanted) in enumerate(zip(cases, all_wanted)):
        case = {k: np.asarray(v, order="C") for k, v in case.items()}
        got = tools.run_module(module, case, names, Path(folder) / name, "--driver", args.driver, "--threads", "2")
        for output, g, w in zip(names, got, wanted):
            near = steps and g.dtype == w.dtype and g.shape == w.shape and g.dtype.kind in "iu"
            problem = tools.difference(g, w, relative=max(1e-3, steps * 0.01)) if not near or np.abs(g.astype(np.int64) - w).max(initial=0) > steps else None
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


def main(cases, refusals, doc, targets=None):
    """cases: name to build(); refusals: name to build() and a sentence; targets: what to compile for unless told otherwise."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--filter", default="")
    parser.add_argument("--driver", default="cpu")
    parser.add_argument("--targets", default=targets)
    args = parser.parse_args()
    names = [n for n in [*cases, *refusals] if args.filter in n]
    if not names:
        parser.error(f"no case has '{args.filter}' in its name")
    passed = failed = 0
    for name in names:
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
