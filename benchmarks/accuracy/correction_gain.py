"""Measures what a correction gains: J of the frames around it with the correction against without.

On development sequences, the frame of the middle half in which an object has its lowest J is corrected with its
annotation. J is compared on the frames after it, which the object's masks mostly depend on from there, and on those
before it. Of a sequence with several objects, those with the lowest J are corrected, one at a time.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.accuracy.measure import as_davis
from benchmarks.harness import Report, Row, Spread, parser
from codec.encode import Encoder, encode
from service.run.directions.resegment import resegment
from service.run.options import RunOptions
from service.run.segment import segment
from vos.evaluation.davis import Sequence, find_sequences
from vos.evaluation.evaluate import read_picture
from vos.evaluation.metrics import region_similarity
from vos.types import FrameMask

AROUND = 30
"""Frames before and after the corrected one that are compared."""


class Masks:
    """Masks of a run by presentation index."""

    def __init__(self, masks: Iterable[FrameMask]) -> None:
        self.by_index = {mask.index: mask for mask in masks}

    def mask(self, index: int) -> FrameMask | None:
        """Return the mask of a frame; None if there is none."""
        return self.by_index.get(index)


@dataclass(frozen=True, slots=True)
class Gain:
    """Mean J around a corrected frame, without and with the correction, 0 to 1.

    Attributes:
        sequence: Name of the sequence.
        object: Id of the object.
        frame: The corrected frame.
        wrong: J of this frame without the correction.
        before: On the frames before it; the first frame of the video does not count.
        after: On the frames after it.
        changed: Frames whose masks changed.
    """

    sequence: str
    object: int
    frame: int
    wrong: float
    before: tuple[float, float]
    after: tuple[float, float]
    changed: int


def gains(sequence: Sequence, options: RunOptions, most: int) -> list[Gain]:
    """Run a sequence, then correct objects one at a time, those with the lowest J first.

    Args:
        sequence: The sequence; every frame has an annotation.
        options: How to segment.
        most: Largest number of objects to correct.
    """
    video = encode((read_picture(file) for file in sequence.pictures), Encoder("libx264"))
    first = sequence.labels(0)
    with segment(video, first, options) as run:
        stored = Masks(run)
    scores = {number: similarities(stored.by_index, sequence, number) for number in sequence.object_ids}
    frames = {number: worst_frame(sequence, number, scores[number]) for number in sequence.object_ids}
    marked = [number for number, frame in frames.items() if frame is not None]
    found: list[Gain] = []
    for number in sorted(marked, key=lambda number: scores[number][frames[number] or 0])[:most]:
        frame = frames[number]
        assert frame is not None
        fix = np.where(sequence.labels(frame) == number, np.uint8(number), np.uint8(0))
        with resegment(video, stored, {0: first}, {frame: fix}, options) as correction:
            changed = {mask.index: mask for mask in correction}
        old, new = scores[number], similarities(stored.by_index | changed, sequence, number)
        before, after = (means(old, new, frame, step) for step in (-1, 1))
        found.append(Gain(sequence.name, number, frame, old[frame], before, after, len(changed)))
    return found


def similarities(masks: Mapping[int, FrameMask], sequence: Sequence, number: int) -> list[float]:
    """Return J of an object by frame."""
    return [
        float(region_similarity(masks[index].labels == number, sequence.labels(index) == number))
        for index in range(len(sequence.pictures))
    ]


def worst_frame(sequence: Sequence, number: int, scores: list[float]) -> int | None:
    """Return the frame to be corrected: that with the lowest J in the middle half where the object is annotated."""
    quarter = len(scores) // 4
    inside = [i for i in range(quarter, len(scores) - quarter) if (sequence.labels(i) == number).any()]
    return min(inside, key=lambda i: scores[i], default=None)


def means(old: list[float], new: list[float], frame: int, step: int) -> tuple[float, float]:
    """Return mean J of two results on the frames before (step -1) or after (step 1) a corrected one."""
    frames = [i for i in range(frame + step, frame + step * (AROUND + 1), step) if 0 < i < len(old)]
    return float(np.mean([old[i] for i in frames])), float(np.mean([new[i] for i in frames]))


def summary(pairs: Iterable[tuple[float, float]]) -> dict[str, float]:
    """Return mean J without and with corrections, and the mean gain with its standard error, in points."""
    values = np.array(list(pairs)) * 100
    gained = values[:, 1] - values[:, 0]
    error = float(gained.std(ddof=1) / len(gained) ** 0.5) if len(gained) > 1 else 0.0
    names = ("without", "with", "gain", "standard_error")
    return dict(zip(names, (round(v, 2) for v in (*values.mean(axis=0), gained.mean(), error)), strict=True))


def measure(arguments: argparse.Namespace) -> list[Gain]:
    """Measure all development sequences, also those of several objects."""
    options = RunOptions(max_side=arguments.max_side)
    with tempfile.TemporaryDirectory() as folder:
        names = ["soccerball"] if arguments.quick else None
        sequences = find_sequences(arguments.data, names)
        if not arguments.quick:
            sequences += find_sequences(as_davis(arguments.data.parent / "multi", Path(folder)))
        found: list[Gain] = []
        for sequence in sequences:
            new = gains(sequence, options, arguments.objects)
            print(*new, sep="\n", flush=True)
            found += new
    return found


def main() -> None:
    """Measure and write correction_gain.json."""
    options = parser(__doc__)
    options.add_argument("--max-side", type=int, help="limit for the longer side of the analysis size in pixels")
    options.add_argument("--objects", type=int, default=3, help="largest number of objects to correct per sequence")
    arguments: argparse.Namespace = options.parse_args()
    found = measure(arguments)
    report = Report("correction_gain", arguments)
    size = f"; pictures of at most {arguments.max_side} pixels" if arguments.max_side else ""
    report.details = {"corrections": [asdict(gain) for gain in found]}
    for side in ("after", "before"):
        pairs: list[tuple[float, float]] = [getattr(gain, side) for gain in found]
        total = report.details[side] = summary(pairs)
        note = (
            f"mean of {len(pairs)} corrections: {total['with']:.1f} against {total['without']:.1f}, "
            f"{total['gain']:+.1f} +- {total['standard_error']:.1f}; each of the frame with the object's lowest J in "
            f"the middle half{size}"
        )
        question = f"J that a correction gains on the {AROUND} frames {side} it"
        gained = Spread.of((100 * (new - old) for old, new in pairs), digits=2)
        report.rows.append(Row(question, gained, unit="points", note=note))
    report.write()


if __name__ == "__main__":
    main()
