"""Selection of reference pictures, on clips with known motion and against exhaustive search."""

from __future__ import annotations

import numpy as np
import pytest

import codec
from codec import STRIDE, CompressedFrame
from codec.h264.dpb import ReferenceFrame
from codec.motion.reference_selection import rank_references
from tests.support import synthetic
from tests.support.synthetic import Clip


def read(clip: Clip, **params: object) -> list[CompressedFrame]:
    """Encode a clip with x264 and read it."""
    with codec.open_video(synthetic.encode(clip.frames, options=synthetic.x264(**params))) as video:
        return list(video)


def explained(frame: CompressedFrame, clip: Clip, index_of: dict[int, int]) -> tuple[int, int]:
    """Number of cells whose vector is the true motion to their reference, and of all cells with a vector."""
    good = total = 0
    for which in (0, 1):
        for reference in frame.motion.references:
            cells = frame.motion.reference[which] == reference
            true = clip.motion(frame.index, index_of[reference])[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
            error = np.abs(frame.motion.vectors[which] - true).max(axis=-1)
            good += int((error[cells] < 0.75).sum())
            total += int(cells.sum())
    return good, total


@pytest.mark.parametrize(
    ("clip", "params"),
    [
        pytest.param(synthetic.pan(), {"bframes": 0, "ref": 1}, id="pan"),
        pytest.param(synthetic.pan(velocity=(-5.5, 2.25)), {"bframes": 0, "ref": 4}, id="pan-4-references"),
        pytest.param(synthetic.zoom(), {"bframes": 0, "ref": 3}, id="zoom"),
        pytest.param(synthetic.pan(17), {"bframes": 3, "b_pyramid": "normal", "ref": 3, "b_adapt": 0}, id="pyramid"),
        pytest.param(synthetic.alternating(), {"bframes": 0, "ref": 4}, id="two-scenes"),
        pytest.param(synthetic.pan(17), {"bframes": 7, "b_pyramid": "normal", "ref": 5, "b_adapt": 0}, id="pyramid-7"),
    ],
)
def test_vectors_are_the_true_motion_to_their_reference(clip: Clip, params: dict[str, object]) -> None:
    """For nearly all cells, the vector is the camera's motion to the selected reference."""
    frames = read(clip, **params)
    positions = {frame.decode_index: frame.index for frame in frames}
    good, total = np.sum([explained(frame, clip, positions) for frame in frames], axis=0)
    covered = sum(int(frame.motion.covered.sum()) for frame in frames if frame.type != "I")
    assert good / total > 0.93
    assert covered > 0.75 * sum(frame.motion.covered.size for frame in frames if frame.type != "I")


def test_alternating_scenes_refer_to_the_same_scene() -> None:
    """Where two scenes alternate, cells refer to frames of their own scene, although the other scene is nearer."""
    clip = synthetic.alternating()
    frames = read(clip, bframes=0, ref=4)
    scene = {frame.decode_index: clip.scenes[frame.index] for frame in frames}
    for frame in frames[2:]:
        used = frame.motion.reference[frame.motion.reference >= 0]
        assert used.size
        assert np.mean([scene[int(reference)] == clip.scenes[frame.index] for reference in used]) > 0.99
        assert np.abs(frame.residual).mean() < 2


@pytest.mark.parametrize(("pyramid", "b_frames"), [("normal", 3), ("strict", 7)])
def test_references_in_a_pyramid_match_an_exhaustive_search(pyramid: str, b_frames: int) -> None:
    """In a B pyramid, the selected reference predicts as well as the best of all earlier frames in decode order."""
    clip = synthetic.pan(25, velocity=(4.0, -3.0))
    frames = read(clip, bframes=b_frames, b_pyramid=pyramid, ref=3, b_adapt=0)
    by_decode_index = {frame.decode_index: frame for frame in frames}
    wrong = total = 0
    for frame in frames:
        for which in (0, 1):
            only = (frame.motion.reference[which] >= 0) & (frame.motion.reference[1 - which] < 0)
            for row, column in np.argwhere(only)[::7]:
                dx, dy = frame.motion.vectors[which, row, column]
                x, y = column * STRIDE + 2 + dx, row * STRIDE + 2 + dy
                if not (8 < x < 182 and 8 < y < 118):
                    continue
                patch = frame.luma[row * STRIDE : row * STRIDE + 4, column * STRIDE : column * STRIDE + 4].astype(float)
                corner = (row * STRIDE + dy, column * STRIDE + dx)
                sad = {index: _sad(patch, other.luma, corner) for index, other in by_decode_index.items()}
                best = min(value for index, value in sad.items() if index < frame.decode_index)
                wrong += sad[int(frame.motion.reference[which, row, column])] > best + 16 * 4
                total += 1
    assert total > 300
    assert wrong / total < 0.05


def _sad(patch: np.ndarray, luma: np.ndarray, corner: tuple[float, float]) -> float:
    """Sum of absolute differences between a 4 x 4 patch and the bilinear picture at `corner` (y, x)."""
    y, x = int(np.floor(corner[0])), int(np.floor(corner[1]))
    fy, fx = corner[0] - y, corner[1] - x
    area = luma[y : y + 5, x : x + 5].astype(float)
    lines = area[:-1] * (1 - fy) + area[1:] * fy
    return float(np.abs(patch - (lines[:, :-1] * (1 - fx) + lines[:, 1:] * fx)).sum())


def test_references_are_available_when_used() -> None:
    """A frame refers only to frames that the frame before it in decode order lists as available."""
    frames = read(synthetic.pan(24), bframes=3, b_pyramid="normal", ref=4, keyint=10)
    available: tuple[int, ...] = ()
    for frame in frames:
        assert set(frame.motion.references) <= set(available)
        available = frame.available_references
        assert (frame.decode_index in available) == frame.is_reference


def test_an_idr_frame_clears_the_references() -> None:
    """After an IDR frame, no earlier frame is available."""
    frames = read(synthetic.pan(12), bframes=0, keyint=4, min_keyint=4, ref=4)
    starts = [frame for frame in frames if frame.type == "I"]
    assert len(starts) == 3
    assert all(frame.available_references == (frame.decode_index,) for frame in starts)


def test_references_respect_the_limit_of_the_stream() -> None:
    """At most `max_num_ref_frames` frames are available."""
    frames = read(synthetic.pan(12), bframes=0, ref=2)
    assert max(len(frame.available_references) for frame in frames) == 2


def test_each_list_prefers_its_direction() -> None:
    """List 0 ranks past frames first and list 1 future frames, each from near to far."""
    frames = tuple(ReferenceFrame(decode_index, index) for decode_index, index in enumerate((0, 8, 4, 2)))
    assert [f.index for f in rank_references(frames, 3, 0)] == [2, 0, 4, 8]
    assert [f.index for f in rank_references(frames, 3, 1)] == [4, 8, 2, 0]
