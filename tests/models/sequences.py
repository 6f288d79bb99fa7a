"""Networks on sequences beyond those of transformer.py: recurrences, convolutions of a line, speech and language encoders, decoders with
weights of 4 bits."""

import numpy as np
from builder import FLOAT, INT64, Graph, gelu_erf, gemm, layer_norm, linear, silu
from onnx import helper
from pictures import attend, relu, transposed, window


def recurrence(g, kind, x, cin, hidden, name, both=False, batch=1):
    """An LSTM or GRU of [time, batch, cin] as PyTorch exports it: [time, batch, directions * hidden] in the end."""
    gates, directions = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind], 1 + both
    with g.scope(name):
        w = g.param("W", g.normal((directions, gates * hidden, cin), cin**-0.5))
        r = g.param("R", g.normal((directions, gates * hidden, hidden), hidden**-0.5))
        b = g.param("B", g.normal((directions, 2 * gates * hidden), 0.05))
        start = g.param("h0", np.zeros((directions, batch, hidden), np.float32))
        more = {"linear_before_reset": 1} if kind == "GRU" else {}
        inputs = [x, w, r, b, "", start] + ([start] if kind == "LSTM" else [])
        direction = "bidirectional" if both else "forward"
        y = g.op(kind, *inputs, outputs=3 if kind == "LSTM" else 2, hidden_size=hidden, direction=direction, **more)[0]
        if not both:
            return g.op("Squeeze", y, g.ints(1))
        return g.op("Reshape", g.op("Transpose", y, perm=[0, 2, 1, 3]), g.ints(0, 0, -1))


def recurrent(kind, cin, hidden, layers, both=False, batch=1, time=100, seed=51):
    g = Graph(f"{kind.lower()}_stack", seed)
    x = g.op("Transpose", g.input("x", FLOAT, [batch, time, cin]), perm=[1, 0, 2])
    for i in range(layers):
        x = recurrence(g, kind, x, cin if i == 0 else hidden * (1 + both), hidden, f"l{i}", both, batch)
    x = linear(g, g.op("Transpose", x, perm=[1, 0, 2]), hidden * (1 + both), 10, "out")
    g.output(x, "y", FLOAT, [batch, time, 10])
    return g


def lstm_step(cin=256, hidden=512, layers=2, seed=52):
    """One step of a language model or a transducer: states come in and go out."""
    g = Graph("lstm_step", seed)
    x = g.input("x", FLOAT, [1, 1, cin])
    h, c = (g.input(n, FLOAT, [layers, 1, hidden]) for n in ("h", "c"))
    states = []
    for i in range(layers):
        with g.scope(f"l{i}"):
            n = cin if i == 0 else hidden
            w, r = g.param("W", g.normal((1, 4 * hidden, n), n**-0.5)), g.param("R", g.normal((1, 4 * hidden, hidden), hidden**-0.5))
            cut = lambda s: g.op("Slice", s, g.ints(i), g.ints(i + 1), g.ints(0))
            y, hn, cn = g.op("LSTM", x, w, r, g.param("B", g.normal((1, 8 * hidden), 0.05)), "", cut(h), cut(c), outputs=3, hidden_size=hidden)
            x = g.op("Squeeze", y, g.ints(1))
            states.append((hn, cn))
    g.output(linear(g, x, hidden, 1000, "out"), "y", FLOAT, [1, 1, 1000])
    for n, parts in zip(("hn", "cn"), zip(*states)):
        g.output(g.op("Concat", *parts, axis=0), n, FLOAT, [layers, 1, hidden])
    return g


def crnn(seed=53):
    """Reading of text lines: convolutions, then LSTMs over columns."""
    g = Graph("crnn", seed)
    x, cin = g.input("x", FLOAT, [1, 1, 32, 160]), 1
    for i, (c, pool) in enumerate(((32, (2, 2)), (64, (2, 2)), (128, None), (128, (2, 1)), (256, (2, 1)), (256, (2, 1)))):
        x, cin = relu(g, window(g, x, cin, c, [3, 3], name=f"c{i}")), c
        x = g.op("MaxPool", x, kernel_shape=list(pool), strides=list(pool)) if pool else x
    x = g.op("Transpose", g.op("Squeeze", x, g.ints(2)), perm=[2, 0, 1])
    x = recurrence(g, "LSTM", recurrence(g, "LSTM", x, 256, 128, "l0", True), 256, 128, "l1", True)
    g.output(g.op("LogSoftmax", linear(g, x, 256, 97, "out"), axis=2), "y", FLOAT, [40, 1, 97])
    return g


# ---- convolutions of a line -------------------------------------------------------------------------------------------


def tcn(batch=1, time=1000, c=64, seed=54):
    """Causal dilated convolutions with residuals."""
    g = Graph("tcn", seed)
    x, cin = g.input("x", FLOAT, [batch, 24, time]), 24
    for i in range(6):
        d = 1 << i
        with g.scope(f"l{i}"):
            y = relu(g, window(g, x, cin, c, [3], pads=[2 * d, 0], dilation=d, name="a"))
            y = relu(g, window(g, y, c, c, [3], pads=[2 * d, 0], dilation=d, name="b", gain=1.0))
            x = relu(g, g.op("Add", y, x if cin == c else window(g, x, cin, c, [1], name="r", gain=1.0)))
        cin = c
    g.output(gemm(g, g.op("ReduceMean", x, axes=[2], keepdims=0), c, 12), "y", FLOAT, [batch, 12])
    return g


def wavenet(time=8000, c=32, skip=64, layers=10, seed=55):
    """Gates of tanh and sigmoid, skips that are added up."""
    g = Graph("wavenet", seed)
    x, total = window(g, g.input("x", FLOAT, [1, 1, time]), 1, c, [1], name="in", gain=1.0), None
    for i in range(layers):
        with g.scope(f"l{i}"):
            d = 1 << (i % 10)
            y = window(g, x, c, 2 * c, [2], pads=[d, 0], dilation=d, name="gate", gain=1.0)
            a, b = g.op("Split", y, g.ints(c, c), outputs=2, axis=1)
            y = g.op("Mul", g.op("Tanh", a), g.op("Sigmoid", b))
            s = window(g, y, c, skip, [1], name="skip", gain=1.0)
            total = g.op("Add", total, s) if total else s
            x = g.op("Add", x, window(g, y, c, c, [1], name="res", gain=1.0))
    y = window(g, relu(g, window(g, relu(g, total), skip, skip, [1], name="o1")), skip, 256, [1], name="o2", gain=1.0)
    g.output(y, "y", FLOAT, [1, 256, time])
    return g


def vocoder(frames=64, c=128, seed=56):
    """HiFi-GAN-like: transposed convolutions of a line, each with dilated ones behind it."""
    g = Graph("vocoder", seed)
    leaky = lambda x: g.op("LeakyRelu", x, alpha=0.1)
    x = window(g, g.input("mel", FLOAT, [1, 80, frames]), 80, c, [7], name="in", gain=1.0)
    for i, (k, s) in enumerate(((16, 8), (16, 8), (4, 2), (4, 2))):
        o = c >> (i + 1)
        x = transposed(g, leaky(x), 2 * o, o, k, s, (k - s) // 2, f"u{i}", axes=1)
        for d in (1, 3, 5):
            x = g.op("Add", x, window(g, leaky(x), o, o, [3], dilation=d, name=f"r{i}.{d}", gain=0.5))
    g.output(g.op("Tanh", window(g, leaky(x), c >> 4, 1, [7], name="out")), "y", FLOAT, [1, 1, frames * 256])
    return g


def separator(time=8000, seed=57):
    """Conv-TasNet-like: an encoder of waveforms, separable convolutions with norms over everything, masks, overlapping output."""
    g = Graph("separator", seed)
    n, b, h, frames = 128, 64, 128, time // 8 - 1
    x = relu(g, window(g, g.input("x", FLOAT, [1, 1, time]), 1, n, [16], 8, pads=[0, 0], name="enc"))

    def norm(x, c, name):
        with g.scope(name):
            y = g.op("Reshape", x, g.ints(0, 1, -1))
            one, zero = g.param("one", np.ones(1, np.float32)), g.param("zero", np.zeros(1, np.float32))
            y = g.op("Reshape", g.op("InstanceNormalization", y, one, zero, epsilon=1e-8), g.ints(1, c, frames))
            return g.op("Add", g.op("Mul", y, g.param("w", g.normal((c, 1), 0.05, 1.0))), g.param("b", g.normal((c, 1), 0.05)))

    y = window(g, norm(x, n, "n"), n, b, [1], name="bottle", gain=1.0)
    for i in range(8):
        with g.scope(f"l{i}"):
            d = 1 << (i % 4)
            z = g.op("PRelu", window(g, y, b, h, [1], name="a", gain=1.0), g.param("p1", np.full((1, 1), 0.25, np.float32)))
            z = window(g, norm(z, h, "n1"), h, h, [3], dilation=d, groups=h, name="dw", gain=1.0)
            z = norm(g.op("PRelu", z, g.param("p2", np.full((1, 1), 0.25, np.float32))), h, "n2")
            y = g.op("Add", y, window(g, z, h, b, [1], name="b", gain=0.5))
    masks = g.op("Reshape", g.op("Sigmoid", window(g, y, b, 2 * n, [1], name="mask")), g.ints(2, n, frames))
    g.output(transposed(g, g.op("Mul", masks, x), n, 1, 16, 8, 0, "dec", axes=1, gain=1.0), "y", FLOAT, [2, 1, time])
    return g


# ---- encoders ---------------------------------------------------------------------------------------------------------


def _layer(g, x, batch, rows, d, heads, act, first=True, bias=None):
    """A transformer layer: norms first or last."""
    norm = lambda t, name: layer_norm(g, t, d, name)
    y = norm(x, "n1") if first else x
    q, k, v = (linear(g, y, d, d, p) for p in "qkv")
    x = g.op("Add", x, linear(g, attend(g, q, k, v, heads, d // heads, batch, rows, rows, bias), d, d, "o"))
    x = x if first else norm(x, "n1")
    y = linear(g, act(g, linear(g, norm(x, "n2") if first else x, d, 4 * d, "up")), 4 * d, d, "down")
    x = g.op("Add", x, y)
    return x if first else norm(x, "n2")


def distilbert(batch=8, seq=32, depth=6, d=768, heads=12, vocab=2000, seed=58):
    g = Graph("distilbert", seed)
    ids = g.input("input_ids", INT64, [batch, seq])
    x = g.op("Gather", g.param("word", g.normal((vocab, d), 0.5)), ids)
    x = layer_norm(g, g.op("Add", x, g.param("position", g.normal((1, seq, d), 0.2))), d, "norm")
    for i in range(depth):
        with g.scope(f"l{i}"):
            x = _layer(g, x, batch, seq, d, heads, gelu_erf, first=False)
    g.output(x, "y", FLOAT, [batch, seq, d])
    return g


def _rms(g, x, d, name, eps=1e-6):
    with g.scope(name):
        root = g.op("Sqrt", g.op("Add", g.op("ReduceMean", g.op("Pow", x, g.const(2.0)), axes=[-1]), g.const(eps)))
        return g.op("Mul", g.param("weight", g.normal((d,), 0.05, 1.0)), g.op("Div", x, root))


def t5_encoder(seq=128, depth=4, d=256, heads=4, seed=59):
    """T5: RMS norms, no biases, positions as a bias of the scores."""
    g = Graph("t5_encoder", seed)
    x = g.op("Gather", g.param("word", g.normal((2000, d), 0.5)), g.input("input_ids", INT64, [1, seq]))
    distance = np.abs(np.arange(seq)[None] - np.arange(seq)[:, None])
    buckets = g.const(np.minimum(31, distance), np.int64)
    bias = g.op("Unsqueeze", g.op("Transpose", g.op("Gather", g.param("relative", g.normal((32, heads), 0.5)), buckets), perm=[2, 0, 1]), g.ints(0))
    for i in range(depth):
        with g.scope(f"l{i}"):
            y = _rms(g, x, d, "n1")
            q, k, v = (linear(g, y, d, d, p, bias=False) for p in "qkv")
            y = attend(g, q, k, v, heads, d // heads, 1, seq, seq, lambda s: g.op("Add", s, bias))
            x = g.op("Add", x, linear(g, y, d, d, "o", bias=False))
            y = relu(g, linear(g, _rms(g, x, d, "n2"), d, 4 * d, "up", bias=False, gain=2.0))
            x = g.op("Add", x, linear(g, y, 4 * d, d, "down", bias=False))
    g.output(_rms(g, x, d, "last"), "y", FLOAT, [1, seq, d])
    return g


def whisper_encoder(frames=1000, d=256, heads=4, depth=3, seed=60):
    g = Graph("whisper_encoder", seed)
    x = gelu_erf(g, window(g, g.input("x", FLOAT, [1, 80, frames]), 80, d, [3], name="c1"))
    x = g.op("Transpose", gelu_erf(g, window(g, x, d, d, [3], 2, name="c2")), perm=[0, 2, 1])
    x = g.op("Add", x, g.param("position", g.normal((frames // 2, d), 0.2)))
    for i in range(depth):
        with g.scope(f"l{i}"):
            x = _layer(g, x, 1, frames // 2, d, heads, gelu_erf)
    g.output(layer_norm(g, x, d, "last"), "y", FLOAT, [1, frames // 2, d])
    return g


def wav2vec(samples=16000, c=256, d=384, depth=3, seed=61):
    """Convolutions from a waveform, a group norm over all of it, positions by a grouped convolution of 128 steps."""
    g = Graph("wav2vec", seed)
    x, cin, n = g.input("x", FLOAT, [1, 1, samples]), 1, samples
    for i, (k, s) in enumerate(((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2))):
        x, cin, n = window(g, x, cin, c, [k], s, pads=[0, 0], name=f"c{i}", bias=False), c, (n - k) // s + 1
        if i == 0:
            x = g.op("InstanceNormalization", x, g.param("gw", g.normal((c,), 0.05, 1.0)), g.param("gb", g.normal((c,), 0.05)), epsilon=1e-5)
        x = gelu_erf(g, x)
    x = linear(g, layer_norm(g, g.op("Transpose", x, perm=[0, 2, 1]), c, "fn"), c, d, "proj")
    y = window(g, g.op("Transpose", x, perm=[0, 2, 1]), d, d, [128], pads=[64, 64], groups=16, name="pos", gain=1.0)
    y = gelu_erf(g, g.op("Slice", y, g.ints(0), g.ints(-1), g.ints(2)))
    x = layer_norm(g, g.op("Add", x, g.op("Transpose", y, perm=[0, 2, 1])), d, "n")
    for i in range(depth):
        with g.scope(f"l{i}"):
            x = _layer(g, x, 1, n, d, 6, gelu_erf, first=False)
    g.output(x, "y", FLOAT, [1, n, d])
    return g


def conformer(time=200, d=144, heads=4, depth=4, seed=62):
    g = Graph("conformer", seed)
    x = g.input("x", FLOAT, [1, time, d])
    for i in range(depth):
        with g.scope(f"l{i}"):
            feed = lambda x, n: g.op("Mul", linear(g, silu(g, linear(g, layer_norm(g, x, d, n), d, 4 * d, n + "u")), 4 * d, d, n + "d"), g.const(0.5))
            x = g.op("Add", x, feed(x, "f1"))
            y = layer_norm(g, x, d, "an")
            q, k, v = (linear(g, y, d, d, p) for p in "qkv")
            x = g.op("Add", x, linear(g, attend(g, q, k, v, heads, d // heads, 1, time, time), d, d, "o"))
            y = window(g, g.op("Transpose", layer_norm(g, x, d, "cn"), perm=[0, 2, 1]), d, 2 * d, [1], name="p1", gain=1.0)
            a, b = g.op("Split", y, g.ints(d, d), outputs=2, axis=1)
            y = silu(g, window(g, g.op("Mul", a, g.op("Sigmoid", b)), d, d, [31], groups=d, name="dw", gain=1.0))
            y = g.op("Transpose", window(g, y, d, d, [1], name="p2", gain=1.0), perm=[0, 2, 1])
            x = g.op("Add", x, y)
            x = layer_norm(g, g.op("Add", x, feed(x, "f2")), d, "last")
    g.output(x, "y", FLOAT, [1, time, d])
    return g


# ---- decoders ---------------------------------------------------------------------------------------------------------


class FourBits(Graph):
    """Has a domain beside ONNX's."""

    def model(self):
        model = super().model()
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
        return model


def llama(seq=1, past=128, depth=2, d=1024, heads=16, kv=4, inner=2816, vocab=4000, block=32, bits=4, seed=63):
    """RMS norms, rotary positions, grouped queries, SwiGLU; weights of `bits` (0: f32)."""
    g = FourBits("llama", seed)
    head = d // heads
    ids, x = g.input("input_ids", INT64, [1, seq]), None

    def project(x, n, m, name):
        if not bits:
            return linear(g, x, n, m, name, bias=False)
        with g.scope(name):
            packed = g.param("q", g.random.integers(0, 256, (m, n // block, block * bits // 8), dtype=np.uint8))
            scale = g.param("s", np.abs(g.normal((m * n // block,), 0.02, 0.4 * n**-0.5)).astype(np.float32))
            return g.op("MatMulNBits", x, packed, scale, K=n, N=m, bits=bits, block_size=block, domain="com.microsoft")

    x = g.op("Gather", g.param("word", g.normal((vocab, d), 0.5)), ids)
    angle = np.arange(past, past + seq)[:, None] * 10000.0 ** (-np.arange(0, head, 2) / head)[None]
    wave = lambda f: g.const(np.concatenate([f(angle)] * 2, 1)[None, None].astype(np.float32))
    cos, sin = wave(np.cos), wave(np.sin)

    def rotate(t):
        low = g.op("Slice", t, g.ints(0), g.ints(head // 2), g.ints(3))
        high = g.op("Slice", t, g.ints(head // 2), g.ints(head), g.ints(3))
        return g.op("Add", g.op("Mul", t, cos), g.op("Mul", g.op("Concat", g.op("Neg", high), low, axis=3), sin))

    outputs = []
    for i in range(depth):
        with g.scope(f"l{i}"):
            y = _rms(g, x, d, "n1")
            split = lambda t, n: g.op("Transpose", g.op("Reshape", t, g.ints(1, seq, n, head)), perm=[0, 2, 1, 3])
            q, k, v = split(project(y, d, d, "q"), heads), split(project(y, d, kv * head, "k"), kv), split(project(y, d, kv * head, "v"), kv)
            q, k = rotate(q), rotate(k)
            if past:
                k, v = (g.op("Concat", g.input(f"past.{i}.{n}", FLOAT, [1, kv, past, head]), t, axis=2) for n, t in (("key", k), ("value", v)))
            outputs += [(k, f"present.{i}.key"), (v, f"present.{i}.value")]
            more = lambda t: g.op("Reshape", g.op("Expand", g.op("Unsqueeze", t, g.ints(2)), g.ints(1, kv, heads // kv, past + seq, head)), g.ints(1, heads, past + seq, head))
            scores = g.op("Mul", g.op("MatMul", q, g.op("Transpose", more(k), perm=[0, 1, 3, 2])), g.const(head**-0.5))
            if seq > 1:
                scores = g.op("Add", scores, g.const(np.triu(np.full((seq, past + seq), -1e9), past + 1)))
            y = g.op("Transpose", g.op("MatMul", g.op("Softmax", scores, axis=-1), more(v)), perm=[0, 2, 1, 3])
            x = g.op("Add", x, project(g.op("Reshape", y, g.ints(1, seq, d)), d, d, "o"))
            y = _rms(g, x, d, "n2")
            y = g.op("Mul", silu(g, project(y, d, inner, "gate")), project(y, d, inner, "up"))
            x = g.op("Add", x, project(y, inner, d, "down"))
    g.output(project(_rms(g, x, d, "last"), d, vocab, "head"), "logits", FLOAT, [1, seq, vocab])
    for value, name in outputs:
        g.output(value, name, FLOAT, [1, kv, past + seq, head])
    return g
