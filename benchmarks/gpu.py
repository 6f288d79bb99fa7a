#!/usr/bin/env python3
"""tern beside PyTorch on this machine's NVIDIA GPU, in one run. Needs torch, torchvision and transformers with CUDA.

    benchmarks/gpu.py [MODEL…] [--peers graph,compile,vulkan] [--precision f16] [--rounds 5] [--out FILE.json]

Networks beyond the table's are in gpu_networks.py, by name. A model is built with seeded weights, exported to ONNX, compiled by ternc, and run by both. `graph` is eager PyTorch captured as
a CUDA graph (channels-last for vision models), `compile` is torch.compile(mode="reduce-overhead"); both in the same precision,
inputs and outputs on the device. `vulkan` is tern itself by its Vulkan driver, which the column best/tern leaves out. A run is timed by the host from its submission to its end, one after the other: what an
application waits for; tern without its copies of inputs and outputs, which PyTorch is not asked for either. Runtimes take
turns, each in a process of its own. `queued_ms` (--out) is what a run of the peer takes when many are queued, timed by events. A time counts if the outputs agree
with PyTorch's in f32.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from gpu_networks import NETWORKS

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(os.environ.get("TERN_BUILD", ROOT / "build" / "release")) / "bin"
TYPES = {"f32": torch.float32, "tf32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
TERN_DRIVERS = {"tern": "cuda", "vulkan": "vulkan"}
BOUNDS = {"f32": 1e-3, "tf32": 2e-3, "f16": 2e-2, "bf16": 1e-1}


def vision(name, batch):
    import torchvision

    return getattr(torchvision.models, name)(weights=None), {"input": torch.randn(batch, 3, 224, 224)}


class Encoder(torch.nn.Module):
    """A BERT that gives its last hidden state."""

    def __init__(self):
        super().__init__()
        import transformers

        config = transformers.BertConfig()
        config._attn_implementation = "sdpa"
        self.model = transformers.BertModel(config, add_pooling_layer=False)

    def forward(self, input_ids):
        return self.model(input_ids=input_ids)[0]


def bert(batch, sequence):
    return Encoder(), {"input_ids": torch.randint(0, 1000, (batch, sequence))}


class Product(torch.nn.Module):
    """One matrix product with constant weights."""

    def __init__(self, size):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(size, size) * size**-0.5)

    def forward(self, x):
        return x @ self.weight


class Attention(torch.nn.Module):
    def forward(self, q, k, v):
        return torch.nn.functional.scaled_dot_product_attention(q, k, v)


def attention(*shape):
    return Attention(), {n: torch.randn(*shape) for n in "qkv"}


MODELS = {
    "resnet50": lambda: vision("resnet50", 1),
    "resnet50_b32": lambda: vision("resnet50", 32),
    "mobilenet_v2": lambda: vision("mobilenet_v2", 1),
    "vit_b_16": lambda: vision("vit_b_16", 1),
    "bert_s128": lambda: bert(1, 128),
    "bert_s384": lambda: bert(1, 384),
    "product_1024": lambda: (Product(1024), {"x": torch.randn(1024, 1024)}),
    "product_4096": lambda: (Product(4096), {"x": torch.randn(4096, 4096)}),
    "attention": lambda: attention(4, 32, 2048, 128),
    # The caller's arrays are 16-bit floats too.
    "product_1024_io16": lambda: (Product(1024), {"x": torch.randn(1024, 1024)}),
    "product_4096_io16": lambda: (Product(4096), {"x": torch.randn(4096, 4096)}),
    "attention_io16": lambda: attention(4, 32, 2048, 128),
}


def type_of(name, precision):
    """The type of the exported model and of its inputs."""
    return TYPES[precision] if name.endswith("_io16") else torch.float32


def build(name):
    torch.manual_seed(sum(name.encode()))
    model, inputs = (MODELS.get(name) or NETWORKS[name])()
    model.eval()
    for parameter in model.parameters():
        if parameter.abs().max() == 0 and parameter.dim() > 1:  # a head that starts at zero
            torch.nn.init.normal_(parameter, std=0.02)
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_var.uniform_(0.8, 1.2)
            module.running_mean.normal_(0, 0.05)
    return model, inputs


class Torch:
    """PyTorch on the device, its inputs and outputs in place."""

    def __init__(self, kind, model, inputs, dtype):
        import copy

        model = copy.deepcopy(model).cuda().to(dtype)
        to = lambda t: t.cuda().to(dtype) if t.is_floating_point() else t.cuda()
        self.inputs = [to(t) for t in inputs.values()]
        if self.inputs[0].dim() == 4 and isinstance(model, torch.nn.Module) and any(isinstance(m, torch.nn.Conv2d) for m in model.modules()):
            model = model.to(memory_format=torch.channels_last)
            self.inputs = [t.to(memory_format=torch.channels_last) if t.dim() == 4 else t for t in self.inputs]
        self.graph = None
        with torch.no_grad():
            if kind == "compile":
                compiled = torch.compile(model, mode="reduce-overhead")
                for _ in range(4):
                    self.output = compiled(*self.inputs).clone()
                self.run = lambda: compiled(*self.inputs)
            else:
                stream = torch.cuda.Stream()
                with torch.cuda.stream(stream):
                    for _ in range(3):
                        model(*self.inputs)
                torch.cuda.synchronize()
                self.graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(self.graph):
                    self.static = model(*self.inputs)
                self.run = self.graph.replay
                self.run()
                torch.cuda.synchronize()
                self.output = self.static.clone()
        self.output = self.output.float().cpu().numpy()

    def round(self, seconds):
        times = []
        with torch.no_grad():
            self.run()
            torch.cuda.synchronize()
            until = time.perf_counter() + seconds
            while time.perf_counter() < until:
                start = time.perf_counter()
                self.run()
                torch.cuda.synchronize()
                times.append((time.perf_counter() - start) * 1e3)
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            for _ in range(20):
                self.run()
            end.record()
            end.synchronize()
            self.facts = {"queued_ms": begin.elapsed_time(end) / 20}
        return times


class Peer:
    """A Torch in a process of its own: torch.compile and a captured graph in one process end with an illegal memory access."""

    def __init__(self, kind, name, precision, scratch):
        self.saved = scratch / f"{kind}.npy"
        self.process = subprocess.Popen([sys.executable, __file__, "--serve", kind, "--precision", precision, "--out", self.saved, name],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # fmt: skip

    def ready(self):
        self.answer()
        self.output = np.load(self.saved)

    def answer(self):
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise RuntimeError("its process ended")

    def round(self, seconds):
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        answer = self.answer()
        self.facts = answer["facts"]
        return answer["times"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def serve(kind, name, precision, out):
    runner = Torch(kind, *build(name), TYPES[precision])
    np.save(out, runner.output)
    print("{}", flush=True)
    for line in sys.stdin:
        times = runner.round(float(line))
        print(json.dumps({"times": times, "facts": runner.facts}), flush=True)


class Tern:
    def __init__(self, driver, path, inputs, precision, scratch):
        self.driver, self.module = driver, scratch / f"{driver}.tern"
        started = time.time()
        subprocess.run([BIN / "ternc", path, "-o", self.module, f"--targets={driver}", f"--precision={precision}", "-q"], check=True)
        self.compile_s = time.time() - started
        self.options = []
        for name, value in inputs.items():
            file = scratch / f"{name}.npy"
            np.save(file, value.numpy())
            self.options += ["--input", f"{name}={file}"]
        out = scratch / driver
        subprocess.run([BIN / "tern", "run", self.module, f"--driver={driver}", *self.options, "--output-dir", out], check=True, stdout=subprocess.DEVNULL)
        self.output = np.load(sorted(out.glob("*.npy"))[0]).astype(np.float32)
        self.facts = {}

    def ready(self):
        pass

    def round(self, seconds):
        text = subprocess.run([BIN / "tern", "bench", self.module, f"--driver={self.driver}", "--json", "--seconds", str(seconds), *self.options],
                              check=True, capture_output=True, text=True).stdout  # fmt: skip
        facts = json.loads(text)
        self.facts = {k: v for k, v in facts.items() if isinstance(v, (int, float))}
        return [facts["resident_median_ms"]]

    def close(self):
        pass


def export(model, inputs, path, dtype):
    """Writes the model as ONNX, with inputs and outputs of the type; its inputs, on the host."""
    if dtype != torch.float32:  # the CPU has no kernels of narrow types for all of it
        model, inputs = model.to(dtype).cuda(), {k: v.to(dtype).cuda() for k, v in inputs.items()}
    if hasattr(getattr(model, "model", None), "config"):
        model.model.config._attn_implementation = "eager"  # the exporter writes it as plain products
    torch.backends.mha.set_fastpath_enabled(False)  # an op of its own, which the exporter does not know
    with torch.no_grad():
        torch.onnx.export(model, tuple(inputs.values()), str(path), input_names=list(inputs), output_names=["output"], opset_version=17, dynamo=False)
    return {k: v.cpu().to(dtype) if v.is_floating_point() else v for k, v in inputs.items()}


def measure(name, args):
    model, inputs = build(name)
    with torch.no_grad():
        wanted = model.cuda()(*[t.cuda() for t in inputs.values()]).cpu().numpy()
    model.cpu()
    torch.cuda.empty_cache()
    facts = {}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        path = scratch / "model.onnx"
        runners, exported = {}, None
        for step in ("start", "ready"):  # all are started before the first is waited for
            for kind in [*args.peers.split(","), "tern"] if step == "start" else list(runners):
                try:
                    if step == "ready":
                        runners[kind].ready()
                    elif kind in TERN_DRIVERS:
                        exported = exported or export(model, inputs, path, type_of(name, args.precision))
                        runners[kind] = Tern(TERN_DRIVERS[kind], path, exported, args.precision, scratch)
                    else:
                        runners[kind] = Peer(kind, name, args.precision, scratch)
                except Exception as error:  # a runtime that cannot is a dash in the table, not the end of the run
                    runners.pop(kind, None)
                    print(f"{name}: {kind} fails: {str(error)[-700:]}", file=sys.stderr)
        for kind, runner in runners.items():
            error = float(np.linalg.norm(runner.output - wanted) / np.linalg.norm(wanted))
            facts[kind] = {"error": error}
        times = {kind: [] for kind in runners}
        for _ in range(args.rounds):
            for kind, runner in runners.items():
                times[kind] += runner.round(args.seconds)
        for kind, runner in runners.items():
            facts[kind]["ms"] = statistics.median(times[kind])
            facts[kind].update(getattr(runner, "facts", {}))
            runner.close()
    return facts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--peers", default="graph,compile")
    parser.add_argument("--precision", default="f16", choices=TYPES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--out")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    if args.serve:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = args.precision == "tf32"
        return serve(args.serve, args.models[0], args.precision, args.out)
    results = {}
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {args.precision}")
    print("| model | tern ms | " + " | ".join(f"{p} ms" for p in args.peers.split(",")) + " | best/tern | error tern/torch |")
    print("|---|" + "---:|" * (len(args.peers.split(",")) + 3))
    for name in args.models or MODELS:
        results[name] = facts = measure(name, args)
        others = [facts[p]["ms"] for p in facts if p not in TERN_DRIVERS]
        cell = lambda kind: f"{facts[kind]['ms']:.4g}" if kind in facts else "–"
        bad = "tern" in facts and not facts["tern"]["error"] < BOUNDS[args.precision]
        ratio = f"{min(others) / facts['tern']['ms']:.2f}" if "tern" in facts and others and not bad else ("≠" if bad else "–")
        errors = "/".join(f"{facts[k]['error']:.2g}" for k in facts)
        print(f"| {name} | {cell('tern')} | " + " | ".join(cell(p) for p in args.peers.split(",")) + f" | {ratio} | {errors} |", flush=True)
    if args.out:
        Path(args.out).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
