#!/usr/bin/env python3
"""Small graphs that ternc or tern once got wrong, against ONNX Runtime: what onnx_random.py found, cut down.

    onnx_found.py [NAME…] [--targets cpu:x86_64_v3] [--driver cpu]
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]

import numpy as np  # noqa: E402
from onnx_random import problem  # noqa: E402
from random_graph import Graph  # noqa: E402

CASES = {}


def case(opset=17):
    def add(build):
        CASES[build.__name__] = build, opset
        return build

    return add


class Case(Graph):
    """A graph whose inputs' dimensions are stated: a name is a symbol."""

    def given(self, dims, sizes=None, dtype="f4", low=None, high=None):
        name = self.fresh()
        sizes = [(sizes or {}).get(d, d) for d in dims]
        self.values[name] = self.array(sizes, dtype, low, high)
        self.inputs.append((name, list(dims)))
        self.symbols.update({d: size for d, size in zip(dims, sizes) if isinstance(d, str)})
        return name

    def chance(self, p):
        return p >= 0.5

    def drawn_sizes(self):
        return [3, 5, 8]


# -- control flow


def growing_loop(g, x, trips):
    """As greedy decoding."""
    i, c, s = g.fresh(), g.fresh(), g.fresh()
    w = g.operand([g.get(x).shape[1]] * 2, constant=1)
    g.values.update({i: np.asarray(0, np.int64), c: np.asarray(True), s: g.get(x)})

    def body():
        last = g.node("Gather", [s, g.ints(-1)], axis=0)
        return [g.node("Identity", [c]), g.node("Concat", [s, g.node("Tanh", [g.node("MatMul", [last, w])])], axis=0)]

    graph, _ = g.subgraph(body, lambda r: r, [i, c, s])
    for v in (graph.input[2], graph.output[1]):
        v.type.tensor_type.shape.dim[0].Clear()
    for n in (i, c, s):
        g.values.pop(n)
    count = g.given([], dtype="i8")
    g.values[count] = np.asarray(trips, np.int64)
    return g.node("Loop", [count, "", x], body=graph)


@case(19)
def loop_whose_carried_value_grows(g):
    """The result's size is known when the loop is over, not before."""
    for trips in (0, 3):
        growing_loop(g, g.given(["N", 8], {"N": 5}), trips)


@case(19)
def loops_one_after_the_other_that_grow(g):
    """The second loop's size is not the first one's, which is read afterwards."""
    first = growing_loop(g, g.given(["N", 8], {"N": 5}), 2)
    second = growing_loop(g, first, 3)
    g.node("Concat", [second, first], axis=0)
    g.node("Neg", [first])


def region(g, x, body):
    """A loop's body that carries x, whose first axis changes."""
    i, c, s = g.fresh(), g.fresh(), g.fresh()
    g.values.update({i: np.asarray(0, np.int64), c: np.asarray(True), s: g.get(x)})
    graph, _ = g.subgraph(lambda: [g.node("Identity", [c]), *body(i, s)], lambda r: r, [i, c, s])
    for v in [graph.input[2], *graph.output[1:]]:
        v.type.tensor_type.shape.dim[0].Clear()
    for n in (i, c, s):
        g.values.pop(n)
    return graph


@case(19)
def loops_inside_each_other_that_grow(g):
    """By loops in the arms of an if, whose sizes differ from each other and from the outer loop's."""
    x, flag = g.given(["N", 4], {"N": 3}), g.given([], dtype="?")
    two = g.constant(np.asarray(2))

    def inner(s):
        graph = region(g, s, lambda i, t: [g.node("Concat", [t, g.node("Gather", [t, g.ints(0)], axis=0)], axis=0)])
        return g.node("Loop", [two, "", s], body=graph)

    def outer(i, s):
        grown = inner(s)
        arms = [g.subgraph(arm, lambda r: [r])[0] for arm in (lambda: inner(grown), lambda: g.node("Slice", [grown, g.ints(1), g.ints(99), g.ints(0)]))]
        for each in arms:
            each.output[0].type.tensor_type.shape.dim[0].Clear()
        even = g.node("Equal", [g.node("Mod", [i, two]), g.constant(np.asarray(0))])
        return [g.node("If", [even], then_branch=arms[0], else_branch=arms[1])]

    y = g.node("Loop", [g.constant(np.asarray(3)), "", x], body=region(g, x, outer))
    arms = [g.subgraph(arm, lambda r: [r])[0] for arm in (lambda: inner(y), lambda: g.node("Neg", [y]))]
    for each in arms:
        each.output[0].type.tensor_type.shape.dim[0].Clear()
    z = g.node("If", [flag], then_branch=arms[0], else_branch=arms[1])
    g.node("Concat", [z, y, x], axis=0)
    g.node("ReduceSum", [g.node("MatMul", [z, g.operand([4, 4], constant=1)]), g.ints(0)])


@case()
def sequences_of_an_axis_of_symbols(g):
    x = g.given(["N", 3, "M"], {"N": 5, "M": 4})
    for axis, keep in ((0, 0), (0, 1), (2, 0), (2, 1)):
        at = lambda s, q: [s("SequenceAt", [q, g.constant(np.asarray(-1))]), s("SequenceAt", [q, g.constant(np.asarray(1))]), s("SequenceLength", [q])]  # noqa: E731
        g.together(lambda s: [s("SplitToSequence", [x], axis=axis, keepdims=keep)], at)  # noqa: B023
    y = g.given(["N", 3, "M"], {"N": 5, "M": 4})
    join = lambda s, q: [s("ConcatFromSequence", [q], axis=1)]  # noqa: E731
    g.together(lambda s: [s("SplitToSequence", [y], axis=0, keepdims=0)], join)
    g.together(lambda s: [s("SequenceErase", [s("SplitToSequence", [y], axis=0, keepdims=0), g.constant(np.asarray(1))])], lambda s, q: [s("SequenceLength", [q]), s("SequenceAt", [q, g.constant(np.asarray(1))])])


# -- dimensions that an operator needs to be equal, of which one is a symbol


@case()
def scatter_elements_of_symbols(g):
    x, indices = g.given(["N", 16], {"N": 9}), g.given(["M", "K"], {"M": 2, "K": 16}, "i4", 0, 8)
    g.node("ScatterElements", [x, indices, g.given([2, 16])], axis=0, reduction="add")


@case()
def scatter_nd_of_symbols(g):
    g.node("ScatterND", [g.given([9, 3, 5]), g.given(["K", "D"], {"K": 4, "D": 2}, "i8", 0, 2), g.given(["M", 5], {"M": 4})], reduction="add")


@case()
def gather_nd_batches_of_symbols(g):
    g.node("GatherND", [g.given(["N", 5, 3], {"N": 4}), g.given(["M", 2, 1], {"M": 4}, "i8", 0, 4)], batch_dims=1)


@case()
def recurrence_of_symbols(g):
    x, w = g.given(["T", "B", "I"], {"T": 5, "B": 2, "I": 3}), g.given(["D", 16, 3], {"D": 1}, low=-1, high=1)
    state = [g.given([1, "M", 4], {"M": 2}), g.given([1, 2, "H"], {"H": 4})]
    lengths = g.given(["L"], {"L": 2}, "i4", 1, 5)
    g.node("LSTM", [x, w, g.operand([1, 16, 4], constant=1), g.given([1, "R"], {"R": 32}), lengths, *state], outputs=3, hidden_size=4)


@case()
def grid_of_symbols(g):
    g.node("GridSample", [g.given(["N", 3, 5, 6], {"N": 2}), g.given(["M", 4, 3, "D"], {"M": 2, "D": 2}, low=-1, high=1)])


@case()
def boxes_of_symbols(g):
    sizes = {"B": 1, "N": 3, "M": 3, "D": 4, "A": 1}
    for boxes, scores in ((["B", "N", "D"], [1, 2, "M"]), ([1, 3, 4], ["A", 2, "M"]), (["B", "N", "D"], ["A", 2, "M"])):
        b = g.given(boxes, sizes)
        g.values[b] = np.array([[[0, 0, 1, 1], [0, 0.125, 1, 1.125], [2, 2, 3, 3]]], "f4")
        g.node("NonMaxSuppression", [b, g.given(scores, sizes, low=0, high=1), g.ints(3), g.constant(np.array([0.5], "f4")), g.constant(np.array([0.25], "f4"))])


# -- operators


@case()
def average_pool_counts_asked_padding_alone(g):
    how = dict(kernel_shape=[3, 2], pads=[1, 0, 0, 1], strides=[1, 3], ceil_mode=1)
    for include in (0, 1):
        g.node("AveragePool", [g.given(["N", 7, "H", "W"], {"N": 2, "H": 16, "W": 5})], count_include_pad=include, **how)


@case()
def same_average_pool_of_symbols(g):
    for include in (0, 1):
        how = dict(kernel_shape=[3, 2], auto_pad="SAME_UPPER", strides=[2, 3], count_include_pad=include)
        g.node("AveragePool", [g.given(["N", 7, "H", "W"], {"N": 2, "H": 16, "W": 5})], **how)


@case()
def logarithms_of_integer_sums(g):
    g.node("ReduceLogSumExp", [g.given([3, 4], dtype="i8", low=0, high=9)], axes=[1])
    g.node("ReduceLogSum", [g.given([3, 4], dtype="i4", low=1, high=9)], axes=[1])


@case()
def one_tap_padded_at_its_end(g):
    x = g.given([2, 1, 5, 5], dtype="u1", low=1, high=99)
    g.node("ConvInteger", [x, g.operand([1, 1, 1, 1], "i1", constant=1)], pads=[1, 0, 0, 1])
    g.node("Conv", [g.given([1, 3, 4, 5, 6]), g.operand([3, 1, 1, 1, 1], constant=1)], pads=[0, 0, 0, 1, 0, 2], group=3)


@case()
def one_plane_padded_in_front(g):
    for groups in (1, 5):
        for pads, strides in (([3, 3, 0, 0, 3, 1], [4, 4, 2]), ([0, 0, 0, 3, 0, 0], [2, 1, 1]), ([1, 0, 0, 0, 0, 0], [1, 1, 1])):
            w = g.operand([5, 10 // groups, 1, 1, 1], constant=1)
            g.node("Conv", [g.given([1, 10, 1, 3, 5]), w], group=groups, pads=pads, strides=strides)


@case(18)
def scales_with_a_policy_of_sizes(g):
    how = dict(mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor", keep_aspect_ratio_policy="stretch")
    g.node("Resize", [g.given(["N", 3, "H", 4], {"N": 2, "H": 5}), "", g.constant(np.array([1, 1, 2, 2], "f4"))], **how)


@case(23)
def attention_of_rows_that_see_no_key(g):
    for causal in (0, 1):
        for mask in ([[0, 1, 1], [0, 0, 0], [0, 1, 0]], [[-np.inf] * 3, [0, -np.inf, 1], [-np.inf] * 3]):
            x = [g.given(["B", 2, 3, 8], {"B": 2}) for _ in range(3)]
            m = g.given([1, 1, 3, 3], dtype="?" if mask[0][1] == 1 else "f4")
            g.values[m] = np.array(mask).astype(g.get(m).dtype).reshape(1, 1, 3, 3)
            g.node("Attention", [*x, m], is_causal=causal)


@case(18)
def antialias_of_symbols(g):
    """As many taps as the run's sizes ask for."""
    x = g.given(["N", 3, "H", "W"], {"N": 2, "H": 23, "W": 9})
    for mode in ("linear", "cubic"):
        for outside in (0, 1):
            how = dict(mode=mode, antialias=1, exclude_outside=outside)
            g.node("Resize", [x, "", "", g.ints(5, 13)], axes=[2, 3], **how)
            g.node("Resize", [x, "", g.constant(np.array([1, 1, 0.5, 0.25], "f4"))], **how)


@case(18)
def aspect_ratio_of_symbols(g):
    x = g.given(["N", 3, "H", "W"], {"N": 2, "H": 23, "W": 9})
    for policy in ("not_larger", "not_smaller"):
        g.node("Resize", [x, "", "", g.ints(5, 13)], axes=[2, 3], mode="linear", keep_aspect_ratio_policy=policy)


@case()
def weights_that_some_axes_of_the_batch_share(g):
    g.node("MatMul", [g.given([3, 7, 1, "N", 3], {"N": 4}), g.operand([1, 7, 1, 3, 3], constant=1)])
    g.node("MatMul", [g.given(["B", 3, 5, 20], {"B": 2}), g.operand([1, 3, 20, 24], constant=1)])
    g.node("MatMul", [g.given([2, 3, 4, 5, 20]), g.operand([2, 1, 4, 20, 24], constant=1)])


@case()
def depth_of_a_product_is_a_symbol(g):
    g.node("MatMul", [g.given(["N", "K"], {"N": 5, "K": 20}), g.operand([20, 24], constant=1)])
    g.node("MatMul", [g.given(["N", "Z"], {"N": 5, "Z": 0}), g.operand([0, 2], constant=1)])


@case(13)
def slices_to_the_far_end_at_run_time(g):
    starts, ends = g.given([2], dtype="i8"), g.given([2], dtype="i8")
    g.values[starts], g.values[ends] = np.array([-1, 2**63 - 1]), np.array([-(2**63), -(2**63)])
    g.node("Slice", [g.given([17, 5, 4]), starts, ends, g.ints(1, 2), g.ints(-2, -1)])


@case()
def padded_rows_are_not_one_axis(g):
    """What reads a padded or joined value by coordinates, along one axis for all others."""
    for op in ("ArgMin", "CumSum", "CumSum"):
        x = g.given(["N", 8, 2, "M"], {"N": 8, "M": 4})
        if op == "CumSum" and g.made > 20:
            x = g.node("Concat", [x, g.given(["N", 8, 1, "M"], {"N": 8, "M": 4})], axis=2)
        else:
            x = g.node("Pad", [x, g.ints(3, 0, 0, 0, 0, 2, 3, 3)], mode="edge")
        g.node(op, [x], axis=0, keepdims=0) if op == "ArgMin" else g.node(op, [x, g.constant(np.asarray(0, np.int64))])


@case()
def einsum_to_a_scalar(g):
    g.node("Einsum", [g.given([2, 1]), g.operand([2, 1], constant=1)], equation="ij,ij")


@case()
def outputs_reshaped_as_the_run_says(g):
    """What is reshaped is computed before the shape is read: the output's memory is not there yet."""
    for op in ("Relu", "Softmax", "MatMul"):
        x, shape = g.given(["N", 8], {"N": 6}), g.given([2], dtype="i8")
        g.values[shape] = np.array([12, 4])
        y = g.node(op, [x, g.operand([8, 8], constant=1)][: 2 if op == "MatMul" else 1])
        g.node("Reshape", [y, shape])
        y = g.node(op, [g.given([6, 8]), g.operand([8, 8], constant=1)][: 2 if op == "MatMul" else 1])
        y = g.node("Transpose", [g.node("Reshape", [y, shape])], perm=[1, 0])
        g.node("Reshape", [y, g.ints(3, 16)])


@case()
def ends_of_slices_that_the_run_says(g):
    """Such an end has no least value: no memory may be sized by it."""
    for rows, end in ((6, 3), ("N", -1), ("N", 0)):
        x, at = g.given([rows, 8], {"N": 6}), g.given([1], dtype="i8")
        g.values[at] = np.array([end])
        x = g.node("Slice", [x, g.ints(0), at, g.ints(0)])
        for _ in range(2):
            x = g.node("Softmax", [g.node("MatMul", [x, g.operand([8, 8], constant=1)])])


def trees(g, count, depth, prefix, targets):
    """Attributes of complete trees of this depth."""
    nodes = {k: [] for k in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")}
    weights = {k: [] for k in ("treeids", "nodeids", "ids", "weights")}
    for tree in range(count):
        for n in range(2 ** (depth + 1) - 1):
            leaf = n >= 2**depth - 1
            row = (tree, n, int(g.rng.integers(5)), float(g.array([])), "LEAF" if leaf else "BRANCH_LEQ", 0 if leaf else 2 * n + 1, 0 if leaf else 2 * n + 2)
            for key, value in zip(nodes, row):
                nodes[key].append(value)
            for key, value in zip(weights, (tree, n, int(g.rng.integers(targets)), float(g.array([])))) if leaf else ():
                weights[key].append(value)
    return {f"nodes_{k}": v for k, v in nodes.items()} | {f"{prefix}_{k}": v for k, v in weights.items()}


@case()
def trees_of_several_levels(g):
    """Each level gathers by what the last one gathered: fused, their code grew with the product of the levels."""
    x = g.given(["N", 5], {"N": 33})
    g.node("TreeEnsembleRegressor", [x], domain="ai.onnx.ml", n_targets=1, **trees(g, 3, 4, "target", 1))
    how = trees(g, 7, 3, "class", 3) | dict(classlabels_int64s=[5, 7, 9], post_transform="SOFTMAX")
    g.node("TreeEnsembleClassifier", [x], outputs=2, domain="ai.onnx.ml", **how)
    one = trees(g, 4, 10, "target", 1) | dict(n_targets=1, post_transform="LOGISTIC", base_values=[0.25])
    g.node("TreeEnsembleRegressor", [x], domain="ai.onnx.ml", **one)


@case()
def linear_models(g):
    x = g.given(["N", 5], {"N": 17})
    weights = [float(v) for v in g.array([15])]
    ml = dict(domain="ai.onnx.ml")
    g.node("LinearRegressor", [x], coefficients=weights, intercepts=[0.5, 1.0, -1.0], targets=3, **ml)
    how = dict(intercepts=[0.5, 1.0, -1.0], classlabels_ints=[3, 1, 2])
    g.node("LinearClassifier", [x], outputs=2, coefficients=weights, post_transform="SOFTMAX", **how, **ml)
    for norm in ("MAX", "L1", "L2"):
        g.node("Normalizer", [x], norm=norm, **ml)
    i = g.given(["N", 2], {"N": 17}, "i8", 0, 3)
    g.node("OneHotEncoder", [i], cats_int64s=[0, 2, 3], zeros=1, **ml)
    g.node("LabelEncoder", [i], keys_int64s=[0, 2, 3], values_int64s=[7, 8, 9], default_int64=-5, **ml)
    g.node("SVMRegressor", [x], coefficients=[0.5, -1.0, 0.25], support_vectors=weights, n_supports=3, rho=[0.5], kernel_type="RBF", kernel_params=[0.125, 0.0, 3.0], **ml)


def trees_by_equality(g, count, mode, width):
    """The node's kind chooses between two conditions: a vector of these is no operand of C's ?:."""
    x = g.given(["N", width], {"N": 33})
    g.values[x] = np.round(g.values[x])
    how = trees(g, count, 3, "target", 1)
    how["nodes_values"] = [float(round(v)) for v in how["nodes_values"]]
    how["nodes_featureids"] = [f % width for f in how["nodes_featureids"]]
    branches = iter([mode, "BRANCH_LEQ"] * len(how["nodes_modes"]))
    how["nodes_modes"] = [m if m == "LEAF" else next(branches) for m in how["nodes_modes"]]
    how["nodes_missing_value_tracks_true"] = [int(v) for v in g.rng.integers(2, size=len(how["nodes_modes"]))]
    g.node("TreeEnsembleRegressor", [x], domain="ai.onnx.ml", n_targets=1, **how)


@case()
def tree_that_asks_for_equality(g):
    trees_by_equality(g, 1, "BRANCH_EQ", 5)


@case()
def tree_that_asks_for_inequality(g):
    trees_by_equality(g, 1, "BRANCH_NEQ", 1)


@case()
def trees_that_ask_for_equality(g):
    for mode in ("BRANCH_EQ", "BRANCH_NEQ"):
        trees_by_equality(g, 3, mode, 5)


@case()
def linear_models_of_one_score(g):
    """ONNX Runtime transforms one score for two classes alone, and by LOGISTIC alone; its sign is the label."""
    x = g.given(["N", 3], {"N": 33}, low=-1, high=1)
    ml = dict(domain="ai.onnx.ml", coefficients=[1.0, -0.5, 0.25])
    for transform in ("NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"):
        g.node("LinearClassifier", [x], outputs=2, intercepts=[0.125], classlabels_ints=[5, 6], post_transform=transform, **ml)
        g.node("LinearRegressor", [x], intercepts=[0.125], targets=1, post_transform=transform, **ml)
        how = dict(support_vectors=[float(v) for v in g.array([9])], n_supports=3, rho=[0.125], kernel_type="LINEAR", kernel_params=[0.5, 0.0, 3.0])
        g.node("SVMRegressor", [x], post_transform=transform, **how, **ml)


@case()
def labels_of_keys_given_twice(g):
    """The first one counts."""
    ml = dict(domain="ai.onnx.ml")
    i, x = g.given(["N", 2], {"N": 17}, "i8", 0, 4), g.given([4])
    g.values[x] = np.array([1, np.nan, 0, 5], np.float32)
    g.node("LabelEncoder", [i], keys_int64s=[1, 1, 3, 1, 3], values_int64s=[7, 8, 9, 10, 11], **ml)
    nan = float("nan")
    g.node("LabelEncoder", [x], keys_floats=[nan, 1.0, nan, 0.0, 1.0], values_floats=[1.0, 2.0, 3.0, 4.0, 5.0], **ml)


@case()
def scores_by_the_normal_distribution(g):
    """PROBIT of each score, even of a single one of a regression; two classes of one score are refused."""
    x = g.given(["N", 3], {"N": 33}, low=0.125, high=0.875)
    ml = dict(domain="ai.onnx.ml", post_transform="PROBIT")
    third = [0.25, 0.5, 0.125]
    g.node("LinearRegressor", [x], coefficients=third, intercepts=[0.0625], targets=1, **ml)
    g.node("LinearRegressor", [x], coefficients=third * 2, intercepts=[0.0625, 0.0], targets=2, **ml)
    g.node("LinearClassifier", [x], outputs=2, coefficients=third * 3, intercepts=[0.0, 0.0625, 0.03125], classlabels_ints=[3, 1, 2], **ml)
    how = dict(support_vectors=[float(v) for v in g.array([9])], n_supports=3, rho=[0.125], kernel_type="LINEAR", kernel_params=[0.5, 0.0, 3.0])
    g.node("SVMRegressor", [x], coefficients=[1.0, -0.5, 0.25], **how, **ml)


# -- what chooses elements


@case()
def suppression_of_boxes(g):
    """Without a least score the boxes of every score are candidates."""
    for least in ((), (-0.5,)):
        y, x = g.array([2, 40], "f4", 0, 9), g.array([2, 40], "f4", 0, 9)
        boxes, scores = g.given([2, 40, 4]), g.given([2, 3, "N"], {"N": 40})
        g.values[boxes] = np.stack([y, x, y + 2, x + 3], -1).astype(np.float32)
        g.values[scores][:, :2, ::3] = -np.inf
        g.values[scores][:, 1, ::7] = -3.4e38
        most, overlap = g.constant(np.asarray([33], np.int64)), g.constant(np.asarray([0.4], np.float32))
        g.node("NonMaxSuppression", [boxes, scores, most, overlap, *(g.constant(np.asarray([v], np.float32)) for v in least)])


@case()
def groups_of_equal_elements(g):
    for dtype in ("f4", "i8", "i1", "f8"):
        for ordered in (0, 1):
            x = g.given([7, "N"], {"N": 31}, dtype)
            g.values[x] = np.round(g.values[x])
            g.node("Unique", [x], outputs=4, sorted=ordered)


@case()
def groups_of_equal_rows(g):
    """Sorted by one column after the other, the last one first."""
    for dtype in ("f4", "i8", "i1", "f8"):
        for ordered, axis in ((0, 0), (1, 1), (1, -1)):
            x = g.given([5, "N", 2], {"N": 6}, dtype, -1, 1)
            g.values[x] = np.round(g.values[x])
            g.values[x][3] = g.values[x][0]
            g.values[x][:, 4] = g.values[x][:, 2]
            g.node("Unique", [x], outputs=4, sorted=ordered, axis=axis)


# -- windows


@case(22)
def positions_in_a_pool_of_symbolic_sizes(g):
    """Its padding depends on a size, and is no part of the positions."""
    for how in (dict(ceil_mode=1, pads=[1, 0, 1, 1], kernel_shape=[3, 2], strides=[2, 3]), dict(auto_pad="SAME_LOWER", kernel_shape=[2, 3], strides=[2, 2])):
        for order in (0, 1):
            x = g.given([2, 3, "H", "W"], {"H": 11, "W": 8})
            g.node("MaxPool", [x], outputs=2, storage_order=order, **how)


@case()
def scales_that_no_fraction_says(g):
    """Sizes are products rounded to f32: 10 by 0.7 is 7; a symbol's is computed with the input."""
    for dims, sizes in ([1, 2, 10, 30], None), ([1, 2, "H", 20], {"H": 10}), ([1, 2, "K", "W"], {"K": 7, "W": 40}):
        x = g.given(dims, sizes)
        for how in (dict(mode="nearest"), dict(mode="linear", coordinate_transformation_mode="asymmetric")):
            g.node("Resize", [x, "", g.constant(np.array([1, 1, 0.7, 2.3], np.float32))], **how)


@case()
def a_frame_beside_a_window(g):
    """Both say how many samples a frame has."""
    x = g.given([2, "N", 1], {"N": 40})
    window = g.node("HannWindow", [g.constant(np.asarray(8, np.int64))])
    g.node("STFT", [x, g.constant(np.asarray(3, np.int64)), window, g.constant(np.asarray(8, np.int64))], onesided=1)


# -- sums of narrow types


@case()
def means_in_f16(g):
    """Neither the sum nor the number of the elements need be an f16; squares neither."""
    many, large = g.given(["N", 3], {"N": 70001}, "f2", 0, 1), g.given([3, "M"], {"M": 8000}, "f2", 8, 9.5)
    g.node("ReduceMean", [many], axes=[0])
    image = g.given([1, 2, 260, 253], dtype="f2", low=0, high=1)
    g.node("GlobalAveragePool", [image])
    for op in ("ReduceMean", "ReduceL2"):
        g.node(op, [large], axes=[1])
    small = g.given([4, "K"], {"K": 1000}, "f2", 0, 1)
    g.values[small] = (g.values[small] * 1e-3).astype(np.float16)
    g.node("ReduceSumSquare", [small], axes=[1])


@case()
def many_clamped_positions(g):
    """Indices that are all known but for a size: as many choices in the kernel that reads them were too many for a compiler (Longformer)."""
    x = g.given(["N", 3], {"N": 90})
    size = g.node("Gather", [g.node("Shape", [x]), g.ints(0)], axis=0)
    last = g.node("Sub", [size, g.ints(1)])
    at = g.node("Min", [g.constant(np.arange(256)), last])
    g.node("Gather", [x, at], axis=0)
    g.node("Add", [at, g.ints(1)])


@case()
def mask_that_rows_decide(g):
    """A row of scores whose mask would hide all of it is not masked (Mask2Former): the mask of attention asks for a sum of its own row."""
    q, k, v = (g.given([8, n, 16], {"T": 12}) for n in (20, "T", "T"))
    hidden = g.node("Less", [g.given([8, 20, "T"], {"T": 12}), g.constant(np.float32(0.3))])
    count = g.node("ReduceSum", [g.node("Cast", [hidden], to=7), g.ints(-1)], keepdims=0)
    length = g.node("Gather", [g.node("Shape", [hidden]), g.constant(np.asarray(2))], axis=0)
    some = g.node("Not", [g.node("Equal", [count, length])])
    hidden = g.node("And", [hidden, g.node("Unsqueeze", [some, g.ints(-1)])])
    mask = g.node("Where", [hidden, g.constant(np.float32(-1e4)), g.constant(np.float32(0))])
    scores = g.node("Add", [g.node("MatMul", [q, g.node("Transpose", [k], perm=[0, 2, 1])]), mask])
    g.node("MatMul", [g.node("Softmax", [scores], axis=-1), v])


@case(18)
def halfway_but_for_a_rounding(g):
    """Nearest neighbours of positions that f32 puts a little beside the middle, with sizes known when compiled and when run."""
    for size, wanted, how in ((13, 8, ("asymmetric", "round_prefer_ceil")), (14, 19, ("half_pixel", "round_prefer_floor")), (11, 26, ("asymmetric", "round_prefer_floor")), (14, 39, ("half_pixel", "round_prefer_ceil"))):
        for n in (size, f"N{size}"):
            x = g.given([1, 1, n], {n: size})
            g.node("Resize", [x, "", "", g.ints(1, 1, wanted)], mode="nearest", coordinate_transformation_mode=how[0], nearest_mode=how[1])


@case(16)
def regions_of_unknown_width(g):
    """A region has four numbers, whatever the model says of the input that they come in."""
    rois, images = g.given(["R", "K"], {"R": 3, "K": 4}), g.given(["R"], {"R": 3}, "i8", 0, 1)
    g.values[rois] = np.asarray([[0, 0, 4, 5], [1, 2, 6, 3], [2, 1, 3, 7]], np.float32)
    g.node("RoiAlign", [g.given([2, 2, 9, "W"], {"W": 8}), rois, images], output_height=3, output_width=2, sampling_ratio=2)
    largest = g.node("MaxRoiPool", [g.given([1, 2, 9, 8]), g.given(["R", "L"], {"R": 3, "L": 5}, low=0, high=1)], pooled_shape=[2, 2])
    g.node("Neg", [largest])


@case(17)
def each_channel_makes_two(g):
    """Keras' DepthwiseConv2D with depth_multiplier=2: lanes of the picture, each twice, are multiplied by what is loaded of the filters."""
    x = g.given(["N", "H", "W", 8], {"N": 1, "H": 9, "W": 7})
    y = g.node("Conv", [g.node("Transpose", [x], perm=[0, 3, 1, 2]), g.constant(g.array([16, 1, 3, 3], "f4"))], group=8, kernel_shape=[3, 3])
    g.node("Transpose", [y], perm=[0, 2, 3, 1])


@case(17)
def numbers_of_columns_behind_a_sum(g):
    """Sums of rows plus where each stands in its line: kept axes that are joined to one index have no place of their own."""
    x, n = g.given([9, "N", 9, 11], {"N": 2}), g.given(["N"], {"N": 2})
    numbers = g.node("Range", [g.constant(np.int64(0)), g.node("Gather", [g.node("Shape", [n]), g.constant(np.int64(0))], axis=0), g.constant(np.int64(1))])
    g.node("Add", [g.node("ReduceL1", [x], axes=[2, 3], keepdims=0), g.node("Cast", [numbers], to=1)])
    lines = g.node("ReduceMax", [g.given([4, 6, 9, 11])], axes=[3], keepdims=0)
    g.node("Pad", [lines, g.ints(0, 0, 1, 0, 0, 2)])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--targets", default="cpu:x86_64_v3")
    parser.add_argument("--driver", default="cpu")
    parser.add_argument("--sizes", type=int, default=2, help="how many other sizes of the symbols the module runs at")
    options = parser.parse_args()
    if unknown := [n for n in options.names if n not in CASES]:
        parser.error(f"no such graph: {', '.join(unknown)}")
    options.ternc = []
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in options.names or CASES:
            build, opset = CASES[name]
            g = Case(np.random.default_rng(1), opset)
            build(g)
            model, inputs = g.model()
            found = problem(model, [inputs, *(g.resized(inputs) for _ in range(options.sizes))], Path(folder), options)
            wrong += found is not None
            if found:
                print(f"{name}: {found}", flush=True)
    print(f"{len(options.names or CASES)} graphs, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    os.environ.setdefault("TERN_CACHE_DIR", str(Path(tempfile.gettempdir()) / "tern-random-cache"))
    sys.exit(main())
