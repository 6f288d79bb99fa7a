#!/usr/bin/env python3
"""The same networks through the real exporters: torchvision, timm and transformers definitions with seeded random weights,
written by torch.onnx (both of its exporters). Slow and large, so not part of the tests' default: run it after
`tools/setup export` to see that tern takes what exporters write today.

    .venv-export/bin/python tests/models/exporter.py [NAME…] [--out DIR] [--legacy]     writes DIR/NAME.onnx
    .venv/bin/python tests/e2e/compare.py --files DIR/*.onnx                            compares them with ONNX Runtime
"""

import argparse
from pathlib import Path

import torch

BATCH, SEQUENCE = torch.export.Dim("batch", min=1, max=64), torch.export.Dim("sequence", min=2, max=256)


def vision(name, size=224):
    import torchvision

    return getattr(torchvision.models, name)(weights=None), {"input": torch.randn(1, 3, size, size)}, None


def timm_model(name, size=224):
    import timm

    return timm.create_model(name, pretrained=False), {"x": torch.randn(1, 3, size, size)}, None


class Outputs(torch.nn.Module):
    """A transformers model that gives its first output alone, without a cache."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask):
        return self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)[0]


def transformer(kind, dynamic=False):
    import transformers

    config = {"bert": transformers.BertConfig, "gpt2": transformers.GPT2Config, "distilbert": transformers.DistilBertConfig}[kind]()
    config._attn_implementation = "eager"
    model = {
        "bert": transformers.BertModel,
        "gpt2": transformers.GPT2LMHeadModel,
        "distilbert": transformers.DistilBertModel,
    }[kind](config)
    if kind == "distilbert":
        wrap = lambda m: type("First", (torch.nn.Module,), {"__init__": _init, "forward": _first})(m)
        model = wrap(model)
    else:
        model = Outputs(model)
    ids = torch.randint(0, 1000, (1, 128))
    shapes = {"input_ids": {0: BATCH, 1: SEQUENCE}, "attention_mask": {0: BATCH, 1: SEQUENCE}} if dynamic else None
    return model, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, shapes


def _init(self, model):
    torch.nn.Module.__init__(self)
    self.model = model


def _first(self, input_ids, attention_mask):
    return self.model(input_ids=input_ids, attention_mask=attention_mask)[0]


MODELS = {
    "mobilenet_v2": lambda: vision("mobilenet_v2"),
    "mobilenet_v3_small": lambda: vision("mobilenet_v3_small"),
    "efficientnet_b0": lambda: vision("efficientnet_b0"),
    "resnet50": lambda: vision("resnet50"),
    "vit_b_16": lambda: vision("vit_b_16"),
    "convnext_tiny": lambda: vision("convnext_tiny"),
    "swin_t": lambda: vision("swin_t"),
    "densenet121": lambda: vision("densenet121"),
    "shufflenet_v2": lambda: vision("shufflenet_v2_x1_0"),
    "timm_mobilevit": lambda: timm_model("mobilevit_xxs", 256),
    "timm_regnety": lambda: timm_model("regnety_002"),
    "timm_deit_tiny": lambda: timm_model("deit_tiny_patch16_224"),
    "bert": lambda: transformer("bert"),
    "bert_dynamic": lambda: transformer("bert", dynamic=True),
    "distilbert": lambda: transformer("distilbert"),
    "gpt2": lambda: transformer("gpt2"),
}


def export(name, path, legacy):
    torch.manual_seed(sum(name.encode()))
    model, inputs, shapes = MODELS[name]()
    model.eval()
    for module in model.modules():  # statistics as if trained, so that activations neither vanish nor explode
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_var.uniform_(0.8, 1.2)
            module.running_mean.normal_(0, 0.05)
    names = list(inputs)
    if legacy:
        axes = {n: {0: "batch", 1: "sequence"} for n in names} if shapes else None
        torch.onnx.export(model, tuple(inputs.values()), path, input_names=names, output_names=["output"], dynamic_axes=axes,
                          opset_version=17, dynamo=False)  # fmt: skip
    else:
        torch.onnx.export(model, tuple(inputs.values()), path, input_names=names, output_names=["output"], dynamic_shapes=shapes,
                          dynamo=True, external_data=False)  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--out", default=".cache/exported")
    parser.add_argument("--legacy", action="store_true", help="the TorchScript exporter")
    args = parser.parse_args()
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    for name in args.names or MODELS:
        path = folder / f"{name}{'_legacy' if args.legacy else ''}.onnx"
        try:
            with torch.no_grad():
                export(name, str(path), args.legacy)
            print(f"{path} {path.stat().st_size / 1e6:.1f} MB", flush=True)
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {str(error)[:300]}", flush=True)


if __name__ == "__main__":
    main()
