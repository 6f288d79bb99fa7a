#!/usr/bin/env python3
"""Language models on this machine's NVIDIA GPU, tern beside PyTorch in one run: a token behind a cache of keys and values, or a prompt.

    benchmarks/decode.py [CASE…] [--peers graph,compile] [--drivers cuda,vulkan] [--rounds 3] [--seconds 0.2] [--dispatches DIR]

A case is MODEL.PAST.TOKENS: `gpt2` (12 layers of 768) or `llama[_plain|_sym|_room][_q4|_q4z]` (`--layers` of 2048: 32 heads of 64, 8 of keys, 8192 inside, RMS norms,
rotary positions, SwiGLU; com.microsoft's GroupQueryAttention, or `plain`: spelled out; `sym`: lengths of the past and of the input are symbols, as in models for both prompt and steps; `room`: the cache is a buffer with room for 64 more, timed in place too, without peers; weights of f16, or of 4 bits in blocks of 32, symmetric or
with zero points, as MatMulNBits). All values at the edges are f16; weights are seeded. PyTorch has the same weights in f16 and concatenates its cache, as the model does.
Times as in gpu.py: a whole run as the host sees it, without copies of inputs and outputs.
"""

import argparse
import fcntl
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "models"))
BIN = Path(os.environ.get("TERN_BUILD", ROOT / "build" / "release")) / "bin"
HALF, INT64, INT32 = TensorProto.FLOAT16, TensorProto.INT64, TensorProto.INT32
WIDTH, HEADS, KV, SIZE, HIDDEN, WORDS, BLOCK = 2048, 32, 8, 64, 8192, 32000, 32
CASES = ["gpt2.128.1", "gpt2.1023.1", "llama.512.1", "llama.2048.1", "llama_plain.512.1", "llama_q4.512.1", "llama_q4z.512.1", "llama.0.256", "llama_q4.0.256"]


class Writer:
    """Nodes, initializers and inputs of one model, and its weights as f16 arrays for PyTorch."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.pool = self.random.standard_normal(1 << 21, np.float32)
        self.nodes, self.tensors, self.inputs, self.outputs, self.weights = [], [], [], [], {}

    def normal(self, *shape, std=1.0):
        pool = np.roll(self.pool, int(self.random.integers(0, self.pool.size)))
        return np.resize((pool * np.float32(std)).astype(np.float16), shape)

    def constant(self, name, array):
        self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def input(self, name, kind, shape):
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name, kind, shape):
        self.outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def node(self, kind, inputs, outputs, domain="", **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [outputs] if isinstance(outputs, str) else outputs, domain=domain, **attributes))
        return self.nodes[-1].output[0]

    def scale(self, name, size):
        self.weights[name] = (1 + 0.1 * self.normal(size)).astype(np.float16)
        return self.constant(name, self.weights[name])

    def linear(self, x, name, k, n, kind):
        """x times a matrix [n, k]; kind: "" (f16), "q4" or "q4z"."""
        if not kind:
            self.weights[name] = self.normal(n, k, std=k**-0.5)
            return self.node("MatMul", [x, self.constant(name, self.weights[name].T)], f"{name}.y")
        blocks = k // BLOCK
        q = np.resize(np.roll(self.random.integers(0, 256, 1 << 20, np.uint8), 1), (n, blocks, BLOCK // 2))
        scale = (np.resize(self.random.uniform(0.5, 1, 1 << 16), (n, blocks)) * 0.2 / k**0.5).astype(np.float16)
        inputs, zero = [x, self.constant(name, q), self.constant(f"{name}.s", scale)], np.float32(8)
        if kind == "q4z":
            z = np.resize(self.random.integers(0x66, 0x9A, 1 << 16, np.uint8), (n, blocks // 2))
            inputs.append(self.constant(f"{name}.z", z))
            zero = np.stack([z & 15, z >> 4], -1).reshape(n, blocks, 1).astype(np.float32)
        whole = np.stack([q & 15, q >> 4], -1).reshape(n, blocks, BLOCK).astype(np.float32)
        self.weights[name] = ((whole - zero) * scale[..., None].astype(np.float32)).reshape(n, k).astype(np.float16)
        return self.node("MatMulNBits", inputs, f"{name}.y", "com.microsoft", K=k, N=n, bits=4, block_size=BLOCK)

    def model(self):
        graph = helper.make_graph(self.nodes, "main", self.inputs, self.outputs, self.tensors)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)], ir_version=8)


def rotary_tables(positions):
    angles = np.outer(np.arange(positions), 1 / 10000 ** (np.arange(0, SIZE, 2) / SIZE))
    return np.cos(angles).astype(np.float16), np.sin(angles).astype(np.float16)


def rms_norm(w, x, name):
    """Spelled out, in f32, as exporters write it."""
    f = w.node("Cast", [x], f"{name}.f", to=TensorProto.FLOAT)
    square = w.node("Mul", [f, f], f"{name}.q")
    mean = w.node("ReduceMean", [square], f"{name}.m", axes=[-1])
    root = w.node("Sqrt", [w.node("Add", [mean, "epsilon"], f"{name}.e")], f"{name}.r")
    half = w.node("Cast", [w.node("Div", [f, root], f"{name}.d")], f"{name}.h", to=HALF)
    return w.node("Mul", [half, w.scale(name, WIDTH)], f"{name}.n")


def plain_attention(w, at, q, k, v, past, present, tokens, before):
    """Rotary positions by halves, keys and values repeated for their group, a mask, as transformers spells it."""
    def heads(x, count, name):
        shaped = w.node("Reshape", [x, w.constant(f"{name}.shape", np.array([1, tokens, count, SIZE]))], f"{name}.4")
        return w.node("Transpose", [shaped], f"{name}.t", perm=[0, 2, 1, 3])

    def rotated(x, name):
        low = w.node("Slice", [x, "i0", "i32", "i3"], f"{name}.low")
        high = w.node("Slice", [x, "i32", "i64", "i3"], f"{name}.high")
        turned = w.node("Concat", [w.node("Neg", [high], f"{name}.neg"), low], f"{name}.turned", axis=-1)
        return w.node("Add", [w.node("Mul", [x, "cos.p"], f"{name}.c"), w.node("Mul", [turned, "sin.p"], f"{name}.s")], f"{name}.rot")

    def repeated(x, name):
        wide = w.node("Expand", [w.node("Unsqueeze", [x, "i2"], f"{name}.u"), "groups"], f"{name}.e")
        return w.node("Reshape", [wide, "repeated"], f"{name}.rep")

    q, k, v = rotated(heads(q, HEADS, at + "q"), at + "q"), rotated(heads(k, KV, at + "k"), at + "k"), heads(v, KV, at + "v")
    if before:
        k, v = (w.node("Concat", [p, x], name, axis=2) for p, x, name in zip(past, (k, v), present))
    else:
        k, v = (w.node("Identity", [x], name) for x, name in zip((k, v), present))
    k, v = repeated(k, at + "kk"), repeated(v, at + "vv")
    scores = w.node("MatMul", [q, w.node("Transpose", [k], at + "kt", perm=[0, 1, 3, 2])], at + "scores")
    scores = w.node("Add", [w.node("Mul", [scores, "root"], at + "scaled"), "mask"], at + "masked")
    weights = w.node("Softmax", [w.node("Cast", [scores], at + "wide", to=TensorProto.FLOAT)], at + "soft", axis=-1)
    y = w.node("MatMul", [w.node("Cast", [weights], at + "half", to=HALF), v], at + "y")
    return w.node("Reshape", [w.node("Transpose", [y], at + "yt", perm=[0, 2, 1, 3]), "flat"], at + "a")


def llama(past, tokens, layers, kind, plain, symbolic, room=0):
    """room: positions of the cache, 0: as many as count."""
    w = Writer(1)
    total = past + tokens
    rows, before, behind = ("tokens", "past", "total") if symbolic else (tokens, past, total)
    w.output("logits", HALF, [1, 1, WORDS])
    w.output("token", INT64, [1, 1])
    ids = w.input("input_ids", INT64, [1, rows])
    cos, sin = rotary_tables(4096 if symbolic else max(total, room, 64))
    w.constant("epsilon", np.float32(1e-5))
    if plain:
        for name, value in (("i0", [0]), ("i2", [2]), ("i3", [3]), ("i32", [32]), ("i64", [64]), ("groups", [1, KV, HEADS // KV, total, SIZE]), ("repeated", [1, HEADS, total, SIZE]), ("flat", [1, tokens, WIDTH])):
            w.constant(name, np.array(value))
        for name, table in (("cos", cos), ("sin", sin)):
            w.constant(f"{name}.p", np.concatenate([table, table], -1)[past:total])
        w.constant("root", np.float16(SIZE**-0.5))
        w.constant("mask", np.triu(np.full((tokens, total), np.float16(-65504)), past + 1)[None, None])
    else:
        w.constant("cos", cos)
        w.constant("sin", sin)
        if symbolic:
            sizes = [w.node("Gather", [w.node("Shape", [x], f"{x}.shape"), w.constant(f"{x}.axis", np.array([axis]))], f"{x}.size") for x, axis in ((ids, 1), ("past.0.key", 2))]
            w.node("Cast", [w.node("Add", sizes, "total.64")], "total", to=INT32)
            w.node("Sub", ["total", w.constant("one", np.array([1], np.int32))], "lengths")
        else:
            if room:
                w.input("lengths", INT32, [1])
            else:
                w.constant("lengths", np.array([total - 1], np.int32))
            w.constant("total", np.array(total, np.int32))
    w.weights["embedding"] = w.normal(WORDS, WIDTH, std=0.5)
    x = w.node("Gather", [w.constant("embedding", w.weights["embedding"]), ids], "x")
    for layer in range(layers):
        at = f"l{layer}."
        y = rms_norm(w, x, at + "norm")
        q, k, v = (w.linear(y, at + n, WIDTH, size, kind) for n, size in (("q", HEADS * SIZE), ("k", KV * SIZE), ("v", KV * SIZE)))
        cache = [w.input(f"past.{layer}.{n}", HALF, [1, KV, room or before, SIZE]) for n in ("key", "value")] if past or symbolic else ["", ""]
        present = [f"present.{layer}.{n}" for n in ("key", "value")]
        if plain:
            y = plain_attention(w, at, q, k, v, cache, present, tokens, past)
        else:
            y = w.node("GroupQueryAttention", [q, k, v, *cache, "lengths", "total", "cos", "sin"], [at + "a", *present], "com.microsoft", num_heads=HEADS, kv_num_heads=KV, do_rotary=1)
        x = w.node("Add", [x, w.linear(y, at + "o", WIDTH, WIDTH, kind)], at + "x")
        y = rms_norm(w, x, at + "norm2")
        gate, up = w.linear(y, at + "gate", WIDTH, HIDDEN, kind), w.linear(y, at + "up", WIDTH, HIDDEN, kind)
        y = w.node("Mul", [w.node("Mul", [gate, w.node("Sigmoid", [gate], at + "sig")], at + "silu"), up], at + "m")
        x = w.node("Add", [x, w.linear(y, at + "down", HIDDEN, WIDTH, kind)], at + "z")
        for name in present:
            w.output(name, HALF, [1, KV, room or behind, SIZE])
    y = rms_norm(w, x, "norm")
    if tokens > 1 or symbolic:
        y = w.node("Slice", [y, w.constant("last", np.array([-1])), w.constant("end", np.array([1 << 40])), w.constant("axis", np.array([1]))], "last_row")
    logits = w.linear(y, "head", WIDTH, WORDS, kind)
    w.node("ArgMax", [logits], "token", axis=-1, keepdims=0)
    w.node("Identity", [logits], "logits")
    return w.model(), w.weights  # outputs in the order of torch_llama's


def gpt2(past, tokens):
    """The zoo's GPT-2, its f32 values made f16."""
    import transformer

    model = transformer.gpt2(seq=tokens, past=past, vocab=50257).model()

    def half(tensor):
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(np.clip(numpy_helper.to_array(tensor), -65504, 65504).astype(np.float16), tensor.name))

    for tensor in model.graph.initializer:
        half(tensor)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                half(attribute.t)
    for value in [*model.graph.input, *model.graph.output]:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = HALF
    return model, {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def build(case, layers):
    name, past, tokens = case.split(".")
    past, tokens = int(past), int(tokens)
    if name == "gpt2":
        return gpt2(past, tokens)
    kind = "q4z" if name.endswith("q4z") else "q4" if name.endswith("q4") else ""
    return llama(past, tokens, layers, kind, "_plain" in name, "_sym" in name, past + 64 if "_room" in name else 0)


def make_inputs(model, past, tokens, seed=3):
    sizes = {"past": past, "tokens": tokens}
    random = np.random.default_rng(seed)
    out = {}
    for value in model.graph.input:
        t = value.type.tensor_type
        if t.elem_type == INT32:  # the last position of the sequence
            out[value.name] = np.array([past + tokens - 1], np.int32)
            continue
        shape = [sizes[d.dim_param] if d.dim_param else d.dim_value for d in t.shape.dim]
        out[value.name] = random.integers(0, 1000, shape).astype(np.int64) if t.elem_type == INT64 else random.standard_normal(shape).astype(np.float16)
    return out


def torch_llama(weights, layers, past, tokens):
    import torch
    import torch.nn.functional as F

    p = {k: torch.from_numpy(v).cuda() for k, v in weights.items()}
    cos, sin = (torch.from_numpy(np.concatenate([t, t], -1)[past : past + tokens]).cuda() for t in rotary_tables(max(past + tokens, 64)))

    def rotated(x):
        low, high = x.chunk(2, -1)
        return x * cos + torch.cat([-high, low], -1) * sin

    def run(ids, *caches):
        x, presents = F.embedding(ids, p["embedding"]), []
        for layer in range(layers):
            at = f"l{layer}."
            y = F.rms_norm(x, (WIDTH,), p[at + "norm"], 1e-5)
            q, k, v = (F.linear(y, p[at + n]).view(1, tokens, -1, SIZE).transpose(1, 2) for n in "qkv")
            q, k = rotated(q), rotated(k)
            if past:
                k, v = torch.cat([caches[2 * layer], k], 2), torch.cat([caches[2 * layer + 1], v], 2)
            presents += [k, v]
            y = F.scaled_dot_product_attention(q, k, v, is_causal=past == 0, enable_gqa=True)
            x = x + F.linear(y.transpose(1, 2).reshape(1, tokens, WIDTH), p[at + "o"])
            y = F.rms_norm(x, (WIDTH,), p[at + "norm2"], 1e-5)
            x = x + F.linear(F.silu(F.linear(y, p[at + "gate"])) * F.linear(y, p[at + "up"]), p[at + "down"])
        logits = F.linear(F.rms_norm(x, (WIDTH,), p["norm"], 1e-5)[:, -1:], p["head"])
        return logits, logits.argmax(-1), *presents

    return run


def torch_gpt2(weights, past, tokens, depth=12, width=768, heads=12):
    import torch
    import torch.nn.functional as F

    p = {k: torch.from_numpy(np.ascontiguousarray(v)).cuda() for k, v in weights.items() if v.dtype == np.float16}

    def run(ids, *caches):
        x = F.embedding(ids, p["wte.weight"]) + p["wpe.weight"][past : past + tokens]
        presents = []
        project = lambda y, n: torch.addmm(p[n + ".bias"], y.view(-1, y.shape[-1]), p[n + ".weight"]).view(1, tokens, -1)
        for i in range(depth):
            norm = lambda n: F.layer_norm(x, (width,), p[f"h.{i}.{n}.weight"], p[f"h.{i}.{n}.bias"])
            q, k, v = (t.view(1, tokens, heads, -1).transpose(1, 2) for t in project(norm("ln_1"), f"h.{i}.attn.c_attn").split(width, 2))
            if past:
                k, v = torch.cat([caches[2 * i], k], 2), torch.cat([caches[2 * i + 1], v], 2)
            presents += [k, v]
            y = F.scaled_dot_product_attention(q, k, v, is_causal=past == 0)
            x = x + project(y.transpose(1, 2).reshape(1, tokens, width), f"h.{i}.attn.c_proj")
            x = x + project(F.gelu(project(norm("ln_2"), f"h.{i}.mlp.c_fc"), approximate="tanh"), f"h.{i}.mlp.c_proj")
        return F.linear(F.layer_norm(x, (width,), p["ln_f.weight"], p["ln_f.bias"]), p["wte.weight"]), *presents

    return run


class Torch:
    def __init__(self, kind, case, weights, inputs, layers):
        import torch

        self.torch = torch
        name, past, tokens = case.split(".")
        make = torch_gpt2(weights, int(past), int(tokens)) if name == "gpt2" else torch_llama(weights, layers, int(past), int(tokens))
        on_device = [torch.from_numpy(v).cuda() for v in inputs.values()]
        with torch.no_grad():
            if kind == "compile":
                compiled = torch.compile(make, mode="reduce-overhead")
                for _ in range(4):
                    results = [t.clone() for t in compiled(*on_device)]
                self.run = lambda: compiled(*on_device)
            else:
                stream = torch.cuda.Stream()
                with torch.cuda.stream(stream):
                    for _ in range(3):
                        make(*on_device)
                torch.cuda.synchronize()
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph):
                    static = make(*on_device)
                self.graph, self.static, self.run = graph, static, graph.replay
                graph.replay()
                torch.cuda.synchronize()
                results = static
        self.outputs = [t.float().cpu().numpy() for t in results]

    def round(self, seconds):
        times = []
        with self.torch.no_grad():
            until = time.perf_counter() + seconds
            while time.perf_counter() < until:
                start = time.perf_counter()
                self.run()
                self.torch.cuda.synchronize()
                times.append((time.perf_counter() - start) * 1e3)
        return times


class Tern:
    """`driver`: its name, perhaps with @ and another build's folder."""

    def __init__(self, driver, module, inputs, scratch, *how):
        self.how = how
        self.driver, self.bin = driver.split("@")[0], binaries(driver)
        self.module, self.options = module, []
        for name, value in inputs.items():
            np.save(scratch / f"{name}.npy", value)
            self.options += ["--input", f"{name}={scratch}/{name}.npy"]
        self.outputs = module.with_suffix(".out")
        done = subprocess.run([self.bin / "tern", "run", module, f"--driver={self.driver}", *self.options, "--output-dir", self.outputs], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)

    def bench(self, *more):
        return subprocess.run([self.bin / "tern", "bench", self.module, f"--driver={self.driver}", *self.options, *more], check=True, capture_output=True, text=True).stdout

    def round(self, seconds):
        return [json.loads(self.bench("--json", "--seconds", str(seconds), *self.how))["resident_median_ms"]]


def distance(a, b):
    return float(np.abs(a - b).max() / np.abs(b).max())


def binaries(driver):
    return Path(driver.split("@")[1]) / "bin" if "@" in driver else BIN


def compile_one(model_path, module, driver):
    name = driver.split("@")[0]
    targets = {"cuda": "cuda:sm_90a"}.get(name, name)
    start = time.time()
    done = subprocess.run([binaries(driver) / "ternc", model_path, "-o", module, f"--targets={targets}", "--precision=f16", "-q"], capture_output=True, text=True)
    return done, time.time() - start


def measure(case, args, scratch):
    model, weights = build(case, args.layers)
    inputs = make_inputs(model, *map(int, case.split(".")[1:]))
    path = scratch / "model.onnx"
    onnx.save(model, path)
    names = [o.name for o in model.graph.output]
    del model
    runners, line = {}, []
    drivers = [d for d in args.drivers.split(",") if d]
    modules = {d: scratch / f"{i}.tern" for i, d in enumerate(drivers)}
    started = [(d, subprocess.Popen([sys.executable, __file__, "--compile", path, modules[d], d])) for d in drivers]
    for kind in [p for p in args.peers.split(",") if p and "_room" not in case]:
        runners[kind] = Torch(kind, case, weights, inputs, args.layers)
    for driver, process in started:
        if process.wait() == 0:
            try:
                runners[driver] = Tern(driver, modules[driver], inputs, scratch)
                if "_room" in case and "@" not in driver:
                    runners[f"{driver} in place"] = Tern(driver, modules[driver], inputs, scratch, "--in-place")
            except Exception as error:
                print(f"{case}: {driver} fails: {str(error)[-400:]}")
    peer = next((r for k, r in runners.items() if isinstance(r, Torch)), None)
    times = {k: [] for k in runners}
    with open(Path(tempfile.gettempdir()) / "decode.lock", "w") as lock:  # several of these prepare side by side, and measure in turn
        fcntl.flock(lock, fcntl.LOCK_EX)
        for _ in range(args.rounds):
            for kind, runner in runners.items():
                times[kind] += runner.round(args.seconds)
    for kind, runner in runners.items():
        text = f"{kind} {statistics.median(times[kind]):.4f} ms"
        if isinstance(runner, Tern) and peer:
            worst = max(distance(np.load(runner.outputs / f"{n}.npy").astype(np.float32), t) for n, t in zip(names, peer.outputs) if n.startswith(("logits", "present")))
            text += f" (differs by {worst:.1e})"
            if args.dispatches:
                Path(args.dispatches).mkdir(parents=True, exist_ok=True)
                Path(args.dispatches, f"{case}.{kind.replace('/', '_')}.txt").write_text(runner.bench("--dispatches", "--seconds", "0.1"))
        line.append(text)
    print(f"{case}: " + ", ".join(line), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE")
    parser.add_argument("--peers", default="graph")
    parser.add_argument("--drivers", default="cuda")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.2)
    parser.add_argument("--dispatches", metavar="DIR", help="each dispatch's time, a file a case and driver")
    parser.add_argument("--write", metavar="DIR", help="only write the models")
    parser.add_argument("--compile", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.compile:
        done, seconds = compile_one(*args.compile)
        print(f"{args.compile[2]} compiled in {seconds:.1f} s {done.stderr[-600:]}", flush=True)
        return done.returncode
    for case in args.cases or CASES:
        if args.write:
            onnx.save(build(case, args.layers)[0], Path(args.write) / f"{case}.onnx")
            continue
        with tempfile.TemporaryDirectory() as folder:
            measure(case, args, Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
