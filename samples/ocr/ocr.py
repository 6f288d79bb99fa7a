#!/usr/bin/env python3
"""Reads the text in a picture with PP-OCRv4: three networks compiled by ternc and run by `tern run`.

    ocr.py PICTURE --modules DIR --tern PATH      DIR holds det.tern, cls.tern, rec.tern and characters.txt

What happens: det marks the pixels that belong to text; their connected regions, grown a little, are the lines' boxes; cls
says whether a line stands on its head; rec gives, for every few pixels of a line, a probability per character, of which
the best ones, without repetitions and blanks, are the text.
"""

import argparse
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image


@dataclass
class Line:
    box: tuple  # left, top, right, bottom in pixels of the picture
    text: str
    score: float


class TernNetworks:
    """Runs compiled modules through the command line, arrays as .npy files. (A program would link libtern: samples/run_model.c.)"""

    def __init__(self, tern, modules):
        self._tern, self._modules = tern, Path(modules)

    def run(self, network, array):
        with tempfile.TemporaryDirectory() as folder:
            np.save(Path(folder) / "x.npy", array)
            command = [self._tern, "run", self._modules / f"{network}.tern", "--input", f"x={folder}/x.npy", "--output-dir", f"{folder}/out"]
            Path(folder, "out").mkdir()
            done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{network}: {done.stderr.strip()}")
            (output,) = Path(folder, "out").iterdir()
            return np.load(output)


def as_tensor(picture, width, height):
    """An RGB picture, resized, as 1 x 3 x height x width in [-1, 1], channels in BGR order as the networks were trained."""
    resized = np.asarray(picture.resize((width, height), Image.BILINEAR), np.float32)
    return np.ascontiguousarray((resized[:, :, ::-1] / 127.5 - 1).transpose(2, 0, 1)[None])


def regions(mask):
    """Bounding boxes (left, top, right, bottom) of a mask's connected regions: runs of each row, joined to those above."""
    parent, boxes, above = [], [], []

    def root(i):
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for y, row in enumerate(mask):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(np.int8), [0]])))
        runs = []
        for left, right in zip(edges[::2], edges[1::2]):
            label = len(parent)
            parent.append(label)
            boxes.append([left, y, right, y + 1])
            for other_left, other_right, other in above:
                if other_left <= right and other_right >= left:
                    parent[root(other)] = root(label)
            runs.append((left, right, label))
        above = runs
    merged = {}
    for i, (left, top, right, bottom) in enumerate(boxes):
        b = merged.setdefault(root(i), [left, top, right, bottom])
        merged[root(i)] = [min(b[0], left), min(b[1], top), max(b[2], right), max(b[3], bottom)]
    return list(merged.values())


def find_lines(networks, picture, threshold=0.3, box_threshold=0.5, growth=1.6):
    """Boxes of the text lines, top to bottom, left to right."""
    side = min(1.0, 960 / max(picture.size))
    width, height = (max(32, round(n * side / 32) * 32) for n in picture.size)
    probability = networks.run("det", as_tensor(picture, width, height))[0, 0]
    boxes = []
    for left, top, right, bottom in regions(probability > threshold):
        w, h = right - left, bottom - top
        if min(w, h) < 3 or probability[top:bottom, left:right].mean() < box_threshold:
            continue
        margin = w * h * growth / (2 * (w + h))  # the network marks a shrunken core of each line
        box = np.array([left - margin, top - margin, right + margin, bottom + margin])
        box *= np.array([picture.width / width, picture.height / height] * 2)
        box = np.clip(box, 0, [picture.width, picture.height] * 2)
        boxes.append(tuple(int(v) for v in np.rint(box)))
    return sorted(boxes, key=lambda b: (b[1] // 10, b[0]))


def read_line(networks, crop, characters):
    """The text of one line and its mean probability."""
    upside_down = networks.run("cls", as_tensor(crop, 192, 48))[0]
    if upside_down[1] > 0.9:
        crop = crop.rotate(180)
    width = max(32, -(-round(48 * crop.width / crop.height) // 8) * 8)
    steps = networks.run("rec", as_tensor(crop, width, 48))[0]
    best = steps.argmax(1)
    kept = [i for i in range(len(best)) if best[i] != 0 and (i == 0 or best[i] != best[i - 1])]
    text = "".join(characters[best[i]] for i in kept)
    return text, float(np.mean([steps[i, best[i]] for i in kept])) if kept else 0.0


def read_picture(networks, picture, characters):
    """All lines of a picture. `characters` is rec's alphabet, as character_list() gives it."""
    lines = []
    for box in find_lines(networks, picture):
        text, score = read_line(networks, picture.crop(box), characters)
        if text and score > 0.5:
            lines.append(Line(box, text, score))
    return lines


def character_list(text):
    """rec's alphabet from its file: blank first, then one character a line, then space."""
    return ["", *text.split("\n"), " "]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture")
    parser.add_argument("--modules", required=True)
    parser.add_argument("--tern", required=True)
    args = parser.parse_args()
    characters = character_list(Path(args.modules, "characters.txt").read_text())
    picture = Image.open(args.picture).convert("RGB")
    lines = read_picture(TernNetworks(args.tern, args.modules), picture, characters)
    for line in lines:
        print(f"{line.text}    ({line.score:.0%}, at {line.box[0]},{line.box[1]})")
    if not lines:
        raise SystemExit("no text found")


if __name__ == "__main__":
    main()
