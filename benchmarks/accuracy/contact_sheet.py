"""Draws contact sheets of the worst sequences: `python -m benchmarks.accuracy.contact_sheet --out sheets/`.

Each sheet is written twice. The sheets in `--out` show pictures of the data set below the outlines of annotation and
result, so `--out` must lie outside the repository. The sheets in `--outlines` (docs/images) show the outlines alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.accuracy.methods import Method, load
from benchmarks.harness import DATA
from benchmarks.paths import IMAGES
from codec.encode import Encoder, encode
from codec.types import UInt8Array
from vos.evaluation.davis import Sequence as DavisSequence
from vos.evaluation.davis import find_sequences
from vos.evaluation.evaluate import SegmentClip, read_picture
from vos.evaluation.metrics import BoolArray, boundary, score_objects
from vos.types import FrameMask

COLUMNS, ROWS = 3, 2
TILE = (320, 180)
CAPTION, GAP = 16, 4
TRUTH, RESULT = (0, 150, 60), (215, 30, 60)
"""Outline colours of annotation and result."""
LEAST_APART = 4
"""Smallest distance between two frames of a sheet; neighbours fail alike."""


@dataclass(frozen=True)
class Judged:
    """A frame's mask and its mean J over the objects, 0 to 1."""

    mask: FrameMask
    j: float


def judged(sequence: DavisSequence, segment: SegmentClip) -> list[Judged]:
    """Segment an x264 clip and judge every annotated frame after the prompt frame."""
    clip = encode(map(read_picture, sequence.pictures), Encoder())
    found = []
    with segment(clip, sequence.labels(0)) as run:
        for mask in run:
            if mask.index and mask.index in sequence.annotations:
                scores = score_objects(mask.labels, sequence.labels(mask.index), sequence.object_ids)
                found.append(Judged(mask, float(np.mean([score.j for score in scores.values()]))))
    return found


def mean_j(frames: Sequence[Judged]) -> float:
    """Return the mean J over frames."""
    return float(np.mean([frame.j for frame in frames]))


def worst(frames: Sequence[Judged], count: int = COLUMNS * ROWS) -> list[Judged]:
    """Return the frames of lowest J at least `LEAST_APART` apart, in presentation order."""
    chosen: list[Judged] = []
    for frame in sorted(frames, key=lambda frame: frame.j):
        if all(abs(frame.mask.index - other.mask.index) >= LEAST_APART for other in chosen):
            chosen.append(frame)
    return sorted(chosen[:count], key=lambda frame: frame.mask.index)


def outlined(ground: UInt8Array, truth: UInt8Array, result: UInt8Array) -> UInt8Array:
    """Draw the outlines of all objects, result over annotation, on RGB uint8 [height, width, 3]."""
    picture = ground.copy()
    for labels, colour in ((truth, TRUTH), (result, RESULT)):
        for object_id in np.unique(labels[labels > 0]):
            picture[_thick(boundary(labels == object_id))] = colour
    return picture


def _thick(mask: BoolArray) -> BoolArray:
    """Widen a line to three pixels, so that it shows in a small picture."""
    padded = np.pad(mask, 1)
    height, width = mask.shape
    shifted = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
    return np.asarray(np.any(shifted, axis=0))


def shaded(picture: UInt8Array, result: UInt8Array) -> UInt8Array:
    """Tint the result's objects in the picture."""
    tinted = picture.astype(np.float32)
    tinted[result > 0] = 0.6 * tinted[result > 0] + 0.4 * np.array(RESULT)
    return tinted.astype(np.uint8)


def sheet(sequence: DavisSequence, frames: Sequence[Judged], *, plain: bool) -> Image.Image:
    """Draw the tiles of a sequence with frame, source and J, on pictures or on a plain ground."""
    width, height = TILE[0] + GAP, TILE[1] + CAPTION + GAP
    whole = Image.new("RGB", (COLUMNS * width - GAP, ROWS * height - GAP), "white")
    for place, frame in enumerate(frames):
        mask = frame.mask
        truth = sequence.labels(mask.index)
        if plain:
            ground = np.full((*truth.shape, 3), 245, np.uint8)
        else:
            ground = shaded(read_picture(sequence.pictures[mask.index]), mask.labels)
        tile = Image.fromarray(outlined(ground, truth, mask.labels)).resize(TILE, Image.Resampling.LANCZOS)
        row, column = divmod(place, COLUMNS)
        corner = (column * width, row * height)
        whole.paste(tile, corner)
        text = f"frame {mask.index}, {mask.source}, J {100 * frame.j:.0f}"
        ImageDraw.Draw(whole).text((corner[0] + 4, corner[1] + TILE[1] + 2), text, fill=(0, 0, 0))
    return whole


def main() -> None:
    """Segment all sequences with the default and draw the worst."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder in DAVIS layout")
    parser.add_argument("--out", type=Path, required=True, help="folder of the sheets with pictures")
    parser.add_argument("--outlines", type=Path, default=IMAGES, help="folder of the sheets without")
    parser.add_argument("--sequences", metavar="A,B", help="some of the sequences; default: all")
    parser.add_argument("--worst", type=int, default=3, metavar="N", help="number of sequences to draw")
    parser.add_argument("--model", default="compact")
    parser.add_argument("--weights")
    arguments = parser.parse_args()
    segment, _ = load(Method("adaptive"), arguments)
    names = arguments.sequences.split(",") if arguments.sequences else None
    found = [(sequence, judged(sequence, segment)) for sequence in find_sequences(arguments.data, names)]
    found.sort(key=lambda pair: mean_j(pair[1]))
    for sequence, frames in found[: arguments.worst]:
        print(f"{sequence.name}: J {100 * mean_j(frames):.1f}")
        for folder, plain, suffix in ((arguments.out, False, "jpg"), (arguments.outlines, True, "png")):
            folder.mkdir(parents=True, exist_ok=True)
            picture = sheet(sequence, worst(frames), plain=plain)
            file = folder / f"failures_{sequence.name}.{suffix}"
            (picture.quantize(32) if plain else picture).save(file, optimize=True)
            print(f"{file}: {file.stat().st_size} bytes")


if __name__ == "__main__":
    main()
