"""Networks on tables and graphs: small enough that the way into and out of a run counts."""

import numpy as np
from builder import FLOAT, INT64, Graph, gemm
from onnx import helper
from pictures import relu


def mlp(batch=1, widths=(32, 64, 64, 1), seed=71):
    g = Graph("mlp", seed)
    x = g.input("x", FLOAT, [batch, widths[0]])
    for i, (n, m) in enumerate(zip(widths, widths[1:])):
        x = gemm(g, x, n, m, f"l{i}", gain=2.0)
        x = relu(g, x) if i < len(widths) - 2 else x
    g.output(g.op("Sigmoid", x), "y", FLOAT, [batch, widths[-1]])
    return g


class WithTrees(Graph):
    def model(self):
        model = super().model()
        model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
        return model


def trees(batch=1, count=100, depth=6, features=20, seed=72):
    """A boosted ensemble of full trees."""
    g = WithTrees("trees", seed)
    x = g.input("x", FLOAT, [batch, features])
    inner, every = 2**depth - 1, 2 ** (depth + 1) - 1
    ids = np.tile(np.arange(every), count)
    tree = np.repeat(np.arange(count), every)
    leaf = ids >= inner
    n = len(ids)
    feature = np.where(leaf, 0, g.random.integers(0, features, n))
    value = np.where(leaf, 0, g.random.standard_normal(n)).astype(np.float32)
    y = g.op(
        "TreeEnsembleRegressor", x, domain="ai.onnx.ml", n_targets=1, post_transform="NONE", aggregate_function="SUM",
        nodes_treeids=tree.tolist(), nodes_nodeids=ids.tolist(), nodes_featureids=feature.tolist(), nodes_values=value.tolist(),
        nodes_modes=["LEAF" if l else "BRANCH_LEQ" for l in leaf], nodes_missing_value_tracks_true=[0] * n, nodes_hitrates=[1.0] * n,
        nodes_truenodeids=np.where(leaf, 0, 2 * ids + 1).tolist(), nodes_falsenodeids=np.where(leaf, 0, 2 * ids + 2).tolist(),
        target_treeids=tree[leaf].tolist(), target_nodeids=ids[leaf].tolist(), target_ids=[0] * int(leaf.sum()),
        target_weights=(g.random.standard_normal(int(leaf.sum())) * 0.1).tolist(),
    )  # fmt: skip
    g.output(y, "y", FLOAT, [batch, 1])
    return g


def recommender(batch=64, tables=8, rows=10000, width=32, bag=10, seed=73):
    """DLRM-like: sums of embeddings, products of all pairs of features, an MLP on each side."""
    g = Graph("recommender", seed)
    dense, sparse = g.input("dense", FLOAT, [batch, 13]), g.input("sparse", INT64, [batch, tables, bag])
    x = relu(g, gemm(g, relu(g, gemm(g, dense, 13, 64, "b0", gain=2.0)), 64, width, "b1", gain=2.0))
    parts = [g.op("Unsqueeze", x, g.ints(1))]
    for i in range(tables):
        table = g.param(f"table{i}", g.normal((rows, width), 0.3))
        found = g.op("Gather", table, g.op("Gather", sparse, g.const(i, np.int64), axis=1))
        parts.append(g.op("ReduceSum", found, g.ints(1), keepdims=1))
    t = g.op("Concat", *parts, axis=1)
    pairs = g.op("Reshape", g.op("MatMul", t, g.op("Transpose", t, perm=[0, 2, 1])), g.ints(batch, (tables + 1) ** 2))
    lower = np.flatnonzero(np.tril(np.ones((tables + 1, tables + 1)), -1))
    x = g.op("Concat", x, g.op("Gather", pairs, g.const(lower, np.int64), axis=1), axis=1)
    x = relu(g, gemm(g, x, width + len(lower), 128, "t0", gain=0.1))
    g.output(g.op("Sigmoid", gemm(g, relu(g, gemm(g, x, 128, 64, "t1", gain=2.0)), 64, 1, "t2")), "y", FLOAT, [batch, 1])
    return g


def graph_convolution(nodes=2000, edges=16000, width=64, seed=74):
    """Messages along edges, added up at their ends, divided by how many came: GraphSAGE."""
    g = Graph("graph_convolution", seed)
    x, ends = g.input("x", FLOAT, [nodes, width]), g.input("edges", INT64, [2, edges])
    source, target = (g.op("Gather", ends, g.const(i, np.int64), axis=0) for i in range(2))
    at = g.op("Unsqueeze", target, g.ints(1))
    zeros, one = g.param("zeros", np.zeros((nodes, width), np.float32)), g.param("ones", np.ones((edges, 1), np.float32))
    degree = g.op("ScatterND", g.param("none", np.zeros((nodes, 1), np.float32)), at, one, reduction="add")
    degree = g.op("Max", degree, g.const(1.0))
    for i in range(3):
        messages = g.op("Gather", x, source, axis=0)
        mean = g.op("Div", g.op("ScatterND", zeros, at, messages, reduction="add"), degree)
        x = g.op("Add", gemm(g, x, width, width, f"self{i}"), gemm(g, mean, width, width, f"mean{i}"))
        x = relu(g, x) if i < 2 else x
    g.output(x, "y", FLOAT, [nodes, width])
    return g


def point_cloud(points=1024, seed=75):
    """PointNet: products for each point, a maximum over all of them."""
    g = Graph("point_cloud", seed)
    x, n = g.input("x", FLOAT, [1, 3, points]), 3
    for i, m in enumerate((64, 64, 128, 1024)):
        with g.scope(f"c{i}"):
            w = g.param("weight", g.normal((m, n, 1), (2 / n) ** 0.5))
            x, n = relu(g, g.op("Conv", x, w, g.param("bias", g.normal((m,), 0.05)), kernel_shape=[1])), m
    x = g.op("ReduceMax", x, axes=[2], keepdims=0)
    x = relu(g, gemm(g, relu(g, gemm(g, x, 1024, 512, "f0", gain=2.0)), 512, 256, "f1", gain=2.0))
    g.output(g.op("LogSoftmax", gemm(g, x, 256, 40, "f2"), axis=1), "y", FLOAT, [1, 40])
    return g
