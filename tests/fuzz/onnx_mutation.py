#!/usr/bin/env python3
"""Damaged ONNX models through ternc: ONNX's node tests and small networks, each with one to three mutations that leave a file that protobuf
can parse: wrong types, absurd sizes, cycles, inputs and initialisers that are missing, data that lie outside the model's folder.

    onnx_mutation.py [--count 400] [--seconds S] [--seed 1] [--keep FOLDER] [--compile] [--attributes] [-j 2]

--attributes takes each whole-number attribute of each operator instead, with each of SIZES in it (5,760 models, over ten minutes).
Whatever a file holds, ternc ends within TIMEOUT seconds of a processor and MEMORY with exit code 0, or with 1 or 4 and a message; what it refuses leaves
no output. --seconds runs until they have passed; --keep writes the models that broke a promise there; TERN_BUILD picks the ternc, one with
sanitizers too.
"""

import argparse
import concurrent.futures
import itertools
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))

import onnx  # noqa: E402
import promises  # noqa: E402
import tern_tools as tools  # noqa: E402
from builder import FLOAT, Graph, conv, gemm  # noqa: E402
from onnx import AttributeProto, TensorProto, helper  # noqa: E402

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data" / "node"
TIMEOUT, MEMORY = 30, 4 << 30
SIZES = (-(2**63), -(2**31), -7, -1, 0, 1, 2, 3, 7, 65536, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1)
TYPES = (0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 14, 16, 17, 21, 22, 23, 99)


def graphs(graph):
    """The graph and those in its nodes' attributes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.type == AttributeProto.GRAPH else attribute.graphs:
                yield from graphs(inner)


class Mutation:
    """One change to a model, somewhere. A method's name says what it does; it returns without effect where there is nothing to change."""

    def __init__(self, model, choice):
        self.model, self.choice = model, choice
        self.graph = choice.choice(list(graphs(model.graph)))

    def _of(self, items):
        return self.choice.choice(list(items)) if len(items) else None

    def _names(self):
        used = [n for node in self.graph.node for n in [*node.input, *node.output]]
        return [*used, *[i.name for i in self.graph.initializer], *[i.name for i in self.graph.input], "", "absent"]

    def dimension(self):
        value = self._of([*self.graph.input, *self.graph.output, *self.graph.value_info])
        if value is None or not value.type.HasField("tensor_type"):
            return
        dims = value.type.tensor_type.shape.dim
        how = self.choice.randrange(4)
        if how == 0:
            dims.add().dim_value = self._of(SIZES)
        elif how == 1 and dims:
            del dims[self.choice.randrange(len(dims))]
        elif how == 2 and dims:
            self._of(dims).dim_param = self._of(["N", "", "N*", "2*N+1", "a" * 5000])
        elif dims:
            self._of(dims).dim_value = self._of(SIZES)

    def value_type(self):
        value = self._of([*self.graph.input, *self.graph.output])
        if value is None:
            return
        if self.choice.random() < 0.8:
            value.type.tensor_type.elem_type = self._of(TYPES)
        else:
            self._of([value.type, value.type.tensor_type, value]).Clear()

    def initializer_shape(self):
        tensor = self._of(self.graph.initializer)
        if tensor is None:
            return
        how = self.choice.randrange(3)
        if how == 0 or not tensor.dims:
            tensor.dims.append(self._of(SIZES))
        elif how == 1:
            tensor.dims[self.choice.randrange(len(tensor.dims))] = self._of(SIZES)
        else:
            del tensor.dims[:]

    def initializer_data(self):
        tensor = self._of(self.graph.initializer)
        if tensor is None:
            return
        how = self.choice.randrange(4)
        if how == 0:
            tensor.data_type = self._of(TYPES)
        elif how == 1:
            tensor.raw_data = tensor.raw_data[: self.choice.randrange(len(tensor.raw_data) + 1)]
        elif how == 2:
            tensor.float_data.extend([1.0] * self.choice.randrange(1, 9))
        else:
            self.graph.initializer.remove(tensor)

    def external(self):
        tensor = self._of(self.graph.initializer)
        if tensor is None:
            return
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        location = self._of(["absent.bin", "../data.bin", "/etc/passwd", "data.bin", "", ".", "a/../../data.bin", "link.bin", "\0", "x" * 5000])
        for key, value in (("location", location), ("offset", self._of([*map(str, SIZES), "x", ""])), ("length", self._of([*map(str, SIZES), "-", "1e9"]))):
            if self.choice.random() < 0.8:
                tensor.external_data.add(key=key, value=value)

    def node_input(self):
        node = self._of(self.graph.node)
        if node is None:
            return
        how = self.choice.randrange(4)
        if how == 0 or not node.input:
            node.input.append(self._of(self._names()))
        elif how == 1:
            del node.input[self.choice.randrange(len(node.input))]
        else:
            node.input[self.choice.randrange(len(node.input))] = self._of(self._names())

    def node_output(self):
        node = self._of(self.graph.node)
        if node is None:
            return
        how = self.choice.randrange(3)
        if how == 0 or not node.output:
            node.output.append(self._of([*self._names(), "fresh"]))
        elif how == 1:
            del node.output[self.choice.randrange(len(node.output))]
        else:
            node.output[self.choice.randrange(len(node.output))] = self._of(self._names())

    def cycle(self):
        node = self._of(self.graph.node)
        later = self._of([n for n in self.graph.node if n.output])
        if node is not None and node.input and later is not None:
            node.input[0] = later.output[0]

    def operator(self):
        node = self._of(self.graph.node)
        if node is not None:
            node.op_type = self._of([*{n.op_type for n in self.graph.node}, *OPERATORS])

    def domain(self):
        node = self._of(self.graph.node)
        if node is not None:
            node.domain = self._of(["com.microsoft", "ai.onnx.ml", "ai.onnx", "nobody", "x" * 3000])

    def node_order(self):
        nodes = list(self.graph.node)
        self.choice.shuffle(nodes)
        del self.graph.node[:]
        self.graph.node.extend(nodes[: self.choice.randrange(len(nodes) + 1)] if self.choice.random() < 0.3 else nodes)

    def attribute_value(self):
        node = self._of([n for n in self.graph.node if n.attribute])
        if node is None:
            return
        attribute = self._of(node.attribute)
        how = self.choice.randrange(6)
        if how == 0:
            node.attribute.remove(attribute)
        elif how == 1:
            attribute.type = self.choice.randrange(0, 15)
        elif how == 2 and len(attribute.ints):
            attribute.ints[self.choice.randrange(len(attribute.ints))] = self._of(SIZES)
        elif how == 3:
            attribute.ints.extend([self._of(SIZES)] * self.choice.randrange(1, 40))
        elif how == 4:
            attribute.f, attribute.s = self._of([0.0, float("nan"), float("inf"), -1e38]), self._of([b"", b"\xff\xfe", b"VALID", b"x" * 4000])
        else:
            attribute.i = self._of(SIZES)

    def attribute_tensor(self):
        node = self._of([n for n in self.graph.node if any(a.type == AttributeProto.TENSOR for a in n.attribute)])
        if node is not None:
            tensor = next(a.t for a in node.attribute if a.type == AttributeProto.TENSOR)
            tensor.dims.append(self._of(SIZES)) if self.choice.random() < 0.5 else setattr(tensor, "data_type", self._of(TYPES))

    def output(self):
        if self.choice.random() < 0.5 and self.graph.output:
            self._of(self.graph.output).name = self._of(self._names())
        elif self.graph.output:
            self.graph.output.append(self._of(self.graph.output))

    def opset(self):
        for entry in self.model.opset_import:
            entry.version = self._of([0, -1, 1, 5, 9, 999, 2**62])
        if self.choice.random() < 0.2:
            del self.model.opset_import[:]

    def versions(self):
        self.model.ir_version = self._of([0, -1, 1, 3, 99, 2**62])


MUTATIONS = [name for name, value in vars(Mutation).items() if not name.startswith("_") and callable(value)]
OPERATORS = []


def networks():
    """Small models of several nodes, with weights and with branches."""
    g = Graph("small", seed=1)
    x = g.input("x", FLOAT, [1, 3, 16, 16])
    y = g.op("Relu", conv(g, x, 3, 8, 3, name="conv"))
    g.output(gemm(g, g.op("Flatten", g.op("GlobalAveragePool", y), axis=1), 8, 4), "y", FLOAT, [1, 4])
    with tempfile.TemporaryDirectory() as folder:
        g.save(Path(folder) / "m.onnx")
        yield onnx.load(Path(folder) / "m.onnx").SerializeToString()
    info = lambda name, shape, kind=TensorProto.FLOAT: helper.make_tensor_value_info(name, kind, shape)  # noqa: E731
    arm = lambda op: helper.make_graph([helper.make_node(op, ["x"], [f"{op}_y"])], op, [], [info(f"{op}_y", ["N", 4])])  # noqa: E731
    nodes = [helper.make_node("If", ["c"], ["y"], then_branch=arm("Exp"), else_branch=arm("Neg"))]
    graph = helper.make_graph(nodes, "g", [info("x", ["N", 4]), info("c", [], TensorProto.BOOL)], [info("y", ["N", 4])])
    yield helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]).SerializeToString()


def corpus():
    models = [(p.parent.name, p.read_bytes()) for p in sorted(DATA.glob("*/model.onnx")) if p.stat().st_size < 100_000]
    OPERATORS.extend(sorted({n.op_type for _, data in models for n in onnx.load_from_string(data).graph.node}))
    small = [(f"network{i}", data) for i, data in enumerate(networks())]
    return models, small


def mutant(models, small, seed):
    choice = random.Random(seed)
    name, data = choice.choice(small if choice.random() < 0.2 else models)
    if choice.random() < 0.05:
        return name, data[: choice.randrange(len(data))]
    model, done = onnx.load_from_string(data), []
    for _ in range(choice.randrange(1, 4)):
        what = choice.choice(MUTATIONS)
        try:
            getattr(Mutation(model, choice), what)()
        except (ValueError, TypeError, UnicodeEncodeError):
            continue  # protobuf refuses the value
        done.append(what)
    return f"{name} ({', '.join(done)})", model.SerializeToString()


def odd_attributes(models):
    """(name, model) of each operator's whole-number attributes, as the first two node tests that have one have them, with each size in them.
    Outputs state no shape, which would be what is refused."""
    seen = {}
    for name, data in models:
        for at, node in enumerate(onnx.load_from_string(data).graph.node):
            for which, attribute in enumerate(node.attribute):
                key = node.op_type, attribute.name
                seen[key] = seen.get(key, 0) + 1
                if attribute.type not in (AttributeProto.INT, AttributeProto.INTS) or seen[key] > 2:
                    continue
                for place in {0, max(len(attribute.ints) - 1, 0)} if attribute.type == AttributeProto.INTS and attribute.ints else {None}:
                    for size in SIZES:
                        model = onnx.load_from_string(data)
                        changed = model.graph.node[at].attribute[which]
                        if place is None:
                            changed.i = size
                        else:
                            changed.ints[place] = size
                        for output in model.graph.output:
                            if output.type.HasField("tensor_type"):
                                output.type.tensor_type.ClearField("shape")
                        yield f"{name} ({node.op_type}.{attribute.name} = {size})", model.SerializeToString()


def limited():
    resource.setrlimit(resource.RLIMIT_CPU, (TIMEOUT, TIMEOUT))
    if "hostile" not in str(tools.BUILD):  # sanitizers reserve terabytes
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def broken_promise(model, folder, compiles):
    """What ternc does wrong with these bytes, or None."""
    path, module = folder / "m.onnx", folder / "m.tern"
    path.write_bytes(model)
    module.unlink(missing_ok=True)
    command = [tools.TERNC, path, "-o", module] if compiles else [tools.TERNC, "--check", path]
    try:
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, errors="replace", timeout=20 * TIMEOUT, preexec_fn=limited)
    except subprocess.TimeoutExpired:
        return f"took longer than {20 * TIMEOUT} s"
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return f"took longer than {TIMEOUT} s of a processor"
    if wrong := promises.broken_answer(done.returncode, done.stderr):
        return wrong
    left = sorted(p.name for p in folder.iterdir() if p.name not in ("m.onnx", "link.bin", "data.bin", *(["m.tern"] if not done.returncode else [])))
    return f"left {', '.join(left)}" if left else None


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--compile", action="store_true", help="whole compilations, not --check alone")
    parser.add_argument("--attributes", action="store_true", help="each attribute at its ends, instead of random damage")
    parser.add_argument("-j", type=int, default=2)
    return parser.parse_args()


def main():
    options = arguments()
    models, small = corpus()
    end = time.monotonic() + options.seconds
    wrong, tried = [], 0

    def one(seed, name, data):
        with tempfile.TemporaryDirectory() as outer:
            folder = Path(outer) / "inside"
            folder.mkdir()
            (Path(outer) / "data.bin").write_bytes(bytes(64))
            (folder / "data.bin").write_bytes(bytes(64))
            (folder / "link.bin").symlink_to("../data.bin")
            return seed, name, data, broken_promise(data, folder, options.compile)

    swept = odd_attributes(models) if options.attributes else None
    with concurrent.futures.ThreadPoolExecutor(options.j) as pool:
        while swept or tried < options.count or time.monotonic() < end:
            seeds = range(options.seed + tried, options.seed + tried + 100)
            batch = list(itertools.islice(swept, 100)) if swept else [mutant(models, small, seed) for seed in seeds]
            for seed, name, data, what in pool.map(one, seeds, *zip(*batch)) if batch else ():
                if what:
                    wrong.append(seed)
                    print(f"{seed}: {name}: ternc {what}", flush=True)
                    promises.keep(options.keep, seed, data)
            tried += len(batch)
            if swept and len(batch) < 100:
                break
    print(f"{tried} damaged models, {len(wrong)} broken promises")
    return 1 if wrong else 0


if __name__ == "__main__":
    os.environ.setdefault("TERN_CACHE_DIR", str(Path(tempfile.gettempdir()) / "tern-mutation-cache"))
    sys.exit(main())
