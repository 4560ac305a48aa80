"""How good masks made from boxes are: IoU on first frames, beside the box, its ellipse and GrabCut.

`python -m benchmarks.accuracy.box_masks --data DAVIS_ROOT [--multi FOLDER]` prints the table of
`docs/howto/first-mask.md`.

The box of each annotated object gets each of its sides moved by up to 5 % of its size, evenly distributed, three times
with seeds 0 to 2. All methods get the same boxes. Each object is made alone. The click is one point where the object is
widest. The time is that of one core and the mean over all boxes.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter

import cv2
import numpy as np

from benchmarks.accuracy.measure import as_davis
from codec.types import UInt8Array
from service.prompts.made_mask import make_mask
from service.prompts.shapes import ShapePrompt
from vos.evaluation.davis import find_sequences
from vos.evaluation.evaluate import read_picture
from vos.evaluation.metrics import BoolArray, region_similarity
from vos.masks.geometry import Float64Array

JITTER, SEEDS = 0.05, 3
Method = Callable[[UInt8Array, Float64Array], BoolArray]
"""Takes a picture and the box x, y, width, height; returns a mask of the picture's size."""


def box_itself(picture: UInt8Array, box: Float64Array) -> BoolArray:
    """The box."""
    x, y = _box_coordinates(picture, box)
    return np.asarray(np.maximum(abs(x), abs(y)) <= 1)


def ellipse(picture: UInt8Array, box: Float64Array) -> BoolArray:
    """The ellipse in the box."""
    return np.asarray(np.hypot(*_box_coordinates(picture, box)) <= 1)


def grabcut(picture: UInt8Array, box: Float64Array) -> BoolArray:
    """OpenCV's GrabCut, started with the box; five turns on half of the box around it, at most 240 pixels wide."""
    height, width = picture.shape[:2]
    x, y, w, h = box
    left, top = max(0, int(x - w / 2)), max(0, int(y - h / 2))
    view = picture[top : int(y + h * 1.5) + 1, left : int(x + w * 1.5) + 1]
    scale = min(1, 240 / max(view.shape[:2]))
    small = np.asarray(cv2.resize(view, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[..., ::-1]).copy()
    start = [max(1, round(float(value) * scale)) for value in (x - left, y - top, w, h)]
    found = np.zeros(small.shape[:2], np.uint8)
    cv2.setRNGSeed(0)
    try:
        cv2.grabCut(small, found, start, np.zeros((1, 65)), np.zeros((1, 65)), 5, cv2.GC_INIT_WITH_RECT)
    except cv2.error:  # it found no background, or no object
        found[:] = cv2.GC_BGD
    mask = np.zeros((height, width), bool)
    mask[top : top + view.shape[0], left : left + view.shape[1]] = cv2.resize(found & 1, view.shape[1::-1]) > 0
    return mask


def made(picture: UInt8Array, box: Float64Array) -> BoolArray:
    """The mask that keymask makes."""
    x, y, w, h = map(float, box)
    return np.asarray(make_mask(picture, [ShapePrompt(object=1, box=(x, y, w, h))]).labels == 1)


METHODS: Mapping[str, Method] = {"box": box_itself, "ellipse": ellipse, "GrabCut": grabcut, "keymask": made}


def clicked(picture: UInt8Array, truth: BoolArray) -> BoolArray:
    """The mask that keymask makes of one point on the object."""
    depth = cv2.distanceTransform(np.pad(truth, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return np.asarray(make_mask(picture, [ShapePrompt(object=1, points=((float(x), float(y), 1),))]).labels == 1)


def moved_box(truth: BoolArray, rng: np.random.Generator) -> Float64Array:
    """The box of a mask, its sides moved at random and cut to the picture."""
    height, width = truth.shape
    rows, columns = np.flatnonzero(truth.any(axis=1)), np.flatnonzero(truth.any(axis=0))
    sides = np.array((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1), np.float64)
    size = np.tile(sides[2:] - sides[:2], 2)
    sides = np.clip(np.round(sides + rng.uniform(-JITTER, JITTER, 4) * size), 0, (width, height, width, height))
    return np.concatenate((sides[:2], np.maximum(sides[2:] - sides[:2], 1)))


def _box_coordinates(picture: UInt8Array, box: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Position of each pixel in units of half the box, from its middle."""
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]] + 0.5
    return (x - box[0]) / box[2] * 2 - 1, (y - box[1]) / box[3] * 2 - 1


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--multi", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    columns = (*METHODS, "one click")
    print("| object | " + " | ".join(columns) + " |\n| --- |" + " --- |" * len(columns))
    every: list[list[float]] = []
    seconds = dict.fromkeys(METHODS, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        sequences = find_sequences(arguments.data)
        sequences += find_sequences(as_davis(arguments.multi, Path(folder))) if arguments.multi else []
        for sequence in sequences:
            picture, labels = read_picture(sequence.pictures[0]), sequence.labels(0)
            for number in sequence.object_ids:
                truth = labels == number
                scores: dict[str, list[float]] = {name: [] for name in METHODS}
                for seed in range(SEEDS):
                    box = moved_box(truth, np.random.default_rng(seed))
                    for name, method in METHODS.items():
                        began = perf_counter()
                        mask = method(picture, box)
                        seconds[name] += perf_counter() - began
                        scores[name].append(region_similarity(mask, truth))
                click = region_similarity(clicked(picture, truth), truth)
                every.append([*(float(np.mean(values)) for values in scores.values()), click])
                name = sequence.name if len(sequence.object_ids) == 1 else f"{sequence.name} {number}"
                print(f"| {name} | " + " | ".join(f"{100 * value:.0f}" for value in every[-1]) + " |", flush=True)
    print("| **mean** | " + " | ".join(f"**{100 * value:.1f}**" for value in np.mean(every, axis=0)) + " |")
    each = (f"{1000 * seconds[name] / SEEDS / len(every):.0f}" for name in METHODS)
    print("| ms per object | " + " | ".join(each) + " | |")


if __name__ == "__main__":
    main()
