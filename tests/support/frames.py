"""Scripted frames and video properties for tests of the segmenter."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from codec.types import CompressedFrame, FrameType, MotionField, MotionSource, VideoInfo
from vos.runtime.run_state import RunState
from vos.types import FrameMask

WIDTH, HEIGHT = 64, 48
FINGERPRINT = "video, options, network"
STEP = 4
"""Pixels that the square moves to the right per frame."""


def info(width: int, height: int, analysis: tuple[int, int] | None = None, rotation: int = 0) -> VideoInfo:
    """Return the properties of a video with coded size width x height."""
    analysis_width, analysis_height = analysis or (width, height)
    return VideoInfo(
        codec="h264",
        pixel_format="yuv420p",
        coded_width=width,
        coded_height=height,
        analysis_width=analysis_width,
        analysis_height=analysis_height,
        rotation=rotation,
        mirrored=False,
        sample_aspect_ratio=Fraction(1),
        average_rate=Fraction(25),
        frames_from_header=None,
        duration_seconds_from_header=None,
        motion_source=MotionSource.BITSTREAM,
    )


def truth(index: int) -> np.ndarray:
    """Return the labels of a frame: a moving square of object 1, and a rectangle of object 2 that does not move."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[8:24, 4 + STEP * index : 20 + STEP * index] = 1
    labels[32:44, 8:24] = 2
    return labels


def chain(count: int) -> list[CompressedFrame]:
    """Return an I frame and P frames, each predicted from the one before."""
    return [scripted(i, i, {0: (1, i - 1)} if i else {}) for i in range(count)]


def pyramid() -> list[CompressedFrame]:
    """Return the frames I0 B1 B2 P3 B4 B5 P6 in decode order."""
    b = {"type": FrameType.B, "is_reference": False}
    return [
        scripted(0, 0, {}),
        scripted(3, 1, {0: (3, 0)}),
        scripted(1, 2, {0: (1, 0), 1: (-2, 1)}, **b),
        scripted(2, 3, {0: (2, 0), 1: (-1, 1)}, **b),
        scripted(6, 4, {0: (3, 1)}),
        scripted(4, 5, {0: (1, 1), 1: (-2, 4)}, **b),
        scripted(5, 6, {0: (2, 1), 1: (-1, 4)}, **b),
    ]


def overlap(labels: np.ndarray, index: int) -> float:
    """Return the smaller intersection over union of the two objects."""
    wanted = truth(index)
    return min(((labels == k) & (wanted == k)).sum() / ((labels == k) | (wanted == k)).sum() for k in (1, 2))


def assert_same(masks: list[FrameMask], expected: list[FrameMask]) -> None:
    """Assert that all attributes of all masks are equal."""
    assert [m.index for m in masks] == [m.index for m in expected]
    for mask, other in zip(masks, expected, strict=True):
        assert np.array_equal(mask.labels, other.labels)
        for name in ("pts", "time", "type", "source", "scores"):
            assert getattr(mask, name) == getattr(other, name), (mask.index, name)
        soft, expected_soft = mask.soft or {}, other.soft or {}
        assert soft.keys() == expected_soft.keys()
        for number, one in soft.items():
            assert one.extent == expected_soft[number].extent
            assert np.array_equal(one.values, expected_soft[number].values)


def stored(state: RunState | None, folder: Path) -> RunState | None:
    """Save a state to a file and load it again."""
    assert state is not None
    state.save(folder / "state.npz", FINGERPRINT)
    return RunState.load(folder / "state.npz", FINGERPRINT)


def scripted(
    index: int, decode_index: int, references: dict[int, tuple[int, int]], **change: object
) -> CompressedFrame:
    """Return a frame whose cells point to the square in its references {list: (index distance, decode index)}."""
    labels = truth(index)
    picture = np.repeat((labels * np.uint8(100))[..., None], 3, axis=2)
    vectors = np.zeros((2, HEIGHT // 4, WIDTH // 4, 2), np.float32)
    reference = np.full((2, HEIGHT // 4, WIDTH // 4), -1, np.int32)
    for layer, (distance, held) in references.items():
        reference[layer] = held
        vectors[layer, 1:7, :, 0] = -STEP * distance
    fields = {
        "index": index,
        "decode_index": decode_index,
        "pts": index * 10,
        "time": index / 10,
        "type": FrameType.P if references else FrameType.I,
        "is_reference": True,
        "luma": picture[..., 0],
        "motion": MotionField(vectors, reference),
        "residual": np.zeros((HEIGHT, WIDTH), np.int16),
        "available_references": tuple(range(max(0, decode_index - 3), decode_index + 1)),
        "to_rgb": lambda: picture,
    }
    return CompressedFrame(**{**fields, **change})
