"""ncnn, converted with pnnx, f32 throughout. It has no batch dimension: batch 1 only."""

import os
import subprocess
from importlib import metadata, util
from pathlib import Path

import numpy as np


def version():
    return f"ncnn {metadata.version('ncnn')}"


def prepare(model, inputs, scratch):
    if any(a.dtype != np.float32 or a.ndim < 2 or a.shape[0] != 1 for a in inputs.values()):
        raise ValueError("ncnn takes float inputs of batch 1 only")
    copy = Path(scratch) / "n.onnx"
    os.symlink(model, copy)
    tool = Path(util.find_spec("pnnx").submodule_search_locations[0]) / "pnnx"
    shapes = ",".join("[" + ",".join(map(str, a.shape)) + "]" for a in inputs.values())
    subprocess.run([str(tool), copy.name, f"inputshape={shapes}", "fp16=0"], cwd=scratch, check=True, capture_output=True, timeout=300)
    return Path(scratch) / "n.ncnn.param"


def load(prepared, inputs, threads):
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = net.opt.use_bf16_storage = False
    if net.load_param(str(prepared)) or net.load_model(str(prepared).replace(".param", ".bin")):
        raise ValueError("the converted model has layers that ncnn lacks")
    mats = [ncnn.Mat(np.ascontiguousarray(a[0])) for a in inputs.values()]
    last = []

    def run():
        extractor = net.create_extractor()
        for name, mat in zip(net.input_names(), mats):
            extractor.input(name, mat)
        last[:] = [extractor.extract(name)[1] for name in net.output_names()]

    return run, lambda: [np.array(m)[None] for m in last]
