"""No damaged file crashes ternc or tern."""

import json
import shutil
from pathlib import Path

import numpy as np
import tern_tools as tools
from common import FLOAT, compiled, invoke, small
from onnx import helper


FLIPS = 300  # damaged files tried per kind


def damaged(data, count, random):
    """Copies of some bytes, each cut short, with bits flipped, or with a stretch overwritten."""
    for i in range(count):
        copy = bytearray(data)
        where = int(random.integers(0, min(len(copy), 4096) if i % 2 else len(copy)))  # headers get half of it
        if i % 3 == 0:
            del copy[where:]
        elif i % 3 == 1:
            copy[where] ^= 1 << int(random.integers(0, 8))
        else:
            copy[where : where + 8] = random.bytes(8)
        yield bytes(copy[: max(len(copy), 0)])


def test_damaged_models(folder):
    data = small(folder).read_bytes()
    path, module = Path(folder) / "bad.onnx", Path(folder) / "bad.tern"
    for bad in [b"", b"\0", b"not a model", *damaged(data, FLIPS // 3, np.random.default_rng(3))]:
        path.write_bytes(bad)
        code, text = invoke(tools.TERNC, "--check", path)
        assert code == 0 or text.strip(), "a refusal without a message"
    for bad in (b"", data[: len(data) // 2]):
        path.write_bytes(bad)
        code, text = invoke(tools.TERNC, path, "-o", module)
        assert code != 0 and text.strip() and not module.exists(), f"{len(bad)} bytes of a model compiled: {text}"


def test_damaged_modules(folder):
    data = compiled(folder).read_bytes()
    path = Path(folder) / "bad.tern"
    accepted = 0
    for bad in [b"", b"TERN", *damaged(data, FLIPS, np.random.default_rng(4))]:
        path.write_bytes(bad)
        code, text = invoke(tools.TERN, "verify", path)
        assert code == 0 or text.strip(), "a refusal without a message"
        accepted += code == 0
        if len(bad) < len(data) // 2:
            assert code != 0, f"a module cut to {len(bad)} of {len(data)} bytes was accepted"
    print(f"    {FLIPS} damaged modules: {accepted} differ where nothing depends on it (padding, names, weights)")


def test_damaged_modules_run(folder):
    """A module whose damage the verifier does not see may give other numbers, never a crash. Code is left whole: it is trusted."""
    data = compiled(folder).read_bytes()
    path = Path(folder) / "bad.tern"
    random = np.random.default_rng(5)
    end = data.find(b"\x7fELF")
    for _ in range(FLIPS // 3):
        copy = bytearray(data)
        copy[int(random.integers(0, end))] ^= 1 << int(random.integers(0, 8))
        path.write_bytes(copy)
        code, text = invoke(tools.TERN, "run", path)
        assert code == 0 or text.strip(), "a refusal without a message"


def test_wrong_version(folder):
    data = bytearray(compiled(folder).read_bytes())
    at = data.find(b"TERN")
    assert 0 <= at < 16, "the header does not begin with TERN"
    data[at + 4] ^= 0x7F
    path = Path(folder) / "new.tern"
    path.write_bytes(data)
    code, text = invoke(tools.TERN, "verify", path)
    assert code != 0 and "format" in text, text


def xxh64(data):
    """XXH64 of seed 0, for the metadata of a module that somebody changed on purpose."""
    p1, p2, p3, p4, p5, mask = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5, 2**64 - 1
    turn = lambda x, n: (x << n | x >> 64 - n) & mask  # noqa: E731
    step = lambda total, word: turn((total + word * p2) & mask, 31) * p1 & mask  # noqa: E731
    lanes, at = [p1 + p2 & mask, p2, 0, -p1 & mask], 0
    while len(data) - at >= 32:
        lanes = [step(lane, int.from_bytes(data[at + 8 * i : at + 8 * i + 8], "little")) for i, lane in enumerate(lanes)]
        at += 32
    total = p5
    if at:
        total = sum(turn(lane, n) for lane, n in zip(lanes, (1, 7, 12, 18))) & mask
        for lane in lanes:
            total = ((total ^ step(0, lane)) * p1 + p4) & mask
    total = total + len(data) & mask
    for size, times, bits, plus, factor in ((8, 0, 27, p4, p1), (4, p1, 23, p3, p2), (1, p5, 11, 0, p1)):
        while len(data) - at >= size:
            word = int.from_bytes(data[at : at + size], "little")
            total = turn(total ^ (word * times & mask if times else step(0, word)), bits) * factor + plus & mask
            at += size
    for shift, factor in ((33, p2), (29, p3), (32, 1)):
        total = (total ^ total >> shift) * factor & mask
    return total


def test_inspect_of_newer_programs(folder):
    """What a program has that is newer than the reader ends its verification: what stands behind it is nothing to rely on."""
    text, module = Path(folder) / "m.tvm", Path(folder) / "m.tern"
    text.write_text(
        "function main\n  input x f32 [2]\nprogram any\n  slot input 0\n  slot persistent 8\n  kernel k (read, write) params 0 variants 0:0\n"
        "  list {\n    dispatch k [s0 +0 8, s1 +0 8] grid 1 1 1 scratch 0\n  }\n  routine main {\n    submit 0\n    return\n  }\n  entry main\n"
        .replace("program any", 'executable e static entries "k"\nprogram any'))
    code, out = invoke(tools.BUILD / "bin" / "tern-as", text, "-o", module)
    assert code == 0, out
    data = bytearray(module.read_bytes())
    length = int.from_bytes(data[8:16], "little")
    slot = (8).to_bytes(8, "little") + bytes(4) + b"\5"
    command = b"\0\0\2\0" + bytes(20) + b"\xff" * 4
    assert data.count(slot) == 1 and data.count(command) == 1, (data.count(slot), data.count(command))
    data[data.find(slot) + 12] = 99
    at = data.find(command) + 4  # the kernel's number
    data[at : at + 4] = (1 << 30).to_bytes(4, "little")
    data[16:24] = xxh64(bytes(data[64 : 64 + length])).to_bytes(8, "little")
    module.write_bytes(data)
    for options in ([], ["--json"], ["--commands", "--bytecode"]):
        code, out = invoke(tools.TERN, "inspect", module, *options)
        assert code == 0 and "newer" in out, f"{options}: {code}: {out}"
    code, out = invoke(tools.TERN, "run", module)
    assert code != 0 and "that needs a newer libtern" in out, out


NAMES = ("a b", "x\ny", "x\r\n\t\0y", "\x1b[31mred", "日本語", "q'uo\"te", "a=b", "../up", "%s%n", "ends in \\", "*/ /* ?" + "?/", "\u202ertl", "\x9b31m")
# What a name of a node would have to be to become code of a kernel, or to take some away.
CODE = ("x\n#error taken for code", "x\r#error taken for code", "x\\", 'x" }\nkernel y {')


def test_names_of_any_letters(folder):
    """Names go into generated code (as comments), dumps, reports, JSON and file names: nothing in them is obeyed."""
    folder = Path(folder)
    for number, name in enumerate(NAMES + CODE):
        value = lambda n: helper.make_tensor_value_info(n, FLOAT, [2])  # noqa: E731
        nodes = [helper.make_node("Relu", [name], ["o" + name], name=name), helper.make_node("MatMul", ["o" + name] * 2, ["p" + name], name="two " + name)]
        proto = helper.make_model(helper.make_graph(nodes, name, [value(name)], [helper.make_tensor_value_info("p" + name, FLOAT, [])]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        model, module, dump = folder / "m.onnx", folder / "m.tern", folder / f"dump{number}"
        model.write_bytes(proto.SerializeToString())
        code, text = invoke(tools.TERNC, model, "-o", module, "--targets=cpu:x86_64_v3,vulkan:1.1", f"--dump-dir={dump}", "--explain", "-v")
        assert code == 0, f"{name!r}: {text}"
        shown = text
        code, text = invoke(tools.BUILD / "bin" / "tern-render", "x86_64_v3", *(dump / "kernels" / "x86_64_v3").glob("*.tk"))
        assert code == 0, f"the dump of {name!r} is not read again: {text}"
        for command in (["run", module, "-o", folder / "out"], ["inspect", module, "--commands"], ["bench", module, "--runs", "1", "--dispatches"]):
            code, text = invoke(tools.TERN, *command)
            assert code == 0, f"{name!r}: {text}"
            shown += text
        assert not set(shown) & {"\x1b", "\0", "\r", "\x9b"}, f"{name!r} is obeyed by terminals: {shown!r}"
        assert len(list((folder / "out").iterdir())) == 1, f"{name!r}: {list((folder / 'out').iterdir())}"
        shutil.rmtree(folder / "out")
        code, text = invoke(tools.TERN, "inspect", module, "--json")
        assert json.loads(text)["functions"][0]["inputs"][0]["name"] == name, text
