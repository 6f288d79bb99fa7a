#!/usr/bin/env python3
"""Every elementwise operator and fold on the numbers that programs get wrong: zeros of both signs, halves, infinities, NaN, denormals,
the ends of ranges, all pairs of them. Each value must be ONNX Runtime's or that of ONNX's reference evaluator.

    special_values.py [NAME…] [--driver cpu]

Left out is what ONNX leaves open: conversions to integers of numbers that those do not hold, and the quotient of integers by 0 or -1.
"""

import argparse
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
import ort_reference  # noqa: E402
import tern_tools as tools  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

# fmt: off
FLOATS = np.array([0.0, -0.0, 1, -1, 0.5, -0.5, 1.5, -1.5, 2.5, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 1.2e-38, 3.4e38, -3.4e38, 88.9, -88.9, -104,
                   1e5, -1e5, 1e10, 0.9999999, 1.0000001, 2**31, -(2**31) - 1.0, 2**63, 9.3e18, 300, -300], np.float32)
INTS = np.array([0, 1, -1, 2, -2, 3, -7, 2**31 - 1, -(2**31), 2**31, 2**62, 2**63 - 1, -(2**63), -(2**63) + 1, 10], np.int64)
UNARY = ("Abs Neg Floor Ceil Round Sqrt Reciprocal Exp Log Sin Cos Tan Asin Acos Atan Sinh Cosh Tanh Asinh Acosh Atanh Erf Sign Relu Sigmoid Softplus "
         "Softsign LeakyRelu Elu Selu Celu HardSigmoid HardSwish ThresholdedRelu Shrink Mish Gelu IsNaN IsInf")
BINARY = "Add Sub Mul Div Pow PRelu Greater Less Equal GreaterOrEqual LessOrEqual Min Max Sum Mean"
FOLDS = "ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceSumSquare"
# fmt: on


def pairs(values):
    return [a.ravel().copy() for a in np.meshgrid(values, values)]


def max_pool(x):
    """NaN wherever a window has one, as PyTorch's: ONNX Runtime and the reference evaluator each skip some and keep others (docs/decisions.md)."""
    return np.lib.stride_tricks.sliding_window_view(x, 3, axis=-1).max(axis=-1)


def cases():
    """name: (operator, inputs, constant inputs, attributes); then a function that says the result, where others contradict themselves."""
    x, y = pairs(FLOATS)
    i, j = pairs(INTS)
    divisible = (j != 0) & (j != -1)
    matrix = np.stack([np.roll(FLOATS, k) for k in range(6)])
    picture = np.arange(24, dtype=np.float32).reshape(1, 1, 4, 6)
    picture[0, 0, 1:, 5] = np.inf
    finite = FLOATS[np.isfinite(FLOATS) & (np.abs(FLOATS) < 2e9)]
    out = {op: (op, [FLOATS], [], {}) for op in UNARY.split()}
    out |= {op: (op, [x, y], [], {}) for op in BINARY.split()}
    out |= {op + " of integers": (op, [i, j], [], {}) for op in "Add Sub Mul Greater Less Equal Min Max".split()}
    out |= {op + " of integers": (op, [INTS], [], {}) for op in "Abs Neg Sign".split()}
    out |= {f"{op} {fmod} of integers": (op, [i[divisible], j[divisible]], [], {"fmod": 1} if fmod else {}) for op, fmod in (("Div", 0), ("Mod", 0), ("Mod", 1))}
    out |= {f"Cast to {t}": ("Cast", [finite if t.startswith("INT") else FLOATS], [], {"to": getattr(TensorProto, t)}) for t in ("INT64", "INT32", "BOOL", "FLOAT16", "DOUBLE")}
    out |= {op: (op, [matrix], [], {"axis": 1}) for op in "Softmax LogSoftmax Hardmax ArgMax ArgMin".split()}
    out |= {f"{op} along {axis}": (op, [matrix], [np.array([axis])], {}) for op in FOLDS.split() for axis in (0, 1)}
    out |= {f"{op} of nothing": (op, [matrix[:0]], [np.array([0])], {}) for op in FOLDS.split() if op not in ("ReduceMax", "ReduceMin")}
    out |= {
        "Mod of floats": ("Mod", [x, y], [], {"fmod": 1}),
        "Clip": ("Clip", [FLOATS, np.array(-1, np.float32), np.array(1, np.float32)], [], {}),
        "Clip to nothing": ("Clip", [FLOATS, np.array(5, np.float32), np.array(1, np.float32)], [], {}),
        "ArgMax of f16": ("ArgMax", [matrix.astype(np.float16)], [], {"axis": 1}),
        "CumSum": ("CumSum", [matrix], [np.array([1])], {}),
        "Where": ("Where", [np.isnan(x), x, y], [], {}),
        "MaxPool": ("MaxPool", [matrix[None]], [], {"kernel_shape": [3]}, max_pool),
        # Regions that reach out of a picture with infinities at its border.
        "RoiAlign": ("RoiAlign", [picture, np.array([[2, 0, 10, 4], [-5, -5, -3, -3]], np.float32), np.zeros(2, np.int64)], [], {"output_height": 2, "output_width": 4, "sampling_ratio": 1}),
        "AveragePool": ("AveragePool", [matrix[None]], [], {"kernel_shape": [3]}),
        "LayerNormalization": ("LayerNormalization", [matrix, np.ones(matrix.shape[1], np.float32)], [], {"axis": -1}),
        "LpNormalization": ("LpNormalization", [matrix], [], {"p": 2, "axis": 1}),
        "QuantizeLinear": ("QuantizeLinear", [FLOATS[~np.isnan(FLOATS)], np.array(0.1, np.float32), np.array(3, np.int8)], [], {}),
        "MatMul": ("MatMul", [matrix, matrix.T.copy()], [], {}),
    }
    return out


def model(chosen):
    """The model, its inputs, and each case's output."""
    graph, fed = onnx.GraphProto(name="g"), {}
    for number, (op, inputs, constants, attributes, *_) in enumerate(chosen):
        names = [f"i{number}_{k}" for k in range(len(inputs))]
        for name, array in zip(names, inputs):
            graph.input.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape))
            fed[name] = array
        for k, array in enumerate(constants):
            names.append(f"c{number}_{k}")
            graph.initializer.append(numpy_helper.from_array(array, names[-1]))
        graph.node.append(helper.make_node(op, names, [f"o{number}"], **attributes))
        graph.output.append(onnx.ValueInfoProto(name=f"o{number}"))
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return onnx.shape_inference.infer_shapes(proto), fed, [o.name for o in graph.output]


def references(case):
    """What ONNX Runtime and ONNX's reference evaluator give, each if it has the operator."""
    if len(case) > 4:
        return [case[4](*case[1])]
    proto, fed, _ = model([case])
    options = ort_reference.session_options()
    options.log_severity_level = 4
    makers = [
        lambda: onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(None, fed),
        lambda: ReferenceEvaluator(proto).run(None, fed),
    ]
    found = []
    for make in makers:
        try:
            found.append(np.asarray(make()[0]))
        except Exception:  # of theirs: not every operator and type is there
            continue
    return found


def agrees(got, wanted):
    """For each value, or None where types or shapes differ."""
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        return None
    if got.dtype.kind != "f":
        return got == wanted
    got, wanted = got.astype(np.float64), wanted.astype(np.float64)
    return (np.isnan(got) & np.isnan(wanted)) | (got == wanted) | (np.abs(got - wanted) <= 1e-4 * np.abs(wanted) + 1e-37)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--driver", default="cpu")
    args = parser.parse_args()
    np.seterr(all="ignore")
    chosen = {n: c for n, c in cases().items() if not args.names or any(word in n for word in args.names)}
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        proto, fed, outputs = model(list(chosen.values()))
        onnx.save(proto, folder / "m.onnx")
        tools.compile_model(folder / "m.onnx", folder / "m.tern", f"--targets={args.driver}")
        got = tools.run_module(folder / "m.tern", fed, outputs, folder, "--driver", args.driver, timeout=300)
    for (name, case), value in zip(chosen.items(), got):
        verdicts = [v for v in (agrees(value, w) for w in references(case)) if v is not None]
        right = np.logical_or.reduce(verdicts) if verdicts else np.zeros(value.shape, bool)
        if not np.all(right):
            failed += 1
            at = np.flatnonzero(~np.broadcast_to(right, value.shape))[0] if value.size else 0
            print(f"FAIL {name}: {np.count_nonzero(~right)} of {value.size} values are nobody else's, first number {at}: {value.ravel()[at:at + 1]}")
    print(f"{len(chosen) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
