"""What the lists of networks share: the table, and the export of one."""

import os
from pathlib import Path

import numpy as np
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("TERN_MODEL_CACHE", ROOT / ".cache" / "models")) / "structures"
MODELS = {}  # name: function that saves it


def model(make):
    MODELS[make.__name__] = make
    return make


def normal(*shape):
    return torch.randn(*shape)


def settle(module, inputs):
    """Statistics of batch normalisation from one batch, so that values neither grow nor die over the layers."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = None
        norm.reset_running_stats()
    module.train()
    for m in module.modules():
        if isinstance(m, nn.Dropout):
            m.eval()
    with torch.no_grad():
        try:
            module(*inputs)
        except ValueError:  # one value a channel has no variance: two examples have
            module(*[torch.cat([x, x + torch.randn_like(x)]) if x.is_floating_point() else torch.cat([x, x]) for x in inputs])
    module.eval()


def save(name, module, inputs, dyn=None, opset=17, dynamo=False, names=None, bn=True, more=()):
    """Writes NAME.onnx and NAME.npz, its inputs. `dyn`: dynamic axes; `bn`: settle batch normalisation first; `more`: inputs of other
    sizes (NAME.1.npz …)."""
    module.eval()
    if bn and any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in module.modules()):
        settle(module, inputs)
    names = names or [f"x{i}" for i in range(len(inputs))]
    path = FOLDER / f"{name}.onnx"
    options = {"external_data": False, "verbose": False, "dynamic_shapes": dyn} if dynamo else {"dynamic_axes": dyn}
    with torch.no_grad():
        torch.onnx.export(module, inputs, path, dynamo=dynamo, input_names=names, opset_version=opset, **options)
    for number, each in enumerate([inputs, *more]):
        write_inputs(name, number, dict(zip(names, flat(each))))


def flat(value):
    return [value.numpy()] if torch.is_tensor(value) else [array for each in value for array in flat(each)]


def write_inputs(name, number, arrays):
    np.savez(FOLDER / (f"{name}.{number}.npz" if number else f"{name}.npz"), **arrays)
