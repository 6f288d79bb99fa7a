"""Networks as tf2onnx writes them: channels last between transposes, SAME padding, shapes computed step by step in i32 and floats, maps over
the batch as loops, boxes chosen inside. Written by hand: no TensorFlow is needed."""

import numpy as np
import onnx
from common import FOLDER, model, write_inputs
from onnx import TensorProto, helper, numpy_helper


class Net:
    def __init__(self, opset=13):
        self.nodes, self.tensors, self.inputs, self.outputs, self.made, self.opset = [], [], [], [], 0, opset
        self.rng = np.random.default_rng(0)

    def input(self, name, shape, kind=TensorProto.FLOAT):
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def const(self, value, dtype=None):
        self.made += 1
        self.tensors.append(numpy_helper.from_array(np.asarray(value, dtype), f"const_{self.made}"))
        return self.tensors[-1].name

    def weight(self, *shape):
        return self.const(self.rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]) or 1), np.float32)

    def __call__(self, op, *inputs, outputs=1, **attributes):
        self.made += 1
        names = [f"{op}_{self.made}:{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=f"StatefulPartitionedCall/{op}_{self.made}", **attributes))
        return names[0] if outputs == 1 else names

    def ints(self, *values):
        return self.const(values, np.int64)

    def dim32(self, x, axis):
        """tf.shape(x)[axis] as a scalar i32."""
        s = self("Cast", self("Shape", x), to=TensorProto.INT32)
        return self("Squeeze", self("Slice", s, self.ints(axis), self.ints(axis + 1), self.ints(0)), self.ints(0))

    def shape(self, *parts):
        """A shape of numbers and of scalars i32."""
        vectors = [self.const([p], np.int32) if isinstance(p, int) else self("Unsqueeze", p, self.ints(0)) for p in parts]
        return self("Cast", self("Concat", *vectors, axis=0), to=TensorProto.INT64)

    def output(self, *names, kind=TensorProto.FLOAT):
        self.outputs += [helper.make_tensor_value_info(n, kind, None) for n in names]

    def save(self, name, *cases):
        for each in self.outputs:
            each.type.tensor_type.ClearField("shape")
        graph = helper.make_graph(self.nodes, "tf2onnx", self.inputs, self.outputs, self.tensors)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8), FOLDER / f"{name}.onnx")
        for number, case in enumerate(cases):
            write_inputs(name, number, case)


def draw(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def conv(net, x, i, o, k, stride=1, groups=1, padding="SAME_UPPER", relu6=True):
    y = net("Conv", x, net.weight(o, i // groups, k, k), net.const(np.zeros(o), np.float32), kernel_shape=[k, k], strides=[stride] * 2, group=groups, auto_pad=padding)
    if not relu6:
        return y
    return net("Min", net("Max", y, net.const(0, np.float32)), net.const(6, np.float32)) if net.opset < 12 else net("Clip", y, net.const(0, np.float32), net.const(6, np.float32))


@model
def tf_mobilenet():
    net = Net(11)
    x = net.input("serving_default_input:0", ["unk__1", "unk__2", "unk__3", 3])
    x = net("Sub", net("Mul", x, net.const(1 / 127.5, np.float32)), net.const(1, np.float32))
    x = conv(net, net("Transpose", x, perm=[0, 3, 1, 2]), 3, 16, 3, 2)
    for c, s in ((16, 1), (32, 2), (32, 1), (64, 2)):
        x = net("Transpose", net("Transpose", x, perm=[0, 2, 3, 1]), perm=[0, 3, 1, 2])
        y = net("Pad", x, net.ints(0, 0, 0, 0, 0, 0, 1, 1)) if s == 2 else x
        y = conv(net, y, c if s == 1 else c // 2, c if s == 1 else c // 2, 3, s, c if s == 1 else c // 2, "VALID" if s == 2 else "SAME_UPPER")
        y = conv(net, y, c if s == 1 else c // 2, c, 1, relu6=False)
        x = net("Add", x, y) if s == 1 else y
    x = net("ReduceMean", net("Transpose", x, perm=[0, 2, 3, 1]), axes=[1, 2], keepdims=0)
    shape = net("Cast", net("Shape", x), to=TensorProto.INT32)
    rows = net("Slice", shape, net.ints(0), net.ints(1), net.ints(0))
    x = net("Reshape", x, net("Cast", net("Concat", rows, net.const([64], np.int32), axis=0), to=TensorProto.INT64))
    net.output(net("Softmax", net("Add", net("MatMul", x, net.weight(64, 10)), net.weight(10)), axis=1))
    net.save("tf_mobilenet", *[{"serving_default_input:0": draw(*s) * 50 + 127} for s in ((2, 64, 96, 3), (1, 33, 65, 3), (3, 127, 31, 3))])


@model
def tf_lstm():
    """Keras' LSTM layers: states made from the batch's size, the last step by a strided slice."""
    net = Net(13)
    x = net.input("args_0", ["batch", "time", 12])
    for layer, (i, h) in enumerate(((12, 24), (24, 24))):
        zeros = net("Expand", net.const(0, np.float32), net("Concat", net.ints(1), net("Slice", net("Shape", x), net.ints(0), net.ints(1), net.ints(0)), net.ints(h), axis=0))
        t = net("Transpose", x, perm=[1, 0, 2])
        y, *_ = net("LSTM", t, net.weight(1, 4 * h, i), net.weight(1, 4 * h, h), net.weight(1, 8 * h), "", zeros, zeros, outputs=3, hidden_size=h)
        x = net("Transpose", net("Squeeze", y, net.ints(1)), perm=[1, 0, 2])
    last = net("Squeeze", net("Slice", x, net.ints(-1), net.ints(np.iinfo(np.int64).max), net.ints(1), net.ints(1)), net.ints(1))
    net.output(net("Sigmoid", net("MatMul", last, net.weight(24, 3))), x)
    net.save("tf_lstm", *[{"args_0": draw(*s)} for s in ((2, 9, 12), (1, 1, 12), (5, 33, 12))])


@model
def tf_bert():
    net = Net(12)
    net.opset = 13
    ids, mask = net.input("input_ids", ["n", "s"], TensorProto.INT32), net.input("input_mask", ["n", "s"], TensorProto.INT32)
    n, s = net.dim32(ids, 0), net.dim32(ids, 1)
    d, heads, each = 64, 4, 16
    x = net("Reshape", net("Gather", net.weight(500, d), net("Reshape", ids, net.ints(-1))), net.shape(n, s, d))
    positions = net("Slice", net.weight(128, d), net.ints(0), net("Cast", net("Unsqueeze", s, net.ints(0)), to=7), net.ints(0))
    x = net("Add", x, net("Reshape", positions, net.shape(1, s, d)))
    wide = net("Mul", net("ConstantOfShape", net.shape(n, s, 1), value=helper.make_tensor("v", 1, [1], [1.0])), net("Reshape", net("Cast", mask, to=1), net.shape(n, 1, s)))
    bias = net("Mul", net("Sub", net.const(1, np.float32), net("Unsqueeze", wide, net.ints(1))), net.const(-10000, np.float32))
    x = net("Reshape", x, net.ints(-1, d))

    def norm(v):
        mean = net("ReduceMean", v, axes=[-1], keepdims=1)
        square = net("ReduceMean", net("Mul", net("Sub", v, mean), net("Sub", v, mean)), axes=[-1], keepdims=1)
        scale = net("Mul", net("Reciprocal", net("Sqrt", net("Add", square, net.const(1e-6, np.float32)))), net.const(np.ones(d), np.float32))
        return net("Add", net("Mul", v, scale), net("Sub", net.const(np.zeros(d), np.float32), net("Mul", mean, scale)))

    for _ in range(2):
        q, k, v = (net("Transpose", net("Reshape", net("Add", net("MatMul", x, net.weight(d, d)), net.weight(d)), net.shape(n, s, heads, each)), perm=[0, 2, 1, 3]) for _ in range(3))
        scores = net("Mul", net("MatMul", q, net("Transpose", k, perm=[0, 1, 3, 2])), net.const(0.25, np.float32))
        p = net("Softmax", net("Add", scores, bias), axis=-1)
        y = net("Reshape", net("Transpose", net("MatMul", p, v), perm=[0, 2, 1, 3]), net.shape(net("Mul", n, s), heads * each))
        x = norm(net("Add", x, net("MatMul", y, net.weight(d, d))))
        h = net("Add", net("MatMul", x, net.weight(d, 4 * d)), net.weight(4 * d))
        cube = net("Mul", net("Pow", h, net.const(3, np.float32)), net.const(0.044715, np.float32))
        inner = net("Tanh", net("Mul", net("Add", h, cube), net.const(0.7978845608, np.float32)))
        h = net("Mul", h, net("Mul", net("Add", inner, net.const(1, np.float32)), net.const(0.5, np.float32)))
        x = norm(net("Add", x, net("MatMul", h, net.weight(4 * d, d))))
    x = net("Reshape", x, net.shape(n, s, d))
    first = net("Squeeze", net("Slice", x, net.ints(0, 0, 0), net.ints(2**31 - 1, 1, 2**31 - 1), net.ints(0, 1, 2)), net.ints(1))
    net.output(net("Tanh", net("MatMul", first, net.weight(d, d))), x)

    def case(n, s):
        rng = np.random.default_rng(n)
        return {"input_ids": rng.integers(0, 500, (n, s)).astype(np.int32), "input_mask": (np.arange(s) < rng.integers(1, s + 1, (n, 1))).astype(np.int32)}

    net.save("tf_bert", case(2, 10), case(1, 1), case(3, 65), case(1, 128))


@model
def tf_upsample():
    """Sizes by floats: floor(height * 1.5), then back to the input's."""
    net = Net(13)
    x = net.input("x", ["n", "h", "w", 4])
    t = net("Transpose", x, perm=[0, 3, 1, 2])
    hw = net("Slice", net("Shape", x), net.ints(1), net.ints(3), net.ints(0))
    larger = net("Cast", net("Floor", net("Mul", net("Cast", hw, to=1), net.const([1.5, 2.0], np.float32))), to=TensorProto.INT32)
    lead = net("Slice", net("Shape", t), net.ints(0), net.ints(2), net.ints(0))
    y = net("Resize", t, net.const([], np.float32), net.const([], np.float32), net("Concat", lead, net("Cast", larger, to=7), axis=0), mode="linear", coordinate_transformation_mode="half_pixel")
    y = conv(net, y, 4, 8, 3)
    z = net("Resize", y, net.const([], np.float32), net.const([], np.float32), net("Concat", lead_of(net, y), hw, axis=0), mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric")
    net.output(net("Transpose", net("Concat", z, t, axis=1), perm=[0, 2, 3, 1]))
    net.save("tf_upsample", *[{"x": draw(*s)} for s in ((1, 8, 12, 4), (2, 5, 7, 4), (1, 1, 33, 4))])


def lead_of(net, y):
    return net("Slice", net("Shape", y), net.ints(0), net.ints(2), net.ints(0))


@model
def tf_detector():
    """Boxes decoded, chosen by class over the batch in a loop, padded to a fixed count: what SSD exports end with."""
    net = Net(13)
    boxes, scores = net.input("boxes", ["n", "anchors", 4]), net.input("scores", ["n", "anchors", 3])
    centre, size = net("Split", boxes, net.ints(2, 2), outputs=2, axis=2)
    size = net("Exp", net("Mul", size, net.const(0.2, np.float32)))
    half = net("Mul", size, net.const(0.5, np.float32))
    corners = net("Concat", net("Sub", centre, half), net("Add", centre, half), axis=2)
    probabilities = net("Sigmoid", scores)
    inner = Net(13)
    inner.made = 1000
    i = inner.input("i", [], TensorProto.INT64)
    inner.input("go", [], TensorProto.BOOL)
    b = inner("Gather", corners, i, axis=0)
    p = inner("Gather", probabilities, i, axis=0)
    picked = inner("NonMaxSuppression", inner("Unsqueeze", b, inner.ints(0)), inner("Unsqueeze", inner("Transpose", p, perm=[1, 0]), inner.ints(0)), inner.ints(5), inner.const([0.5], np.float32), inner.const([0.3], np.float32))
    at = inner("Slice", picked, inner.ints(1), inner.ints(3), inner.ints(1))
    turned = inner("Concat", inner("Slice", at, inner.ints(1), inner.ints(2), inner.ints(1)), inner("Slice", at, inner.ints(0), inner.ints(1), inner.ints(1)), axis=1)
    best = inner("GatherND", p, turned)
    count = inner("Squeeze", inner("Shape", best), inner.ints(0))
    k = inner("Min", count, inner.const(8, np.int64))
    value, order = inner("TopK", best, inner("Unsqueeze", k, inner.ints(0)), outputs=2, axis=0)
    chosen = inner("Gather", at, order, axis=0)
    index = inner("Squeeze", inner("Slice", chosen, inner.ints(1), inner.ints(2), inner.ints(1)), inner.ints(1))
    kind = inner("Cast", inner("Squeeze", inner("Slice", chosen, inner.ints(0), inner.ints(1), inner.ints(1)), inner.ints(1)), to=1)
    missing = inner("Unsqueeze", inner("Sub", inner.const(8, np.int64), k), inner.ints(0))
    pads = inner("Concat", inner.ints(0), missing, axis=0)
    rows = inner("Pad", inner("Gather", b, index, axis=0), inner("Concat", inner.ints(0, 0), missing, inner.ints(0), axis=0))
    results = [rows, inner("Pad", value, pads), inner("Pad", kind, pads, inner.const(-1, np.float32))]
    inner.nodes.insert(0, helper.make_node("Identity", ["go"], ["still"]))
    outs = [helper.make_tensor_value_info("still", TensorProto.BOOL, [])] + [helper.make_tensor_value_info(r, 1, s) for r, s in zip(results, ([8, 4], [8], [8]))]
    body = helper.make_graph(inner.nodes, "map_fn", inner.inputs, outs, inner.tensors)
    trips = net("Squeeze", net("Slice", net("Shape", boxes), net.ints(0), net.ints(1), net.ints(0)), net.ints(0))
    net.output(*net("Loop", trips, "", outputs=3, body=body))
    net.save("tf_detector", *[{"boxes": draw(n, a, 4, seed=n), "scores": draw(n, a, 3, seed=a)} for n, a in ((2, 40), (1, 1), (3, 130))])
