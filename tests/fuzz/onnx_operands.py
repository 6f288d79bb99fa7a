#!/usr/bin/env python3
"""Every operator with operands that nobody thought of, through ternc: from the schemas of ONNX and of ONNX Runtime's own operators, one node
with inputs of any rank (scalars, rank 7), dimensions of 0 and 2^62, negative and huge axes and sizes, optional inputs left out, wrong types.

    onnx_operands.py [--rounds 1] [--seconds S] [--seed 1] [--only Conv MatMul] [--keep FOLDER] [-j 2]

A round has one model of each operator. ternc ends within TIMEOUT seconds of a processor and MEMORY: with exit code 0, or with 1 or 4 and sentences that
name the node and its operator, or the input or output of the model that is wrong. It compiles what it accepts, which must be LEAST of the
models of all operators: one that refused everything would keep all these promises. Of the operators that --only names one model at least must
compile: rounds go on until one does, ONLY_ROUNDS at most. --keep writes the models that broke one there; TERN_BUILD
picks the ternc.
"""

import argparse
import concurrent.futures
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))

import onnx  # noqa: E402
import onnxruntime.capi.onnxruntime_pybind11_state as onnxruntime_state  # noqa: E402
import promises  # noqa: E402
import tern_tools as tools  # noqa: E402
from onnx import TensorProto, helper  # noqa: E402

TIMEOUT, MEMORY = 30, 1 << 30
ONLY_ROUNDS = 100
LEAST = 0.15  # 105 of 376 in the first round
ELEMENTS = {
    "float": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7, "string": 8, "bool": 9, "float16": 10, "double": 11,
    "uint32": 12, "uint64": 13, "bfloat16": 16, "float8e4m3fn": 17, "uint4": 21, "int4": 22,
}
LARGE = (2**31 - 1, 2**31, 2**40, 2**62)
EXTREMES = (-(2**63), -(2**31), -100, -7, 2**63 - 1, *LARGE)
NUMPY = {1: "f4", 2: "u1", 3: "i1", 4: "u2", 5: "i2", 6: "i4", 7: "i8", 9: "?", 10: "f2", 11: "f8", 12: "u4", 13: "u8"}
WORDS = ("", "constant", "linear", "nearest", "cubic", "SAME_UPPER", "VALID", "sum", "mean", "none", "add", "mul", "max", "reverse", "reflect", "bidirectional", "asymmetric", "DCR", "LT", "NCHW", "ij,jk->ik", "...i,ij", "i->", "Relu", "\x00", "nothing such")
OPSET = 22
BODIES = ("If", "Loop", "Scan")


class Schema:
    """What is used of an operator's schema, from either library."""

    def __init__(self, domain, name, version, inputs, outputs, attributes):
        self.domain, self.name, self.version, self.inputs, self.outputs, self.attributes = domain, name, version, inputs, outputs, attributes

    @property
    def title(self):
        return f"{self.domain or 'ai.onnx'}.{self.name}"


def formal(parameter):
    """(option, element types) of a formal parameter; option: Single, Optional or Variadic."""
    types = {ELEMENTS[t[7:-1]] for t in parameter.types if t.startswith("tensor(") and t[7:-1] in ELEMENTS}
    return str(parameter.option).rsplit(".", 1)[-1], sorted(types) or [1]


def schemas():
    for s in [*onnx.defs.get_all_schemas(), *(s for s in onnxruntime_state.get_all_operator_schema() if s.domain == "com.microsoft")]:
        attributes = {name: (str(a.type).rsplit(".", 1)[-1], a.required) for name, a in s.attributes.items()}
        yield Schema(s.domain, s.name, s.since_version, [formal(p) for p in s.inputs], [formal(p) for p in s.outputs], attributes)


class Maker:
    """One model of one operator, drawn by `choice`."""

    def __init__(self, schema, choice):
        self.schema, self.choice = schema, choice
        self.inputs, self.initializers = [], []
        self.rank = choice.choice((0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7))
        self.strange = choice.choice((0.0, 0.02, 0.1, 0.3))  # how often something is out of place
        self.plain = choice.random() < 0.2  # operands of one shape, no attribute that is not required: most operators compile so now and then
        if self.plain:
            self.strange = 0.0

    def odd(self):
        return self.choice.random() < self.strange

    def number(self):
        if self.odd():
            return self.choice.choice(EXTREMES)
        return self.choice.choice((-2, -1, 0, 0, 1, 1, 1, 2, 2, 3, 4, 8))

    def shape(self):
        if self.plain:
            return [4] * self.rank
        rank = self.choice.choice((0, 1, 2, 3, 4, 7)) if self.odd() or self.choice.random() < 0.3 else self.rank
        dims = [self.choice.choice((1, 2, 3, 4, 8)) if self.choice.random() < 0.5 else 4 for _ in range(rank)]
        for i in range(rank):
            if self.odd():
                dims[i] = self.choice.choice((0, 0, 0, "N", "N", "M", self.choice.choice(LARGE)))
        return dims

    def tensor(self, name, kinds, shape=None):
        kind = self.choice.choice(list(ELEMENTS.values())) if self.odd() else self.choice.choice(kinds)
        fixed, shape = shape is not None, self.shape() if shape is None else shape
        elements = 1
        for d in shape:
            elements *= d if isinstance(d, int) else 10**9
        constant = all(isinstance(d, int) for d in shape) and self.choice.random() < (0.7 if kind in (6, 7) else 0.25) and elements <= 4096 and kind in NUMPY
        if not constant:
            self.inputs.append(helper.make_tensor_value_info(name, kind, shape if self.choice.random() > 0.03 else None))
        elif kind in (6, 7):
            if not fixed and self.choice.random() < 0.6:  # what a list of axes or sizes is like
                shape, elements = [self.choice.choice((0, 1, self.rank, self.rank))], None
                elements = shape[0]
            limit = 2**31 if kind == 6 else 2**63
            values = [max(-limit, min(limit - 1, self.number())) for _ in range(elements)]
            self.initializers.append(helper.make_tensor(name, kind, shape, values))
        else:
            raw = bytes(elements * int(NUMPY[kind][1:] if kind != 9 else 1))
            if kind in (1, 11) and self.choice.random() < 0.7:
                self.initializers.append(helper.make_tensor(name, kind, shape, [self.choice.choice((0.0, 1.0, 2.0, -1.5, 1e30, float("nan"), float("inf"))) for _ in range(elements)]))
            else:
                self.initializers.append(helper.make_tensor(name, kind, shape, raw, raw=True))

    def attribute(self, name, kind):
        if kind == "INT":
            return helper.make_attribute(name, self.choice.choice(list(ELEMENTS.values())) if name in ("to", "dtype") else self.number())
        if kind == "FLOAT":
            return helper.make_attribute(name, self.choice.choice((0.0, 1.0, -1.0, 0.5, 1e38, float("nan"), float("inf"))))
        if kind == "STRING":
            return helper.make_attribute(name, self.choice.choice(WORDS))
        length = self.choice.choice((0, 1, 7)) if self.odd() else self.choice.choice((1, self.rank, max(self.rank - 2, 0), 2 * max(self.rank - 2, 0)))
        values = {"INTS": lambda: self.number(), "FLOATS": lambda: self.choice.choice((0.0, 1.0, -2.0)), "STRINGS": lambda: self.choice.choice(WORDS)}
        if kind in values:
            made = helper.make_attribute(name, [values[kind]() for _ in range(length)] or [0])
            if not length:
                made.ClearField(kind.lower())
            return made
        if kind == "TENSOR":
            element = self.choice.choice((1, 6, 7))
            return helper.make_attribute(name, helper.make_tensor("t", element, [length], [1] * length))
        if kind == "GRAPH":
            outs = [helper.make_tensor_value_info(f"{name}{i}", 1, None) for i in range(self.choice.randrange(0, 3))]
            body = [helper.make_node("Identity", [self.choice.choice(self.names or ["absent"])], [o.name]) for o in outs]
            ins = [helper.make_tensor_value_info(f"{name}_in{i}", self.choice.choice((1, 7, 9)), self.shape()) for i in range(self.choice.randrange(0, 4))]
            return helper.make_attribute(name, helper.make_graph(body, name, ins, outs))
        return None

    def model(self):
        schema = self.schema
        operands = []
        for option, kinds in schema.inputs:
            if option == "Variadic":
                operands += [kinds] * self.choice.choice((0, 1, 2, 3))
            elif option == "Optional" and self.choice.random() < 0.5 or self.odd() and self.choice.random() < 0.3:
                operands.append(None)
            else:
                operands.append(kinds)
        while operands and operands[-1] is None and self.choice.random() < 0.8:
            operands.pop()
        self.names = [f"x{i}" if kinds else "" for i, kinds in enumerate(operands)]
        kept = self.choice.choice(ELEMENTS_COMMON)
        for name, kinds in zip(self.names, operands):
            if name:
                self.tensor(name, [kept] if kept in kinds else kinds)
        attributes = [self.attribute(n, kind) for n, (kind, required) in schema.attributes.items() if (required and not self.odd()) or not self.plain and self.choice.random() < 0.4]
        count = max(1, sum(1 for option, _ in schema.outputs if option == "Single" or self.choice.random() < 0.3))
        outputs = [f"y{i}" for i in range(count)]
        node = helper.make_node(schema.name, self.names, outputs, name="the_node", domain=schema.domain)
        node.attribute.extend(a for a in attributes if a is not None)
        kinds = [*(k for _, k in schema.outputs), [1]]
        return self.saved(node, [kept if kept in kinds[min(i, len(kinds) - 1)] else kinds[min(i, len(kinds) - 1)][0] for i in range(count)])

    def saved(self, node, result_kinds):
        schema = self.schema
        results = [helper.make_tensor_value_info(o, kind, None) for o, kind in zip(node.output, result_kinds)]
        graph = helper.make_graph([node], "g", self.inputs, results, initializer=self.initializers)
        version = max(schema.version, self.choice.choice((OPSET, OPSET, 13)) if not schema.domain else 1)
        opsets = [helper.make_opsetid(schema.domain, version)]
        if schema.domain:
            opsets.append(helper.make_opsetid("", OPSET))
        return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


class BodyMaker(Maker):
    """If, Loop and Scan with bodies that mostly fit their operands: what Maker draws of a body never does."""

    def wrong(self):
        return self.choice.random() < self.strange / 4  # a model has some twenty things to be wrong

    def body(self, name, inputs, outputs):
        """A body whose inputs are (name, kind, shape or None); outputs: of each (kind, what it may be made from)."""
        nodes, results = [], []
        for i, (kind, sources) in enumerate(outputs):
            result = f"{name}_out{i}"
            source = self.choice.choice(sources or ["absent"]) if not self.wrong() else "absent"
            ways = ["Identity"] * 2 + (["Not"] if kind == 9 else ["Add", "Mul", "Max", "Neg"] if kind in (1, 6, 7, 10) else [])
            ways += self.choice.choice(([], [], [], ["Concat", "Shape", "Flatten"]))
            way = self.choice.choice(ways)
            operands = [source] * (2 if way in ("Add", "Mul", "Max", "Concat") else 1)
            if len(operands) == 2 and sources and self.choice.random() < 0.5:
                operands[1] = self.choice.choice(sources)
            nodes.append(helper.make_node(way, operands, [result], **({"axis": self.number()} if way == "Concat" else {})))
            shape = self.shape() if self.wrong() else None
            results.append(helper.make_tensor_value_info(result, self.choice.choice((1, 7, 9)) if self.wrong() else kind, shape))
        given = [helper.make_tensor_value_info(n, self.choice.choice((1, 7, 9)) if self.wrong() else kind, shape if self.choice.random() < 0.5 else None) for n, kind, shape in inputs]
        if self.wrong():
            self.choice.choice((given, results)).append(helper.make_tensor_value_info(f"{name}_more", 1, None))
        if given and self.wrong():
            given.pop()
        return helper.make_attribute(name, helper.make_graph(nodes, name, given, results))

    def operand(self, name, kind, shape):
        self.tensor(name, [kind], shape)
        return name

    def model(self):
        make = {"If": self.branches, "Loop": self.loop, "Scan": self.scan}[self.schema.name]
        inputs, attributes, kinds = make(self.choice.choice(ELEMENTS_COMMON))
        if self.wrong():
            inputs = inputs[: self.choice.randrange(0, len(inputs))]
        if self.wrong():
            kinds = kinds + [1] if self.choice.random() < 0.5 else kinds[:-1] or [1]
        node = helper.make_node(self.schema.name, inputs, [f"y{i}" for i in range(len(kinds))], name="the_node")
        node.attribute.extend(attributes)
        return self.saved(node, kinds)

    def branches(self, kind):
        outer = [self.operand(f"x{i}", kind, self.shape()) for i in range(1, self.choice.randrange(2, 4))]
        kinds = [kind] * self.choice.choice((1, 1, 2, 3))
        condition = self.operand("x0", 9, self.choice.choice(([], [], [1])))
        return [condition], [self.body(name, [], [(k, outer) for k in kinds]) for name in ("then_branch", "else_branch")], kinds

    def loop(self, kind):
        count = self.choice.choice((0, 1, 1, 2, 3))
        shapes = [self.shape() for _ in range(count)]
        states = [self.operand(f"x{i + 2}", kind, shape) for i, shape in enumerate(shapes)]
        trips = self.operand("x0", 7, self.choice.choice(([], [], [1]))) if self.choice.random() < 0.8 else ""
        condition = self.operand("x1", 9, self.choice.choice(([], [], [1]))) if self.choice.random() < 0.6 else ""
        inputs = [("body_in0", 7, []), ("body_in1", 9, []), *((f"body_in{i + 2}", kind, shape) for i, shape in enumerate(shapes))]
        own = [name for name, _, _ in inputs[2:]]
        kept = [(kind, [name]) if self.choice.random() < 0.6 else (kind, own) for name in own]
        scans = [self.choice.choice(((7, ["body_in0"]), (kind, own or states) if own else (7, ["body_in0"]))) for _ in range(self.choice.choice((0, 0, 1, 2) if own else (1, 2)))]
        kinds = [kind] * count + [k for k, _ in scans]
        return [trips, condition, *states], [self.body("body", inputs, [(9, ["body_in1"]), *kept, *scans])], kinds

    def scan(self, kind):
        states, scanned = self.choice.choice((0, 1, 1, 2)), self.choice.choice((1, 1, 2))
        shapes = [self.shape() for _ in range(states)] + [[self.choice.choice((1, 4, 4, "N")), *self.shape()]] * scanned
        operands = [self.operand(f"x{i}", kind, shape) for i, shape in enumerate(shapes)]
        inputs = [(f"body_in{i}", kind, shape[1:] if i >= states else shape) for i, shape in enumerate(shapes)]
        own = [name for name, _, _ in inputs]
        outputs = [(kind, [own[i]]) if i < states and self.choice.random() < 0.6 else (kind, own) for i in range(states + self.choice.choice((0 if states else 1, 1, 2)))]
        attributes = [self.body("body", inputs, outputs), helper.make_attribute("num_scan_inputs", self.number() if self.wrong() else scanned)]
        for name in ("scan_input_directions", "scan_output_directions", "scan_input_axes", "scan_output_axes"):
            length = scanned if "input" in name else len(outputs) - states
            if self.choice.random() < 0.2 and length:
                values = [self.number() if self.wrong() else self.choice.choice((0, 0, 1) if "directions" in name else (0, 0, 0, 1, -1)) for _ in range(length)]
                attributes.append(helper.make_attribute(name, values))
        return operands, attributes, [kind] * len(outputs)


ELEMENTS_COMMON = (1, 1, 1, 1, 10, 7, 6, 2, 3, 9)


def model_of(schema, seed):
    """The model of an operator in the round of this number."""
    choice = random.Random(f"{schema.title} {seed}")
    fitting = schema.name in BODIES and choice.random() < 0.8
    return (BodyMaker if fitting else Maker)(schema, choice).model()


def limited():
    resource.setrlimit(resource.RLIMIT_CPU, (TIMEOUT, TIMEOUT))
    if "hostile" not in str(tools.BUILD):  # sanitizers reserve terabytes
        resource.setrlimit(resource.RLIMIT_AS, (4 * MEMORY, 4 * MEMORY))


def ternc(arguments):
    """(exit code, what it wrote to stderr, its largest memory)."""
    with tempfile.TemporaryFile() as text:
        process = subprocess.Popen([str(a) for a in [tools.TERNC, *arguments]], stdout=subprocess.DEVNULL, stderr=text, preexec_fn=limited)
        end = time.monotonic() + 10 * TIMEOUT  # others may use the machine
        pid, code, used = 0, 0, None
        pause = 0.002
        while not pid and time.monotonic() < end:
            pid, code, used = os.wait4(process.pid, os.WNOHANG)
            if not pid:
                time.sleep(pause)
                pause = min(0.05, pause * 1.3)
        if not pid:
            process.kill()
            pid, code, used = os.wait4(process.pid, 0)
            code = None
        process.returncode = 0  # waited for above
        text.seek(0)
        return code if code is None else os.waitstatus_to_exitcode(code), text.read().decode(errors="replace"), used.ru_maxrss * 1024


def broken_promise(folder, schema, arguments):
    code, said, memory = ternc(arguments)
    if code is None or -code in (signal.SIGXCPU, signal.SIGKILL):
        return f"took longer than {TIMEOUT} s"
    if wrong := promises.broken_answer(code, said):
        return wrong
    if memory > MEMORY and "hostile" not in str(tools.BUILD):
        return f"took {memory >> 20} MB"
    # What is wrong inside a body is said of the node there.
    if code and not ("'the_node'" in said and schema.name in said or re.search(r"'([xy]|(body|then_branch|else_branch)(_in|_out)?)\d+'", said)):
        return f"refused it without naming the node and its operator, or an input or output: {said[-600:]}"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", metavar="OPERATOR")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--targets", help="what ternc compiles for")
    parser.add_argument("-j", type=int, default=2)
    options = parser.parse_args()
    rows = sorted(schemas(), key=lambda s: s.title)
    rows = [s for s in rows if not options.only or s.name in options.only]
    if not rows:
        sys.exit("No operator has that name.")
    end = time.monotonic() + options.seconds
    tried, accepted, wrong = 0, 0, 0

    def one(job):
        schema, seed = job
        data = model_of(schema, seed)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            path, module = folder / "m.onnx", folder / "m.tern"
            path.write_bytes(data)
            what = broken_promise(folder, schema, [path, "-o", module, "--jobs=1", *(["--targets", options.targets] if options.targets else [])])
            return schema, seed, data, what, module.exists()

    seed = options.seed
    with concurrent.futures.ThreadPoolExecutor(options.j) as pool:
        while seed < options.seed + (options.rounds if accepted or not options.only else max(options.rounds, ONLY_ROUNDS)) or time.monotonic() < end:
            for schema, number, data, what, made in pool.map(one, [(s, seed) for s in rows]):
                tried, accepted = tried + 1, accepted + made
                if what:
                    wrong += 1
                    print(f"{schema.title} {number}: ternc {what}", flush=True)
                    promises.keep(options.keep, f"{schema.title}_{number}", data)
            seed += 1
    print(f"{tried} models of {len(rows)} operators, {accepted} compiled, {wrong} broken promises")
    few = accepted < (1 if options.only else LEAST * tried)
    if few:
        print("None of the models compiles." if options.only else f"Fewer than {LEAST:.0%} of the models compile.")
    return 1 if wrong or few else 0


if __name__ == "__main__":
    os.environ.setdefault("TERN_CACHE_DIR", str(Path(tempfile.gettempdir()) / "tern-mutation-cache"))
    sys.exit(main())
