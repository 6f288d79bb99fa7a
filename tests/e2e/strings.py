#!/usr/bin/env python3
"""Models whose labels and categories are strings, as scikit-learn's converters write them: ONNX Runtime has strings, tern their numbers
in the tables that ternc states.

    strings.py [NAME…] [--driver cpu] [--targets cpu:x86_64_v3]
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
import operator_cases  # noqa: E402
import tern_tools as tools  # noqa: E402
from onnx import TensorProto, helper  # noqa: E402

CASES = {}
F32, I64, TEXT = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING
PETS = ["eel", "cat", "dog"]
GIVEN = np.array([["cat", "x"], ["eel", "y"], ["newt", "x"], ["dog", "z"]], object)
NUMBERS = np.random.default_rng(0).standard_normal((4, 5)).astype(np.float32)
CODES = np.array([[2], [0], [7], [1]], np.int64)


def case(build):
    CASES[build.__name__] = build


def ml(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, outputs[0], domain="ai.onnx.ml", **attributes)


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, outputs[0], **attributes)


@case
def one_hot():
    return [ml("OneHotEncoder", ["x"], ["y"], cats_strings=PETS, zeros=1)], GIVEN[:, :1], [("y", F32)]


@case
def columns_encoded():
    """Of two columns, one by each encoder, side by side, as a ColumnTransformer."""
    nodes = [
        ml("ArrayFeatureExtractor", ["x", "first"], ["a"]),
        ml("ArrayFeatureExtractor", ["x", "second"], ["b"]),
        ml("OneHotEncoder", ["a"], ["h"], cats_strings=PETS, zeros=1),
        node("Reshape", ["h", "rows"], ["c"]),
        ml("LabelEncoder", ["b"], ["d"], keys_strings=["x", "y"], values_int64s=[5, 6], default_int64=-1),
        node("Cast", ["d"], ["e"], to=F32),
        node("Concat", ["c", "e"], ["y"], axis=1),
    ]
    return nodes, GIVEN, [("y", F32)], {"first": np.array([0]), "second": np.array([1]), "rows": np.array([-1, 3])}


@case
def label_of_text():
    return [ml("LabelEncoder", ["x"], ["y"], keys_strings=["x", "cat", "x"], values_strings=["ex", "kitten", "never"], default_string="none")], GIVEN, [("y", TEXT)]


@case
def label_of_number():
    return [ml("LabelEncoder", ["x"], ["y"], keys_int64s=[0, 1, 2], values_strings=PETS)], CODES, [("y", TEXT)]


def of_ml(version):
    def mark(build):
        build.ml = version
        return build

    return mark


@case
@of_ml(1)
def label_of_class():
    """As ML.NET writes it."""
    return [ml("LabelEncoder", ["x"], ["y"], classes_strings=PETS, default_int64=7)], GIVEN, [("y", I64)]


@case
@of_ml(1)
def class_of_label():
    return [ml("LabelEncoder", ["x"], ["y"], classes_strings=PETS)], CODES, [("y", TEXT)]


@case
def category_to_number():
    return [ml("CategoryMapper", ["x"], ["y"], cats_strings=PETS, cats_int64s=[4, 5, 6], default_int64=9)], GIVEN, [("y", I64)]


@case
def category_to_text():
    return [ml("CategoryMapper", ["x"], ["y"], cats_strings=PETS, cats_int64s=[0, 2, 1], default_string="cat")], CODES, [("y", TEXT)]


def scores(classes):
    return dict(coefficients=np.linspace(-1, 1, classes * 5).tolist(), intercepts=[0.1 * i for i in range(classes)], classlabels_strings=PETS[:classes])


@case
def linear_classifier():
    return [ml("LinearClassifier", ["x"], ["label", "p"], post_transform="SOFTMAX", **scores(3))], NUMBERS, [("label", TEXT), ("p", F32)]


@case
def scores_in_maps():
    """skl2onnx's default: the scores in a list of maps from names to numbers."""
    nodes = [
        ml("LinearClassifier", ["x"], ["label", "p"], post_transform="SOFTMAX", **scores(3)),
        ml("ZipMap", ["p"], ["maps"], classlabels_strings=PETS),
    ]
    return nodes, NUMBERS, [("label", TEXT), ("maps", None)]


@case
def scores_in_a_list():
    """skl2onnx's MultiOutputClassifier: the scores of each output in a list."""
    nodes = [
        ml("LinearClassifier", ["x"], ["a", "p"], post_transform="SOFTMAX", **scores(3)),
        ml("LinearClassifier", ["x"], ["b", "q"], post_transform="LOGISTIC", **scores(2)),
        node("SequenceConstruct", ["p", "q"], ["scores"]),
    ]
    return nodes, NUMBERS, [("a", TEXT), ("scores", "list"), ("b", TEXT)]


@case
def tree_classifier():
    tree = dict(nodes_treeids=[0] * 3, nodes_nodeids=[0, 1, 2], nodes_featureids=[2, 0, 0], nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"])
    tree |= dict(nodes_values=[0.1, 0.0, 0.0], nodes_truenodeids=[1, 0, 0], nodes_falsenodeids=[2, 0, 0], nodes_hitrates=[1.0] * 3, nodes_missing_value_tracks_true=[0] * 3)
    tree |= dict(class_treeids=[0] * 6, class_nodeids=[1, 1, 1, 2, 2, 2], class_ids=[0, 1, 2] * 2, class_weights=[0.1, 0.7, 0.2, 0.5, 0.2, 0.3], post_transform="NONE")
    return [ml("TreeEnsembleClassifier", ["x"], ["label", "p"], classlabels_strings=PETS, **tree)], NUMBERS, [("label", TEXT), ("p", F32)]


@case
def label_looked_up():
    """As skl2onnx writes classifiers that no operator is for."""
    nodes = [
        node("ArgMax", ["x"], ["at"], axis=1, keepdims=0),
        ml("ArrayFeatureExtractor", ["classes", "at"], ["row"]),
        node("Cast", ["row"], ["text"], to=TEXT),
        node("Reshape", ["text", "shape"], ["label"]),
        node("Equal", ["label", "wanted"], ["is"]),
    ]
    constants = {"classes": np.array([*PETS, "fox", "gnu"], object), "shape": np.array([-1]), "wanted": np.array(["fox"], object)}
    return nodes, NUMBERS, [("label", TEXT), ("is", TensorProto.BOOL)], constants


def model_of(nodes, given, outputs, constants=None, ml=2):
    type_of = lambda a: TEXT if a.dtype == object else helper.np_dtype_to_tensor_dtype(a.dtype)  # noqa: E731
    tensor = lambda n, a: helper.make_tensor(n, type_of(a), a.shape, [s.encode() for s in a.flat] if a.dtype == object else a.flatten())  # noqa: E731
    maps = helper.make_sequence_type_proto(helper.make_map_type_proto(TEXT, helper.make_tensor_type_proto(F32, [])))
    info = [helper.make_tensor_sequence_value_info(n, F32, None) if t == "list" else helper.make_tensor_value_info(n, t, None) if t else helper.make_value_info(n, maps) for n, t in outputs]
    x = helper.make_tensor_value_info("x", type_of(given), ["N", *given.shape[1:]])
    graph = helper.make_graph(nodes, "g", [x], info, [tensor(n, a) for n, a in (constants or {}).items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19), helper.make_opsetid("ai.onnx.ml", ml)], ir_version=9)


def tables(said):
    """The numbers of the strings, by input and output."""
    found = re.findall(r"(?:Input|Output) '(\w+)' holds strings, which the program has as numbers \(i64\): (.*); each other string", said)
    return {port: {name: int(number) for number, name in re.findall(r"(\d+) '(\w*)'", table)} for port, table in found}


def problems(build, folder, args):
    nodes, given, outputs, *constants = build()
    path, module = folder / "m.onnx", folder / "m.tern"
    onnx.save(model_of(nodes, given, outputs, *constants, ml=getattr(build, "ml", 2)), path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    wanted = session.run(None, {"x": given})
    command = [tools.TERNC, path, "-o", module, *([f"--targets={args.targets}"] if args.targets else [])]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=600)
    if done.returncode:
        return [done.stderr.strip()]
    of = tables(done.stderr)
    number = lambda port, a: np.vectorize(lambda s: of[port].get(s, -1), otypes=[np.int64])(a)  # noqa: E731
    sent = {"x": number("x", given) if given.dtype == object else given}
    names, whole = [], wanted
    wanted = []
    for (name, kind), want in zip(outputs, whole):
        parts = want if kind == "list" else [want]
        names += [f"{name}.{i}" for i in range(len(parts))] if kind == "list" else [name]
        wanted += parts
    found = []
    for name, got, want in zip(names, tools.run_module(module, sent, names, folder / "io", "--driver", args.driver), wanted):
        if isinstance(want, list):
            want = np.array([[row[p] for p in PETS] for row in want], np.float32)
        elif want.dtype == object:
            want = number(name, want)
        if problem := tools.difference(got, want):
            found.append(f"'{name}': {problem}")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--driver", default="cpu")
    parser.add_argument("--targets", default=operator_cases.ONE_LEVEL)
    args = parser.parse_args()
    if unknown := [n for n in args.names if n not in CASES]:
        parser.error(f"no such case: {', '.join(unknown)}")
    failed = 0
    for name in args.names or CASES:
        with tempfile.TemporaryDirectory() as folder:
            try:
                found = problems(CASES[name], Path(folder), args)
            except tools.ToolError as error:
                found = [str(error)]
        print(f"{name:24} {'FAIL ' + '; '.join(found) if found else 'ok'}", flush=True)
        failed += bool(found)
    print(f"{failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
