#!/usr/bin/env python3
"""Attention as ONNX Runtime's optimiser and exporters write it (com.microsoft), every attribute and optional input of each operator,
against ONNX Runtime; and what ternc refuses.

    contrib_attention.py [--filter TEXT] [--driver cpu] [--targets LIST]
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
import operator_cases  # noqa: E402
from operator_cases import RANDOM, Given, f, ints, one, quantised  # noqa: E402

CASES, REFUSALS = {}, {}


def case(name, *args, **kwargs):
    assert name not in CASES
    CASES[name] = lambda: one(*args, **kwargs)


def refused(name, sentence, *args, **kwargs):
    REFUSALS[name] = (lambda: one(*args, **kwargs)), sentence


B, S, L, N, H = 2, 5, 7, 3, 8


def rows(length=S, width=N * H, letter="S"):
    return Given(f(B, length, width), f(1, length - 2, width), d0="B", d1=letter)


def mha(name, inputs, outputs=1, **attributes):
    case(f"multi_head_{name}", "MultiHeadAttention", inputs, outputs, num_heads=N, **attributes)


Q, K, V = rows(), rows(L, letter="L"), rows(L, letter="L")
RIGHT = np.array([[1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0, 0]], np.int32)
mha("plain", [Q, K, V])
mha("self", [Q, Q, Q], scale=0.3)
mha("wide_values", [Q, K, rows(L, N * 16, "L")])
mha("bias", [Q, K, V, f(3 * N * H)])
mha("causal", [Q, rows(), rows(), f(3 * N * H)], unidirectional=1)
mha("lengths", [Q, K, V, None, Given(np.array([5, 3], np.int32), np.array([4], np.int32), d0="B")])
mha("mask", [Q, K, V, None, Given(RIGHT, RIGHT[:1, :5], d0="B", d1="L")])
mha("mask_value", [Q, K, V, None, Given(RIGHT, RIGHT[:1, :5], d0="B", d1="L")], mask_filter_value=-3.4028234663852886e38)
mha("mask_3d", [Q, K, V, None, Given(ints(0, 2, B, S, L), ints(0, 2, 1, S - 2, L - 2), d0="B", d1="S", d2="L")])
for shape in ((B, N), (1, N), (1, 1)):
    mha(f"score_bias_{shape[0]}{shape[1]}", [Given(f(B, S, N * H)), Given(f(B, L, N * H)), Given(f(B, L, N * H)), None, None, Given(f(*shape, S, L))])
mha("score_bias_mask", [Given(f(B, S, N * H)), Given(f(B, L, N * H)), Given(f(B, L, N * H)), f(3 * N * H), Given(RIGHT), Given(f(1, N, S, L))])
CACHE = [Given(f(B, N, 4, H), f(1, N, 0, H), d0="B", d2="P") for _ in range(2)]
mha("past", [Q, rows(), rows(), None, None, None, *CACHE], 3)
mha("past_causal", [Q, rows(), rows(), f(3 * N * H), None, None, *CACHE], 3, unidirectional=1)
mha("past_mask", [Q, rows(), rows(), None, Given(ints(0, 2, B, 9), ints(0, 2, 1, 3), d0="B", d1="T"), None, *CACHE], 3)
mha("past_score_bias", [Q, rows(), rows(), None, None, Given(f(1, N, 5, 9), f(1, N, 3, 3), d2="S", d3="T"), *CACHE], 3, unidirectional=1)
mha("cross", [Q, *(Given(f(B, N, L, H), f(1, N, 2, H), d0="B", d2="L") for _ in range(2))])
mha("cross_mask", [Given(f(B, S, N * H)), Given(f(B, N, L, H)), Given(f(B, N, L, H)), None, Given(RIGHT)])
mha("scores", [Q, K, V], [np.float32, None, None, np.float32])
mha("present", [Q, K, V, f(3 * N * H)], 3)


def by_numpy(q, k, v):
    """[B, S, N, H] each."""
    scores = np.einsum("bsnh,bknh->bnsk", q, k) / np.sqrt(np.float32(q.shape[-1]))
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return [np.einsum("bnsk,bknh->bsnh", e / e.sum(-1, keepdims=True), v).reshape(*q.shape[:2], -1)]


# Packed operands, which ONNX Runtime has for GPUs alone.
mha("packed", [Given(f(B, S, N, 3, H), f(1, 3, N, 3, H), d0="B", d1="S")], expected=lambda x: by_numpy(x[..., 0, :], x[..., 1, :], x[..., 2, :]))
mha("packed_keys", [Q, Given(f(B, L, N, 2, H), f(1, 4, N, 2, H), d0="B", d1="L")], expected=lambda q, kv: by_numpy(q.reshape(*q.shape[:2], N, H), kv[..., 0, :], kv[..., 1, :]))


def attention(name, inputs, outputs=1, **attributes):
    case(f"attention_{name}", "Attention", inputs, outputs, num_heads=N, **attributes)


X = rows(S, 20)
W, BIAS = f(20, 3 * N * H, scale=0.15), f(3 * N * H, scale=0.5)
MASK = Given(np.array([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]], np.int32), np.array([[1, 1, 0]], np.int32), d0="B", d1="S")
PAST = Given(f(2, B, N, 4, H), f(2, 1, N, 0, H), d1="B", d3="P")
attention("plain", [X, W, BIAS])
attention("no_bias", [X, W, None], scale=0.5)
attention("mask", [X, W, BIAS, MASK])
attention("mask_causal", [X, W, BIAS, MASK], unidirectional=1, mask_filter_value=-1e9)
attention("lengths", [X, W, BIAS, Given(np.array([4, 2], np.int32), np.array([2], np.int32), d0="B")])
attention("lengths_starts", [Given(f(B, S, 20)), W, BIAS, Given(np.array([4, 5, 0, 2], np.int32))])
attention("mask_3d", [X, W, BIAS, Given(ints(0, 2, B, S, S), ints(0, 2, 1, 3, 3), d0="B", d1="S", d2="S")], unidirectional=1)
attention("past", [X, W, BIAS, None, PAST], 2)
attention("past_causal", [X, W, BIAS, None, PAST], 2, unidirectional=1)
attention("past_mask", [X, W, BIAS, Given(ints(0, 2, B, 9), ints(0, 2, 1, 3), d0="B", d1="T"), PAST], 2, unidirectional=1)
attention("present", [X, W, BIAS], 2, unidirectional=1)
attention("score_bias", [Given(f(B, S, 20)), W, BIAS, Given(MASK.arrays[0]), None, Given(f(B, N, S, S))])
attention("sizes", [X, f(20, 2 * N * H + N * 4), f(2 * N * H + N * 4)], qkv_hidden_sizes=[N * H, N * H, N * 4])


def turned(x, first, width):
    """Rows [B, heads, S, H] rotated by positions from `first` on."""
    angles = (first + np.arange(x.shape[2]))[:, None] / 10000 ** (np.arange(0, width, 2) / width)
    a, b, rest = np.split(x, [width // 2, width], -1)
    return np.concatenate([a * np.cos(angles) - b * np.sin(angles), b * np.cos(angles) + a * np.sin(angles), rest], -1)


def gpus_attention(causal=False, width=0, shared=False):
    """What ONNX Runtime has for GPUs alone: rows turned by their positions, a cache with room to spare."""

    def of(x, w, bias, mask=None, past=None, _=None, filled=None):
        q, k, v = ((x @ w + bias).reshape(*x.shape[:2], 3, N, H).transpose(2, 0, 3, 1, 4))
        first = 0 if past is None else int(filled[0]) if shared else past.shape[3]
        if width:
            q, k = turned(q, first, width), turned(k, first, width)
        present = np.stack([k, v])
        if shared:
            present = past.copy()
            present[:, :, :, first : first + k.shape[2]] = k, v
            k, v = present[:, :, :, : first + k.shape[2]]
        elif past is not None:
            present = np.concatenate([past, present], 3)
            k, v = present
        scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(H)
        if causal:
            scores = np.where(np.arange(k.shape[2]) > first + np.arange(q.shape[2])[:, None], -np.inf, scores)
        e = np.exp(scores - scores.max(-1, keepdims=True))
        y = (e / e.sum(-1, keepdims=True) @ v).transpose(0, 2, 1, 3).reshape(*x.shape[:2], -1)
        return [y.astype(np.float32), present.astype(np.float32)]

    return of


attention("rotary", [X, W, BIAS], 2, do_rotary=1, expected=gpus_attention(width=H))
attention("rotary_past", [X, W, BIAS, None, PAST], 2, do_rotary=1, rotary_embedding_dim=4, unidirectional=1, expected=gpus_attention(True, 4))
SPARE = [X, W, BIAS, None, Given(f(2, B, N, 9, H), f(2, 1, N, 6, H), d1="B", d3="M"), None, Given(np.array([3], np.int32), np.array([0], np.int32))]
attention("shared", SPARE, 2, past_present_share_buffer=1, unidirectional=1, expected=gpus_attention(True, shared=True))
attention("shared_rotary", SPARE, 2, past_present_share_buffer=1, do_rotary=1, unidirectional=1, expected=gpus_attention(True, H, True))
refused("attention_shared_unknown", "needs the cache and past_sequence_length", "Attention", [X, W, BIAS], num_heads=N, past_present_share_buffer=1)
refused("attention_mask_4d", "A mask of four dimensions", "Attention", [X, W, BIAS, Given(ints(0, 2, B, 1, 9, 9))], num_heads=N)


for x_type, w_type in ((np.uint8, np.int8), (np.uint8, np.uint8)):
    x = Given(quantised((B, S, 20), x_type), quantised((1, 3, 20), x_type), d0="B", d1="S")
    w, zero = quantised((20, 3 * N * H), w_type), np.array(3 if x_type == np.int8 else 131, x_type)
    name, one_scale = f"{np.dtype(x_type).name}_{np.dtype(w_type).name}", np.float32(0.005)
    w_zero = np.array(2 if w_type == np.int8 else 126, w_type)
    case(f"qattention_{name}", "QAttention", [x, w, BIAS, np.float32(0.02), one_scale, None, zero, w_zero], num_heads=N)
    case(f"qattention_{name}_mask_past", "QAttention", [x, w, BIAS, np.float32(0.02), one_scale, Given(ints(0, 2, B, 9), ints(0, 2, 1, 3), d0="B", d1="T"), zero, w_zero, PAST], 2, num_heads=N, unidirectional=1)
case("qattention_columns", "QAttention", [Given(quantised((B, S, 20), np.uint8)), quantised((20, 3 * N * H), np.int8), BIAS, np.float32(0.02), RANDOM.uniform(0.004, 0.006, 3 * N * H).astype(np.float32), None, np.array(128, np.uint8), np.zeros(3 * N * H, np.int8)], num_heads=N)


def each_alone(q, k, v, before, bias=0):
    """Attention of sequences of several lengths, one behind the other, [rows, N, H] each."""
    parts = []
    for i, (a, e) in enumerate(zip(before, before[1:])):
        scores = np.einsum("snh,tnh->nst", q[a:e], k[a:e]) / np.sqrt(H) + (bias if np.ndim(bias) == 0 else bias[0, :, : e - a, : e - a])
        p = np.exp(scores - scores.max(-1, keepdims=True))
        parts.append(np.einsum("nst,tnh->snh", p / p.sum(-1, keepdims=True), v[a:e]).reshape(e - a, -1))
    return [np.concatenate(parts).astype(np.float32)]


# Without padding; ONNX Runtime has it for GPUs alone.
OFFSETS = [
    Given(np.array([0, 5, 6, 10, 11, 12, 13, 1, 2, 3, 4, 7, 8, 9, 14], np.int32).reshape(3, 5), np.array([[0, 1, 2]], np.int32), d0="B", d1="S"),
    Given(np.array([0, 1, 3, 7], np.int32), np.array([0, 3], np.int32), d0="C"),
]
TOKENS = lambda *d: Given(f(7, *d), f(3, *d), d0="R")  # noqa: E731
by_rows = lambda x, parts=1: x.reshape(x.shape[0], N, H) if parts == 1 else x.reshape(x.shape[0], parts, N, H).transpose(1, 0, 2, 3)  # noqa: E731
case("packed_attention", "PackedAttention", [TOKENS(20), W, BIAS, *OFFSETS], num_heads=N, expected=lambda x, w, b, o, c: each_alone(*by_rows(x @ w + b, 3), c))
case("packed_attention_bias", "PackedAttention", [Given(f(7, 20)), W, BIAS, *(Given(o.arrays[0]) for o in OFFSETS), Given(f(1, N, 5, 5))], num_heads=N, expected=lambda x, w, b, o, c, s: each_alone(*by_rows(x @ w + b, 3), c, s))
case("packed_heads", "PackedMultiHeadAttention", [*(TOKENS(N * H) for _ in range(3)), BIAS, *OFFSETS], num_heads=N, expected=lambda q, k, v, b, o, c: each_alone(*(by_rows(x + y) for x, y in zip((q, k, v), np.split(b, 3))), c))
case("packed_heads_joined", "PackedMultiHeadAttention", [TOKENS(N, 3, H), None, None, None, *OFFSETS], num_heads=N, expected=lambda x, k, v, b, o, c: each_alone(*x.transpose(2, 0, 1, 3), c))



def without_padding(x, n):
    kept = np.arange(x.shape[1]) < n[:, None]
    rows = x[kept]
    offsets = np.concatenate([np.nonzero(kept.ravel())[0], np.nonzero(~kept.ravel())[0]]).reshape(kept.shape)
    return [rows, offsets.astype(np.int32), np.cumsum([0, *n]).astype(np.int32), n.max(keepdims=True).astype(np.int32)]


PADDED, COUNTS = Given(f(3, 5, 8), f(1, 3, 8), f(2, 4, 8), d0="B", d1="S"), Given(*(np.array(n, np.int32) for n in ([1, 2, 4], [3], [4, 4])), d0="B")
case("remove_padding", "RemovePadding", [PADDED, COUNTS], [np.float32, *[np.int32] * 3], expected=without_padding)


def with_padding(x, offsets):
    y = np.zeros((offsets.size, x.shape[1]), np.float32)
    y[offsets.ravel()[: len(x)]] = x
    return [y.reshape(*offsets.shape, -1)]


case("restore_padding", "RestorePadding", [TOKENS(8), OFFSETS[0]], expected=with_padding)

# A cache with room to spare, of which past_sequence_length positions count.
ONE = Given(f(B, 1, N * H), f(1, 1, N * H), d0="B")
ROOM = [Given(f(B, N, 9, H), f(1, N, 6, H), d0="B", d2="M") for _ in range(2)]
FILLED = Given(np.array([4], np.int32), np.array([0], np.int32))


def decoder(name, inputs, outputs=3, **attributes):
    case(f"decoder_{name}", "DecoderMaskedMultiHeadAttention", inputs, outputs, num_heads=N, **attributes)


decoder("self", [ONE, ONE, ONE, None, None, *ROOM, FILLED], past_present_share_buffer=1)
decoder("self_mask", [ONE, ONE, ONE, Given(ints(0, 2, B, 5), np.ones((1, 1), np.int32), d0="B", d1="T"), None, *ROOM, FILLED], past_present_share_buffer=1)
decoder("self_bias", [ONE, ONE, ONE, None, Given(f(1, N, 1, 5), f(1, N, 1, 1), d3="T"), *ROOM, FILLED, None, None, f(3 * N * H)], past_present_share_buffer=1, scale=0.4)

def causal(q, k, v, past_k, past_v, lengths, total, *_):
    """Grouped heads of rows that are normalised first: each of two heads of keys serves two of queries."""
    def rows(x, heads):
        x = x.reshape(*x.shape[:2], heads, H)
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6)

    q, k, v = rows(q, 4) * GAMMA, rows(k, 2) * GAMMA[::-1], v.reshape(*v.shape[:2], 2, H)
    outputs = [by_numpy(q[:, i : i + 1], np.repeat(k[:, : i + 1], 2, 2), np.repeat(v[:, : i + 1], 2, 2))[0] for i in range(q.shape[1])]
    return [np.concatenate(outputs, 1), k.transpose(0, 2, 1, 3), v.transpose(0, 2, 1, 3)]


GAMMA = f(H)
EMPTY = Given(np.zeros((1, 2, 0, H), np.float32))
GROUPED = [Given(f(1, 5, 4 * H)), Given(f(1, 5, 2 * H)), Given(f(1, 5, 2 * H)), EMPTY, EMPTY, Given(np.array([4], np.int32)), Given(np.array(5, np.int32))]
case("grouped_normal", "GroupQueryAttention", [*GROUPED, *[None] * 7, GAMMA, GAMMA[::-1].copy()], 3, num_heads=4, kv_num_heads=2, expected=causal)
refused("grouped_sliding", "'sliding_window_cache' needs 'local_window_size'", "GroupQueryAttention", GROUPED, 3, num_heads=4, kv_num_heads=2, sliding_window_cache=1)
refused("grouped_float_cache", "The cache 3 (f32[1,2,0,8]) does not consist of integers of 8 bits (i8)", "GroupQueryAttention", [*GROUPED, *[None] * 5, np.ones(1, np.float32), np.ones(1, np.float32)], 3, num_heads=4, kv_num_heads=2, k_quant_type="PER_TENSOR", v_quant_type="PER_TENSOR", kv_cache_bit_width=8)

# Keys in blocks that a table names, per head in turn. Prompts and steps in a cache with room to spare, two sequences of several lengths.
BLOCKS = np.array([[[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 1, 1, 1]], [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 1, 1]]])


def in_place(model, case):
    """ONNX Runtime's outputs where it wants the caches to be the same memory before and after."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    arrays, binding = {n: a.copy() for n, a in case.items()}, session.io_binding()
    values = {n: onnxruntime.OrtValue.ortvalue_from_numpy(a) for n, a in arrays.items()}
    for n, v in values.items():
        binding.bind_ortvalue_input(n, v)
    binding.bind_output("o0")
    for past, present in (("i3", "o1"), ("i4", "o2")):
        binding.bind_ortvalue_output(present, values[past])
    session.run_with_iobinding(binding)
    return [v.numpy().copy() for v in binding.get_outputs()]


def sparse(name, tables, batch, queries, lengths, rotary=False, packed=False, **attributes):
    block, room, heads, kv, size = 16, 64, 4, 2, 16
    ends = np.concatenate([np.zeros((len(tables), 1)), tables.sum(2).cumsum(1)], 1).astype(np.int32)
    columns = np.full((len(tables), ends.max()), -1, np.int32)
    for row, table in zip(columns, tables):
        row[: table.sum()] = np.nonzero(table)[1]
    past = [f(batch, kv, room, size) for _ in range(2)]
    for p in past:
        for b, n in enumerate(lengths):
            p[b, :, n - min(queries, n) :] = 0
    qkv = [Given(f(batch, queries, (heads + 2 * kv) * size), d0="B"), None, None] if packed else [Given(f(batch, queries, n * size), d0="B") for n in (heads, kv, kv)]
    inputs = [*qkv, *(Given(p, d0="B", d2="M") for p in past), ends, columns, Given(np.array([max(lengths)], np.int32)), Given(np.array(lengths, np.int32), d0="B")]
    how = dict(num_heads=heads, kv_num_heads=kv, sparse_block_size=block, **attributes)
    if rotary:
        inputs += [f(room, size // 2), f(room, size // 2)]
        how["do_rotary"] = 1

    def build():
        model, (given,), _ = one("SparseAttention", inputs, 3, **how)
        alone = lambda b: {n: np.array([lengths[b]], np.int32) if n == "i7" else a[b : b + 1] for n, a in given.items()}  # noqa: E731
        # Sequence by sequence: of several lengths ONNX Runtime 1.32 reads scores that nobody wrote.
        wanted = [in_place(model, alone(b)) for b in range(batch)]
        return model, [given], 0, ["o0", "o1", "o2"], [[np.concatenate(o) for o in zip(*wanted)]]

    CASES[f"sparse_{name}"] = build


sparse("prompt", BLOCKS, 1, 60, [60])
sparse("prompt_one_layout", BLOCKS[:1], 2, 37, [37, 37], scale=0.3)
sparse("step", BLOCKS, 2, 1, [50, 33])
sparse("step_rotary", BLOCKS, 2, 1, [64, 3], rotary=True)
sparse("prompt_rotary_packed", BLOCKS, 1, 40, [40], rotary=True, packed=True, rotary_interleaved=1)
refused("sparse_unknown_blocks", "block_row_indices", "SparseAttention", [*(Given(f(1, 1, n * H)) for n in (2, 1, 1)), *(Given(f(1, 1, 16, H)) for _ in range(2)), *(Given(np.array([[0, 1]], np.int32)) for _ in range(2)), Given(np.array([1], np.int32)), Given(np.array([1], np.int32))], 3, num_heads=2, kv_num_heads=1, sparse_block_size=16)


def gated_position(q, bias, positions, weight, gate_bias, eco):
    x = (q + bias).reshape(*q.shape[:2], N, H).transpose(0, 2, 1, 3)
    gates = (x @ weight + gate_bias).reshape(*x.shape[:3], 2, -1).sum(-1)
    u, r = np.split(1 / (1 + np.exp(-gates)), 2, -1)
    return [(u * (r * eco - 1) + 2) * positions]


case("gated_position_bias", "GatedRelativePositionBias", [Given(f(B, S, N * H), f(1, S, N * H), d0="B"), f(N * H), Given(f(1, N, S, S)), f(H, 8), f(8), f(1, N, 1, 1)], num_heads=N, expected=gated_position)
case("gemma_rotary", "GemmaRotaryEmbedding", [Given(f(B, S, H), f(1, 3, H), d0="B", d1="S"), *(Given(f(B, N, S, H), f(1, N, 3, H), d0="B", d2="S") for _ in range(4))], 2, expected=lambda e, *x: [a * np.cos(e)[:, None] + t * np.sin(e)[:, None] for a, t in (x[:2], x[2:])])

# -- recurrences instead of attention

for rule in ("linear", "gated", "delta", "gated_delta"):
    decay = [Given(-np.abs(f(2, 6, 2)), -np.abs(f(1, 3, 2)), d0="B", d1="S")] if "gated" in rule else [None]
    beta = [Given(np.abs(f(2, 6, 2)) / 4, np.abs(f(1, 3, 2)) / 4, d0="B", d1="S")] if "delta" in rule else []
    state = Given(f(2, 2, 8, 8), f(1, 2, 8, 8), d0="B")
    case(f"linear_{rule}", "LinearAttention", [*(Given(f(2, 6, 16, scale=0.4), f(1, 3, 16, scale=0.4), d0="B", d1="S") for _ in range(3)), state, *decay, *beta], 2, q_num_heads=2, kv_num_heads=2, update_rule=rule)

# Fewer heads of queries and keys than of values (Qwen3.5), and more of queries.
for queries, keys, values in ((2, 2, 4), (2, 1, 4), (4, 2, 2)):
    operands = [Given(f(2, 6, heads * 8, scale=0.4), f(1, 3, heads * 8, scale=0.4), d0="B", d1="S") for heads in (queries, keys, values)]
    gates = [Given(sign * np.abs(f(2, 6, values)) / 4, sign * np.abs(f(1, 3, values)) / 4, d0="B", d1="S") for sign in (-1, 1)]
    state = Given(f(2, values, 8, 8), f(1, values, 8, 8), d0="B")
    case(f"linear_{queries}_{keys}_{values}_heads", "LinearAttention", [*operands, state, *gates], 2, q_num_heads=queries, kv_num_heads=values, scale=0.7)


# The states after the last tokens, which ONNX Runtime has for CUDA alone: the result, and the state after each token.
def delta_rule(query, key, value, states, _, rate):
    q, k, v = (a.reshape(*a.shape[:2], 2, 8) for a in (query, key, value))
    results, after, state = [], [], states[-1]
    for i in range(q.shape[1]):
        found = np.einsum("bhk,bhkv->bhv", k[:, i], state)
        state = state + np.einsum("bhk,bhv->bhkv", k[:, i], rate[:, i, :, None] * (v[:, i] - found))
        results.append(np.einsum("bhk,bhkv->bhv", q[:, i], state) * 0.5)
        after.append(state)
    return np.stack(results, 1).reshape(query.shape), after


def causal_conv(x, weights, _, states):
    joined = np.concatenate([states[-1], x], 2)
    results = [np.einsum("bct,ct->bc", joined[:, :, i : i + 4], weights[:, 0]) for i in range(x.shape[2])]
    return np.stack(results, 2), [joined[:, :, i + 1 : i + 4] for i in range(x.shape[2])]


def windowed(rule, window):
    def expected(*inputs):
        result, after = rule(*inputs)
        return [result, np.stack(([0 * after[0]] * window + after)[-window:])]

    return expected


for window in (1, 4):
    operands = [Given(f(2, 6, 16, scale=0.4), f(1, 3, 16, scale=0.4), d0="B", d1="S") for _ in range(3)]
    operands += [Given(f(window, 2, 2, 8, 8), f(window, 1, 2, 8, 8), d1="B"), None, Given(np.abs(f(2, 6, 2)) / 4, np.abs(f(1, 3, 2)) / 4, d0="B", d1="S")]
    case(f"linear_window_{window}", "LinearAttention", operands, 2, expected=windowed(delta_rule, window), q_num_heads=2, kv_num_heads=2, update_rule="delta", scale=0.5, state_window=window)
    operands = [Given(f(2, 6, 9), f(1, 6, 2), d0="B", d2="S"), f(6, 1, 4), None, Given(f(window, 2, 6, 3), f(window, 1, 6, 3), d1="B")]
    case(f"causal_conv_window_{window}", "CausalConvWithState", operands, 2, expected=windowed(causal_conv, window), state_window=window)


def delta_net(name, gates, queries=2, values=4, batch=2, tokens=6, flat=True, columns=1, rule="gated_delta", **attributes):
    at = lambda heads, *d: f(batch * tokens, heads, *d, scale=0.4) if flat else f(batch, tokens, heads, *d, scale=0.4)  # noqa: E731
    width = (8,) if columns > 1 else ()
    decay = -np.abs(at(values, *width)) if "gate_activation" not in attributes else at(values, *width)
    inputs = [Given(at(queries, 8)), Given(at(queries, 8)), Given(at(values, 16)), None, Given(decay) if "gated" in rule else None]
    inputs += [Given(np.abs(at(values)) / 4) if "delta" in rule else None, Given(f(batch, values, 16, 8))]
    case(f"delta_net_{name}", "GatedDeltaNet", [*inputs, *gates], 2, update_rule=rule, **attributes)


for rule in ("linear", "gated", "delta", "gated_delta"):
    delta_net(rule, [], rule=rule, qk_l2_norm=1)
delta_net("four_dimensions", [], flat=False, qk_l2_norm=1, scale=0.7)
delta_net("softplus", [f(4), f(4)], gate_activation="softplus", beta_activation="sigmoid", qk_l2_norm=1)
delta_net("bounded", [f(4), f(4)], gate_activation="kda", gate_lower_bound=-3.0, qk_l2_norm=1)
delta_net("columns", [f(4), f(4, 8)], columns=8, gate_activation="sigmoid", qk_l2_norm=1)
delta_net("one_token", [], queries=4, tokens=1, flat=False, qk_l2_norm=1)
GATE = Given(f(2, 6, 3), f(1, 1, 3), d0="B", d1="S")
case("linear_gate", "LinearAttentionGate", [GATE, f(3), -np.abs(f(3)), GATE], 2)
case("linear_gate_alone", "LinearAttentionGate", [GATE, f(3), -np.abs(f(3))])
SIGNAL = Given(f(2, 6, 9), f(1, 6, 1), d0="B", d2="S")
case("causal_conv", "CausalConvWithState", [SIGNAL, f(6, 1, 4), f(6), Given(f(2, 6, 3), f(1, 6, 3), d0="B")], 2, activation="silu")
case("causal_conv_dilated", "CausalConvWithState", [SIGNAL, f(6, 1, 4), None, Given(f(2, 6, 6), f(1, 6, 6), d0="B")], 2, dilation=2)
case("causal_conv_last", "CausalConvWithState", [Given(f(2, 9, 6), f(1, 2, 6), d0="B", d1="S"), f(6, 1, 4), f(6)], 2, channels_last=1)

if __name__ == "__main__":
    sys.exit(operator_cases.main(CASES, REFUSALS, __doc__, operator_cases.ONE_LEVEL))
