#!/usr/bin/env python3
"""Models in forms that exporters and people write, against ONNX Runtime: functions of the model's own, sequences, optionals, loops.

    forms.py [--filter TEXT] [--driver cpu] [--targets LIST]
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))

import numpy as np  # noqa: E402
import operator_cases  # noqa: E402
from onnx import parser  # noqa: E402
from operator_cases import f  # noqa: E402

count = lambda n: np.array(n, np.int64)  # noqa: E731


def text(graph, *cases, opset=18, functions=""):
    """A model as onnx.parser reads it, whose functions are of the domain 'own', and its inputs."""
    head = f'<ir_version: 9, opset_import: ["": {opset}, "own": 1]>'
    return lambda: (parser.parse_model(f"{head} g {graph} {functions}"), list(cases))


def function(signature, body):
    return f'<domain: "own", opset_import: ["": 18, "own": 1]> {signature} {{ {body} }}'


ALWAYS = "t = Constant<value = bool {1}>()"


def loop(carried, signature, body, results="y"):
    """A Loop of n iterations over `carried` whose body keeps the condition."""
    return f"{ALWAYS} {results} = Loop(n, t, {carried})<body = b (int64 i, bool c, {signature} {{ k = Identity(c) {body} }}>"


CASES = {
    # The body's number of the iteration has a dimension (keras2onnx's Range).
    "loop_listed_number": text(
        "(float[3] x) => (float[3] y) <int64 n = {4}, int64[1] zero = {0}> { "
        "t = Constant<value = bool {1}>() y = Loop(n, t, x)<body = b (int64[1] i, bool c, float[3] v) => (bool k, float[3] w) "
        "{ k = Identity(c) s = Squeeze(i, zero) a = Cast<to = 1>(s) w = Add(v, a) }> }",
        {"x": f(3)},
    ),
    # Few iterations, each of which takes a part of its own length (tf2onnx's Cumprod).
    "loop_shifts": text(
        "(float[3,6] x) => (float[3,6] y) <int64[1] zero = {0}, int64[1] one = {1}, int64 m = {5}, float unit = {1.0}>"
        "{ "
        + ALWAYS
        + " y = Loop(m, t, x)<body = b (int64 i, bool c, float[3,6] v) => (bool k, float[3,6] w) { k = Identity(c) i1 = Unsqueeze(i, zero) j = Add(i1, one) e = Neg(j)"
        " s = Slice(x, zero, e, one) low = Concat<axis = 0>(zero, j, zero, zero) p = Pad(s, low, unit) w = Mul(v, p) }> }",
        {"x": f(3, 6)},
    ),
    # Rows and blocks at places that the iterations count: tf2onnx's CropAndResize, loops over chunks. The row's index is in a row itself.
    "loop_places": text(
        "(float[N,8] x, int64[M] rows) => (float[K,2,8] y, float[L,1,4] z) <int64[1] zero = {0}, int64[1] one = {1}, int64[1] four = {4}, int64 m = {2}>"
        "{ "
        + ALWAYS
        + " k = Size(rows) y = Loop(k, t)<body = b (int64 i, bool c) => (bool k0, float[2,8] s) { k0 = Identity(c) i1 = Unsqueeze(i, zero) j1 = Add(i1, one)"
        " r = Slice(rows, i1, j1, zero) e = Add(r, one) v = Slice(x, r, e, zero) w = Identity(v) two = Concat<axis = 0>(v, w) shape = Constant<value_ints = [2, 8]>() s = Reshape(two, shape)"
        " }>"
        " z = Loop(m, t)<body = d (int64 i, bool c) => (bool k1, float[1,4] p) { k1 = Identity(c) i1 = Unsqueeze(i, zero) a = Mul(i1, four) n = Add(i1, one) q = Mul(n, four)"
        " u = Slice(x, a, q, one) p = ReduceMax<keepdims = 1>(u, zero) }> }",
        *[{"x": f(n, 8), "rows": np.array(r, np.int64)} for n, r in ((3, [0, 2, 1]), (1, [0]))],
    ),
    # A call that leaves inputs out, named inside a subgraph and handed on.
    "function_left_out": text(
        "(float[N,4] x, bool c) => (float[N,4] y, float[N,4] z) { y = own.outer(x,,c) z = own.inner(x) }",
        *[{"x": f(3, 4), "c": np.array(c)} for c in (True, False)],
        functions=function("inner (x, low, high) => (y)", "y = Clip(x, low, high)")
        + function("outer (x, low, c) => (y)", "y = If(c)<then_branch = a () => (u) { u = own.inner(x, low) }, else_branch = b () => (v) { v = Neg(x) }>"),
    ),
    "function_attributes": text(
        "(float[N,4] x) => (float[N,4] y, float[N,4] z) { y = own.outer<k = 2.0>(x) z = own.inner(x) }",
        {"x": f(3, 4)},
        functions=function("inner <a: float = 0.25> (x) => (y)", "y = LeakyRelu<alpha: float = @a>(x)")
        + function("outer <k> (x) => (y)", "n = Neg(x) t = own.inner<a: float = @k>(n) y = own.inner<a = 3.0>(t)"),
    ),
    # A mask of the operand's own shape (paddle.masked_select).
    "compress_by_a_mask": text("(float[N,3] x) => (float[K] y) <float zero = {0.0}> { m = Greater(x, zero) y = Compress(x, m) }", {"x": f(4, 3)}, {"x": f(1, 3)}),
    # Exporters leave scales out as a constant without elements.
    "resize_without_scales": text(
        "(float[N,2,4,5] x) => (float[N,2,6,9] y) <float[0] scales = {}, int64[2] sizes = {6,9}, int64[1] zero = {0}, int64[1] two = {2}>"
        "{ s = Shape(x) nc = Slice(s, zero, two) all = Concat<axis = 0>(nc, sizes) y = Resize<mode = \"linear\">(x, scales, scales, all) }",
        *[{"x": f(n, 2, 4, 5)} for n in (1, 3)],
        opset=11,
    ),
    # Indices count in the plane that was pooled, which is the one asked for.
    **{
        f"max_unpool_{name}": text(
            f"(float[{dims}] x) => (float[A,B,C,D] y) {{ p, i = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(x) s = Shape(x)"
            "n = Neg(p) y = MaxUnpool<kernel_shape = [2, 2], strides = [2, 2]>(n, i, s) }",
            *[{"x": f(*size)} for size in sizes],
        )
        for name, dims, sizes in (
            ("of_an_odd_plane", "2,3,7,5", [(2, 3, 7, 5)]),
            ("of_unknown_planes", "N,3,H,W", [(2, 3, 7, 5), (1, 3, 6, 9), (1, 3, 4, 4)]),
        )
    },
    # The indices of a decoder on its own.
    "max_unpool_of_given_indices": text(
        "(float[1,2,2,3] x, int64[1,2,2,3] i) => (float[1,2,5,7] y) <int64[4] s = {1,2,5,7}>"
        "{ y = MaxUnpool<kernel_shape = [2, 2], strides = [2, 2]>(x, i, s) }",
        {"x": f(1, 2, 2, 3), "i": np.array([8, 2, 11, 21, 16, 26, 35, 45, 39, 49, 58, 53]).reshape(1, 2, 2, 3)},
    ),
    # An empty list of axes is none given.
    "squeeze_of_no_axes": text("(float[1,N,1,3] x) => (float[N,3] y) <int64[0] none = {}> { y = Squeeze(x, none) }", {"x": f(1, 4, 1, 3)}),
    "optional": text(
        "(float[N,4] x) => (float[N,4] y, bool b) { o = Optional(x) b = OptionalHasElement(o) y = OptionalGetElement(o) }",
        {"x": f(3, 4)},
    ),
    "map_of_a_known_sequence": text(
        "(float[6,4] x, float[4] w) => (float[6,4] y, float[2,4] z, int64 n) { k = Constant<value = int64 {2}>() s = SplitToSequence<axis = 0>(x, k)"
        "m = SequenceMap(s, w)<body = b (float[A,4] u, float[4] v) => (float[A,4] r) { p = Mul(u, v) r = Neg(p) }> y = ConcatFromSequence<axis = 0>(m)"
        "i = Constant<value = int64 {-1}>() z = SequenceAt(m, i) n = SequenceLength(m) }",
        {"x": f(6, 4), "w": f(4)},
    ),
    "map_of_a_sequence_of_rows": text(
        "(float[N,4] x) => (float[N,4] y, int64 n) { s = SplitToSequence<axis = 0>(x) m = SequenceMap(s)<body = b (float[1,4] u) => (float[1,4] r) { r = Softmax(u) }>"
        "y = ConcatFromSequence<axis = 0>(m) n = SequenceLength(m) }",
        *[{"x": f(n, 4)} for n in (5, 1)],
    ),
    # Lists of as many elements in both branches are what their elements are.
    "if_of_sequences_and_optionals": text(
        "(float[N,4] x, bool c) => (float[A,4] y, float[N,4] z, int64 n, float[B,4] o) {"
        "s, q, o = If(c)<then_branch = p () => (seq(float[P,4]) a, optional(float[R,4]) d, float[N,4] e) { u = Concat<axis = 0>(x, x) a = SequenceConstruct(u, x) d = Optional(x) e = Exp(x) },"
        "else_branch = r () => (seq(float[Q,4]) f, optional(float[R,4]) g, float[N,4] h) { v = Neg(x) f = SequenceConstruct(x, v) g = Optional(v) h = Abs(x) }>"
        "y = ConcatFromSequence<axis = 0>(s) n = SequenceLength(s) z = OptionalGetElement(q) }",
        *[{"x": f(3, 4), "c": np.array(c)} for c in (True, False)],
    ),
    # What the loop stacks has the size of a value that it carries, here in its first iteration's.
    "scan_of_a_carried_size": text(
        "(float[N,4] x, int64 n) => (float[M,4] y, float[A,B,4] s) {"
        + loop("x", "float[K,4] v) => (bool k, float[L,4] w, float[L,4] o)", "w = Concat<axis = 0>(v, x) o = Neg(w)", "y, s") + "}",
        {"x": f(2, 4), "n": count(1)},
    ),
    # The inner loop may end before its limit: its stack's length is no fact before the outer one begins.
    "scan_of_an_inner_loop": text(
        "(float[4] x, int64 n, float most) => (float[4] y, float[A,B,4] s, float[A] z) {"
        + loop(
            "x",
            "float[4] v) => (bool k, float[4] w, float[B,4] ss, float z)",
            "five = Constant<value_int = 5>() w, ss = Loop(five, c, v)<body = d (int64 j, bool cc, float[4] vv) => (bool cco, float[4] ww, float[4] o)"
            "{ ww = Add(vv, x) fj = Cast<to = 1>(j) cco = Less(fj, most) o = Mul(ww, ww) }> z = ReduceMax<keepdims = 0>(w)",
            "y, s, z",
        ) + "}",
        *[{"x": f(4), "n": count(n), "most": np.float32(most)} for n, most in ((3, 2.5), (1, 9), (2, -1))],
    ),
    "scan_of_chosen_rows": text(
        "(float[N,4] x, int64 n) => (int64[A,B,2] s) {"
        + loop("x", "float[N,4] v) => (bool k, float[N,4] w, int64[B,2] o)", "w = Neg(v) a = Abs(v) p = Cast<to = 9>(a) z = NonZero(p) o = Transpose<perm = [1, 0]>(z)", "y, s")
        + "}",
        {"x": np.where(f(5, 4) > 0, 1, 0).astype(np.float32), "n": count(4)},
    ),
    # `while`, as exporters write it: the trip count limits nothing.
    "scan_of_a_while_loop": text(
        "(float[4] x, int64 most) => (float[4] y, float[A,4] s, int64 m) { t = Constant<value = bool {1}>() n = Constant<value_int = 9223372036854775807>()"
        "z = Constant<value_int = 0>() y, m, s = Loop(n, t, x, z)<body = b (int64 i, bool c, float[4] v, int64 k) => (bool co, float[4] w, int64 kk, float[4] o)"
        "{ w = Mul(v, v) one = Constant<value_int = 1>() kk = Add(k, one) co = Less(kk, most) o = Neg(w) }> }",
        *[{"x": f(4), "most": count(n)} for n in (4, 1)],
    ),
    # As a CTC decoder keeps what is new.
    "appended_where_a_condition_holds": text(
        "(float[N,4] x, int64 n) => (float[A,4] y, float[4,B] z, int64 m) { e = SequenceEmpty<dtype = 1>() two = Constant<value_int = 2>() zero = Constant<value_int = 0>()"
        + loop(
            "e, e",
            "seq(float[4]) u, seq(float[4]) v) => (bool k, seq(float[4]) uu, seq(float[4]) vv)",
            "row = Gather(x, i) r = Mod(i, two) even = Equal(r, zero) uu = If(even)<then_branch = p () => (seq(float[4]) a) { neg = Neg(row) a = SequenceInsert(u, neg) }, else_branch = q () => (seq(float[4]) d) { d = Identity(u) }>"
            "vv = If(even)<then_branch = p () => (seq(float[4]) f) { f = Identity(v) }, else_branch = q () => (seq(float[4]) g) { g = SequenceInsert(v, row, zero) }>",
            "s, o",
        )
        + "y = ConcatFromSequence<axis = 0, new_axis = 1>(s) z = ConcatFromSequence<axis = 1, new_axis = 1>(o) m = SequenceLength(o) }",
        {"x": f(5, 4), "n": count(5)},
        {"x": f(3, 4), "n": count(2)},
    ),
    # A sequence to which each iteration appends a part of its own size, joined afterwards.
    "parts_of_different_sizes_joined": text(
        "(float[N,4] x, int64 n) => (float[A,4] y, float[4,B] z) { e = SequenceEmpty<dtype = 1>()"
        + loop(
            "e, e",
            "seq(float[P,4]) u, seq(float[4,Q]) v) => (bool k, seq(float[P,4]) uu, seq(float[4,Q]) vv)",
            "zero = Constant<value_ints = [0]>() one = Constant<value_ints = [1]>() size = Add(i, one) part = Slice(x, zero, size, zero) neg = Neg(part)"
            "uu = SequenceInsert(u, neg) turned = Transpose<perm = [1, 0]>(part) first = Constant<value = int64 {0}>() vv = SequenceInsert(v, turned, first)",
            "s, r",
        )
        + "y = ConcatFromSequence<axis = 0>(s) z = ConcatFromSequence<axis = 1>(r) }",
        *[{"x": f(6, 4), "n": count(n)} for n in (4, 1)],
    ),
}


if __name__ == "__main__":
    sys.exit(operator_cases.main(CASES, {}, __doc__, operator_cases.ONE_LEVEL))
