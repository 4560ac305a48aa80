"""Which frame a block points to: on clips whose motion is known, and by exhaustive comparison."""

from __future__ import annotations

import numpy as np
import pytest

import codec
from codec import STRIDE, CompressedFrame
from codec.h264.dpb import Reference
from codec.motion.reference_selection import by_distance
from tests.support import synthetic
from tests.support.synthetic import Clip


def read(clip: Clip, **params: object) -> list[CompressedFrame]:
    """Encode a clip by x264 and read it."""
    with codec.open_video(synthetic.encode(clip.frames, options=synthetic.x264(**params))) as video:
        return list(video)


def explained(frame: CompressedFrame, clip: Clip, by_decode_index: dict[int, int]) -> tuple[int, int]:
    """Cells whose vector is the true motion to the frame that it is said to point to; cells with a vector."""
    good = total = 0
    for which in (0, 1):
        for name in frame.motion.references:
            cells = frame.motion.reference[which] == name
            true = clip.motion(frame.index, by_decode_index[name])[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
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
    """The vectors of nearly all cells are the camera's motion to the very frame that they are said to point to."""
    frames = read(clip, **params)
    positions = {frame.decode_index: frame.index for frame in frames}
    good, total = np.sum([explained(frame, clip, positions) for frame in frames], axis=0)
    covered = sum(int(frame.motion.covered.sum()) for frame in frames if frame.type != "I")
    assert good / total > 0.93
    assert covered > 0.75 * sum(frame.motion.covered.size for frame in frames if frame.type != "I")


def test_two_scenes_refer_to_their_own() -> None:
    """Where two scenes alternate, cells refer to frames of their own scene although the other one is nearer."""
    clip = synthetic.alternating()
    frames = read(clip, bframes=0, ref=4)
    scene = {frame.decode_index: clip.scenes[frame.index] for frame in frames}
    for frame in frames[2:]:
        used = frame.motion.reference[frame.motion.reference >= 0]
        assert used.size
        assert np.mean([scene[int(name)] == clip.scenes[frame.index] for name in used]) > 0.99
        assert np.abs(frame.residual).mean() < 2


@pytest.mark.parametrize(("pyramid", "b_frames"), [("normal", 3), ("strict", 7)])
def test_references_of_a_pyramid_are_the_best_of_all_pictures(pyramid: str, b_frames: int) -> None:
    """In a B pyramid the named reference is as good as the best of all pictures before it in decode order."""
    clip = synthetic.pan(25, velocity=(4.0, -3.0))
    frames = read(clip, bframes=b_frames, b_pyramid=pyramid, ref=3, b_adapt=0)
    by_name = {frame.decode_index: frame for frame in frames}
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
                sad = {name: _sad(patch, other.luma, corner) for name, other in by_name.items()}
                best = min(value for name, value in sad.items() if name < frame.decode_index)
                wrong += sad[int(frame.motion.reference[which, row, column])] > best + 16 * 4
                total += 1
    assert total > 300
    assert wrong / total < 0.05


def _sad(patch: np.ndarray, luma: np.ndarray, corner: tuple[float, float]) -> float:
    """Sum of absolute differences of a 4 x 4 patch to the bilinear picture at `corner` (y, x)."""
    y, x = int(np.floor(corner[0])), int(np.floor(corner[1]))
    fy, fx = corner[0] - y, corner[1] - x
    area = luma[y : y + 5, x : x + 5].astype(float)
    lines = area[:-1] * (1 - fy) + area[1:] * fy
    return float(np.abs(patch - (lines[:, :-1] * (1 - fx) + lines[:, 1:] * fx)).sum())


def test_references_come_before_and_stay_in_reach() -> None:
    """A frame refers to earlier frames in decode order that all frames between still listed as in reach."""
    frames = read(synthetic.pan(24), bframes=3, b_pyramid="normal", ref=4, keyint=10)
    reach: tuple[int, ...] = ()
    for frame in frames:
        assert set(frame.motion.references) <= set(reach)
        reach = frame.available_references
        assert (frame.decode_index in reach) == frame.is_reference


def test_an_idr_frame_empties_the_reach() -> None:
    """After an IDR frame nothing before it is in reach."""
    frames = read(synthetic.pan(12), bframes=0, keyint=4, min_keyint=4, ref=4)
    starts = [frame for frame in frames if frame.type == "I"]
    assert len(starts) == 3
    assert all(frame.available_references == (frame.decode_index,) for frame in starts)


def test_reach_is_as_long_as_the_stream_allows() -> None:
    """No more frames are in reach than the stream's own limit (max_num_ref_frames)."""
    frames = read(synthetic.pan(12), bframes=0, ref=2)
    assert max(len(frame.available_references) for frame in frames) == 2


def test_lists_prefer_their_direction() -> None:
    """List 0 looks at past frames first, list 1 at future ones, each from near to far."""
    frames = tuple(Reference(decode_index, index) for decode_index, index in enumerate((0, 8, 4, 2)))
    assert [f.index for f in by_distance(frames, 3, 0)] == [2, 0, 4, 8]
    assert [f.index for f in by_distance(frames, 3, 1)] == [4, 8, 2, 0]
