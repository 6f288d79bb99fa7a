"""Small networks of structures that the larger models lack, as their exporters write them: a few milliseconds each."""

import numpy as np
import onnx.parser
from onnx import helper, numpy_helper

from builder import FLOAT, INT64, Graph


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
