#!/usr/bin/env python3
"""Models as ONNX Runtime's own tools leave them: its optimiser's dumps, its quantizer's forms, its conversion to 16 bits; each is compiled
as it is and compared with ONNX Runtime on the same file.

    ort_tools.py [--filter TEXT] [--driver cpu] [--targets LIST]
"""

import argparse
import logging
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "support"), str(HERE.parent / "models")]

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime as ort  # noqa: E402
import operator_cases  # noqa: E402
import ort_reference  # noqa: E402
import tern_tools as tools  # noqa: E402
import zoo  # noqa: E402
from onnxruntime import quantization  # noqa: E402
from onnxruntime.quantization import QuantFormat, QuantType  # noqa: E402
from onnxruntime.transformers import float16  # noqa: E402

# How far results may be apart: f32, and where values are stored in 16 bits.
EXACT, HALF = {}, {"relative": 1e-2, "floor": 1.0}


def optimised(level):
    def write(source, path, _):
        options = ort_reference.session_options()
        options.log_severity_level = 3
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
        options.optimized_model_filepath = str(path)
        ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])

    return write


class OneCase(quantization.CalibrationDataReader):
    def __init__(self, case):
        self.rest = [case]

    def get_next(self):
        return self.rest.pop() if self.rest else None


def operators(**how):
    def write(source, path, case):
        quantization.quantize_static(str(source), str(path), OneCase(case), quant_format=QuantFormat.QOperator, **how)

    return write


def dynamic(**how):
    return lambda source, path, _: quantization.quantize_dynamic(str(source), str(path), **how)


def half(**how):
    return lambda source, path, _: onnx.save(float16.convert_float_to_float16(onnx.load(str(source)), **how), str(path))


SIGNED = dict(activation_type=QuantType.QInt8, weight_type=QuantType.QInt8, extra_options={"ActivationSymmetric": True, "WeightSymmetric": True})
# name: model of the zoo, what is done to it one after the other, tolerance
CASES = {
    "bert_extended": ("bert_small", [optimised("EXTENDED")], EXACT),
    "gpt2_all": ("gpt2_small", [optimised("ALL")], EXACT),
    "mobilenet_all_quantised": ("mobilenet_v2_qdq", [optimised("ALL")], EXACT),
    "bert_operators_signed": ("bert_small", [operators(**SIGNED)], EXACT),
    "bert_dynamic_all": ("bert_small", [dynamic(weight_type=QuantType.QUInt8), optimised("ALL")], EXACT),
    "bert_half": ("bert_small", [half()], HALF),
    "gpt2_half_inside": ("gpt2_small", [half(keep_io_types=True)], HALF),
}


def check(name, folder, args):
    model, steps, tolerance = CASES[name]
    path, module = zoo.path_of(model), Path(folder) / "model.tern"
    for i, step in enumerate(steps):
        step(path, Path(folder) / f"{i}.onnx", zoo.inputs_of(model, 0))
        path = Path(folder) / f"{i}.onnx"
    options = ort_reference.session_options(plain=path)
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    tools.compile_model(path, module, *([f"--targets={args.targets}"] if args.targets else []))
    names, problems = [o.name for o in session.get_outputs()], []
    for i in range(len(zoo.MODELS[model].cases)):
        case = zoo.inputs_of(model, i)
        for x in session.get_inputs():
            if x.type == "tensor(float16)":
                case[x.name] = case[x.name].astype(np.float16)
        wanted = session.run(None, case)
        got = tools.run_module(module, case, names, Path(folder) / str(i), "--driver", args.driver, "--threads", "2")
        for output, g, w in zip(names, got, wanted):
            if problem := tools.difference(g, w, **tolerance):
                problems.append(f"case {i}, output '{output}': {problem}")
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--filter", default="")
    parser.add_argument("--driver", default="cpu")
    parser.add_argument("--targets", default=operator_cases.ONE_LEVEL)
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    names = [n for n in CASES if args.filter in n]
    if not names:
        parser.error(f"no case has '{args.filter}' in its name")
    failed = 0
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            try:
                problems = check(name, folder, args)
            except tools.ToolError as error:
                problems = [str(error)]
        print(f"{name:30} {'FAIL' if problems else 'ok'}", flush=True)
        for problem in problems:
            print(f"    {problem}")
        failed += bool(problems)
    print(f"{failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
