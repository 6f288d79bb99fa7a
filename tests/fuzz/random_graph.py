"""A graph under construction whose every value is known: each node runs in ONNX Runtime alone as it is added, so that the next node can
be chosen by the shapes, types and values that are there, and a node that ONNX Runtime refuses is not added."""

import math

import numpy as np
import onnx
import onnxruntime
import ort_reference
from onnx import TensorProto, helper, numpy_helper

MOST = 20_000  # elements of a value
ELEMENT = {np.dtype(t): helper.np_dtype_to_tensor_dtype(np.dtype(t)) for t in ("f4", "f2", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?")}
IR = {11: 6, 12: 7, 13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10, 22: 10, 23: 11, 24: 11}


class Refused(Exception):
    """The node cannot be added; the generator tries another."""


def session(model, optimise=True):
    options = ort_reference.session_options(plain=None if optimise else model)
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def info(name, array, shape=None):
    return helper.make_tensor_value_info(name, ELEMENT[array.dtype], array.shape if shape is None else shape)


def outer_names(node):
    """What a node reads, its subgraphs included."""
    names = [n for n in node.input if n]
    for attribute in node.attribute:
        for graph in [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else []:
            made = {i.name for i in graph.input} | {o for n in graph.node for o in n.output} | {t.name for t in graph.initializer}
            names += [n for inner in graph.node for n in outer_names(inner) if n not in made]
            names += [o.name for o in graph.output if o.name not in made]
    return list(dict.fromkeys(names))


class Graph:
    def __init__(self, rng, opset):
        self.rng, self.opset = rng, opset
        self.values, self.nodes, self.inputs, self.initializers, self.made = {}, [], [], [], 0
        self.symbols, self.constants = {}, set()
        self.sizes = self.drawn_sizes()

    # -- chance

    def chance(self, p):
        return self.rng.random() < p

    def of(self, *items):
        return items[int(self.rng.integers(len(items)))]

    def drawn_sizes(self):
        """The sizes of this graph: few, so that they meet; each graph has others."""
        few = self.rng.choice([1, 1, 2, 3, 4, 5, 7, 8, 9, 11, 13], 3)
        any_of = self.rng.choice([2, 6, 10, 12, 15, 16, 17, 19, 24, 31, 32, 33, 37, 48, 63, 64, 65, 97, 127, 128, 129, 257], 3)
        return [*few, *few, *any_of]

    def size(self):
        return int(self.of(*self.sizes))

    def shape(self, rank=None, most=4000):
        rank = int(self.rng.integers(0, 5)) if rank is None else rank
        dims = [self.size() for _ in range(rank)]
        while math.prod(dims) > most:
            dims[dims.index(max(dims))] = 2
        if rank and self.chance(0.02):
            dims[self.rng.integers(rank)] = 0
        return dims

    def array(self, shape, dtype="f4", low=None, high=None):
        """Multiples of 1/8, so that comparisons and roundings right behind an input are exact."""
        dtype = np.dtype(dtype)
        if dtype.kind == "f":
            low, high = (-2 if low is None else low), (2 if high is None else high)
            return (np.round(self.rng.uniform(low, high, shape) * 8) / 8).astype(dtype)
        if dtype.kind == "b":
            return np.asarray(self.rng.random(shape) < 0.5)
        low = low if low is not None else 0 if dtype.kind == "u" else -20
        high = high if high is not None else 20
        if low is None and dtype.itemsize == 1:
            low, high = (0, 255) if dtype.kind == "u" else (-128, 127)
        return np.asarray(self.rng.integers(low, high, shape, endpoint=True)).astype(dtype)

    # -- values

    def fresh(self):
        self.made += 1
        return f"v{self.made}"

    def get(self, name):
        return self.values[name]

    def input(self, array, symbols=True):
        name = self.fresh()
        dims = []
        for d in array.shape:
            if symbols and d != 1 and self.chance(0.35):  # what broadcasts must be seen to
                known = [s for s, v in self.symbols.items() if v == d]
                symbol = self.of(*known) if known else f"N{len(self.symbols)}"
                self.symbols[symbol] = d
                dims.append(symbol)
            else:
                dims.append(d)
        self.values[name] = array
        self.inputs.append((name, dims))
        return name

    def constant(self, array):
        """An initializer, a node, or an input with a default."""
        array = np.asarray(array)
        name = self.fresh()
        self.values[name] = array
        self.constants.add(name)
        tensor = numpy_helper.from_array(array, name)
        if self.chance(0.3):
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        else:
            self.initializers.append((tensor, self.chance(0.05)))
        return name

    def ints(self, *values):
        return self.constant(np.array(values, np.int64))

    def operand(self, shape, dtype="f4", low=None, high=None, constant=0.6):
        array = self.array(shape, dtype, low, high)
        return self.constant(array) if self.chance(constant) else self.input(array, symbols=constant < 0.8)

    def pick(self, kinds="f", rank=None, least=0, most=8, where=None):
        """Some value whose type is of these kinds ('f', 'i', 'u', 'b' or names such as 'f4'); newer ones more often."""
        good = [
            n
            for n, v in self.values.items()
            if n not in self.constants
            and (v.dtype.kind in kinds or v.dtype.str[1:] in kinds)
            and (rank is None or v.ndim == rank)
            and least <= v.ndim <= most
            and (where is None or where(v))
        ]
        if not good or self.chance(0.12):
            kind = self.of(*kinds)
            dtype = {"f": self.of("f4", "f4", "f4", "f2"), "i": self.of("i8", "i4", "i1"), "u": self.of("u1", "u4"), "b": "?", "b1": "?"}.get(kind, kind)
            shape = self.shape(rank if rank is not None else int(self.rng.integers(least, min(most, 4) + 1)))
            array = self.array(shape, dtype)
            if where is not None and not where(array):
                raise Refused("no such value")
            return self.input(array)
        weights = np.arange(1, len(good) + 1) ** 2.0
        return good[self.rng.choice(len(good), p=weights / weights.sum())]

    def axis(self, array, negative=True):
        axis = int(self.rng.integers(array.ndim))
        return axis - array.ndim if negative and self.chance(0.3) else axis

    # -- nodes

    def node(self, op, inputs, outputs=1, domain="", keep=None, **attributes):
        """Adds a node if ONNX Runtime runs it; its outputs' names."""
        names = [self.fresh() if keep is None or keep[i] else "" for i in range(outputs)]
        node = helper.make_node(op, inputs, names, domain=domain, **{k: v for k, v in attributes.items() if v is not None})
        self.add([node], [n for n in names if n])
        return names[0] if outputs == 1 else names

    def together(self, first, then):
        """Nodes whose values between are no tensors: `first` makes some by a function (op, inputs, attributes) -> name, `then` takes these
        and makes the results."""
        nodes = []

        def make(op, inputs, **attributes):
            nodes.append(helper.make_node(op, inputs, [self.fresh()], **attributes))
            return nodes[-1].output[0]

        names = then(make, *first(make))
        self.add(nodes, names)
        return names

    def add(self, nodes, names):
        """Adds nodes with these results if ONNX Runtime runs them."""
        made = {o for n in nodes for o in n.output}
        needed = list(dict.fromkeys(i for n in nodes for i in outer_names(n) if i not in made))
        graph = helper.make_graph(nodes, "one", [info(n, self.values[n]) for n in needed], [helper.make_empty_tensor_value_info(n) for n in names])
        try:
            results = session(self.proto(graph).SerializeToString(), optimise=False).run(None, {n: self.values[n] for n in needed})
        except Exception as failure:
            raise Refused(str(failure)) from None
        for result in map(np.asarray, results):
            if result.dtype not in ELEMENT or result.size > MOST:
                raise Refused("too large")
            if result.dtype.kind == "f" and result.size:
                finite = np.isfinite(result).all()
                if not finite and not self.chance(0.02) or finite and np.abs(result).max() > 3e4 / (1 if result.dtype.itemsize > 2 else 30):
                    raise Refused("values out of range")
        self.values.update(zip(names, map(np.asarray, results)))
        self.nodes.extend(nodes)

    def subgraph(self, make, results, inputs=()):
        """What `make` adds, as a graph of its own with these results (a function of make's answer); inputs are names known already."""
        start, first = len(self.nodes), len(self.initializers)
        kept_inputs = len(self.inputs)
        answer = make()
        names = results(answer)
        nodes, tensors = self.nodes[start:], [t for t, _ in self.initializers[first:]]
        made = {o for n in nodes for o in n.output} | {t.name for t in tensors}
        del self.nodes[start:], self.initializers[first:]
        del kept_inputs
        outer = [n for n in names if n not in made]
        for name in outer:  # a result from outside needs a node
            alias = self.fresh()
            self.values[alias] = self.values[name]
            nodes.append(helper.make_node("Identity", [name], [alias]))
            names = [alias if n == name else n for n in names]
        graph = helper.make_graph(
            nodes, "body", [info(n, self.values[n]) for n in inputs], [info(n, self.values[n], [None] * self.values[n].ndim) for n in names], tensors
        )
        hidden = {n: self.values[n] for n in made | set(names)}
        for name in hidden:
            del self.values[name]
        return graph, hidden

    def proto(self, graph):
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1), helper.make_opsetid("ai.onnx.ml", 3)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR[self.opset])

    def resized(self, inputs):
        """Inputs as these, their symbols being other sizes."""
        sizes = {s: int(self.of(1, 1, 2, 3, v, v + 1, max(v - 1, 1), 2 * v, self.size(), 0 if self.chance(0.1) else 5)) for s, v in self.symbols.items()}
        dims = dict(self.inputs)
        out = {}
        for name, array in inputs.items():
            shape = [sizes.get(d, d) for d in dims[name]]
            out[name] = array if list(array.shape) == shape else np.resize(array, shape) if array.size else self.array(shape, array.dtype)
        return out

    def model(self):
        """The model, and its inputs' values."""
        used = {n for node in self.nodes for n in outer_names(node)}
        made = [o for node in self.nodes if node.op_type != "Constant" for o in node.output if o]
        outputs = [n for n in made if n in self.values and (n not in used or self.chance(0.05))]
        kept = [(n, dims) for n, dims in self.inputs if n in used]
        inputs = [info(n, self.values[n], dims) for n, dims in kept]
        tensors = [t for t, _ in self.initializers if t.name in used]
        inputs += [info(t.name, self.values[t.name]) for t, overridable in self.initializers if overridable and t.name in used]
        results = [info(n, self.values[n], [None] * self.values[n].ndim) for n in outputs]
        nodes = [n for n in self.nodes if n.op_type != "Constant" or n.output[0] in used]
        model = self.proto(helper.make_graph(nodes, "random", inputs, results, tensors))
        return model, {n: self.values[n] for n, _ in kept}
