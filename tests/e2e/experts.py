#!/usr/bin/env python3
"""Mixtures of experts (MoE, QMoE of com.microsoft) against ONNX Runtime, numpy where its CPU has no kernel; any number of tokens by one
module.

    experts.py [--filter TEXT] [--driver cpu] [--targets LIST]
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))

import numpy as np  # noqa: E402
import operator_cases  # noqa: E402
from operator_cases import RANDOM, Given, bits_of, f, one  # noqa: E402

CASES, REFUSALS = {}, {}
WIDTH, INNER, EXPERTS, BLOCK = 32, 48, 6, 16


def tokens(*counts, batch=None):
    """Operand and router of some numbers of tokens."""
    shapes = [((batch, n // batch, WIDTH) if batch else (n, WIDTH)) for n in counts]
    return [Given(*(f(*s) for s in shapes), d0="N", **({"d1": "S"} if batch else {})), Given(*(f(n, EXPERTS) for n in counts), d0="T")]


def moe(name, router, inner=INNER, third=False, **attributes):
    w = [f(EXPERTS, inner, WIDTH, scale=0.2), f(EXPERTS, inner), f(EXPERTS, WIDTH, INNER, scale=0.2), f(EXPERTS, WIDTH)]
    w += [f(EXPERTS, inner, WIDTH, scale=0.2), f(EXPERTS, inner)] if third else []
    CASES[f"moe_{name}"] = lambda: one("MoE", [*router, *w], **attributes)
    return w


for activation in ("relu", "gelu", "silu", "identity"):
    moe(activation, tokens(7, 1), k=2, activation_type=activation)
moe("normal", tokens(7, 40), k=3, activation_type="silu", normalize_routing_weights=1)
moe("one", tokens(5), k=1)
moe("batch", tokens(6, 8, batch=2), k=2)
SWIGLU = dict(activation_type="swiglu", swiglu_fusion=1, normalize_routing_weights=1)
moe("swiglu", tokens(7), 2 * INNER, k=2, **SWIGLU)
moe("swiglu_limits", tokens(7), 2 * INNER, k=2, activation_alpha=1.702, activation_beta=1.0, swiglu_limit=1.0, **SWIGLU)
moe("no_bias", tokens(7), k=2)


def by_numpy(x, router, w1, b1, w2, b2, w3, b3):
    """silu(fc1) times fc3 in fc2, two experts a token; ONNX Runtime has fc3 for GPUs alone."""
    y = np.zeros_like(x)
    for t, numbers in enumerate(router):
        best = np.argsort(-numbers, kind="stable")[:2]
        weights = np.exp(numbers[best]) / np.exp(numbers[best]).sum()
        for e, weight in zip(best, weights):
            gate = x[t] @ w1[e].T + b1[e]
            y[t] += weight * ((gate / (1 + np.exp(-gate)) * (x[t] @ w3[e].T + b3[e])) @ w2[e].T + b2[e])
    return [y]


moe("three_layers", tokens(7, 2), third=True, k=2, activation_type="silu", normalize_routing_weights=1, expected=by_numpy)


def qmoe(name, router, bits, block=0, zeros=False, inner=INNER, mixing=False, **attributes):
    inputs = [*router]
    points = []
    for n, k in ((inner, WIDTH), (WIDTH, INNER)):
        scales = (EXPERTS, n, k // block) if block else (EXPERTS, n)
        weights = bits_of(RANDOM.integers(0, 1 << bits, (EXPERTS, n, k)), bits)
        inputs += [weights, (RANDOM.uniform(0.2, 1, scales) * 2.0 ** (-1 - bits)).astype(np.float32), f(EXPERTS, n)]
        points.append(bits_of(RANDOM.integers(0, 1 << bits, scales), bits))
    inputs += [None] * 3 + (points if zeros else [])
    if mixing:
        inputs += [None] * (14 - len(inputs)) + [Given(*(np.abs(r) for r in router[1].arrays), d0="T")]
    how = dict(expert_weight_bits=bits, normalize_routing_weights=1, **({"block_size": block} if block else {}))
    CASES[f"qmoe_{name}"] = lambda: one("QMoE", inputs, **{**how, **attributes})


for size in (2, 4, 8):
    qmoe(f"{size}", tokens(7, 1), size, k=2, activation_type="silu")
    qmoe(f"{size}_zeros", tokens(7), size, zeros=True, k=2, activation_type="silu")
qmoe("4_blocks", tokens(7, 1), 4, BLOCK, k=2, activation_type="relu")
qmoe("4_blocks_zeros", tokens(7), 4, BLOCK, True, k=2, activation_type="silu")
qmoe("2_blocks_zeros", tokens(7), 2, BLOCK, True, k=2, activation_type="silu")
qmoe("4_swiglu", tokens(9, 1), 4, BLOCK, inner=2 * INNER, k=4, activation_type="swiglu", swiglu_fusion=1, activation_alpha=1.702, activation_beta=1.0, swiglu_limit=7.0)
qmoe("4_mixing", tokens(7), 4, mixing=True, k=2, activation_type="silu")
qmoe("4_mixing_as_given", tokens(7), 4, mixing=True, k=2, activation_type="silu", normalize_routing_weights=0)



def router(name, shape, **attributes):
    logits = Given(f(*shape), f(1, *shape[1:]), d0="T")
    CASES[f"router_{name}"] = lambda: one("MoEGroupRouter", [logits, f(shape[-1], scale=0.3)], **attributes)


router("groups", (9, 16), n_group=4, topk_group=2, group_topk=2, top_k=3)
router("one_group", (2, 5, 8), top_k=2)
router("small_groups", (5, 12), n_group=6, topk_group=3, group_topk=4, top_k=4, router_sentinel=-50.0)
CASES["router_scores"] = lambda: one("MoEGroupRouter", [Given(f(5, 8), f(1, 8), d0="T"), f(8)], [None, np.float32, np.float32], top_k=2)

if __name__ == "__main__":
    sys.exit(operator_cases.main(CASES, REFUSALS, __doc__, operator_cases.ONE_LEVEL))
