"""Quantised forms of the generated models, as onnxruntime's quantizer writes them: static (QDQ or QOperator nodes, calibrated on seeded
inputs) and dynamic (MatMulInteger). The same onnxruntime gives the same file.
"""

import tempfile
from pathlib import Path

import numpy as np


class Quantised:
    """What a generator returns: something that saves itself."""

    def __init__(self, write):
        self._write = write

    def save(self, path):
        with tempfile.TemporaryDirectory() as folder:
            self._write(Path(folder), Path(path))


def _reader(samples):
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self):
            self._left = iter(samples)

        def get_next(self):
            return next(self._left, None)

    return Reader()


def static(make, case, form, activations, weights="QInt8", per_channel=True, samples=2, ops=None):
    """`form`: "QDQ" or "QOperator"; `activations`, `weights`: names of onnxruntime.quantization.QuantType; `ops`: only these kinds of nodes."""

    def write(folder, path):
        from onnxruntime import quantization as q

        source = folder / "float.onnx"
        make().save(source)
        random = np.random.default_rng(2024)
        data = [{name: maker(random) for name, maker in case.items()} for _ in range(samples)]
        q.quantize_static(
            source,
            path,
            _reader(data),
            quant_format=q.QuantFormat[form],
            activation_type=q.QuantType[activations],
            weight_type=q.QuantType[weights],
            per_channel=per_channel,
            op_types_to_quantize=ops,
            extra_options={"ActivationSymmetric": False},
        )

    return Quantised(write)


def dynamic(make, weights="QInt8", per_channel=True):
    def write(folder, path):
        from onnxruntime import quantization as q

        source = folder / "float.onnx"
        make().save(source)
        q.quantize_dynamic(source, path, per_channel=per_channel, weight_type=q.QuantType[weights])

    return Quantised(write)
