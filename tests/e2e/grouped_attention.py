#!/usr/bin/env python3
"""GroupQueryAttention (com.microsoft) against ONNX Runtime with caches as applications keep them: buffers with room to spare, grown
step by step, sequences of several lengths in one batch, padded prompts; one module with symbolic sizes for prompts and steps.

    grouped_attention.py [--filter TEXT] [--driver cpu] [--targets LIST]
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))

import numpy as np  # noqa: E402
import operator_cases  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from operator_cases import FLOAT, Graph  # noqa: E402

HEADS, KV, SIZE = 4, 2, 16


def step(batch, queries, room, lengths, rows=None):
    """Sizes of a case: lengths: keys of each sequence, the new ones among them; rows: new rows of each that are no padding."""
    return batch, queries, room, np.asarray(lengths), rows


def model(steps, rotary=True, packed=False, positions=False, bias=False, rows=False, shared=True, half=False, fixed=None, cache=None, scores=0, **attributes):
    """steps: cases; cache: bits of its integers, and the shape of the scales. Results behind a sequence's end are unspecified, and are
    left out by the model itself."""
    g, kind = Graph(7), TensorProto.FLOAT16 if half else FLOAT
    batch, queries, room = fixed or ("B", "S", "M")
    names = [g.input("q", kind, [batch, queries, (HEADS + 2 * KV) * SIZE if packed else HEADS * SIZE])]
    names += ["", ""] if packed else [g.input(n, kind, [batch, queries, KV * SIZE]) for n in "kv"]
    bits = cache[0] if cache else 0
    kept, width = {0: kind, 8: TensorProto.INT8, 4: TensorProto.UINT8}[bits], SIZE // 2 if bits == 4 else SIZE
    names += [g.input(n, kept, [batch, KV, room, width]) for n in ("past_k", "past_v")]
    names += [g.input("lengths", TensorProto.INT32, [batch]), g.input("total", TensorProto.INT32, [])]
    if rotary:
        angles = np.outer(np.arange(40), 1 / 10000 ** (np.arange(0, SIZE, 2) / SIZE))
        for name, f in (("cos", np.cos), ("sin", np.sin)):
            names.append(g.constant(name, f(angles).astype(np.float16 if half else np.float32)))
    more = {9: "positions" if positions else "", 10: "bias" if bias else "", 16: "rows" if rows else ""}
    if cache:
        for i, name in ((12, "k_scale"), (13, "v_scale")):
            more[i] = g.constant(name, g.random.uniform(0.02, 0.03, cache[1]).astype(np.float32) * (1 if bits == 8 else 16))
        attributes |= {f"{n}_quant_type": "PER_TENSOR" if cache[1] == (1,) else "PER_CHANNEL" for n in "kv"} | {"kv_cache_bit_width": bits}
    names += [""] * (9 - len(names)) + [more.get(i, "") for i in range(9, 17)]
    if positions:
        g.input("positions", TensorProto.INT64, [batch, queries])
    if bias:
        g.input("bias", kind, [1, HEADS, queries, "T"])
    if rows:
        g.input("rows", TensorProto.INT32, [batch])
    while not names[-1]:
        names.pop()
    if scores:
        attributes["qk_output"] = scores
    results = ["y", "k_out", "v_out", *(["scores"] if scores else [])]
    g.node("GroupQueryAttention", names, results, num_heads=HEADS, kv_num_heads=KV, do_rotary=int(rotary), **attributes)
    g.input("keep", TensorProto.BOOL, [batch, queries, 1])
    g.input("keep_cache", TensorProto.BOOL, [batch, 1, room if shared else "C", 1])
    g.constant("zero", np.zeros((), np.float16 if half else np.float32))
    for name, keep in (("y", "keep"), ("k_out", "keep_cache"), ("v_out", "keep_cache")):
        if bits and name != "y":
            name = g.node("Cast", [name], [f"{name}_float"], domain="", to=kind)
        g.node("Where", [keep, name, "zero"], [f"{name}_kept"], domain="")
        g.output(f"{name}_kept", None, kind)
    if scores:
        g.output("scores", None, kind)
    window = attributes["local_window_size"] if "sliding_window_cache" in attributes else 0
    return g.model(), [inputs_of(g, s, packed, rotary, half, positions, bias, rows, bits, window) for s in steps]


def resident(lengths, room, window):
    """How many of the last positions a window's cache holds."""
    step = room - window + 1
    return lengths - step * -(-np.maximum(lengths - room, 0) // step)


def long_rotary(steps):
    """Caches that an `If` chooses by the number of keys, as exporters write models for long texts."""
    g, cases = model(steps)
    tables = {i.name: numpy_helper.to_array(i) for i in g.graph.initializer if i.name in ("cos", "sin")}
    kept = [i for i in g.graph.initializer if i.name not in tables]
    del g.graph.initializer[:]
    g.graph.initializer.extend([*kept, numpy_helper.from_array(np.array(9, np.int32), "limit")])

    def branch(name, rows, factor):
        nodes = [helper.make_node("Constant", [], [f"{t}_{name}"], value=numpy_helper.from_array((a[:rows] * factor).astype(a.dtype))) for t, a in tables.items()]
        return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(f"{t}_{name}", FLOAT, None) for t in tables])

    g.graph.node.insert(0, helper.make_node("If", ["long"], list(tables), then_branch=branch("long", 40, 1), else_branch=branch("short", 16, 1.1)))
    g.graph.node.insert(0, helper.make_node("Greater", ["total", "limit"], ["long"]))
    return g, cases


def inputs_of(g, sizes, packed, rotary, half, positions, bias, given_rows, bits, window):
    batch, queries, room, lengths, rows = sizes
    total = int(lengths.max()) if not given_rows else max(int(lengths.max()), room)
    rows = np.minimum(queries, lengths) if rows is None else np.asarray(rows)
    first = lengths - rows

    def normal(*shape):
        return g.random.standard_normal(shape).astype(np.float16 if half else np.float32)

    case = {"q": normal(batch, queries, (HEADS + 2 * KV) * SIZE if packed else HEADS * SIZE)}
    if not packed:
        case |= {n: normal(batch, queries, KV * SIZE) for n in "kv"}
    filled, after = (resident(x, room, window) if window else x for x in (first, lengths))
    for n in ("past_k", "past_v"):
        if bits == 8:
            case[n] = g.random.integers(-100, 100, (batch, KV, room, SIZE)).astype(np.int8)
        elif bits == 4:
            case[n] = g.random.integers(0, 256, (batch, KV, room, SIZE // 2)).astype(np.uint8)
        else:
            case[n] = normal(batch, KV, room, SIZE)
        for b in range(batch):  # what the application has not written
            case[n][b, :, filled[b] :] = 0
    case["lengths"] = (lengths - 1).astype(np.int32)
    case["total"] = np.array(total, np.int32)
    if positions:
        case["positions"] = (first[:, None] + np.arange(queries)).astype(np.int64)
    if bias:
        case["bias"] = normal(1, HEADS, queries, total)
    if given_rows:
        case["rows"] = rows.astype(np.int32)
    case["keep"] = (np.arange(queries) < rows[:, None])[:, :, None]
    case["keep_cache"] = (np.arange(room if window else max(room, total)) < after[:, None])[:, None, :, None]
    return case


# A prompt of 6 and steps in a buffer of 12; the same of two sequences of several lengths.
SHARED = [step(1, 6, 12, [6]), step(1, 1, 12, [7]), step(1, 1, 12, [12]), step(1, 3, 12, [10])]
RAGGED = [step(3, 6, 12, [6, 4, 1]), step(3, 1, 12, [7, 5, 2]), step(3, 1, 12, [12, 6, 1])]
GROWN = [step(1, 5, 0, [5]), step(1, 1, 5, [6]), step(1, 4, 6, [10])]
GROWN_RAGGED = [step(2, 5, 0, [5, 3]), step(2, 1, 5, [6, 4]), step(2, 1, 6, [7, 5])]
CASES = {
    "shared": lambda: model(SHARED),
    "shared_packed_interleaved": lambda: model(SHARED, packed=True, rotary_interleaved=1),
    "shared_no_rotary_scale": lambda: model(SHARED, rotary=False, scale=0.4),
    "shared_window": lambda: model(SHARED, local_window_size=4),
    "shared_softcap": lambda: model(SHARED, softcap=3.0),
    "shared_positions": lambda: model(SHARED, positions=True),
    "shared_bias": lambda: model(SHARED, bias=True),
    "shared_fixed": lambda: model(SHARED[1:3], fixed=(1, 1, 12)),
    "shared_long_rotary": lambda: long_rotary(SHARED),
    "shared_half": lambda: (*model(SHARED, half=True), 8),
    "ragged": lambda: model(RAGGED),
    "ragged_packed_window": lambda: model(RAGGED, packed=True, local_window_size=3),
    "ragged_bias_smooth": lambda: model(RAGGED, bias=True, smooth_softmax=1),
    "grown": lambda: model(GROWN, shared=False),
    "grown_window_softcap": lambda: model(GROWN, shared=False, local_window_size=4, softcap=5.0),
    "grown_ragged": lambda: model(GROWN_RAGGED, shared=False),
    "padded_chunks": lambda: model([step(2, 4, 12, [4, 2], [4, 2]), step(2, 4, 12, [7, 6], [3, 4]), step(2, 1, 12, [8, 6], [1, 0])], rows=True),
    "padded_chunks_window": lambda: model([step(2, 4, 12, [4, 2], [4, 2]), step(2, 4, 12, [7, 6], [3, 4])], rows=True, local_window_size=3),
    **{f"cache_{bits}_{len(shape)}": lambda bits=bits, shape=shape: model(SHARED, cache=(bits, shape)) for bits in (8, 4) for shape in ((1,), (1, KV, 1, SIZE))},
    "cache_8_ragged": lambda: model(RAGGED, cache=(8, (KV * SIZE,)), packed=True, local_window_size=3),
    "cache_4_grown": lambda: model(GROWN, cache=(4, (1,)), shared=False),
    "cache_8_padded_chunks": lambda: model([step(2, 4, 12, [4, 2], [4, 2]), step(2, 4, 12, [7, 6], [3, 4])], rows=True, cache=(8, (1,))),
    "cache_8_half": lambda: (*model(SHARED, cache=(8, (1,)), half=True), 8),
    "window_cache": lambda: model([step(1, 6, 8, [6]), step(1, 1, 8, [7]), step(1, 1, 8, [9]), step(1, 1, 8, [23]), step(1, 3, 8, [14]), step(1, 13, 8, [13]), step(1, 12, 8, [31])], sliding_window_cache=1, local_window_size=5),
    "window_cache_full": lambda: model([step(1, 6, 4, [6]), step(1, 1, 4, [7]), step(1, 1, 4, [30])], sliding_window_cache=1, local_window_size=4, packed=True),
    "window_cache_ragged": lambda: model([step(3, 1, 8, [7, 5, 2]), step(3, 1, 8, [12, 36, 1])], sliding_window_cache=1, local_window_size=5),
    "window_cache_rows": lambda: model([step(2, 4, 6, [4, 2], [4, 2]), step(2, 4, 6, [9, 18], [3, 4]), step(2, 1, 6, [8, 6], [1, 0])], rows=True, sliding_window_cache=1, local_window_size=3),
    "window_cache_8": lambda: model([step(1, 6, 8, [6]), step(1, 1, 8, [23])], sliding_window_cache=1, local_window_size=5, cache=(8, (1, KV, 1, SIZE))),
    **{f"scores_{which}": lambda which=which: model(SHARED, scores=which, local_window_size=4) for which in (1, 2)},
    "scores_1_bias": lambda: model(SHARED, scores=1, bias=True, softcap=3.0),
    "scores_2_smooth": lambda: model(SHARED, scores=2, smooth_softmax=1),
    "not_causal": lambda: model([step(2, 6, 6, [6, 4])], causal=0, rotary=False),
}

if __name__ == "__main__":
    sys.exit(operator_cases.main(CASES, {}, __doc__, operator_cases.ONE_LEVEL))
