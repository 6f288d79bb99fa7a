"""Writes ONNX graphs node by node, the way torch.onnx.export does, with seeded weights and no PyTorch.

A Graph collects nodes and initializers; `op` adds a node and returns its first output's name. Names follow the
exporter's scheme (`/layer1.0/conv1/Conv_output_0`), since error messages and reports show them. The same seed gives the
same file, byte for byte.
"""

import contextlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Graph:
    def __init__(self, name, seed, opset=17):
        self.name = name
        self.opset = opset
        self.random = np.random.default_rng(seed)
        self._nodes = []
        self._initializers = {}
        self._inputs = []
        self._outputs = []
        self._scope = []
        self._count = {}

    @contextlib.contextmanager
    def scope(self, name):
        self._scope.append(name)
        yield
        self._scope.pop()

    def _unique(self, stem):
        path = "/" + "/".join([*self._scope, stem])
        n = self._count.get(path, 0)
        self._count[path] = n + 1
        return path if n == 0 else f"{path}_{n}"

    def input(self, name, dtype, shape):
        self._inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, value, name, dtype, shape):
        """Names a value as output, as the exporter does: the producing node writes that name, and its readers read it."""
        for node in self._nodes:
            for names in (node.input, node.output):
                for i, each in enumerate(names):
                    if each == value:
                        names[i] = name
        self._outputs.append(helper.make_tensor_value_info(name, dtype, shape))

    def op(self, kind, *inputs, outputs=1, **attributes):
        path = self._unique(kind)
        names = [f"{path}_output_{i}" for i in range(outputs)]
        attributes = {k: v for k, v in attributes.items() if v is not None}
        self._nodes.append(helper.make_node(kind, inputs, names, name=path, **attributes))
        return names[0] if outputs == 1 else names

    def param(self, name, array):
        """A named weight; the same name twice is the same tensor (tied weights)."""
        name = ".".join([*self._scope, name])
        if name not in self._initializers:
            self._initializers[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def const(self, value, dtype=np.float32):
        """A Constant node, as the exporter writes scalars, shapes and indices."""
        return self.op("Constant", value=numpy_helper.from_array(np.array(value, dtype=dtype)))

    def ints(self, *values):
        return self.const(values, np.int64)

    def normal(self, shape, std=1.0, mean=0.0):
        return (self.random.standard_normal(shape, dtype=np.float32) * np.float32(std) + np.float32(mean)).astype(np.float32)

    def model(self):
        graph = helper.make_graph(self._nodes, "main_graph", self._inputs, self._outputs, list(self._initializers.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], producer_name="tern-tests")
        model.ir_version = 8
        return model

    def save(self, path):
        onnx.save(self.model(), path)


FLOAT = TensorProto.FLOAT
INT64 = TensorProto.INT64


# ---- layers that several networks share -------------------------------------------------------------------------------


def conv(g, x, cin, cout, k, stride=1, pad=None, groups=1, bias=True, gain=2.0, name="conv", bn=None):
    """Conv with He-scaled weights. bn="keep" adds a BatchNormalization node, bn="fold" folds the same numbers into the weights."""
    pad = k // 2 if pad is None else pad
    with g.scope(name):
        weight = g.normal((cout, cin // groups, k, k), (gain / (cin // groups * k * k)) ** 0.5)
        offset = g.normal((cout,), 0.05)
        norm = None
        if bn:
            scale, shift, mean = g.normal((cout,), 0.05, 1.0), g.normal((cout,), 0.05), g.normal((cout,), 0.05)
            var = g.random.uniform(0.8, 1.2, cout).astype(np.float32)
            if bn == "fold":
                factor = scale / np.sqrt(var + np.float32(1e-5))
                weight, offset = weight * factor[:, None, None, None], (offset - mean) * factor + shift
            else:
                norm = (scale, shift, mean, var)
        has_bias = (bias and not bn) or bn == "fold"
        inputs = [x, g.param("weight", weight)] + ([g.param("bias", offset)] if has_bias else [])
        y = g.op("Conv", *inputs, dilations=[1, 1], group=groups, kernel_shape=[k, k], pads=[pad] * 4, strides=[stride] * 2)
    if norm:
        with g.scope(name + "_bn"):
            names = [g.param(n, a) for n, a in zip(("weight", "bias", "running_mean", "running_var"), norm)]
            y = g.op("BatchNormalization", y, *names, epsilon=1e-5, momentum=0.9)
    return y


def gemm(g, x, nin, nout, name="fc", gain=1.0):
    with g.scope(name):
        w = g.param("weight", g.normal((nout, nin), (gain / nin) ** 0.5))
        b = g.param("bias", g.normal((nout,), 0.05))
        return g.op("Gemm", x, w, b, alpha=1.0, beta=1.0, transB=1)


def linear(g, x, nin, nout, name, bias=True, gain=1.0):
    """nn.Linear on a tensor of rank 3: the exporter folds the transposition and writes MatMul, then Add with the bias first."""
    with g.scope(name):
        w = g.param("weight_t", g.normal((nin, nout), (gain / nin) ** 0.5))
        y = g.op("MatMul", x, w)
        return g.op("Add", g.param("bias", g.normal((nout,), 0.05)), y) if bias else y


def layer_norm(g, x, n, name, eps=1e-5):
    """LayerNormalization from opset 17 on, else the chain of nodes that the exporter wrote before."""
    with g.scope(name):
        weight, bias = g.param("weight", g.normal((n,), 0.05, 1.0)), g.param("bias", g.normal((n,), 0.05))
        if g.opset >= 17:
            return g.op("LayerNormalization", x, weight, bias, axis=-1, epsilon=eps)
        mean = g.op("ReduceMean", x, axes=[-1])
        centred = g.op("Sub", x, mean)
        square = g.op("Pow", centred, g.const(2.0))
        variance = g.op("ReduceMean", square, axes=[-1])
        root = g.op("Sqrt", g.op("Add", variance, g.const(eps)))
        return g.op("Add", g.op("Mul", g.op("Div", centred, root), weight), bias)


def gelu_erf(g, x):
    """GELU before opset 20: x * (erf(x / sqrt 2) + 1) * 0.5."""
    erf = g.op("Erf", g.op("Div", x, g.const(2.0**0.5)))
    return g.op("Mul", g.op("Mul", x, g.op("Add", erf, g.const(1.0))), g.const(0.5))


def gelu_tanh(g, x):
    """GPT-2's NewGELU as exported: 0.5 * x * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))."""
    half = g.op("Mul", x, g.const(0.5))
    cubic = g.op("Mul", g.op("Pow", x, g.const(3.0)), g.const(0.044715))
    inner = g.op("Mul", g.op("Add", x, cubic), g.const((2.0 / np.pi) ** 0.5))
    return g.op("Mul", half, g.op("Add", g.op("Tanh", inner), g.const(1.0)))


def silu(g, x):
    return g.op("Mul", x, g.op("Sigmoid", x))
