"""An ONNX graph as a torch.nn.Module whose forward is one straight line of PyTorch calls, for torch.compile and litert-torch.

Shapes and other integers that an operator wants at compile time are read from constants, which are folded while the graph
is built; there is no data-dependent Python in the result, so the compiler sees the whole network. Static shapes only.
One function an operator; `OPS` holds those that the benchmark's models need, and another operator is an error by name.
"""

import operator

import numpy as np
import onnx
import torch
import torch.ao.quantization.fx._decomposed  # noqa: F401  registers the quantised operators
import torch.nn.functional as F
from onnx import numpy_helper

DTYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 11: torch.float64}
OPS = {}


def op(*names):
    def add(f):
        OPS.update(dict.fromkeys(names, f))
        return f

    return add


def elementwise(name, f):
    OPS[name] = lambda c, a, *x: f(*x)


for _name, _f in {
    "Add": operator.add, "Sub": operator.sub, "Mul": operator.mul, "Pow": torch.pow, "Erf": torch.erf, "Sqrt": torch.sqrt,
    "Tanh": torch.tanh, "Sigmoid": torch.sigmoid, "Relu": torch.relu, "HardSwish": F.hardswish, "Where": torch.where,
    "Exp": torch.exp, "Log": torch.log, "Neg": torch.neg, "Abs": torch.abs, "Identity": lambda x: x,
}.items():  # fmt: skip
    elementwise(_name, _f)


class Convert:
    """What an operator's function may ask: `ints(x)` and `numbers(x)` are a constant operand's values. Which operands were
    asked for is remembered, by identity."""

    def __init__(self, opset):
        self.opset, self.asked = opset, {}

    def numbers(self, x):
        if isinstance(x, Fixed):
            return x.values
        self.asked[id(x)] = Fixed(x.tolist())
        return x.tolist()

    def ints(self, x):
        values = self.numbers(x)
        return [int(v) for v in values] if isinstance(values, list) else [int(values)]


class Fixed:
    """The numbers of a constant operand."""

    def __init__(self, values):
        self.values = values

    def numel(self):
        return len(self.values) if isinstance(self.values, list) else 1

    def dim(self):
        return 1 if isinstance(self.values, list) else 0


@op("Div")
def div(c, a, x, y):
    return torch.div(x, y, rounding_mode=None if x.dtype.is_floating_point else "trunc")


@op("Clip")
def clip(c, a, x, low=None, high=None):
    bound = lambda v, key: a.get(key) if v is None else c.numbers(v)
    return torch.clamp(x, bound(low, "min"), bound(high, "max"))


@op("HardSigmoid")
def hard_sigmoid(c, a, x):
    return torch.clamp(x * a.get("alpha", 0.2) + a.get("beta", 0.5), 0.0, 1.0)


@op("Constant")
def constant(c, a):
    if "value" in a:
        return torch.from_numpy(numpy_helper.to_array(a["value"]).copy())
    return torch.tensor(next(v for k, v in a.items() if k.startswith("value_")))


@op("Cast")
def cast(c, a, x):
    return x.to(DTYPES[a["to"]])


@op("Conv")
def conv(c, a, x, w, b=None):
    d = w.dim() - 2
    pads = _pads(a, x, w.shape[2:], d)
    before, after = pads[:d], pads[d:]
    if before != after:
        x = F.pad(x, [p for i in reversed(range(d)) for p in (before[i], after[i])])
        before = [0] * d
    f = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[d]
    return f(x, w, b, a.get("strides", [1] * d), before, a.get("dilations", [1] * d), a.get("group", 1))


@op("ConvTranspose")
def conv_transpose(c, a, x, w, b=None):
    pads, d = a.get("pads", [0, 0, 0, 0]), 2
    if pads[:d] != pads[d:] or "output_shape" in a:
        raise ValueError("a transposed convolution with uneven padding")
    more = a.get("output_padding", [0] * d)
    return F.conv_transpose2d(x, w, b, a.get("strides", [1] * d), pads[:d], more, a.get("group", 1), a.get("dilations", [1] * d))


def _pads(a, x, kernel, d):
    mode = a.get("auto_pad", b"NOTSET").decode()
    if mode in ("NOTSET", "VALID"):
        return list(a.get("pads", [0] * (2 * d))) if mode == "NOTSET" else [0] * (2 * d)
    strides, dilations = a.get("strides", [1] * d), a.get("dilations", [1] * d)
    total = []
    for n, k, s, e in zip(x.shape[2:], kernel, strides, dilations):
        total.append(max(0, (-(-n // s) - 1) * s + (k - 1) * e + 1 - n))
    small, large = [t // 2 for t in total], [t - t // 2 for t in total]
    return small + large if mode == "SAME_UPPER" else large + small


@op("MaxPool")
def max_pool(c, a, x):
    d = len(a["kernel_shape"])
    pads = _pads(a, x, a["kernel_shape"], d)
    if pads[:d] != pads[d:]:
        x, pads = F.pad(x, [p for i in reversed(range(d)) for p in (pads[i], pads[d + i])], value=float("-inf")), [0] * d
    return F.max_pool2d(x, a["kernel_shape"], a.get("strides", [1] * d), pads[:d], a.get("dilations", [1] * d), bool(a.get("ceil_mode")))


@op("AveragePool")
def average_pool(c, a, x):
    d = len(a["kernel_shape"])
    pads = _pads(a, x, a["kernel_shape"], d)
    if pads[:d] != pads[d:]:
        raise ValueError("an average pool with uneven padding")
    return F.avg_pool2d(x, a["kernel_shape"], a.get("strides", [1] * d), pads[:d], bool(a.get("ceil_mode")), bool(a.get("count_include_pad")))


@op("GlobalAveragePool")
def global_average_pool(c, a, x):
    return torch.mean(x, dim=list(range(2, x.dim())), keepdim=True)


@op("BatchNormalization")
def batch_norm(c, a, x, scale, bias, mean, var):
    return F.batch_norm(x, mean, var, scale, bias, False, 0.0, a.get("epsilon", 1e-5))


@op("LayerNormalization")
def layer_norm(c, a, x, scale, bias=None):
    return F.layer_norm(x, list(x.shape[a.get("axis", -1) % x.dim() :]), scale, bias, a.get("epsilon", 1e-5))


@op("MatMul")
def matmul(c, a, x, y):
    return torch.matmul(x, y)


@op("Gemm")
def gemm(c, a, x, y, z=None):
    x, y = (x.t() if a.get("transA") else x), (y if a.get("transB") else y.t())
    if a.get("alpha", 1.0) == 1.0 and a.get("beta", 1.0) == 1.0 and (z is None or z.dim() == 1):
        return F.linear(x, y, z)
    product = torch.mm(x, y.t()) * a.get("alpha", 1.0)
    return product if z is None else product + z * a.get("beta", 1.0)


@op("Gelu")
def gelu(c, a, x):
    return F.gelu(x, approximate=a.get("approximate", b"none").decode())


@op("Softmax")
def softmax(c, a, x):
    axis = a.get("axis", -1 if c.opset >= 13 else 1)
    if c.opset < 13 and axis % x.dim() != x.dim() - 1:
        return torch.softmax(x.flatten(axis), -1).reshape(x.shape)
    return torch.softmax(x, axis)


@op("ReduceMean")
def reduce_mean(c, a, x, axes=None):
    axes = a.get("axes") if axes is None else c.ints(axes)
    return torch.mean(x, dim=axes or list(range(x.dim())), keepdim=bool(a.get("keepdims", 1)))


@op("Reshape")
def reshape(c, a, x, shape):
    wanted = [x.shape[i] if n == 0 and not a.get("allowzero") else n for i, n in enumerate(c.ints(shape))]
    return x.reshape(wanted)


@op("Flatten")
def flatten(c, a, x):
    axis = a.get("axis", 1)
    return x.reshape(int(np.prod(x.shape[:axis])), -1)


@op("Transpose")
def transpose(c, a, x):
    return x.permute(a.get("perm", list(reversed(range(x.dim())))))


@op("Unsqueeze")
def unsqueeze(c, a, x, axes=None):
    axes = a["axes"] if axes is None else c.ints(axes)
    for axis in sorted(i % (x.dim() + len(axes)) for i in axes):
        x = x.unsqueeze(axis)
    return x


@op("Squeeze")
def squeeze(c, a, x, axes=None):
    axes = a.get("axes") if axes is None else c.ints(axes)
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


@op("Concat")
def concat(c, a, *x):
    return torch.cat(x, a["axis"])


@op("Split")
def split(c, a, x, sizes=None):
    axis = a.get("axis", 0)
    sizes = a.get("split") if sizes is None else c.ints(sizes)
    return torch.split(x, sizes or x.shape[axis] // a["outputs"], axis)


@op("Slice")
def slices(c, a, x, starts, ends, axes=None, steps=None):
    starts, ends = c.ints(starts), c.ints(ends)
    axes = list(range(len(starts))) if axes is None else c.ints(axes)
    steps = [1] * len(starts) if steps is None else c.ints(steps)
    index = [slice(None)] * x.dim()
    for s, e, axis, step in zip(starts, ends, axes, steps):
        if step < 1:
            raise ValueError("a slice that walks backwards")
        index[axis] = slice(s, e, step)
    return x[tuple(index)]


@op("Gather")
def gather(c, a, x, index):
    axis = a.get("axis", 0)
    if index.dim() == 0:
        return x.select(axis, c.ints(index)[0])
    if axis == 0 and x.dim() == 2:
        return F.embedding(index, x)
    return torch.index_select(x, axis, index.reshape(-1)).reshape([*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]])


@op("Expand")
def expand(c, a, x, shape):
    return x.expand(torch.broadcast_shapes(tuple(x.shape), tuple(c.ints(shape))))


@op("Shape")
def shape(c, a, x):
    return torch.tensor(list(x.shape), dtype=torch.int64)


@op("Resize")
def resize(c, a, x, roi=None, scales=None, sizes=None):
    mode = a.get("mode", b"nearest").decode()
    where = a.get("coordinate_transformation_mode", b"half_pixel").decode()
    if sizes is not None and sizes.numel():
        target = c.ints(sizes)[2:]
    else:
        target = [int(n * s) for n, s in zip(x.shape[2:], c.numbers(scales)[2:])]
    whole = all(t % n == 0 for t, n in zip(target, x.shape[2:]))
    if mode == "nearest" and whole:
        return F.interpolate(x, target, mode="nearest")
    if mode == "linear" and where in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        return F.interpolate(x, target, mode="bilinear", align_corners=where == "align_corners")
    raise ValueError(f"Resize of mode {mode} with {where}")


BOUNDS = {torch.uint8: (0, 255), torch.int8: (-128, 127)}


@op("QuantizeLinear")
def quantize(c, a, x, scale, zero):
    if scale.numel() > 1:
        return torch.ops.quantized_decomposed.quantize_per_channel(x, scale, zero, a.get("axis", 1), *BOUNDS[torch.int8], torch.int8)
    kind = a.setdefault("type", getattr(zero, "dtype", None))
    scales = c.numbers(scale)
    f = torch.ops.quantized_decomposed.quantize_per_tensor
    return f(x, scales[0] if isinstance(scales, list) else scales, c.ints(zero)[0], *BOUNDS[kind], kind)


@op("DequantizeLinear")
def dequantize(c, a, x, scale, zero):
    if x.dtype == torch.int32:  # a bias
        return x.to(torch.float32) * scale
    if scale.numel() == 1:
        scales = c.numbers(scale)
        f = torch.ops.quantized_decomposed.dequantize_per_tensor
        return f(x, scales[0] if isinstance(scales, list) else scales, c.ints(zero)[0], *BOUNDS[x.dtype], x.dtype)
    return torch.ops.quantized_decomposed.dequantize_per_channel(x, scale, zero, a.get("axis", 1), *BOUNDS[x.dtype], x.dtype)


class Network(torch.nn.Module):
    """Runs the nodes in order. What depends on constants and shapes alone is computed once, with the example inputs."""

    def __init__(self, model, example):
        super().__init__()
        graph = model.graph
        opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
        values = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}
        known = set(values)
        self.inputs = [i.name for i in graph.input if i.name not in values]
        self.results = [o.name for o in graph.output]
        values.update(zip(self.inputs, example))
        self._steps = []
        for node in graph.node:
            a = {x.name: onnx.helper.get_attribute_value(x) for x in node.attribute} | {"outputs": len(node.output)}
            if node.op_type not in OPS:
                raise ValueError(f"the benchmark's PyTorch importer has no {node.op_type}")
            f, convert = OPS[node.op_type], Convert(opset)
            if node.op_type.endswith("uantizeLinear") and values[node.input[1]].numel() > 1:  # per channel: PyTorch's form of zero points
                values[node.input[2]] = values[node.input[2]].to(torch.int64)
            got = f(convert, a, *[values[n] if n else None for n in node.input])
            values.update(zip(node.output, got if isinstance(got, (tuple, list)) else [got]))
            weight = node.op_type.endswith("uantizeLinear") and values[node.input[0]].dtype != torch.int32  # stays: int8 kernels want it so
            if node.op_type in ("Shape", "Constant") or (not weight and all(n in known for n in node.input if n)):
                known.update(node.output)
            else:  # operands that the operator reads as numbers become numbers
                operands = [convert.asked.get(id(values[n]), n) if n else None for n in node.input]
                self._steps.append((f, a, operands, list(node.output)))
        self._convert = Convert(opset)
        names = {n for step in self._steps for n in step[2] if isinstance(n, str)} | set(self.results)
        self._kept = sorted(known & names)
        for i, n in enumerate(self._kept):
            self.register_buffer(f"c{i}", values[n].contiguous())

    def forward(self, *arguments):
        values = {n: getattr(self, f"c{i}") for i, n in enumerate(self._kept)}
        values.update(zip(self.inputs, arguments))
        for f, a, operands, outputs in self._steps:
            got = f(self._convert, a, *[values[n] if isinstance(n, str) else n for n in operands])
            values.update(zip(outputs, got if isinstance(got, (tuple, list)) else [got]))
        return tuple(values[n] for n in self.results)
