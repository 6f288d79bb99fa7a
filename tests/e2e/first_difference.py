#!/usr/bin/env python3
"""Where a model goes wrong: makes values inside the main graph outputs too, and prints those that differ from ONNX Runtime's,
in the model's order. (An output ends a fusion: a fault that needs the fusion may hide.)

    first_difference.py MODEL|FILE.onnx [--op Conv,MatMul] [--first N] [--case C] [--keep FILE.onnx]
"""

import argparse
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]

import compare  # noqa: E402
import onnx  # noqa: E402
import tern_tools as tools  # noqa: E402
import zoo  # noqa: E402
from onnx import helper  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--op", help="only outputs of these operators")
    parser.add_argument("--first", type=int, default=1000, help="only the first N of them")
    parser.add_argument("--case", type=int, default=0)
    parser.add_argument("--keep", help="write the model with its many outputs there")
    args = parser.parse_args()
    if args.model in zoo.MODELS:
        path, inputs = zoo.path_of(args.model), zoo.inputs_of(args.model, args.case)
    else:
        path, inputs = args.model, compare.any_inputs(args.model, args.case)
    model = onnx.load(path)
    kinds = args.op.split(",") if args.op else None
    nodes = [n for n in model.graph.node if n.op_type != "Constant" and (not kinds or n.op_type in kinds)][: args.first]
    typed = onnx.shape_inference.infer_shapes(model).graph
    types = {v.name: v.type.tensor_type.elem_type for v in [*typed.value_info, *typed.output]}
    del model.graph.output[:]
    for node in nodes:
        for name in filter(None, node.output):
            model.graph.output.append(helper.make_tensor_value_info(name, types.get(name, 1), None))
    with tempfile.TemporaryDirectory() as folder:
        cut, module = args.keep or Path(folder) / "cut.onnx", Path(folder) / "cut.tern"
        onnx.save(model, cut)
        names, (wanted,) = compare.reference(cut, [inputs])
        tools.compile_model(cut, module)
        got = tools.run_module(module, inputs, names, folder, "--threads", "1")
    makers = {o: n for n in nodes for o in n.output}
    wrong = 0
    for name, g, w in zip(names, got, wanted):
        problem = tools.difference(g, w)
        if problem:
            wrong += 1
            node = makers[name]
            facts = ", ".join(f"{a.name}={helper.get_attribute_value(a)}" for a in node.attribute)
            print(f"{node.op_type} '{node.name}' -> {name} {list(w.shape)}: {problem}\n    {facts}")
    print(f"{wrong} of {len(names)} values differ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
