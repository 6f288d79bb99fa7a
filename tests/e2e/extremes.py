#!/usr/bin/env python3
"""Operators where numbers are extreme: sums beyond 16 bits, long sums, infinities and NaN beside others. One node each, its sizes static
and symbolic, against ONNX Runtime's f32 results (what is of 16 bits: rounded from those).

    extremes.py [NAME…] [--driver cpu]
"""

import argparse
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))

import ml_dtypes  # noqa: E402
import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
import ort_reference  # noqa: E402
import tern_tools as tools  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

TYPES = {"f32": (TensorProto.FLOAT, np.float32, 1e-3), "f16": (TensorProto.FLOAT16, np.float16, 3e-3), "bf16": (TensorProto.BFLOAT16, ml_dtypes.bfloat16, 2e-2)}
OPSETS = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
STATIC, SYMBOLIC, BOTH = (False,), (True,), (False, True)


class Case:
    """`inputs`: f32 arrays are of the type under test, others as they are; tuples are constants. `wanted`: instead of ONNX Runtime's."""

    def __init__(self, op, *inputs, types=("f16", "bf16"), sizes=BOTH, wanted=None, domain="", outputs=1, **attributes):
        self.op, self.inputs, self.types, self.sizes, self.wanted = op, inputs, types, sizes, wanted
        self.domain, self.outputs, self.attributes = domain, outputs, attributes

    def add_to(self, graph, name, dtype, symbolic, fed):
        names = []
        for i, x in enumerate(self.inputs):
            names.append(f"{name}_{i}" if x is not None else "")
            if isinstance(x, tuple):
                graph.initializer.append(numpy_helper.from_array(np.array(x[0]), names[-1]))
            elif x is not None:
                mine = x.dtype == np.float32
                onnx_type = TYPES[dtype][0] if mine else helper.np_dtype_to_tensor_dtype(x.dtype)
                shape = [f"{names[-1]}_{a}" for a in range(x.ndim)] if symbolic else x.shape
                graph.input.append(helper.make_tensor_value_info(names[-1], onnx_type, shape))
                fed[names[-1]] = x.astype(TYPES[dtype][1]) if mine else x
        made = [f"{name}_out{i}" for i in range(self.outputs)]
        graph.node.append(helper.make_node(self.op, names, made, name=name, domain=self.domain, **self.attributes))
        graph.output.extend(helper.make_tensor_value_info(o, TYPES[dtype][0], None) for o in made)
        return made

    def truth(self, dtype):
        if self.wanted is not None:
            return [np.asarray(w, np.float32) for w in self.wanted]
        graph, fed = onnx.GraphProto(name="g"), {}
        self.add_to(graph, "case", dtype, False, fed)
        fed = {k: v.astype(np.float32) if v.dtype == TYPES[dtype][1] else v for k, v in fed.items()}
        plain = onnx.GraphProto(name="g")
        self.add_to(plain, "case", "f32", False, {})
        options = ort_reference.session_options()
        options.log_severity_level = 4
        model = helper.make_model(plain, opset_imports=OPSETS, ir_version=10)
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(None, fed)


def full(value, *shape):
    return np.full(shape, value, np.float32)


def ramp(*shape, most=30000):
    return np.linspace(-most, most, int(np.prod(shape)), dtype=np.float32).reshape(shape)


AXIS0, AXIS1 = (np.array([0], np.int64),), (np.array([1], np.int64),)
EVEN = np.where(np.arange(3000) % 3 == 2, np.float32(-60000), np.float32(60000)).reshape(2, 1500)
ONES, ZEROS = full(1, 3), full(0, 3)
# An infinity and a NaN among other numbers.
BESIDE = ramp(1, 2, 30, 40, most=9)
BESIDE[0, 0, 3, 4], BESIDE[0, 1, 20, 30] = np.inf, np.nan
LONG = full(0.1, 1000000, 3)
# A picture whose channels lie beside each other, nearly of one colour: the terms are as large as the sum's last places.
PLAIN = np.random.default_rng(0).normal(2044.17, 0.5, (600, 600, 8)).astype(np.float32)
PLAIN_NORMALISED = ((PLAIN - PLAIN.mean((0, 1), dtype=np.float64)) / PLAIN.std((0, 1), dtype=np.float64)).astype(np.float32)
# A line of pixels lies in the middle, as PyTorch has it: ONNX Runtime puts it at the end, ONNX's evaluator at the start, its function divides by 0.
PLACES, LINE = np.array([[[1, 2, 3], [4, 5, 6]]], np.float32), np.array([[[[2, 2], [3, 6], [4, 10]]]], np.float32)
CASES = {
    "affine_grid_line": Case("AffineGrid", PLACES, (np.array([1, 1, 1, 3], np.int64),), sizes=STATIC, wanted=[LINE], align_corners=1),
    "affine_grid_line_at_run_time": Case("AffineGrid", PLACES, np.array([1, 1, 1, 3], np.int64), sizes=STATIC, wanted=[LINE], align_corners=1),
    "average_pool": Case("AveragePool", full(30000, 1, 2, 8, 8), kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]),
    "average_pool_padding": Case("AveragePool", full(30000, 1, 2, 8, 8), kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    "average_pool_long": Case("AveragePool", full(3, 1, 2, 50000), kernel_shape=[40000], strides=[1000]),
    "global_average": Case("GlobalAveragePool", full(30000, 1, 2, 300, 300)),
    "lp_pool": Case("LpPool", full(300, 1, 2, 8, 8), kernel_shape=[3, 3], p=2),
    "lp_pool_3": Case("LpPool", full(200, 1, 2, 8, 8), kernel_shape=[3, 3], p=3),
    "global_lp_pool": Case("GlobalLpPool", full(300, 1, 2, 8, 8), p=2, wanted=[full(2400, 1, 2, 1, 1)]),
    "softmax": Case("Softmax", full(1, 2, 100000), axis=-1),
    "softmax_columns": Case("Softmax", full(1, 100000, 3), axis=0),
    "softmax_middle": Case("Softmax", full(1, 2, 70000, 3), axis=1),
    "log_softmax": Case("LogSoftmax", full(1, 2, 100000), axis=-1),
    "bias_softmax": Case("BiasSoftmax", full(1, 2, 70000), full(1, 2, 70000), domain="com.microsoft", axis=1, is_inner_broadcast=0, sizes=STATIC, wanted=[full(1 / 70000, 2, 70000)]),
    "sum": Case("ReduceSum", EVEN[:, :3], AXIS1),
    "sum_columns": Case("ReduceSum", EVEN[:, :3].T.copy(), AXIS0),
    "mean": Case("ReduceMean", full(30000, 2, 3000), AXIS1),
    "mean_columns": Case("ReduceMean", full(1, 300000, 3), AXIS0),
    "l2": Case("ReduceL2", full(300, 2, 3000), AXIS1),
    "log_sum": Case("ReduceLogSum", full(300, 2, 3000), AXIS1),
    "log_sum_exp": Case("ReduceLogSumExp", full(0, 2, 300000), AXIS1),
    "einsum": Case("Einsum", full(300, 2, 3), full(300, 3, 4), full(1 / 19200, 4, 2), equation="ij,jk,kl->il"),
    "einsum_sum": Case("Einsum", full(30000, 9, 3), full(1 / 300, 3, 4), equation="ij,jk->k"),
    "gemm": Case("Gemm", full(300, 2, 30), full(300, 30, 3), ONES, alpha=0.001),
    "determinant": Case("Det", np.diag([300, 300, 300, 1 / 128, 1 / 128, 1]).astype(np.float32), sizes=STATIC),
    "sum_of_three": Case("Sum", full(60000, 5), full(60000, 5), full(-60000, 5)),
    "mean_of_two": Case("Mean", full(40000, 5), full(40000, 5)),
    "instance_norm": Case("InstanceNormalization", ramp(2, 3, 10, 10), ONES, ZEROS),
    "layer_norm": Case("LayerNormalization", ramp(2, 300), full(1, 300), full(0, 300)),
    "group_norm": Case("GroupNormalization", ramp(2, 4, 10, 10), full(1, 4), full(0, 4), num_groups=2),
    "mean_variance_norm": Case("MeanVarianceNormalization", ramp(2, 3, 10, 10)),
    "lp_norm": Case("LpNormalization", ramp(2, 300), p=2),
    "lp_norm_1": Case("LpNormalization", full(300, 2, 3000), p=1),
    "batch_norm_training": Case("BatchNormalization", ramp(4, 3, 10, 10), ONES, ZEROS, ZEROS, ONES, outputs=3, training_mode=1),
    "lrn": Case("LRN", full(300, 1, 8, 3, 3), size=5, alpha=0.001),
    "cross_entropy": Case("SoftmaxCrossEntropyLoss", full(30, 70000, 3), np.zeros(70000, np.int64)),
    "likelihood": Case("NegativeLogLikelihoodLoss", full(-30, 5000, 3), np.zeros(5000, np.int64)),
    "resize_antialiased": Case("Resize", BESIDE, None, None, (np.array([1, 2, 7, 9], np.int64),), types=("f32",), mode="linear", antialias=1),
    "resize_antialiased_cubic": Case("Resize", BESIDE, None, None, (np.array([1, 2, 7, 50], np.int64),), types=("f32",), mode="cubic", antialias=1),
    "roi_align": Case("RoiAlign", full(60000, 1, 1, 8, 8), np.array([[0, 0, 7, 7]], np.float32), np.zeros(1, np.int64), sizes=STATIC, output_height=2, output_width=2, sampling_ratio=2),
    "long_sum": Case("ReduceSum", LONG, AXIS0, types=("f32",), wanted=[full(100000, 1, 3)]),
    "long_sum_middle": Case("ReduceSum", LONG.reshape(2, 300000, 5), AXIS1, types=("f32",), sizes=SYMBOLIC, wanted=[full(30000, 2, 1, 5)]),
    "long_columns": Case("MeanVarianceNormalization", PLAIN, types=("f32",), wanted=[PLAIN_NORMALISED], axes=[0, 1]),
    "long_row": Case("ReduceSum", LONG.reshape(3, 1000000), AXIS1, types=("f32",), wanted=[full(100000, 3, 1)]),
}


def check(names, dtype, symbolic, driver, folder):
    """Compiles the cases as one model and runs it; the texts of what is wrong."""
    graph, fed, made = onnx.GraphProto(name="g"), {}, {}
    for name in names:
        made[name] = CASES[name].add_to(graph, name, dtype, symbolic, fed)
    onnx.save(helper.make_model(graph, opset_imports=OPSETS, ir_version=10), folder / "model.onnx")
    tools.compile_model(folder / "model.onnx", folder / "model.tern", f"--targets={driver}")
    outputs = [o for name in names for o in made[name]]
    got = dict(zip(outputs, tools.run_module(folder / "model.tern", fed, outputs, folder, "--driver", driver, timeout=600)))
    _, np_type, tolerance = TYPES[dtype]
    problems = []
    for name in names:
        for output, wanted in zip(made[name], CASES[name].truth(dtype)):
            with np.errstate(over="ignore"):
                wanted = np.asarray(wanted).astype(np_type).astype(np.float32)
            found = got[output]
            found = (found.view(np_type) if found.dtype.kind == "V" else found).astype(np.float32)
            problem = tools.difference(found, wanted, tolerance, floor=1.0)
            if problem:
                problems.append(f"{name} {dtype}, {'symbolic' if symbolic else 'static'} sizes: {problem}")
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--driver", default="cpu")
    args = parser.parse_args()
    chosen = args.names or list(CASES)
    count, problems = 0, []
    with tempfile.TemporaryDirectory() as folder:
        for dtype in TYPES:
            for symbolic in BOTH:
                names = [n for n in chosen if dtype in CASES[n].types and symbolic in CASES[n].sizes]
                count += len(names)
                problems += check(names, dtype, symbolic, args.driver, Path(folder)) if names else []
    for problem in problems:
        print("FAIL " + problem)
    print(f"{count - len(problems)} passed, {len(problems)} failed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
