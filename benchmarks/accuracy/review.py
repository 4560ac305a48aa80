"""How well `needs_review` finds bad masks: precision and recall of its frames against a low true J.

`python -m benchmarks.accuracy.review --data DAVIS_ROOT [--side 480] [--bad 0.6] [--cuts]`

With `--cuts`, clips that cut from each sequence to the next one and back (A-B-A, 16 frames each); in B any mask is bad.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from codec.encode import Encoder, encode
from codec.types import UInt8Array
from service.run.options import RunOptions
from service.run.review.reviewer import facts_of
from service.run.segment import segment
from vos.evaluation.davis import Sequence, find_sequences
from vos.evaluation.evaluate import read_picture
from vos.evaluation.metrics import region_similarity

PART = 16
"""Frames per part of a clip with cuts."""


def clips(sequences: list[Sequence], *, cuts: bool) -> Iterator[tuple[str, bytes, list[UInt8Array]]]:
    """Yield name, video and true labels per frame."""
    for first, second in zip(sequences, [*sequences[1:], *sequences[:1]], strict=True):
        pictures = [read_picture(file) for file in first.pictures]
        truth = [first.labels(index) for index in range(len(pictures))]
        if cuts:
            other = [read_picture(file) for file in second.pictures[:PART]]
            pictures = pictures[:PART] + other + pictures[PART : 2 * PART]
            truth = truth[:PART] + [np.zeros_like(truth[0])] * PART + truth[PART : 2 * PART]
        yield first.name, encode(iter(pictures), Encoder()), truth


def judge(video: bytes, truth: list[UInt8Array], options: RunOptions, least: float) -> tuple[list[bool], list[bool]]:
    """Return per frame after the prompt whether J of its mask is below `least`, and whether it is in `needs_review`."""
    bad = []
    with segment(video, truth[0], options) as run:
        for mask in run:
            run.add_to_review(mask.index, mask.source, facts_of(mask))
            true = truth[mask.index]
            bad.append(min(region_similarity(mask.labels == i, true == i) for i in mask.scores) < least)
        ranges = run.review
    listed = {index for item in ranges for index in range(item.first, item.end)}
    return bad[1:], [index in listed for index in range(1, len(truth))]


def line(name: str, bad: list[bool], listed: list[bool]) -> str:
    """Return the figures of a clip or of all."""
    found = sum(b and f for b, f in zip(bad, listed, strict=True))
    precision = f"{found / sum(listed):.2f}" if any(listed) else "-"
    recall = f"{found / sum(bad):.2f}" if any(bad) else "-"
    return f"{name:18} {len(bad)} frames, bad {sum(bad)}, listed {sum(listed)}, precision {precision}, recall {recall}"


def main() -> None:
    """Print a line per clip and one for all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--side", default="480")
    parser.add_argument("--bad", type=float, default=0.6, help="J below which a mask is bad")
    parser.add_argument("--cuts", action="store_true")
    arguments = parser.parse_args()
    options = RunOptions.checked(analysis_side=arguments.side, device="cpu")
    all_bad: list[bool] = []
    all_listed: list[bool] = []
    for name, video, truth in clips(find_sequences(arguments.data), cuts=arguments.cuts):
        bad, listed = judge(video, truth, options, arguments.bad)
        print(line(name, bad, listed), flush=True)
        all_bad += bad
        all_listed += listed
    print(line("all", all_bad, all_listed))


if __name__ == "__main__":
    main()
