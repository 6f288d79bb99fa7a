#!/usr/bin/env python3
"""Operators of exported language models (com.microsoft, weights of 4 and 8 bits) against ONNX Runtime, alone and as a small
two-layer decoder: prompt and a step with its cache.

    language.py [--filter TEXT] [--driver cpu] [--targets LIST]
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))

import numpy as np  # noqa: E402
import operator_cases  # noqa: E402
from onnx import TensorProto, helper  # noqa: E402
from operator_cases import FLOAT, bits_of  # noqa: E402


class Graph(operator_cases.Graph):
    def nbits(self, x, k, n, block, out, bits=4, zeros="none", bias=False, half=False, order="none"):
        """MatMulNBits with random weights; zeros: none, packed or float; order: of g_idx: none, plain, mixed (blocks of one
        size), any."""
        blocks, name, kind = -(-k // block), f"{out}.w", np.float16 if half else np.float32
        q = self.random.integers(0, 1 << bits, (n, blocks, block))
        scale = (self.random.uniform(0.2, 1, (n, blocks)) * 2 ** (1 - bits) / k**0.5).astype(kind)
        zero = np.full((n, blocks), 1 << (bits - 1))
        inputs = [x, self.constant(name, bits_of(q, bits)), self.constant(f"{name}.s", scale)]
        if zeros == "packed":
            zero = self.random.integers(0, 1 << bits, (n, blocks))
            inputs.append(self.constant(f"{name}.z", bits_of(zero, bits)))
        elif zeros == "float":
            zero = self.random.uniform(0.2, 0.8, (n, blocks)).astype(kind) * (1 << bits)
            inputs.append(self.constant(f"{name}.z", zero))
        block_of = np.arange(k) // block
        if order != "none":
            block_of = {"plain": block_of, "mixed": self.random.permutation(block_of), "any": self.random.integers(0, blocks, k)}[order]
            inputs += [""] * (4 - len(inputs)) + [self.constant(f"{name}.g", block_of.astype(np.int32))]
        if bias:
            inputs += [""] * (5 - len(inputs)) + [self.constant(f"{name}.b", self.random.standard_normal(n).astype(kind))]
        self.dense = ((q.reshape(n, -1)[:, :k] - zero[:, block_of].astype(np.float32)) * scale[:, block_of].astype(np.float32)).T
        return self.node("MatMulNBits", inputs, [out], K=k, N=n, bits=bits, block_size=block)


def matmul_nbits(m, k, n, block, half=False, by_numpy=False, **options):
    g, kind = Graph(k), TensorProto.FLOAT16 if half else FLOAT
    g.nbits(g.input("x", kind, ["B", "M", k]), k, n, block, "y", half=half, **options)
    g.output("y", ["B", "M", n], kind)
    case = {"x": g.random.standard_normal((1, m, k)).astype(np.float16 if half else np.float32)}
    return (g.model(), [case], 0, ["y"], [[(case["x"] @ g.dense).astype(np.float32)]]) if by_numpy else (g.model(), [case], 1)


def fused_nbits(op, sizes, skip=False, normal=True, bias=False, bits=4, block=32, k=80, m=3):
    """MatMulNBitsQkv and MatMulNBitsMlp, which ONNX Runtime has for GPUs alone: a (normalised) operand, perhaps the sum of two, by
    several weights; `sizes`: their rows."""
    g, blocks = Graph(k), -(-k // block)
    case = {n: g.random.standard_normal((1, m, k)).astype(np.float32) for n in ("x", "r")[: 1 + skip]}
    inputs = [g.input(n, FLOAT, ["B", "M", k]) for n in case] + [""] * (not skip)
    x, scale = sum(case.values()), g.random.uniform(0.5, 1.5, k).astype(np.float32)
    total, least = x, {"MatMulNBitsQkv": 1e-6, "MatMulNBitsMlp": 1e-5}[op]
    inputs.append(g.constant("n", scale) if normal else "")
    if normal:
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + least) * scale
    products = []
    for i, n in enumerate(sizes):
        q = g.random.integers(0, 1 << bits, (n, blocks, block))
        s = (g.random.uniform(0.2, 1, (n, blocks)) * 2 ** (1 - bits) / k**0.5).astype(np.float32)
        inputs += [g.constant(f"w{i}", bits_of(q, bits)), g.constant(f"s{i}", s)]
        dense = ((q - (1 << (bits - 1))) * s[:, :, None]).reshape(n, -1)[:, :k].T
        added = g.random.standard_normal(n).astype(np.float32) if bias else None
        inputs.append(g.constant(f"b{i}", added) if bias else "")
        products.append(x @ dense + (added if bias else 0))
    if op == "MatMulNBitsMlp":
        rows, how, products = dict(N=sizes[0]), dict(activation="silu"), [products[0] / (1 + np.exp(-products[0])) * products[1]]
    else:
        rows, how = dict(Nq=sizes[0], Nkv=sizes[1]), {}
    names, wanted = [f"y{i}" for i in range(len(products))] + ["t"] * skip, products + [total] * skip
    g.node(op, inputs, names, K=k, bits=bits, block_size=block, **rows, **how)
    for name in names:
        g.output(name, None)
    return g.model(), [case], 0, names, [[w.astype(np.float32) for w in wanted]]


def matmul_bnb4(m, k, n, block, kind, half=False):
    g, number = Graph(k), np.float16 if half else np.float32
    g.constant("w", g.random.integers(0, 256, (n * k + 1) // 2).astype(np.uint8))
    g.constant("s", g.random.uniform(0.2, 1, -(-n * k // block)).astype(number) / number(k**0.5))
    g.node("MatMulBnb4", [g.input("x", TensorProto.FLOAT16 if half else FLOAT, ["M", k]), "w", "s"], ["y"], K=k, N=n, block_size=block, quant_type=kind)
    g.output("y", ["M", n], TensorProto.FLOAT16 if half else FLOAT)
    return g.model(), [{"x": g.random.standard_normal((m, k)).astype(number)}], 1


def blocked_dequantize(kind, signed, m=5, k=96, n=40, block=32):
    """DequantizeLinear in blocks (opset 21) in front of MatMul, large enough that it is not folded."""
    g = Graph(1)
    k, n = 8 * k, 8 * n
    low, high = {("4", True): (-8, 8), ("4", False): (0, 16), ("8", True): (-128, 128), ("8", False): (0, 256)}[kind, signed]
    name = ("INT" if signed else "UINT") + kind
    values = g.random.integers(low, high, (k, n))
    zeros = g.random.integers(low, high, (k // block, n))
    for tensor, array in (("w", values), ("z", zeros)):
        g.initializers.append(helper.make_tensor(tensor, getattr(TensorProto, name), array.shape, array.flatten()))
    g.constant("s", (g.random.uniform(0.2, 1, (k // block, n)) / k).astype(np.float32))
    g.node("DequantizeLinear", ["w", "s", "z"], ["d"], domain="", axis=0, block_size=block)
    g.node("MatMul", [g.input("x", FLOAT, ["M", k]), "d"], ["y"], domain="")
    g.output("y", ["M", n])
    return g.model(), [{"x": g.random.standard_normal((rows, k)).astype(np.float32)} for rows in (1, m)]


def gather_blocks(kind, zeros=False, shape=(50, 64), block=32, gather_axis=0, axis=1, bits=4, half=False):
    """kind: INT4, UINT4 or bytes that hold integers of `bits`."""
    g, number = Graph(2), np.float16 if half else np.float32
    scales = [-(-n // block) if a == axis else n for a, n in enumerate(shape)]
    low, high = (-8, 8) if kind == "INT4" else (0, 1 << bits)
    for name, size in (("t", shape), ("z", scales))[: 1 + zeros]:
        values = g.random.integers(low, high, size)
        if kind == "bytes":
            g.constant(name, bits_of(values, bits))
        else:
            g.initializers.append(helper.make_tensor(name, getattr(TensorProto, kind), size, values.flatten()))
    g.constant("s", g.random.uniform(0.1, 1, scales).astype(number))
    inputs = ["t", g.input("i", TensorProto.INT64, ["B", "S"]), "s"] + ["z"] * zeros
    g.node("GatherBlockQuantized", inputs, ["y"], gather_axis=gather_axis, quantize_axis=axis, block_size=block, **({"bits": bits} if kind == "bytes" else {}))
    g.output("y", None, TensorProto.FLOAT16 if half else FLOAT)
    return g.model(), [{"i": g.random.integers(-shape[gather_axis], shape[gather_axis], (2, 3))}]


def caches(g, positions, size):
    angles = np.outer(np.arange(positions), 1 / 10000 ** (np.arange(0, size, 2) / size))
    g.constant("cos", np.cos(angles).astype(np.float32))
    g.constant("sin", np.sin(angles).astype(np.float32))
    return ["cos", "sin"]


def rotary(interleaved, offset):
    g = Graph(3)
    positions = g.input("p", TensorProto.INT64, [1] if offset else ["B", "S"])
    g.node("RotaryEmbedding", [g.input("x", FLOAT, ["B", "S", 48]), positions, *caches(g, 20, 16)], ["y"], interleaved=interleaved, num_heads=3)
    g.output("y", ["B", "S", 48])
    where = np.array([4]) if offset else g.random.integers(0, 20, (2, 5))
    return g.model(), [{"x": g.random.standard_normal((2, 5, 48)).astype(np.float32), "p": where.astype(np.int64)}]


def attention(packed=False, rotary=True, bias=False, sink=False, **attributes):
    g = Graph(4)
    heads, kv, size = 4, 2, 16
    if packed:
        inputs = [g.input("q", FLOAT, ["B", "S", (heads + 2 * kv) * size]), "", ""]
    else:
        inputs = [g.input("q", FLOAT, ["B", "S", heads * size])] + [g.input(n, FLOAT, ["B", "S", kv * size]) for n in "kv"]
    inputs += [g.input(n, FLOAT, ["B", kv, "P", size]) for n in ("pk", "pv")]
    inputs += [g.input("lengths", TensorProto.INT32, ["B"]), g.input("total", TensorProto.INT32, [])]
    inputs += caches(g, 32, size) if rotary else []
    if bias or sink:
        inputs += [""] * (10 - len(inputs)) + [g.input("bias", FLOAT, [1, heads, "S", "T"]) if bias else ""]
        inputs += [g.normal("sink", heads)] if sink else []
    g.node("GroupQueryAttention", inputs, ["y", "nk", "nv"], num_heads=heads, kv_num_heads=kv, do_rotary=int(rotary), **attributes)
    g.output("y", ["B", "S", heads * size])
    for n in ("nk", "nv"):
        g.output(n, ["B", kv, "T", size])
    cases = []
    for sequence, past in ((7, 0), (1, 9)):
        case = {i.name: None for i in g.inputs}
        for i in g.inputs:
            known = {"B": 1, "S": sequence, "P": past, "T": sequence + past}
            shape = [known.get(d.dim_param, d.dim_value) for d in i.type.tensor_type.shape.dim]
            case[i.name] = g.random.standard_normal(shape).astype(np.float32)
        case["lengths"] = np.array([sequence + past - 1], np.int32)
        case["total"] = np.array(sequence + past, np.int32)
        cases.append(case)
    return g.model(), cases


def decoder(layers=2, width=64, heads=4, kv=2, hidden=176, words=100):
    """What an exporter writes for a LLaMA-like network with weights of 4 bits."""
    g = Graph(5)
    size, block = width // heads, 32
    ids = g.input("input_ids", TensorProto.INT64, ["B", "S"])
    mask = g.input("attention_mask", TensorProto.INT64, ["B", "T"])
    g.constant("one", np.array([1], np.int64))
    g.node("ReduceSum", [mask, "one"], ["counts"], domain="", keepdims=0)
    g.node("Sub", ["counts", "one"], ["less"], domain="")
    g.node("Cast", ["less"], ["lengths"], domain="", to=TensorProto.INT32)
    g.node("Shape", [mask], ["mask_shape"], domain="")
    g.constant("index", np.array(1, np.int64))
    g.node("Gather", ["mask_shape", "index"], ["mask_length"], domain="", axis=0)
    g.node("Cast", ["mask_length"], ["total"], domain="", to=TensorProto.INT32)
    tables = caches(g, 64, size)
    g.normal("embedding", words, width)
    stream = g.node("Gather", ["embedding", ids], ["h"], domain="")
    normal = g.node("SimplifiedLayerNormalization", [stream, g.normal("norm", width)], ["n"], domain="", axis=-1, epsilon=1e-5, stash_type=1)
    for layer in range(layers):
        at = f"l{layer}."
        q = g.nbits(normal, width, width, block, at + "q")
        k = g.nbits(normal, width, kv * size, block, at + "k")
        v = g.nbits(normal, width, kv * size, block, at + "v", zeros="packed")
        past = [g.input(f"past.{layer}.{x}", FLOAT, ["B", kv, "P", size]) for x in ("key", "value")]
        present = [f"present.{layer}.{x}" for x in ("key", "value")]
        g.node("GroupQueryAttention", [q, k, v, *past, "lengths", "total", *tables], [at + "a", *present], num_heads=heads, kv_num_heads=kv, do_rotary=1)
        o = g.nbits(at + "a", width, width, block, at + "o")
        g.node("SkipSimplifiedLayerNormalization", [stream, o, g.normal(at + "norm", width)], [at + "n", "", "", at + "s"], epsilon=1e-5)
        gate = g.nbits(at + "n", width, hidden, block, at + "gate")
        up = g.nbits(at + "n", width, hidden, block, at + "up")
        g.node("Sigmoid", [gate], [at + "sig"], domain="")
        g.node("Mul", [gate, at + "sig"], [at + "silu"], domain="")
        g.node("Mul", [at + "silu", up], [at + "m"], domain="")
        down = g.nbits(at + "m", hidden, width, 16, at + "down")
        g.node("SkipSimplifiedLayerNormalization", [at + "s", down, g.normal(at + "norm2", width)], [at + "out", "", "", at + "h"], epsilon=1e-5)
        normal, stream = at + "out", at + "h"
        for name in present:
            g.output(name, ["B", kv, "T", size])
    g.nbits(normal, width, words, block, "logits", bits=8)
    g.output("logits", ["B", "S", words])
    cases = []
    for sequence, past in ((6, 0), (1, 6)):
        case = {"input_ids": g.random.integers(0, words, (1, sequence)), "attention_mask": np.ones((1, sequence + past), np.int64)}
        for i in g.inputs[2:]:
            case[i.name] = g.random.standard_normal((1, kv, past, size)).astype(np.float32)
        cases.append(case)
    return g.model(), cases


CASES = {
    "nbits_qkv": lambda: fused_nbits("MatMulNBitsQkv", [64, 24, 24]),
    "nbits_qkv_sum": lambda: fused_nbits("MatMulNBitsQkv", [64, 24, 24], skip=True, bias=True),
    "nbits_mlp": lambda: fused_nbits("MatMulNBitsMlp", [72, 72], normal=False),
    "nbits_mlp_sum": lambda: fused_nbits("MatMulNBitsMlp", [72, 72], skip=True, bias=True, bits=8),
    **{
        f"matmul_nbits_{m}x{k}x{n}_{block}_{'_'.join(str(v) for v in o.values())}": (lambda m=m, k=k, n=n, block=block, o=o: matmul_nbits(m, k, n, block, **o))
        for m, k, n, block, o in [
            (1, 512, 384, 32, {}),
            (1, 500, 333, 16, {"zeros": "packed"}),
            (1, 1000, 100, 128, {"zeros": "float", "bias": True}),
            (2, 288, 260, 64, {"bias": True}),
            (3, 290, 250, 32, {"bits": 8}),
            (70, 515, 270, 128, {"zeros": "packed", "bias": True}),
            (128, 1024, 256, 32, {"zeros": "packed", "bits": 8}),
            (4, 24, 20, 16, {}),
            (1, 512, 384, 32, {"bits": 2}),
            (5, 500, 333, 64, {"bits": 2, "zeros": "packed"}),
            (1, 256, 270, 32, {"bits": 3, "zeros": "packed", "by_numpy": True}),
            (7, 250, 70, 32, {"bits": 5, "zeros": "packed", "by_numpy": True}),
            (1, 512, 384, 32, {"half": True}),
            (5, 512, 384, 32, {"half": True, "zeros": "packed", "bias": True}),
            (1, 512, 100, 32, {"order": "plain"}),
            (3, 512, 100, 32, {"order": "mixed", "zeros": "float"}),
            # ONNX Runtime reads packed zero points by another order there, even where g_idx says nothing new.
            (3, 512, 100, 32, {"order": "mixed", "zeros": "packed", "by_numpy": True}),
            (3, 500, 100, 64, {"order": "mixed", "by_numpy": True}),
            (3, 500, 100, 32, {"order": "any", "zeros": "packed", "by_numpy": True}),
        ]
    },
    "matmul_bnb4_fp4": lambda: matmul_bnb4(3, 96, 50, 64, 0),
    "matmul_bnb4_nf4": lambda: matmul_bnb4(1, 95, 51, 16, 1),
    "dequantize_int4": lambda: blocked_dequantize("4", True),
    "dequantize_uint4": lambda: blocked_dequantize("4", False, m=70),
    "dequantize_int8": lambda: blocked_dequantize("8", True),
    "gather_blocks_int4": lambda: gather_blocks("INT4"),
    "gather_blocks_uint4": lambda: gather_blocks("UINT4", True),
    "gather_blocks_axes": lambda: gather_blocks("UINT4", True, shape=(40, 7, 30), block=16, gather_axis=1, axis=0),
    "gather_blocks_same_axis": lambda: gather_blocks("INT4", shape=(3, 50), block=16, gather_axis=1, axis=1),
    "gather_blocks_bytes": lambda: gather_blocks("bytes", True),
    "gather_blocks_bytes_2": lambda: gather_blocks("bytes", True, bits=2, half=True),
    "gather_blocks_bytes_8": lambda: gather_blocks("bytes", bits=8, shape=(20, 3, 64), axis=2),
    "gather_blocks_half": lambda: gather_blocks("INT4", True, half=True),
    "rotary": lambda: rotary(0, False),
    "rotary_interleaved": lambda: rotary(1, True),
    "attention": attention,
    "attention_packed": lambda: attention(packed=True, rotary_interleaved=1),
    "attention_window": lambda: attention(rotary=False, local_window_size=4),
    "attention_softcap": lambda: attention(rotary=False, softcap=5.0, scale=0.2),
    "attention_bias": lambda: attention(rotary=False, bias=True),
    "attention_sink": lambda: attention(sink=True),
    "attention_smooth": lambda: attention(bias=True, smooth_softmax=1),
    "decoder": decoder,
}


if __name__ == "__main__":
    sys.exit(operator_cases.main(CASES, {}, __doc__))
