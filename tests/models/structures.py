"""Small networks of structures that the larger models lack, as their exporters write them: a few milliseconds each."""

import numpy as np
import onnx.parser
from builder import FLOAT, INT64, Graph, conv, gelu_erf, gemm
from onnx import TensorProto, numpy_helper

BOOL = TensorProto.BOOL


class Text:
    """A model in ONNX's text form, with seeded weights for the names given."""

    def __init__(self, text, seed, **shapes):
        self.text, self.random, self.shapes = text, np.random.default_rng(seed), shapes

    def save(self, path):
        model = onnx.parser.parse_model(self.text)
        for name, shape in self.shapes.items():
            weight = (self.random.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)
            model.graph.initializer.append(numpy_helper.from_array(weight, name))
        onnx.save(model, path)


def recurrent_sequence():
    """PyTorch's scripted `for t in range(T): h = …; out.append(h)`, then the same over time backwards with `out.insert(0, h)`."""
    step = """
          i_axis = Constant<value_ints = [1]>()
          xt = Gather<axis = 1>(x, {at})
          a = MatMul(xt, w)
          b = MatMul(h_in, u)
          s = Add(a, b)
          h_out = Tanh(s)
          out_out = SequenceInsert({insert})
          go_out = Identity(go)"""
    loop = """
      {h}, {out} = Loop(t, go, h0, {start}) <body = step{n} (int64 i, bool c, float[n, 16] h_in, seq(float[n, 16]) out_in)
        => (bool go_out, float[n, 16] h_out, seq(float[n, 16]) out_out) {{{extra}{step}
        }}>"""
    back = "\n          last = Sub(t, one)\n          j = Sub(last, i)"
    return Text(
        """<ir_version: 8, opset_import: ["" : 17]>
    recurrent (float[n, t, 16] x) => (float[n, t, 32] y, float[n, u] flat, float[n, 16] middle, int64 count) {
      go = Constant<value = bool {1}>()
      shape = Shape(x)
      zero = Constant<value_int = 0>()
      one = Constant<value_int = 1>()
      n = Gather<axis = 0>(shape, zero)
      t = Gather<axis = 0>(shape, one)
      first = Gather<axis = 1>(x, zero)
      h0 = Sub(first, first)
      none = SequenceEmpty()"""
        + loop.format(h="hf", out="forward", start="none", n=1, extra="", step=step.format(at="i", insert="out_in, h_out"))
        + loop.format(h="hb", out="backward", start="none", n=2, extra=back, step=step.format(at="j", insert="out_in, h_out, zero"))
        + loop.format(h="hp", out="longer", start="two", n=3, extra="", step=step.format(at="i", insert="out_in, h_out")).replace(
            "\n      hp", "\n      two = SequenceConstruct(hf, hb)\n      hp"
        )
        + """
      f = ConcatFromSequence<axis = 1, new_axis = 1>(forward)
      b = ConcatFromSequence<axis = -2, new_axis = 1>(backward)
      y = Concat<axis = 2>(f, b)
      longest = SequenceInsert(longer, hp)
      flat = ConcatFromSequence<axis = 1>(longest)
      minus = Constant<value_int = -2>()
      middle = SequenceAt(longest, minus)
      count = SequenceLength(longest)
    }""",
        21,
        w=(16, 16),
        u=(16, 16),
    )


def graph_network():
    """Two graph convolutions: rows gathered by an edge's source, added up at its target (torch.scatter_add)."""
    g = Graph("graph_network", 22, opset=18)
    x, edges = g.input("x", FLOAT, ["nodes", 32]), g.input("edges", INT64, [2, "edges"])
    for k, (cin, cout) in enumerate(((32, 24), (24, 8))):
        with g.scope(f"layer{k}"):
            h = g.op("MatMul", x, g.param("weight", g.normal((cin, cout), cin**-0.5)))
            source, target = (g.op("Gather", edges, g.const(i, np.int64), axis=0) for i in (0, 1))
            rows = g.op("Gather", h, source, axis=0)
            index = g.op("Expand", g.op("Unsqueeze", target, g.ints(1)), g.op("Shape", rows))
            zeros = g.op("Sub", h, h)
            x = g.op("Relu", g.op("ScatterElements", zeros, index, rows, axis=0, reduction="add"))
    g.output(x, "y", FLOAT, ["nodes", 8])
    return g


def experts():
    """Two of four experts a token: TopK, NonZero for each expert's tokens, their rows added to the sum (torch.index_add)."""
    g = Graph("experts", 23, opset=18)
    x = g.input("x", FLOAT, ["tokens", 24])
    chances = g.op("Softmax", gemm(g, x, 24, 4, "gate"), axis=-1)
    weights, chosen = g.op("TopK", chances, g.ints(2), outputs=2, axis=-1)
    y = g.op("Sub", x, x)
    for e in range(4):
        with g.scope(f"expert{e}"):
            is_this = g.op("Equal", chosen, g.const(e, np.int64))
            parts = g.op("Where", is_this, weights, g.const(0.0))
            weight = g.op("ReduceSum", parts, g.ints(1), keepdims=1)
            taken = g.op("Cast", g.op("ReduceMax", g.op("Cast", is_this, to=int(INT64)), g.ints(1), keepdims=0), to=int(BOOL))
            rows = g.op("Squeeze", g.op("NonZero", taken), g.ints(0))
            h = gemm(g, g.op("Gather", x, rows, axis=0), 24, 48, "up")
            h = gemm(g, gelu_erf(g, h), 48, 24, "down")
            h = g.op("Mul", h, g.op("Gather", weight, rows, axis=0))
            y = g.op("ScatterND", y, g.op("Unsqueeze", rows, g.ints(1)), h, reduction="add")
    g.output(y, "y", FLOAT, ["tokens", 24])
    return g


def causal_convolutions():
    """A waveform through dilated convolutions, each cut on the right so that nothing looks ahead, with a gate and a residual."""
    g = Graph("causal_convolutions", 24)
    x = g.input("x", FLOAT, ["batch", 12, "time"])
    for k, dilation in enumerate((1, 2, 4, 8)):
        with g.scope(f"layer{k}"):
            weight = g.param("weight", g.normal((24, 12, 3), 0.2))
            h = g.op("Conv", x, weight, dilations=[dilation], kernel_shape=[3], pads=[2 * dilation] * 2, strides=[1])
            h = g.op("Slice", h, g.ints(0), g.ints(-2 * dilation), g.ints(2), g.ints(1))
            a, b = g.op("Split", h, g.ints(12, 12), outputs=2, axis=1)
            x = g.op("Add", x, g.op("Mul", g.op("Tanh", a), g.op("Sigmoid", b)))
    g.output(g.op("ReduceMax", x, axes=[2], keepdims=0), "y", FLOAT, ["batch", 12])
    return g


def spatial_transformer():
    """A picture turned by angles that a small network finds in it: AffineGrid, GridSample."""
    g = Graph("spatial_transformer", 25, opset=20)
    x = g.input("x", FLOAT, ["batch", 1, 24, 24])
    h = g.op("MaxPool", g.op("Relu", conv(g, x, 1, 6, 5)), kernel_shape=[4, 4], strides=[4, 4])
    theta = gemm(g, g.op("Flatten", h), 6 * 36, 6, "angles", gain=0.02)
    theta = g.op("Add", g.op("Reshape", theta, g.ints(-1, 2, 3)), g.const([[1.0, 0, 0], [0, 1, 0]]))
    grid = g.op("AffineGrid", theta, g.op("Shape", x), align_corners=0)
    y = g.op("GridSample", x, grid, align_corners=0, mode="linear", padding_mode="zeros")
    y = g.op("Add", conv(g, y, 1, 4, 3, name="last"), g.const(3.0))  # few elements near 0
    g.output(y, "y", FLOAT, ["batch", 4, 24, 24])
    return g
