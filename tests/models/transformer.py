"""Transformers as exported from torchvision (ViT-B/16) and transformers (BERT, GPT-2), with static shapes, and small ones
whose sequence length stays a symbol, so that the exporter's Shape/Gather/Concat arithmetic is in the graph."""

import numpy as np

from builder import FLOAT, INT64, Graph, conv, gelu_erf, gelu_tanh, gemm, layer_norm, linear


def vit_b16(seed=7, batch=1, depth=12, width=768, heads=12):
    g = Graph("vit_b16", seed, opset=17)
    x = g.input("input", FLOAT, [batch, 3, 224, 224])
    x = conv(g, x, 3, width, 16, 16, pad=0, name="conv_proj", gain=1.0)
    x = g.op("Transpose", g.op("Reshape", x, g.ints(batch, width, 196)), perm=[0, 2, 1])
    token = g.op("Expand", g.param("class_token", g.normal((1, 1, width), 0.5)), g.ints(batch, 1, 1))
    x = g.op("Add", g.op("Concat", token, x, axis=1), g.param("pos_embedding", g.normal((1, 197, width), 0.1)))
    for i in range(depth):
        with g.scope(f"encoder_layer_{i}"):
            x = g.op("Add", _torch_attention(g, layer_norm(g, x, width, "ln_1", 1e-6), batch, 197, width, heads), x)
            y = gelu_erf(g, linear(g, layer_norm(g, x, width, "ln_2", 1e-6), width, width * 4, "mlp.0"))
            x = g.op("Add", x, linear(g, y, width * 4, width, "mlp.3"))
    x = layer_norm(g, x, width, "encoder.ln", 1e-6)
    x = g.op("Gather", x, g.const(0, np.int64), axis=1)
    g.output(gemm(g, x, width, 1000, "heads.head"), "output", FLOAT, [batch, 1000])
    return g


def _torch_attention(g, x, batch, seq, width, heads):
    """nn.MultiheadAttention as the TorchScript exporter writes it: sequence first, packed projection, Gemm at the end."""
    with g.scope("self_attention"):
        head = width // heads
        x = g.op("Transpose", x, perm=[1, 0, 2])
        qkv = linear(g, x, width, width * 3, "in_proj")
        qkv = g.op("Unsqueeze", g.op("Reshape", qkv, g.ints(seq, batch, 3, width)), g.ints(0))
        qkv = g.op("Squeeze", g.op("Transpose", qkv, perm=[3, 1, 2, 0, 4]), g.ints(3))
        q, k, v = (g.op("Gather", qkv, g.const(i, np.int64), axis=0) for i in range(3))
        split = lambda t: g.op("Transpose", g.op("Reshape", t, g.ints(seq, batch * heads, head)), perm=[1, 0, 2])
        q, k, v = (g.op("Reshape", split(t), g.ints(batch, heads, seq, head)) for t in (q, k, v))
        root = head**-0.25
        scores = g.op("MatMul", g.op("Mul", q, g.const(root)), g.op("Mul", g.op("Transpose", k, perm=[0, 1, 3, 2]), g.const(root)))
        y = g.op("MatMul", g.op("Softmax", scores, axis=-1), v)
        y = g.op("Reshape", g.op("Transpose", y, perm=[2, 0, 1, 3]), g.ints(batch * seq, width))
        y = g.op("Reshape", gemm(g, y, width, width, "out_proj"), g.ints(seq, batch, width))
        return g.op("Transpose", y, perm=[1, 0, 2])


def _dims(g, value, count):
    """The dimensions of a value at run time, as the exporter spells them: Shape, then Gather of each."""
    shape = g.op("Shape", value)
    return [g.op("Gather", shape, g.const(i, np.int64), axis=0) for i in range(count)]


def _shape_of(g, *parts):
    """A shape operand: integers stay constant; with names among them it is Unsqueeze + Concat."""
    if all(isinstance(p, int) for p in parts):
        return g.ints(*parts)
    pieces = [g.ints(p) if isinstance(p, int) else g.op("Unsqueeze", p, g.ints(0)) for p in parts]
    return g.op("Concat", *pieces, axis=0)


def bert(seed=8, depth=12, width=768, heads=12, seq=128, vocab=30522, opset=17, name="bert_base"):
    """seq: an integer, or None for a symbolic batch and sequence."""
    g = Graph(name, seed, opset=opset)
    shape = ["batch", "sequence"] if seq is None else [1, seq]
    ids, mask, types = (g.input(n, INT64, shape) for n in ("input_ids", "attention_mask", "token_type_ids"))
    batch, length = _dims(g, ids, 2) if seq is None else (1, seq)
    with g.scope("embeddings"):
        words = g.op("Gather", g.param("word", g.normal((vocab, width), 0.5)), ids)
        kinds = g.op("Gather", g.param("token_type", g.normal((2, width), 0.2)), types)
        table = g.param("position", g.normal((512, width), 0.2))
        if seq is None:
            end = g.op("Unsqueeze", length, g.ints(0))
            positions = g.op("Slice", g.param("position_ids", np.arange(512, dtype=np.int64)[None]), g.ints(0), end, g.ints(1))
        else:
            positions = g.const(np.arange(seq)[None], np.int64)
        x = g.op("Add", g.op("Add", words, kinds), g.op("Gather", table, positions))
        x = layer_norm(g, x, width, "LayerNorm", 1e-12)
    m = g.op("Cast", g.op("Unsqueeze", g.op("Unsqueeze", mask, g.ints(1)), g.ints(2)), to=FLOAT)
    m = g.op("Mul", g.op("Sub", g.const(1.0), m), g.const(np.finfo(np.float32).min))
    head = width // heads
    for i in range(depth):
        with g.scope(f"encoder.layer.{i}"):
            def project(part, perm):
                y = linear(g, x, width, width, f"attention.self.{part}")
                return g.op("Transpose", g.op("Reshape", y, _shape_of(g, batch, length, heads, head)), perm=perm)

            q, k, v = project("query", [0, 2, 1, 3]), project("key", [0, 2, 3, 1]), project("value", [0, 2, 1, 3])
            scores = g.op("Add", g.op("Div", g.op("MatMul", q, k), g.const(head**0.5)), m)
            y = g.op("Transpose", g.op("MatMul", g.op("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
            y = g.op("Reshape", y, _shape_of(g, batch, length, width))
            x = layer_norm(g, g.op("Add", linear(g, y, width, width, "attention.output"), x), width, "attention.LayerNorm", 1e-12)
            y = gelu_erf(g, linear(g, x, width, width * 4, "intermediate"))
            x = layer_norm(g, g.op("Add", linear(g, y, width * 4, width, "output"), x), width, "output.LayerNorm", 1e-12)
    first = g.op("Gather", x, g.const(0, np.int64), axis=1)
    pooled = g.op("Tanh", gemm(g, first, width, width, "pooler"))
    g.output(x, "last_hidden_state", FLOAT, [*shape, width])
    g.output(pooled, "pooler_output", FLOAT, [shape[0], width])
    return g


def gpt2(seed=9, depth=12, width=768, heads=12, seq=128, past=0, vocab=50257, name="gpt2"):
    """past: 0 for prefill, a number for decode with that many tokens before, None for symbolic lengths (with a cache)."""
    g = Graph(name, seed, opset=17)
    dynamic, head = past is None, width // heads
    tokens = ["batch", "sequence"] if dynamic else [1, seq]
    ids = g.input("input_ids", INT64, tokens)
    cache = ["batch", heads, "past_sequence", head] if dynamic else [1, heads, past, head]
    pasts = []
    if dynamic or past:
        pasts = [[g.input(f"past_key_values.{i}.{kv}", FLOAT, cache) for kv in ("key", "value")] for i in range(depth)]
    if dynamic:
        batch, length = _dims(g, ids, 2)
        before = g.op("Gather", g.op("Shape", pasts[0][0]), g.const(2, np.int64), axis=0)
        total = g.op("Add", length, before)
        positions = g.op("Unsqueeze", g.op("Range", before, total, g.const(1, np.int64)), g.ints(0))
    else:
        batch, length, before, total = 1, seq, past, past + seq
        positions = g.const(np.arange(past, total)[None], np.int64)
    wte = g.param("wte.weight", g.normal((vocab, width), 0.5))
    x = g.op("Gather", wte, ids)
    x = g.op("Add", x, g.op("Gather", g.param("wpe.weight", g.normal((1024, width), 0.2)), positions))
    flat, full = _shape_of(g, -1, width), _shape_of(g, batch, length, width)
    mask = _causal_mask(g, before, total, dynamic)
    presents = []
    for i in range(depth):
        with g.scope(f"h.{i}"):
            y = _conv1d(g, layer_norm(g, x, width, "ln_1"), width, width * 3, flat, (batch, length), "attn.c_attn")
            parts = g.op("Split", y, g.ints(width, width, width), outputs=3, axis=2)
            shape = _shape_of(g, batch, length, heads, head)
            q, k, v = (g.op("Transpose", g.op("Reshape", p, shape), perm=[0, 2, 1, 3]) for p in parts)
            if pasts:
                k, v = g.op("Concat", pasts[i][0], k, axis=2), g.op("Concat", pasts[i][1], v, axis=2)
            presents.append((k, v))
            scores = g.op("MatMul", q, g.op("Transpose", k, perm=[0, 1, 3, 2]))
            scores = g.op("Div", scores, g.const(head**0.5))
            scores = g.op("Where", mask, scores, g.const(np.finfo(np.float32).min))
            y = g.op("Transpose", g.op("MatMul", g.op("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
            y = g.op("Reshape", y, full)
            x = g.op("Add", _conv1d(g, y, width, width, flat, (batch, length), "attn.c_proj"), x)
            y = gelu_tanh(g, _conv1d(g, layer_norm(g, x, width, "ln_2"), width, width * 4, flat, (batch, length), "mlp.c_fc"))
            x = g.op("Add", x, _conv1d(g, y, width * 4, width, _shape_of(g, -1, width * 4), (batch, length), "mlp.c_proj"))
    x = layer_norm(g, x, width, "ln_f")
    logits = g.op("MatMul", x, g.op("Transpose", wte, perm=[1, 0]))
    g.output(logits, "logits", FLOAT, [*tokens, vocab])
    out_length = "total_sequence" if dynamic else total
    for i, pair in enumerate(presents):
        for kv, value in zip(("key", "value"), pair):
            g.output(value, f"present.{i}.{kv}", FLOAT, [cache[0], heads, out_length, head])
    return g


def _conv1d(g, x, nin, nout, flat, lead, name):
    """transformers' Conv1D: Reshape to rank 2, Gemm, Reshape back."""
    with g.scope(name):
        w = g.param("weight", g.normal((nin, nout), nin**-0.5))
        y = g.op("Gemm", g.op("Reshape", x, flat), w, g.param("bias", g.normal((nout,), 0.05)), alpha=1.0, beta=1.0)
        return g.op("Reshape", y, _shape_of(g, *lead, nout))


def _causal_mask(g, before, total, dynamic):
    """GPT-2's bias buffer, 1024 x 1024 booleans, cut to the rows and columns in use."""
    if not dynamic:
        return g.const(np.tril(np.ones((1, 1, total, total), bool))[:, :, before:, :], np.bool_)
    bias = g.param("attn.bias", np.tril(np.ones((1, 1, 1024, 1024), bool)))
    start, end = (g.op("Unsqueeze", v, g.ints(0)) for v in (before, total))
    rows = g.op("Slice", bias, start, end, g.ints(2), g.ints(1))
    return g.op("Slice", rows, g.ints(0), end, g.ints(3), g.ints(1))
