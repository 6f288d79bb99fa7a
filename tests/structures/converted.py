#!/usr/bin/env python3
"""Networks as people change them after the export: quantised by ONNX Runtime's tools in their ways, turned to f16, saved optimised.

    PYTHON tests/structures/converted.py [NAME…] [--ways qdq_u8s8 f16 …] [--driver cpu] [--targets cpu] [--time]

NAME: a network of check.py that is in the model cache. PYTHON: as for check.py. What is quantised is compared by what roundings do in
ONNX Runtime itself (compare.rounding_noise). Skipped is only what ONNX Runtime's tools do not convert, or ONNX Runtime does not run.
"""

import argparse
import sys
import tempfile
import time
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support"), str(HERE.parent / "e2e")]

import check  # noqa: E402
import compare  # noqa: E402
import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
import ort_reference  # noqa: E402
import tern_tools as tools  # noqa: E402
from common import FOLDER  # noqa: E402
from onnxruntime import quantization as q  # noqa: E402

U8, S8, U16 = q.QuantType.QUInt8, q.QuantType.QInt8, q.QuantType.QUInt16


class Once(q.CalibrationDataReader):
    def __init__(self, inputs):
        self.rest = [inputs]

    def get_next(self):
        return self.rest.pop() if self.rest else None


def static(form, activations, weights, **how):
    def make(path, out, inputs):
        ready = out.with_suffix(".ready.onnx")
        q.quant_pre_process(str(path), str(ready), skip_symbolic_shape=True)
        q.quantize_static(str(ready), str(out), Once(inputs), quant_format=form, activation_type=activations, weight_type=weights, **how)

    return make


def dynamic(**how):
    return lambda path, out, inputs: q.quantize_dynamic(str(path), str(out), **how)


def half(**how):
    def make(path, out, inputs):
        from onnxruntime.transformers import float16

        onnx.save(float16.convert_float_to_float16(onnx.load(path), **how), out)

    return make


def optimised(level):
    def make(path, out, inputs):
        options = ort_reference.session_options()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        options.optimized_model_filepath = str(out)
        options.log_severity_level = 3
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    return make


QDQ, QOP = q.QuantFormat.QDQ, q.QuantFormat.QOperator
WAYS = {
    "dynamic": dynamic(),
    "dynamic_per_channel": dynamic(per_channel=True, reduce_range=True, weight_type=S8),
    "qdq_u8s8": static(QDQ, U8, S8, per_channel=True),
    "qdq_s8s8": static(QDQ, S8, S8, per_channel=True, extra_options={"ActivationSymmetric": True}),
    "qdq_u8u8": static(QDQ, U8, U8),
    "qdq_u16s8": static(QDQ, U16, S8),
    "qdq_all": static(QDQ, U8, S8, extra_options={"QDQKeepRemovableActivations": True, "ForceQuantizeNoInputCheck": True, "QuantizeBias": False}),
    "qop_u8u8": static(QOP, U8, U8),
    "qop_u8s8": static(QOP, U8, S8, per_channel=True),
    "f16": half(keep_io_types=True),
    "f16_io": half(keep_io_types=False),
    "basic": optimised("ORT_ENABLE_BASIC"),
    "extended": optimised("ORT_ENABLE_EXTENDED"),
}


class Skipped(Exception):
    pass


def foreign(what, call):
    """A call of ONNX Runtime or its tools, whose failures are not tern's."""
    try:
        return call()
    except Exception as failure:
        raise Skipped(f"{what}: {type(failure).__name__} {str(failure)[:80]}") from failure


def one(name, way, args, folder):
    """What is wrong, a line of facts, and times; Skipped where there is no model to compile."""
    path, out = FOLDER / f"{name}.onnx", folder / f"{name}.{way}.onnx"
    known = {i.name for i in onnx.load(path, load_external_data=False).graph.input}
    given = {k: v for k, v in np.load(FOLDER / f"{name}.npz").items() if k in known}
    foreign("no conversion", lambda: WAYS[way](path, out, given))
    types = {i.name: i.type.tensor_type.elem_type for i in onnx.load(out, load_external_data=False).graph.input}
    given = {k: v.astype(np.float16) if types[k] == onnx.TensorProto.FLOAT16 else v for k, v in given.items()}
    names, (wanted,) = foreign("ONNX Runtime does not run it", lambda: compare.reference(out, [given]))
    module = folder / f"{name}.{way}.tern"
    tools.compile_model(out, module, f"--targets={args.targets}")
    got = tools.run_module(module, given, names, folder / name, "--driver", args.driver, timeout=300)
    quantised = way.startswith(("q", "dynamic"))
    if quantised:
        noise = compare.rounding_noise(out, [given], [wanted])[0]
        found = [(n, tools.steps_difference(g, w, *e)) for n, g, w, e in zip(names, got, wanted, noise)]
    else:
        found = [(n, tools.difference(g, w, 2e-2 if "f16" in way else 1e-3, floor=1.0)) for n, g, w in zip(names, got, wanted)]
    errors = [tools.steps_error(g, w)[1] for g, w in zip(got, wanted) if w.dtype.kind == "f" and w.size and g.shape == w.shape]
    return [f"'{n}': {p}" for n, p in found if p], f"error {max(errors, default=0):.1e}", [check.timing(out, module, given, folder, args)] if args.time else []


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", metavar="NAME")
    parser.add_argument("--ways", nargs="*", default=list(WAYS))
    parser.add_argument("--driver", default="cpu")
    parser.add_argument("--targets", default="cpu")
    parser.add_argument("--time", action="store_true")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    failed, skipped = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for name in args.names:
            for way in args.ways:
                start = time.time()
                try:
                    problems, said, times = one(name, way, args, Path(folder))
                except Skipped as reason:
                    problems, said, times = [], f"skipped, {reason}", []
                    skipped += 1
                except Exception as failure:
                    problems, said, times = [f"{type(failure).__name__}: {str(failure)[:400]}"], "", []
                failed += bool(problems)
                ratios = "".join(f", {a:.2f} of {b:.2f} ms ({a / b:.2f})" for a, b in times)
                print(f"{name:20} {way:20} {'FAIL ' + '; '.join(problems) if problems else said}{ratios}, {time.time() - start:.0f} s", flush=True)
    print(f"{failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
