"""Contact sheets of hand-drawn masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.accuracy import contact_sheet
from benchmarks.accuracy.contact_sheet import RESULT, TRUTH, Judged
from codec.types import FrameType, UInt8Array
from vos.evaluation.davis import find_sequences
from vos.types import FrameMask, MaskSource


def judged(index: int, j: float, labels: UInt8Array | None = None) -> Judged:
    """Build a judged propagated frame."""
    found = np.zeros((4, 4), np.uint8) if labels is None else labels
    return Judged(FrameMask(index, index, index / 24, FrameType.P, MaskSource.PROPAGATED, found, {1: j}), j)


def test_the_worst_frames_lie_apart() -> None:
    """The worst of neighbouring frames represents them, and frames are shown in presentation order."""
    js = {1: 0.9, 2: 0.1, 3: 0.2, 6: 0.3, 9: 0.5, 20: 0.05}
    chosen = contact_sheet.worst([judged(index, j) for index, j in js.items()], count=3)
    assert [frame.mask.index for frame in chosen] == [2, 6, 20]


@pytest.fixture
def sequence(tmp_path: Path) -> Path:
    """Three blue pictures with a square object."""
    labels = np.zeros((60, 100), np.uint8)
    labels[20:40, 20:50] = 1
    for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
        folder = tmp_path / kind / "480p" / "cow"
        folder.mkdir(parents=True)
        for index in range(3):
            picture = Image.new("RGB", (100, 60), "blue") if kind == "JPEGImages" else Image.fromarray(labels * 255)
            picture.save(folder / f"{index:05d}.{suffix}")
    return tmp_path


def test_outlines_show_annotation_and_result() -> None:
    """Only pixels at an edge change; the annotation's edge is green, and the result's is red and on top."""
    truth, result = np.zeros((2, 40, 40), np.uint8)
    truth[10:20, 10:20] = 1
    result[10:20, 25:35] = 2
    picture = contact_sheet.outlined(np.full((40, 40, 3), 245, np.uint8), truth, result)
    assert tuple(picture[15, 10]) == TRUTH
    assert tuple(picture[15, 25]) == RESULT
    for y, x in ((15, 15), (15, 30), (5, 5), (30, 15)):
        assert tuple(picture[y, x]) == (245, 245, 245)
    assert (contact_sheet.outlined(picture, truth, truth) == TRUTH).all(axis=2).sum() == 0


def test_the_plain_sheet_shows_no_picture(sequence: Path) -> None:
    """The sheet with pictures is blue like them; the plain sheet has the same outlines on a light ground."""
    (source,) = find_sequences(sequence)
    frames = [judged(1, 0.5, np.roll(source.labels(1), 20, axis=1))]
    shown, plain = (np.asarray(contact_sheet.sheet(source, frames, plain=plain)).astype(int) for plain in (False, True))

    def blue(sheet: np.ndarray) -> int:
        return int((sheet[..., 2] - sheet[..., :2].max(axis=2) > 100).sum())

    assert blue(shown) > 10_000
    assert blue(plain) == 0
    green, red = plain[..., 1] - plain[..., 0] > 50, plain[..., 0] - plain[..., 1] > 50
    assert green.sum() > 100
    assert red.sum() > 100
