#!/usr/bin/env python3
"""PP-OCR as an application: the texts and boxes read from a picture through tern equal those through ONNX Runtime."""

import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "support"), str(HERE.parents[1] / "samples" / "ocr")]

import draw  # noqa: E402
import ocr  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
import tern_tools as tools  # noqa: E402
import zoo  # noqa: E402


class OrtNetworks:
    def __init__(self):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._sessions = {n: onnxruntime.InferenceSession(str(zoo.path_of(f"ppocr_{n}")), options) for n in ("det", "cls", "rec")}

    def run(self, network, array):
        return self._sessions[network].run(None, {"x": array})[0]


def characters():
    properties = onnx.load(zoo.path_of("ppocr_rec")).metadata_props
    return ocr.character_list(next(p.value for p in properties if p.key == "character"))


def main():
    picture = draw.receipt()
    wanted = ocr.read_picture(OrtNetworks(), picture, characters())
    for line in wanted:
        print(f"expected: {line.text} {line.box}")
    solid = lambda text: text.replace(" ", "")  # the network is free with spaces
    drawn = [*draw.LINES, draw.UPSIDE_DOWN]
    checks = [("ONNX Runtime reads what was drawn", {solid(line.text) for line in wanted} == {*map(solid, drawn)})]
    if "--reference-only" not in sys.argv:
        with tempfile.TemporaryDirectory() as folder:
            try:
                for n in ("det", "cls", "rec"):
                    tools.compile_model(zoo.path_of(f"ppocr_{n}"), Path(folder) / f"{n}.tern")
                got = ocr.read_picture(ocr.TernNetworks(tools.TERN, folder), picture, characters())
            except tools.ToolError as error:
                print(error)
                got = []
        checks.append(("tern reads the same texts", [g.text for g in got] == [w.text for w in wanted]))
        checks.append(("tern finds the same boxes", [g.box for g in got] == [w.box for w in wanted]))
    for what, right in checks:
        print(f"{'ok  ' if right else 'FAIL'} {what}")
    failed = sum(not right for _, right in checks)
    print(f"{len(checks) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
