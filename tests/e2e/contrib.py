#!/usr/bin/env python3
"""Operators beside attention that ONNX Runtime's optimiser and quantizer write (com.microsoft), every attribute and optional input of
each, and rarer ones of ai.onnx, against ONNX Runtime (numpy where its CPU has no kernel); and what ternc refuses.

    contrib.py [--filter TEXT] [--driver cpu] [--targets LIST]
"""

import math
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))

import numpy as np  # noqa: E402
import operator_cases  # noqa: E402
from operator_cases import RANDOM, Given, f, ints, one, quantised  # noqa: E402

CASES, REFUSALS = {}, {}


def case(op, inputs, outputs=1, tag="", **kwargs):
    name = f"{op}{'_' if tag else ''}{tag}"
    assert name not in CASES, name
    CASES[name] = lambda: one(op, inputs, outputs, **kwargs)


def refused(op, sentence, inputs, **kwargs):
    REFUSALS[f"{op}_refused"] = (lambda: one(op, inputs, **kwargs)), sentence


I64, I32, U8, I8, F32 = np.int64, np.int32, np.uint8, np.int8, np.float32

# -- embeddings and normalisations

WORDS = Given(ints(0, 30, 2, 5), ints(0, 30, 1, 3), d0="B", d1="S")
KINDS = Given(ints(0, 2, 2, 5), ints(0, 2, 1, 3), d0="B", d1="S")
SHOWN = Given(np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], I32), np.array([[1, 1, 0]], I32), d0="B", d1="S")
PLACES = Given(ints(0, 9, 2, 5), ints(0, 9, 1, 3), d0="B", d1="S")
TABLES, NORM = [f(30, 16), f(9, 16), f(2, 16)], [f(16), f(16)]
case("EmbedLayerNormalization", [WORDS, KINDS, *TABLES, *NORM], [F32, I32], epsilon=1e-5)
case("EmbedLayerNormalization", [WORDS, KINDS, *TABLES, *NORM, SHOWN], [F32, I32, F32], "mask")
case("EmbedLayerNormalization", [WORDS, None, *TABLES[:2], None, *NORM, None, PLACES], [F32, I32, F32], "positions")
Q_TABLES = [quantised((30, 16), U8), quantised((9, 16), U8), quantised((2, 16), U8), quantised((16,), U8), quantised((16,), U8)]
SCALES, ZEROS = [np.array(s, F32) for s in (0.01, 0.02, 0.01, 0.02, 0.01)], [np.array(z, U8) for z in (120, 128, 130, 90, 128)]
case("QEmbedLayerNormalization", [WORDS, KINDS, *Q_TABLES, SHOWN, *SCALES, *ZEROS], [F32, I32], epsilon=1e-5)
ROWS = Given(f(2, 5, 16), f(1, 3, 16), d0="B", d1="S")
for name, bias in (("SkipLayerNormalization", [*NORM, f(16)]), ("SkipSimplifiedLayerNormalization", [NORM[0], f(16)])):
    case(name, [ROWS, ROWS, *bias], [F32, None, None, F32], epsilon=1e-5)
    case(name, [ROWS, ROWS, NORM[0]], tag="bare")
case("SkipLayerNormalization", [Given(f(2, 5, 16)), Given(f(5, 16)), *NORM], tag="spread_2d")
case("SkipLayerNormalization", [Given(f(2, 5, 16)), Given(f(1, 5, 16)), *NORM], tag="spread")
case("SimplifiedLayerNormalization", [ROWS, NORM[0]], domain="", epsilon=1e-5, axis=-1)

# -- activations

for op in ("Gelu", "QuickGelu", "FastGelu"):
    case(op, [ROWS], **({"alpha": 1.5} if op == "QuickGelu" else {}))
case("FastGelu", [ROWS, f(16)], tag="bias")
case("BiasGelu", [ROWS, f(16)])
case("ScaledTanh", [Given(f(9))], domain="", version=9, alpha=1.5, beta=0.5)
case("ParametricSoftplus", [Given(f(9))], domain="", version=9, alpha=1.5, beta=0.5)
case("Affine", [Given(f(9))], domain="", version=9, alpha=1.5, beta=0.5)

# -- fused products and convolutions

IMAGE = Given(f(2, 4, 9, 7), f(1, 4, 9, 7), d0="B")
for activation, numbers in (("Relu", []), ("Sigmoid", []), ("Tanh", []), ("LeakyRelu", [0.2]), ("Clip", [-0.5, 1.0]), ("HardSigmoid", [0.3, 0.4])):
    case("FusedConv", [IMAGE, f(6, 4, 3, 3), f(6)], tag=activation, activation=activation, pads=[1, 1, 1, 1], **({"activation_params": numbers} if numbers else {}))
case("FusedConv", [IMAGE, f(6, 2, 3, 3), f(6), Given(f(2, 6, 4, 3), f(1, 6, 4, 3), d0="B")], tag="sum", activation="Relu", group=2, strides=[2, 2], kernel_shape=[3, 3])
case("FusedConv", [IMAGE, f(6, 4, 3, 3)], tag="plain", auto_pad="SAME_UPPER")
for activation, numbers in (("Relu", {}), ("LeakyRelu", {"activation_alpha": 0.2}), ("Elu", {"activation_alpha": 0.7}), ("Softplus", {}), ("HardSigmoid", {"activation_alpha": 0.3, "activation_beta": 0.4})):
    case("FusedGemm", [Given(f(5, 8)), f(7, 8), f(7)], tag=activation, activation=activation, transB=1, alpha=0.5, beta=2.0, **numbers)
LEFT = Given(f(2, 3, 5, 4), f(1, 3, 2, 4), d0="B", d2="M")
case("FusedMatMul", [LEFT, Given(f(3, 6, 4))], alpha=0.5, transB=1)
case("FusedMatMul", [Given(f(2, 3, 4, 5)), Given(f(4, 6))], tag="a", transA=1)
case("FusedMatMul", [Given(f(5, 2, 3, 4)), Given(f(2, 3, 4, 6))], tag="batch_a", transBatchA=1)
case("FusedMatMul", [Given(f(2, 3, 5, 4)), Given(f(4, 2, 3, 6))], tag="batch_b", transBatchB=1)
case("FusedMatMul", [Given(f(4, 2, 3, 5)), Given(f(6, 2, 3, 4))], tag="batch_both", transBatchA=1, transA=1, transBatchB=1, transB=1)
case("TransposeMatMul", [LEFT, Given(f(3, 6, 4))], transB=1, alpha=2.0)
case("CDist", [Given(f(5, 8)), Given(f(3, 8))], metric="euclidean")
case("CDist", [Given(f(5, 8)), Given(f(3, 8))], tag="square", metric="sqeuclidean")

# -- what ONNX Runtime has for GPUs alone: by numpy


def group_norm(x, gamma, beta, groups, silu, last):
    x = np.moveaxis(x, -1, 1) if last else x
    parts = x.reshape(x.shape[0], groups, -1)
    y = ((parts - parts.mean(-1, keepdims=True)) / np.sqrt(parts.var(-1, keepdims=True) + 1e-5)).reshape(x.shape)
    y = y * gamma[:, None, None] + beta[:, None, None]
    y = y / (1 + np.exp(-y)) if silu else y
    return np.moveaxis(y, 1, -1) if last else y


def gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))).astype(F32)


def fast_gelu(x):
    return x * 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def relu_conv(x, w, bias, z=0.0):
    """1 x 1, channels last."""
    return np.maximum(np.einsum("bhwc,oc->bhwo", x, w[:, :, 0, 0]) + bias + z, 0)


def conv_last(x, w):
    """A window of 3 x 3, one element of zeros around the picture; channels last, the weights' too."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = x.shape[1:3]
    return sum(np.einsum("bhwc,oc->bhwo", padded[:, i : i + height, j : j + width], w[:, i, j]) for i in range(3) for j in range(3))


FINAL = Given(f(2, 5, 3, 8), f(1, 5, 3, 8), d0="B")
case("GroupNorm", [FINAL, f(8), f(8)], expected=lambda x, g, b: [group_norm(x, g, b, 4, True, True)], groups=4, activation=1)
case("GroupNorm", [IMAGE, f(4), f(4)], tag="first", expected=lambda x, g, b: [group_norm(x, g, b, 2, False, False)], groups=2, activation=0, channels_last=0)
SKIP = [FINAL, f(8), f(8), Given(f(2, 8), f(1, 8), d0="B"), f(8)]
case("SkipGroupNorm", SKIP, 2, expected=lambda x, g, b, s, c: [group_norm(x + s[:, None, None] + c, g, b, 4, True, True), x + s[:, None, None] + c], groups=4, activation=1)
case("BiasSplitGelu", [ROWS, f(16)], expected=lambda x, b: [(x + b)[..., :8] * gelu((x + b)[..., 8:])])
case("BiasAdd", [ROWS, f(16), ROWS], expected=lambda x, b, s: [x + b + s])
case("BiasSoftmax", [Given(f(2, 3, 5, 4)), Given(f(2, 1, 1, 4))], expected=lambda x, b: [softmax(x + b)], axis=3, is_inner_broadcast=1)
case("GemmFastGelu", [ROWS, f(16, 7), f(7)], expected=lambda x, w, b: [fast_gelu(x @ w + b)])
case("NhwcFusedConv", [FINAL, f(6, 8, 1, 1), f(6), Given(f(2, 5, 3, 6), f(1, 5, 3, 6), d0="B")], expected=lambda *v: [relu_conv(*v)], activation="Relu")
# Weights as the optimiser writes them, and as the schema says.
case("NhwcConv", [FINAL, f(6, 1, 1, 8), f(6)], expected=lambda x, w, b: [np.einsum("bhwc,oc->bhwo", x, w[:, 0, 0]) + b], kernel_shape=[1, 1])
case("NhwcConv", [FINAL, f(8, 3, 3, 8), f(8)], tag="window", expected=lambda x, w, b: [conv_last(x, w) + b], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
case("NhwcConv", [FINAL, f(6, 8, 1, 1), f(6)], tag="schema", expected=lambda x, w, b: [np.einsum("bhwc,oc->bhwo", x, w[:, :, 0, 0]) + b], kernel_shape=[1, 1])

# -- quantised

A_U8 = [Given(quantised((3, 10), U8), quantised((1, 10), U8), d0="M"), np.float32(0.02), np.array(120, U8)]
B_U8 = [Given(quantised((3, 10), U8), quantised((1, 10), U8), d0="M"), np.float32(0.03), np.array(131, U8)]
OUT = [np.float32(0.05), np.array(128, U8)]
case("QLinearAdd", [*A_U8, *B_U8, *OUT], [U8])
case("QLinearAdd", [Given(quantised((3, 10), I8)), np.float32(0.02), np.array(3, I8), quantised((10,), I8), np.float32(0.03), np.array(-4, I8), np.float32(0.05), np.array(5, I8)], [I8], "constant")
case("QLinearMul", [*A_U8, *B_U8, *OUT], [U8])
HUGE = [Given(np.zeros((3, 10), I8)), np.float32(1 / 127), np.array(0, I8), np.array(-128, I8), np.float32(2.7e36), np.array(0, I8), np.float32(2.7e36), np.array(0, I8)]
case("QLinearMul", HUGE, [I8], "huge")
case("QLinearSigmoid", [*A_U8, np.float32(1 / 256), np.array(0, U8)], [U8])
case("QLinearLeakyRelu", [*A_U8, *OUT], [U8], alpha=0.2)
case("QLinearWhere", [Given(ints(0, 2, 3, 10).astype(bool), ints(0, 2, 1, 10).astype(bool), d0="M"), *A_U8, *B_U8, *OUT], [U8])
for opset, axis in ((13, -1), (12, 1)):
    case("QLinearSoftmax", [Given(quantised((3, 4, 10), U8)), np.float32(0.05), np.array(128, U8), np.float32(1 / 256), np.array(0, U8)], [U8], f"{opset}", opset=opset, axis=axis)
case("QLinearConcat", [*OUT, *A_U8, *B_U8], [U8], axis=0)
PLANE = [Given(quantised((2, 4, 9, 7), U8), quantised((1, 4, 9, 7), U8), d0="B"), np.float32(0.02), np.array(120, U8)]
LAST = [Given(quantised((2, 9, 7, 4), U8), quantised((1, 9, 7, 4), U8), d0="B"), np.float32(0.02), np.array(120, U8)]
case("QLinearGlobalAveragePool", [*PLANE, np.float32(0.005), np.array(128, U8)], [U8], channels_last=0)
case("QLinearGlobalAveragePool", [*LAST, np.float32(0.005), np.array(128, U8)], [U8], "last", channels_last=1)
case("QLinearAveragePool", [*PLANE, *OUT], [U8], kernel_shape=[3, 2], pads=[1, 0, 1, 1], strides=[2, 1], count_include_pad=1)
case("QLinearAveragePool", [*LAST, *OUT], [U8], "last", steps=1, kernel_shape=[3, 3], auto_pad="SAME_UPPER", channels_last=1)
CONV = [quantised((6, 4, 3, 3), I8), np.float32(0.01), np.array(0, I8), np.float32(0.2), np.array(128, U8), ints(-500, 500, 6)]
case("QLinearConv", [*PLANE, *CONV], [U8], domain="", pads=[1, 1, 1, 1])
# ONNX Runtime has no exact form of this one without VNNI: weights of six bits.
case("QLinearConv", [*LAST, CONV[0] // 2, *CONV[1:]], [U8], "last", channels_last=1, strides=[2, 1])
case("NhwcMaxPool", [LAST[0]], [U8], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2])
case("DynamicQuantizeMatMul", [ROWS, quantised((16, 7), I8), np.float32(0.01), np.array(3, I8), f(7)])
case("DynamicQuantizeMatMul", [ROWS, quantised((16, 7), U8), RANDOM.uniform(0.01, 0.02, 7).astype(F32), quantised((7,), U8, 9)], tag="columns")
case("MatMulIntegerToFloat", [Given(quantised((2, 5, 16), U8)), quantised((16, 7), I8), np.float32(0.02), np.float32(0.01), np.array(120, U8), np.array(2, I8), f(7)])
GEMM = [*A_U8, quantised((10, 6), I8), np.float32(0.02), np.array(0, I8), ints(-500, 500, 6)]
case("QGemm", GEMM)
case("QGemm", [*GEMM, np.float32(0.2), np.array(128, U8)], [U8], "quantised", alpha=1.0)
case("QGemm", [*A_U8, quantised((6, 10), I8), RANDOM.uniform(0.01, 0.02, 6).astype(F32), np.zeros(6, I8)], tag="columns", transB=1)

STEPS = [Given(f(6, 2, 5), f(3, 1, 5), d0="T", d1="B"), quantised((2, 5, 16), I8), quantised((2, 4, 16), I8), f(2, 32)]
LSTM = dict(hidden_size=4, direction="bidirectional", steps=1)
PER_LAYER = [np.full(2, 0.01, F32), np.array([2, -3], I8), np.full(2, 0.008, F32), np.array([1, 0], I8)]
PER_COLUMN = [RANDOM.uniform(0.005, 0.01, (2, 16)).astype(F32), np.zeros((2, 16), I8)] * 2
case("DynamicQuantizeLSTM", [*STEPS, None, None, None, None, *PER_LAYER], 3, **LSTM)
case("DynamicQuantizeLSTM", [*STEPS, None, None, None, None, *PER_COLUMN], 3, "columns", **LSTM)
LATER = [Given(np.array([4, 6], I32), np.array([2], I32), d0="B"), *(Given(f(2, 2, 4), f(2, 1, 4), d1="B") for _ in range(2)), f(2, 12)]
case("DynamicQuantizeLSTM", [*STEPS, *LATER, *PER_LAYER], 3, "lengths", **LSTM)

# -- other names

case("Range", [Given(np.array([2], I64)), np.array([9], I64), None], [I64])
case("Range", [Given(np.array(0.5, F32)), np.array(9, F32), np.array(1.5, F32)], tag="float")
case("Trilu", [Given(f(5, 7), f(4, 7), d0="N"), np.array(1, I64)], upper=0)
case("Pad", [Given(f(3, 4)), np.array([1, 0, 2, 1], I64), np.array(0.5, F32)], mode="constant")
case("GatherND", [Given(f(4, 5, 6)), Given(ints(0, 4, 3, 2, dtype=I64))])
case("GridSample", [Given(f(2, 3, 5, 6)), Given(RANDOM.uniform(-1.2, 1.2, (2, 4, 3, 2)).astype(F32))], align_corners=1, padding_mode="border")
case("ExpandDims", [Given(f(3, 4)), np.array(-1, I32)])
case("Unique", [Given(np.array([2, 1, 1, 3, 4, 3], F32))], [F32, I64, I64])

# -- ai.onnx and ai.onnx.ml

COLUMNS = Given(f(2, 3 * 6, 16), f(1, 3 * 6, 16), d0="B")
case("Col2Im", [COLUMNS, np.array([6, 5], I64), np.array([3, 2], I64)], tag="dilated", domain="", dilations=[2, 1], pads=[1, 0, 1, 0])
case("Col2Im", [Given(f(2, 3 * 6, 12)), np.array([8, 6], I64), np.array([3, 2], I64)], tag="strides", domain="", strides=[2, 2], pads=[1, 0, 1, 1])
INFINITE = np.where(np.arange(8 * 9).reshape(1, 8, 9) % 29 == 3, np.inf, 1).astype(F32)
case("Col2Im", [Given(INFINITE), np.array([4, 4], I64), np.array([2, 2], I64)], tag="infinite", domain="")
OFFSET = Given(f(2, 2 * 2 * 9, 4, 5, scale=2), f(1, 2 * 2 * 9, 4, 5, scale=2), d0="B")
DEFORMED = [Given(f(2, 4, 9, 7), f(1, 4, 9, 7), d0="B"), f(6, 2, 3, 3), OFFSET]
DEFORM = dict(domain="", group=2, offset_group=2, strides=[2, 1], pads=[1, 0, 0, 0], kernel_shape=[3, 3])
case("DeformConv", DEFORMED, **DEFORM)
case("DeformConv", [*DEFORMED, f(6), Given(RANDOM.uniform(0, 1, (2, 2 * 9, 4, 5)).astype(F32), RANDOM.uniform(0, 1, (1, 2 * 9, 4, 5)).astype(F32), d0="B")], tag="mask", **DEFORM)


def svm(tag, classes, kernel, **more):
    counts = [3, 2, 4, 1][:classes]
    vectors, pairs = sum(counts), classes * (classes - 1) // 2  # of support vectors, of classes
    how = dict(classlabels_ints=[5, 2, 9, 7][:classes], vectors_per_class=counts, support_vectors=f(vectors, 6).flatten().tolist(), kernel_type=kernel, **more)
    how.update(coefficients=f(classes - 1, vectors).flatten().tolist(), rho=f(pairs).tolist(), kernel_params=[0.3, 0.5, 2.0])
    case("SVMClassifier", [Given(f(7, 6), f(2, 6), d0="N")], [I64, F32], tag, domain="ai.onnx.ml", **how)


for kernel_name in ("LINEAR", "POLY", "RBF", "SIGMOID"):
    svm(f"{kernel_name}_4", 4, kernel_name)
    svm(f"{kernel_name}_2", 2, kernel_name)
svm("logistic", 2, "RBF", post_transform="LOGISTIC")
svm("softmax", 3, "RBF", post_transform="SOFTMAX")
svm("probability", 2, "RBF", prob_a=[-1.5], prob_b=[0.2])
for sure in (-0.3, -2.0, -4.0, -8.0):
    svm(f"probability{sure:.1f}", 2, "RBF", prob_a=[sure], prob_b=[-0.3])
case("SVMClassifier", [Given(f(7, 6))], [I64, F32], "linear", domain="ai.onnx.ml", classlabels_ints=[5, 2, 9], coefficients=f(18).tolist(), rho=[0.4], kernel_type="LINEAR", kernel_params=[0.0, 0.0, 0.0])

PAIRS = dict(prob_a=[-1.5, -0.8, -2.1, -1.0, -1.2, -0.6], prob_b=[0.2, -0.1, 0.05, 0.3, 0.0, -0.2])
svm("probability_4", 4, "RBF", **PAIRS)
svm("probability_3", 3, "LINEAR", **{k: v[:3] for k, v in PAIRS.items()})

# -- gates, positions, complex numbers, small things

case("IsAllFinite", [Given(f(3, 4), np.array([[1, np.inf]] * 3, F32), d1="N"), Given(f(5))], [np.bool_], expected=lambda *v: [np.array(all(np.isfinite(x).all() for x in v))])
case("TorchEmbedding", [f(9, 4), Given(ints(0, 9, 2, 3, dtype=I64))], expected=lambda w, i: [w[i]])
case("UnfoldTensor", [Given(f(2, 9, 3), f(2, 6, 3), d1="N")], dim=1, size=4, step=2)
case("MulInteger", [Given(quantised((3, 4), U8)), np.array(3, U8), quantised((4,), U8), np.array(130, U8)], [I32], expected=lambda a, z, b, y: [(a.astype(I32) - z) * (b.astype(I32) - y)])
case("MatMulInteger16", [Given(ints(-99, 99, 3, 4, dtype=np.int16)), ints(-99, 99, 4, 5, dtype=np.int16)], [I32])
case("ReduceSumInteger", [Given(quantised((3, 4, 5), I8))], [I32], axes=[1], keepdims=1, expected=lambda x: [x.astype(I32).sum(1, keepdims=True, dtype=I32)])
for tag, shape in (("plain", (3, 3)), ("batch", (2, 4, 5, 5))):
    case("Inverse", [Given(f(*shape) + 2 * np.eye(shape[-1], dtype=F32))], tag=tag)
case("Inverse", [Given(np.array([[0, 2, 1], [1, 0, 0], [3, 0, 4]], F32))], tag="pivot")
for n in (3, 5, 7):
    case("Det", [Given(f(3, n, n), f(1, n, n), d0="B")], tag=f"{n}", domain="")
case("Det", [Given(np.array([[0, 2, 1, 0, 1], [1, 0, 0, 3, 2], [3, 0, 4, 1, 1], [2, 2, 0, 0, 0], [0, 1, 0, 1, 5]], F32))], tag="pivots", domain="")
COMPLEX = [Given(f(2, 3, 2), f(1, 3, 2), d0="B"), Given(f(2, 3, 2), f(1, 3, 2), d0="B")]


def as_complex(x):
    return x[..., 0] + 1j * x[..., 1]


def as_pairs(z):
    return [np.stack([z.real, z.imag], -1).astype(F32)]


case("ComplexMul", COMPLEX, expected=lambda x, y: as_pairs(as_complex(x) * as_complex(y)))
case("ComplexMulConj", COMPLEX, expected=lambda x, y: as_pairs(as_complex(x) * as_complex(y).conj()))

for axes in (1, 2):
    over = tuple(range(-axes, 0))
    case("Rfft", [Given(f(2, 6, 10), f(1, 6, 10), d0="B")], tag=f"{axes}", signal_ndim=axes, onesided=1, normalized=0, expected=lambda x, over=over: as_pairs(np.fft.rfftn(x, axes=over)))
    case("Irfft", [Given(f(2, 6, 6, 2), f(1, 6, 6, 2), d0="B")], tag=f"{axes}", signal_ndim=axes, onesided=1, normalized=0, expected=lambda x, over=over: [np.fft.irfftn(as_complex(x), axes=over).astype(F32)])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def swiglu(gate, up, alpha, beta, limit):
    gate, up = np.minimum(gate, limit), np.clip(up, -limit, limit)
    return [gate * sigmoid(alpha * gate) * (up + beta)]


def rms(x, width):
    parts = x.reshape(*x.shape[:-1], -1, width)
    return (parts / np.sqrt((parts**2).mean(-1, keepdims=True) + 1e-5)).astype(F32)


case("ScaledSiLU", [ROWS], alpha=1.5, expected=lambda x: [1.5 * x * sigmoid(1.5 * x)])
case("SwiGLU", [ROWS, ROWS], activation_alpha=1.702, activation_beta=1.0, limit=0.7, expected=lambda g, u: swiglu(g, u, 1.702, 1, 0.7))
case("SwiGLU", [ROWS], tag="joined", activation_alpha=1.0, activation_beta=0.0, limit=0.0, expected=lambda x: swiglu(x[..., :8], x[..., 8:], 1, 0, np.inf))
case("GatedAdd", [ROWS, ROWS, Given(f(2, 5, 1), f(1, 3, 1), d0="B", d1="S")], expected=lambda x, y, g: [x + y * g])
case("GatedRMSNorm", [ROWS, f(4), ROWS], epsilon=1e-5, activation="silu", expected=lambda x, s, g: [(rms(x, 4) * s).reshape(x.shape) * g * sigmoid(g)])
case("BiasDropout", [ROWS, f(16), ROWS], expected=lambda x, b, r: [x + b + r])
for both in (0, 1):
    case("RelativePositionBias", [f(32, 3), Given(np.array(50, I64), np.array(7, I64)), Given(np.array(50, I64), np.array(7, I64))], tag=f"{both}", is_bidirectional=both, max_distance=20, expected=lambda t, q, k, both=both: [t5_bias(t, int(q), int(k), both, 20)])


def t5_bias(table, queries, keys, both, farthest):
    """As Hugging Face's T5 has it."""
    relative = np.arange(keys)[None] - np.arange(queries)[:, None]
    buckets, base = table.shape[0], 0
    if both:
        buckets //= 2
        base, relative = (relative > 0) * buckets, np.abs(relative)
    else:
        relative = -np.minimum(relative, 0)
    exact = buckets // 2
    large = exact + (np.log(np.maximum(relative, 1).astype(F32) / exact) / math.log(farthest / exact) * (buckets - exact)).astype(I64)
    return table[base + np.where(relative < exact, relative, np.minimum(large, buckets - 1))].transpose(2, 0, 1)[None]


ANGLES = np.outer(np.arange(20), 1 / 10000 ** (np.arange(8) / 8))
PLACES_3 = Given(ints(0, 20, 3, 2, 5, dtype=I64), ints(0, 20, 3, 1, 3, dtype=I64), d1="B", d2="S")
for layout, section in ((0, [4, 2, 2]), (1, [3, 3, 2])):
    case("MRotaryEmbedding", [Given(f(2, 5, 48), f(1, 3, 48), d0="B", d1="S"), PLACES_3, np.cos(ANGLES).astype(F32), np.sin(ANGLES).astype(F32)], tag=f"{layout}", num_heads=3, mrope_section=section, mrope_layout=layout)

# -- regions of pictures

PICTURE = Given(f(2, 3, 9, 7), f(2, 3, 5, 6), d2="H", d3="W")
CORNERS = np.array([[0, 0, 1, 1], [0.1, 0.2, 0.8, 0.6], [0.7, 0.9, 0.2, 0.1], [-0.5, 0.3, 1.4, 0.8]], F32)
for mode in ("bilinear", "nearest"):
    case("CropAndResize", [PICTURE, Given(CORNERS, CORNERS[1:3], d0="R"), Given(np.array([0, 1, 1, 0], I32), np.array([1, 0], I32), d0="R"), np.array([4, 5], I32)], tag=mode, mode=mode, extrapolation_value=0.5)
case("CropAndResize", [PICTURE, Given(CORNERS), Given(np.array([0, 1, 1, 0], I32)), np.array([1, 3], I32)], tag="one_row")
REGIONS = np.array([[0, 0, 0, 6, 8], [1, 2, 1, 5, 3], [0, 4, 7, 20, 30], [1, 3, 3, 3, 3]], F32)
case("MaxRoiPool", [PICTURE, Given(REGIONS, REGIONS[1:3], d0="R")], domain="", pooled_shape=[3, 2])
case("MaxRoiPool", [PICTURE, Given(REGIONS * np.array([1, 2, 2, 2, 2], F32))], tag="scale", domain="", pooled_shape=[2, 4], spatial_scale=0.5)

# -- n-grams

POOL = dict(domain="", pool_int64s=[2, 3, 5, 4, 5, 6, 7, 8, 6, 7], ngram_counts=[0, 4], ngram_indexes=[0, 1, 2, 3, 4, 5, 6], min_gram_length=1, max_gram_length=2)
TEXT = Given(np.array([[1, 1, 3, 3, 3, 7], [8, 6, 7, 5, 6, 8]], I32), np.array([[5, 6, 5, 7]], I32), d0="B", d1="N")
for mode in ("TF", "IDF", "TFIDF"):
    case("TfIdfVectorizer", [TEXT], tag=mode, mode=mode, max_skip_count=2, weights=[0.5, 1.0, 2.0, 3.0, 1.5, 0.1, 0.2], **POOL)
case("TfIdfVectorizer", [Given(np.array([5, 6, 7, 8], I64))], tag="row", mode="TF", max_skip_count=0, **POOL)

# -- what decoders are searched with

WORDS = Given(np.array([[1, 2, 3, 1, 2, 4, 1, 2], [5, 5, 5, 5, 5, 5, 5, 5]], I64), np.array([[7, 2]], I64), d0="B", d1="L")
for n in (1, 2, 3):
    case("NGramRepeatBlock", [WORDS, Given(f(2, 8), f(1, 8), d0="B")], tag=f"{n}", ngram_size=n)
# Numbers are drawn in the order of the cases: added at the end they leave others' as they are, of which some would be a step of 8
# bits away from ONNX Runtime's with other ones (DynamicQuantizeLSTM_lengths).

# -- sums of products whose axes of size 1 are spread

for equation, left, right in (("ij,jk", (3, 1), (2, 4)), ("ij,jk->ik", (3, 2), (1, 4)), ("bij,bjk->bik", (1, 3, 1), (2, 2, 4)), ("ij,ij->i", (3, 1), (3, 4))):
    case("Einsum", [Given(f(*left)), Given(f(*right))], tag="spread_" + "".join(c for c in equation if c.isalpha()), domain="", equation=equation)

# -- features and spectra

case("FeatureVectorizer", [Given(f(2, 1, 4)), Given(f(2, 2))], domain="ai.onnx.ml", inputdimensions=[4, 2])
case("FeatureVectorizer", [Given(f(2, 3)), Given(f(2, 3))], tag="other_widths", domain="ai.onnx.ml", inputdimensions=[2, 5])
case("FeatureVectorizer", [Given(f(3)), Given(f(2), d0="N")], tag="one_row", domain="ai.onnx.ml", inputdimensions=[3, 2])
SIGNAL, SPECTRUM = Given(f(2, 9, 1), f(1, 6, 1), f(1, 1, 1), d0="B", d1="T"), Given(f(2, 5, 2), f(1, 4, 2), f(1, 2, 2), d0="B", d1="T")
LENGTH = Given(np.array(8), np.array(5), np.array(1))
for sided in (0, 1):
    case("DFT", [SIGNAL], tag=f"open_{sided}", domain="", version=17, axis=1, onesided=sided)
    case("DFT", [SIGNAL, LENGTH], tag=f"open_length_{sided}", domain="", version=17, axis=1, onesided=sided)
case("DFT", [SPECTRUM], tag="open_inverse", domain="", version=17, axis=1, inverse=1)
case("DFT", [SPECTRUM, LENGTH], tag="open_inverse_length", domain="", version=17, axis=1, inverse=1)
# ONNX Runtime differs from numpy where a one-sided spectrum is cut or padded, and by 1e-3 in long ones of no power of two.
case("DFT", [SPECTRUM, Given(np.array(8), np.array(7), np.array(3))], tag="open_to_real", domain="", version=20, inverse=1, onesided=1)
case("DFT", [Given(f(1, 2048, 1), d1="T")], tag="open_long", domain="", version=17, axis=1, onesided=1)

# -- operators that ONNX took back

case("Scale", [Given(f(9))], domain="", version=7, scale=1.5)
case("Shrink", [Given(f(9))], tag="below_zero", domain="", bias=0.25, lambd=-0.5)
PICTURE = Given(f(2, 3, 6, 7), f(1, 3, 5, 4), d0="B", d2="H", d3="W")
case("ImageScaler", [PICTURE], domain="", version=7, scale=0.5, bias=[1.0, -2.0, 3.0])
case("Crop", [PICTURE], domain="", version=7, border=[1, 2, 0, 1])
case("Crop", [PICTURE], tag="scale", domain="", version=7, border=[1, 2, 0, 0], scale=[3, 2])
case("DynamicSlice", [Given(f(4, 5)), np.array([1, -4]), np.array([3, 9])], domain="", version=7)
case("DynamicSlice", [Given(f(4, 5)), Given(np.array([1]), np.array([0])), Given(np.array([3]), np.array([-1])), np.array([1])], tag="at_run_time", domain="", version=7)
for across, divided in ((0, 1), (1, 1), (0, 0)):
    case("MeanVarianceNormalization", [Given(f(2, 3, 4, 5))], tag=f"{across}{divided}", domain="", version=8, across_channels=across, normalize_variance=divided)

# -- axes of which not even the number is known

LISTS = Given(np.array([1, -1]), np.array([0]), np.array([2, 0, 1]), np.array([], I64), np.array([1]), d0="A")
for op in ("ReduceSum", "ReduceMax", "ReduceLogSumExp"):
    case(op, [Given(*[f(3, 4, 5)] * 5), LISTS], tag="any_axes", domain="")
case("ReduceMean", [Given(*[f(3, 4, 5)] * 5), LISTS], tag="any_axes_or_none", domain="", noop_with_empty_axes=1)
case("DFT", [Given(*[f(2, 6, 5, 2)] * 3), None, Given(np.array(1), np.array(-2), np.array(0))], tag="any_axis", domain="", version=20)
case("DFT", [Given(f(2, 4, 1), f(2, 6, 1), d1="T"), Given(np.array(4), np.array(5)), Given(np.array(1), np.array(0))], tag="any_axis_length", domain="", version=20, onesided=1)

case("DynamicTimeWarping", [Given(f(7, 11), f(1, 6), f(5, 1), f(12, 12), d0="M", d1="N")], [I32])
case("DynamicTimeWarping", [Given(f(1, 9, 30))], [I32], tag="batch")

# -- normalisations as they are found in models

case("BatchNormalization", [Given(f(9), f(4), d0="N"), f(1), f(1), f(1), np.abs(f(1))], tag="list", domain="", version=15)
case("LayerNormalization", [Given(f(2, 5, 16).astype(np.float16)), f(16), f(16)], tag="gains_f32", domain="", version=12, steps=1)
for groups in (2, 4):
    x, gamma, beta = f(2, 4, 6, 5), f(4), f(4)
    case("GroupNormalization", [Given(x), gamma, beta], tag=f"channels_{groups}", domain="", version=18, num_groups=groups, expected=lambda x, gamma, beta, groups=groups: [group_norm(x, gamma, beta, groups, False, False)])

# -- transforms in two steps (of odd lengths, of other axes, one side of them, back), diagonals

for n in (400, 441, 1155, 2048):
    signal, spectrum = f(2, n, 1), f(2, n, 3, 2)
    parts = lambda y: [np.stack([y.real, y.imag], -1).astype(F32)]
    case("DFT", [Given(signal, signal[:1], d0="B")], tag=f"steps_{n}", domain="", version=17, axis=1, onesided=1,
         expected=lambda x, parts=parts: parts(np.fft.rfft(x[..., 0].astype("f8"), axis=1)))  # fmt: skip
    case("DFT", [Given(spectrum)], tag=f"steps_back_{n}", domain="", version=17, axis=1, inverse=1,
         expected=lambda x, parts=parts: parts(np.fft.ifft(x[..., 0].astype("f8") + 1j * x[..., 1], axis=1)))  # fmt: skip
for equation, shape in {"ii->i": (5, 5), "iji->ji": (3, 4, 3), "iii->i": (4, 4, 4), "jiki->kj": (2, 3, 4, 3), "iijj->ij": (2, 2, 3, 3), "...ii->...i": (2, 1, 4, 4)}.items():
    case("Einsum", [Given(f(*shape))], tag="diagonal_" + equation.replace("->", "_to_").replace("...", "any_"), domain="", equation=equation)
case("Einsum", [Given(f(3, 3, 2)), Given(f(2, 2))], tag="diagonals", domain="", equation="iij,jj->ij")
case("Einsum", [Given(f(4, 4), f(2, 2), d0="N", d1="N")], tag="diagonal_open", domain="", equation="ii->i")

# -- trees whose nodes lie in any order


def forest(count, depth, features, modes, prefix, targets):
    """Trees of random shapes; their roots come first, as ONNX Runtime has it, and the other nodes in any order."""
    nodes, weights = {}, {}
    for tree in range(count):
        rows, open_nodes, made = [], [(0, 0)], 1
        while open_nodes:
            at, level = open_nodes.pop(int(RANDOM.integers(len(open_nodes))))
            leaf = level == depth or RANDOM.random() < 0.15
            if leaf:
                rows.append((at, 0, 0.0, "LEAF", 0, 0, 0))
                continue
            mode = str(RANDOM.choice(modes))
            value = float(np.float32(RANDOM.integers(-2, 3) if mode.endswith("EQ") else np.round(RANDOM.standard_normal(), 1)))
            rows.append((at, int(RANDOM.integers(features)), value, mode, made, made + 1, int(RANDOM.integers(2))))
            open_nodes += [(made, level + 1), (made + 1, level + 1)]
            made += 2
        numbers = RANDOM.permutation(made).tolist()
        for i in [0, *(1 + RANDOM.permutation(len(rows) - 1))]:
            at, feature, value, mode, yes, no, missing = rows[i]
            ways = (0, 0) if mode == "LEAF" else (numbers[yes], numbers[no])
            keys = ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids", "missing_value_tracks_true")
            for key, v in zip(keys, (tree, numbers[at], feature, value, mode, *ways, missing)):
                nodes.setdefault(f"nodes_{key}", []).append(v)
            for target in range(targets) if mode == "LEAF" else ():
                for key, v in zip(("treeids", "nodeids", "ids", "weights"), (tree, numbers[at], target, float(f()))):
                    weights.setdefault(f"{prefix}_{key}", []).append(v)
    return nodes | weights


COLUMNS = np.round(f(33, 5), 1)
COLUMNS[::4] = np.round(COLUMNS[::4])
COLUMNS[3::7, 1], COLUMNS[5::9, 2], COLUMNS[6::9, 2] = np.nan, np.inf, -np.inf
for tag, modes in (("leq", ["BRANCH_LEQ"]), ("mixed", ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"])):
    case("TreeEnsembleRegressor", [Given(COLUMNS, COLUMNS[:1], d0="N")], tag=tag, domain="ai.onnx.ml", n_targets=1, **forest(20, 5, 5, modes, "target", 1))
    case("TreeEnsembleRegressor", [Given(COLUMNS.astype("f8"))], tag=f"{tag}_f64", domain="ai.onnx.ml", n_targets=2, **forest(6, 4, 5, modes, "target", 2))
case("TreeEnsembleClassifier", [Given(COLUMNS)], [I64, F32], domain="ai.onnx.ml", classlabels_int64s=[5, 7, 9], post_transform="SOFTMAX", **forest(9, 4, 5, ["BRANCH_LEQ"], "class", 3))
case("TreeEnsembleRegressor", [Given(COLUMNS)], tag="leaf", domain="ai.onnx.ml", n_targets=1, **forest(2, 0, 5, ["BRANCH_LEQ"], "target", 1))

# -- what is refused

refused("PagedAttention", "without padding", [Given(f(5, 8))], num_heads=1, kv_num_heads=1)
refused("StringNormalizer", "It works on text", [Given(f(5))], domain="")
refused("BeamSearch", "search for the best words", [Given(ints(0, 9, 1, 4)), np.array([9], I32)], eos_token_id=0, pad_token_id=0)
refused("ReorderInput", "ORT_ENABLE_EXTENDED", [Given(f(1, 8, 4, 4))], domain="com.microsoft.nchwc")

if __name__ == "__main__":
    sys.exit(operator_cases.main(CASES, REFUSALS, __doc__, operator_cases.ONE_LEVEL))
