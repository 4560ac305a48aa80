"""Cuts are found where another scene begins, and nowhere else."""

from __future__ import annotations

import numpy as np

from codec.types import UInt8Array
from service.run.review.cuts import CutDetector
from tests.support.synthetic import pan


def pictures(count: int, seed: int) -> list[UInt8Array]:
    """Return the green channel of a camera that moves over a texture."""
    return [picture[..., 1] for picture in pan(count, (128, 96), seed=seed, velocity=(1.0, 0.5)).frames]


def cuts(shots: list[list[UInt8Array]], order: list[int] | None = None) -> list[int]:
    """Return the frames that are found to begin a shot, with frames observed in this order."""
    frames = [picture for shot in shots for picture in shot]
    detector = CutDetector()
    for index in order or range(len(frames)):
        detector.observe(index, frames[index])
    return [index for index in range(len(frames)) if detector.since_cut(index) == 0]


def dark(shot: list[UInt8Array]) -> list[UInt8Array]:
    """Return a shot with a third of its brightness."""
    return [picture // 3 for picture in shot]


def test_the_first_frame_of_each_shot_is_found() -> None:
    """Two cuts, also if frames come in decode order."""
    shots = [pictures(20, 0), dark(pictures(20, 5)), pictures(20, 0)]
    assert cuts(shots) == [20, 40]
    decode = [0, *(n for group in range(1, 57, 4) for n in (group + 3, group, group + 1, group + 2)), 57, 58, 59]
    assert sorted(decode) == list(range(60))
    assert cuts(shots, decode) == [20, 40]


def test_motion_and_noise_are_no_cuts() -> None:
    """A moving camera, and pictures that all differ."""
    rng = np.random.default_rng(0)
    assert cuts([pictures(40, 1)]) == []
    assert cuts([[rng.integers(0, 256, (96, 128), np.uint8) for _ in range(30)]]) == []


def test_frames_since_the_cut_are_counted() -> None:
    """From the cut on; before the first one there is none."""
    detector = CutDetector()
    for index, picture in enumerate([*pictures(10, 0), *dark(pictures(10, 5))]):
        detector.observe(index, picture)
    assert [detector.since_cut(index) for index in (9, 10, 13)] == [None, 0, 3]


def test_memory_is_bounded_and_a_missing_frame_stops_nothing() -> None:
    """Frame 5 never comes; a cut long after it is found."""
    detector = CutDetector()
    frames = [*pictures(120, 0), *dark(pictures(10, 5))]
    for index, picture in enumerate(frames):
        if index != 5:
            detector.observe(index, picture)
    assert detector.since_cut(121) == 1
    assert len(detector._pictures) <= 65
