#!/usr/bin/env python3
"""Steps of a language model behind a cache with room to spare, on the CPU: tern with present apart from past and in its place, ONNX Runtime
with one buffer for both.

    benchmarks/caches.py [--rooms 2048,8192] [--types f32,f16] [--layers 2] [--threads 1] [--seconds 2] [--build DIR]

Layers of 2048 (32 heads of 64, 8 of keys; GroupQueryAttention, SwiGLU), seeded; half of the room is filled. `--gpt2 128,1023`: a GPT-2
whose caches grow by concatenation, as it is and compiled with --cache-room.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "models"))
WIDTH, HEADS, KV, SIZE, HIDDEN = 2048, 32, 8, 64, 8192


def llama(room, layers, dtype):
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    random = np.random.default_rng(1)
    pool = random.standard_normal(1 << 20).astype(np.float32)
    nodes, tensors, inputs, outputs = [], [], [], []

    def constant(name, array):
        tensors.append(numpy_helper.from_array(array, name))
        return name

    def node(op, names, results, domain="", **attributes):
        nodes.append(helper.make_node(op, names, results, domain=domain, **attributes))
        return results[0]

    def linear(x, name, k, n):
        weights = np.resize(np.roll(pool, int(random.integers(pool.size))), (k, n)) * k**-0.5
        return node("MatMul", [x, constant(name, weights.astype(dtype))], [f"{name}.y"])

    def norm(x, name):
        return node("SimplifiedLayerNormalization", [x, constant(name, np.ones(WIDTH, dtype))], [f"{name}.y"], axis=-1, epsilon=1e-5)

    def value(into, name, element, shape):
        into.append(helper.make_tensor_value_info(name, element, shape))
        return name

    x = value(inputs, "x", kind, [1, 1, WIDTH])
    lengths, total = value(inputs, "lengths", TensorProto.INT32, [1]), value(inputs, "total", TensorProto.INT32, [])
    angles = np.outer(np.arange(room), 1 / 10000 ** (np.arange(0, SIZE, 2) / SIZE))
    tables = [constant(n, f(angles).astype(dtype)) for n, f in (("cos", np.cos), ("sin", np.sin))]
    for layer in range(layers):
        at = f"l{layer}."
        y = norm(x, at + "n1")
        qkv = [linear(y, at + n, WIDTH, heads * SIZE) for n, heads in (("q", HEADS), ("k", KV), ("v", KV))]
        past = [value(inputs, f"past.{layer}.{n}", kind, [1, KV, room, SIZE]) for n in "kv"]
        present = [value(outputs, f"present.{layer}.{n}", kind, [1, KV, room, SIZE]) for n in "kv"]
        y = node("GroupQueryAttention", [*qkv, *past, lengths, total, *tables], [at + "a", *present], "com.microsoft", num_heads=HEADS, kv_num_heads=KV, do_rotary=1)
        x = node("Add", [x, linear(y, at + "o", WIDTH, WIDTH)], [at + "x"])
        y = norm(x, at + "n2")
        gate, up = linear(y, at + "gate", WIDTH, HIDDEN), linear(y, at + "up", WIDTH, HIDDEN)
        y = node("Mul", [node("Mul", [gate, node("Sigmoid", [gate], [at + "s"])], [at + "silu"]), up], [at + "m"])
        x = node("Add", [x, linear(y, at + "down", HIDDEN, WIDTH)], [f"z{layer}"])
    value(outputs, x, kind, [1, 1, WIDTH])
    graph = helper.make_graph(nodes, "main", inputs, outputs, tensors)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    feeds = {"x": random.standard_normal((1, 1, WIDTH)).astype(dtype), "lengths": np.array([room // 2], np.int32), "total": np.array(room // 2 + 1, np.int32)}
    for i in inputs[3:]:
        feeds[i.name] = np.resize(pool, (1, KV, room, SIZE)).astype(dtype)
    return helper.make_model(graph, opset_imports=opsets, ir_version=8), feeds


def gpt2(past):
    import transformer

    model = transformer.gpt2(past=None).model()
    random, feeds = np.random.default_rng(2), {}
    for value in model.graph.input:
        t = value.type.tensor_type
        shape = [d.dim_value or {"past_sequence": past}.get(d.dim_param, 1) for d in t.shape.dim]
        feeds[value.name] = random.integers(0, 1000, shape) if t.elem_type == TensorProto.INT64 else random.standard_normal(shape).astype(np.float32)
    return model, feeds


class Peer:
    """ONNX Runtime; outputs named present lie in the memory of past where `shared`."""

    def __init__(self, path, feeds, threads, shared):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.binding = self.session.io_binding()
        self.values = {n: onnxruntime.OrtValue.ortvalue_from_numpy(a) for n, a in feeds.items()}
        for name, value in self.values.items():
            self.binding.bind_ortvalue_input(name, value)
        for output in self.session.get_outputs():
            past = output.name.replace("present", "past")
            if shared and past in self.values:
                self.binding.bind_ortvalue_output(output.name, self.values[past])
            else:
                self.binding.bind_output(output.name)

    def round(self, seconds):
        times, until = [], time.perf_counter() + seconds
        while time.perf_counter() < until or len(times) < 5:
            begin = time.perf_counter()
            self.session.run_with_iobinding(self.binding)
            times.append((time.perf_counter() - begin) * 1e3)
        return float(np.median(times))


class Tern:
    def __init__(self, build, model, feeds, folder, threads, *options):
        self.tern, self.module, self.threads = build / "bin" / "tern", folder / f"{len(list(folder.iterdir()))}.tern", threads
        subprocess.run([build / "bin" / "ternc", model, "-o", self.module, "-q", *options], check=True)
        self.inputs = []
        for i, (name, array) in enumerate(feeds.items()):
            path = folder / f"{self.module.stem}.{i}.npy"
            np.save(path, array)
            self.inputs.append(f"--input={name}={path}")

    def round(self, seconds, *options):
        command = [self.tern, "bench", self.module, *self.inputs, "--json", f"--seconds={seconds}", f"--threads={self.threads}", *options]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["median_ms"]


def dims(past):
    return ["--dim=batch=1", "--dim=sequence=1", f"--dim=past_sequence=0:{past}:{past}"] if past else []


def measure(name, runs, args):
    times = {what: [] for what in runs}
    for _ in range(args.rounds):
        for what, run in runs.items():
            times[what].append(run(args.seconds))
    print(f"{name}: " + ", ".join(f"{what} {np.median(t):.3f} ms" for what, t in times.items()), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rooms", default="2048,8192")
    parser.add_argument("--types", default="f32,f16")
    parser.add_argument("--gpt2", default="")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--build", type=Path, default=Path(os.environ.get("TERN_BUILD", ROOT / "build" / "release")))
    parser.add_argument("--old", type=Path, help="another build, measured in turns")
    parser.add_argument("--no-peer", action="store_true")
    args = parser.parse_args()
    cases = [(f"llama {t}, room {r}", lambda r=r, t=t: llama(int(r), args.layers, np.float16 if t == "f16" else np.float32), None) for t in args.types.split(",") for r in args.rooms.split(",") if t and r]
    cases += [(f"gpt2, past {p}", lambda p=p: gpt2(int(p)), int(p)) for p in args.gpt2.split(",") if p]
    for name, build, past in cases:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            model, feeds = build()
            path = folder / "model.onnx"
            onnx.save(model, path)
            del model
            runs = {}
            if args.old:
                runs["before"] = Tern(args.old, path, feeds, folder, args.threads, *dims(past)).round
            apart = Tern(args.build, path, feeds, folder, args.threads, *dims(past))
            runs["apart"] = apart.round
            room = apart
            if past:
                roomy = {n: np.resize(a, (1, a.shape[1], past + 1, a.shape[3])) if n.startswith("past") else a for n, a in feeds.items()}
                room = Tern(args.build, path, roomy | {"past_sequence": np.array(past)}, folder, args.threads, f"--cache-room={past + 1}", *dims(past))
            runs["in place"] = lambda seconds, room=room: room.round(seconds, "--in-place")
            if not args.no_peer:
                runs["ONNX Runtime"] = Peer(path, feeds, args.threads, not past).round
            measure(name, runs, args)


if __name__ == "__main__":
    sys.exit(main())
