"""Tensors in every form that tern reads, and outputs beside what they must be."""

from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import tern_tools as tools
from builder import FLOAT, Graph
from common import invoke
from usage_cases import refused


def two_inputs(folder):
    """y = a + b over N elements, and z = -y."""
    g = Graph("two", seed=1)
    a, b = g.input("a", FLOAT, ["N"]), g.input("b=", FLOAT, ["N"])
    y = g.op("Add", a, b)
    z = g.op("Neg", y)
    g.output(y, "y", FLOAT, ["N"])
    g.output(z, "z", FLOAT, ["N"])
    model, module = Path(folder) / "two.onnx", Path(folder) / "two.tern"
    g.save(model)
    tools.compile_model(model, module)
    return module


def write_pb(path, array):
    path.write_bytes(onnx.numpy_helper.from_array(array, "x").SerializeToString())


def test_tensors_in_every_form(folder):
    module, folder = two_inputs(folder), Path(folder)
    a, b = np.arange(5, dtype=np.float32), np.full(5, 0.5, np.float32)
    np.save(folder / "a=1.npy", a)
    np.savez(folder / "all.npz", **{"a": a, "b=": b})
    np.savez(folder / "other.npz", **{"b=": b})
    np.savez_compressed(folder / "small.npz", **{"a": a, "b=": b})
    damaged = bytearray((folder / "small.npz").read_bytes())
    damaged[70] ^= 1  # in the first array's data
    (folder / "damaged.npz").write_bytes(damaged)
    (folder / "b.bin").write_bytes(b.tobytes())
    data = folder / "test_data_set_0"
    data.mkdir()
    for i, array in enumerate((a, b)):
        write_pb(data / f"input_{i}.pb", array)
    for i, array in enumerate((a + b, -(a + b))):
        write_pb(data / f"output_{i}.pb", array)
    ways = (
        ["-i", f"a={folder}/a=1.npy", "-i", f"b=={folder}/b.bin"],
        ["-i", folder / "all.npz"],
        ["-i", folder / "small.npz"],
        ["-i", folder / "other.npz", "-i", f"a={data}/input_0.pb"],
        ["-i", data],
    )
    for way in ways:
        code, text = invoke(tools.TERN, "run", module, *way, "--expect", data, "-o", folder / "out")
        assert code == 0 and "y is as expected; largest difference 0\n" in text and "z is as expected" in text, text
        assert "random" not in text, text
        assert np.array_equal(np.load(folder / "out" / "y.npy"), a + b)
    for word, said in (
        (folder / "damaged.npz", "cannot be used: its array 'a.npy' is damaged."),
        (f"a={folder}", "cannot be read: Is a directory."),
        ("a=/dev/zero", "is a device, which may have no end."),
        (folder / "out", "has no file input_0.pb."),
        (f"a={folder}/two.onnx", "cannot be used: it does not begin as a .npy file does."),
    ):
        assert said in refused(4, tools.TERN, "run", module, "-i", word)
    text = refused(2, tools.TERN, "run", module, "-i", data, "-i", folder / "all.npz", "-i", "c=x.npy")
    for said in ("Input 'a' is given twice: by the file", "Input 'b=' is given twice", "has no input 'c'; its inputs are 'a', 'b='."):
        assert said in text, text
    (folder / "b.bin").write_bytes(b.tobytes()[:-1])
    text = refused(1, tools.TERN, "run", module, *ways[0])
    assert "Input 'b=' (f32[5]) has 20 bytes; the file '" in text and "has 19." in text, text


def test_expected_outputs(folder):
    module, folder = two_inputs(folder), Path(folder)
    a, b = np.arange(5, dtype=np.float32), np.full(5, 0.5, np.float32)
    np.savez(folder / "in.npz", **{"a": a, "b=": b})
    wrong = a + b
    wrong[3] += 0.25
    np.savez(folder / "wrong.npz", y=wrong, z=(-a - b).astype(np.float64))
    run = [tools.TERN, "run", module, "-i", folder / "in.npz", "--expect"]
    code, text = invoke(*run, folder / "wrong.npz")
    assert code == 1 and "tern: Output 'z' is f32[5]; 'z' of the file" in text and "has f64[5]." in text, text
    assert "in 1 of 5 numbers; the worst is [3]: 3.5 instead of 3.75 (tolerance 1e-05 + 0.001 * |expected|)." in text, text
    np.save(folder / "y.npy", wrong)
    code, text = invoke(*run, f"y={folder}/y.npy", "--atol", "0.3")
    assert code == 0 and "y is as expected; largest difference 0.25" in text, text
    np.save(folder / "y.npy", wrong[:4])
    code, text = invoke(*run, f"y={folder}/y.npy")
    assert code == 1 and "Output 'y' is f32[5]; the file" in text and "has f32[4]." in text, text
    text = refused(4, *run, f"y={folder}/absent.npy", "--expect", f"x={folder}/y.npy")
    assert "absent.npy' cannot be read" in text and "no output 'x'; its outputs are 'y', 'z'." in text, text
    assert "there are no outputs for --expect" in refused(2, *run, f"y={folder}/y.npy", "--driver", "null")
