"""Reference picture marking (H.264 clause 8.2.5): hand-made cases, x264 streams and conformance streams."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

import codec
from codec import STRIDE, CompressedFrame
from codec.h264.access_unit import parse_access_unit, parse_extradata
from codec.h264.dpb import DecodedPictureBuffer, ReferenceFrame
from codec.h264.nal_unit import nal_length_size
from codec.h264.slice_header import RefPicMarking
from tests.support import synthetic

MAX_FRAME_NUM = 16


def dpb_after(
    *mmco: tuple[tuple[int, int, int], ...] | None, capacity: int = 4, first_frame_num: int = 0
) -> DecodedPictureBuffer:
    """The buffer after frames 0, 1, 2, ..., each with its operations; frame_num starts at `first_frame_num`."""
    dpb = DecodedPictureBuffer(capacity)
    for index, operations in enumerate(mmco):
        frame_num = (first_frame_num + index) % MAX_FRAME_NUM
        dpb.add(ReferenceFrame(index, index), RefPicMarking(frame_num, MAX_FRAME_NUM, operations))
    return dpb


def test_the_window_slides_in_decode_order() -> None:
    """The frame that was decoded first is removed first, whatever its presentation index."""
    dpb = DecodedPictureBuffer(2)
    for decode_index, index in enumerate((0, 4, 2)):
        dpb.add(ReferenceFrame(decode_index, index))
    assert dpb.decode_indices == (1, 2)
    dpb.clear()
    assert dpb.frames == ()


@pytest.mark.parametrize("first", [0, 14])
def test_operation_1_removes_a_short_term_frame(first: int) -> None:
    """It names the frame by the difference of frame numbers, also across the wrap; the window then does not slide."""
    assert dpb_after(None, None, None, ((1, 0, 0),), first_frame_num=first).decode_indices == (0, 1, 3)
    assert dpb_after(None, None, None, ((1, 1, 0), (1, 2, 0)), first_frame_num=first).decode_indices == (2, 3)


def test_long_term_frames_stay_while_the_window_slides() -> None:
    """Operation 3 makes a frame long-term, which keeps it; operation 2 removes it by its long-term index."""
    keep = ((3, 0, 5),)
    assert dpb_after(None, keep, None, None, None, capacity=3).decode_indices == (0, 3, 4)
    assert dpb_after(None, keep, None, ((2, 5, 0),), capacity=3).decode_indices == (1, 2, 3)
    assert dpb_after(None, keep, None, ((2, 4, 0),), capacity=3).decode_indices == (0, 2, 3)


def test_a_long_term_index_is_unique() -> None:
    """A frame that gets a long-term index replaces the previous one; operation 4 removes all from an index on."""
    assert dpb_after(None, ((3, 0, 1),), ((3, 0, 1),)).decode_indices == (1, 2)
    assert dpb_after(None, ((3, 0, 1),), ((6, 1, 0),), None).decode_indices == (1, 2, 3)
    assert dpb_after(None, ((3, 0, 1), (6, 0, 0)), ((4, 1, 0),)).decode_indices == (1, 2)


def test_operation_5_removes_all_frames() -> None:
    """It clears the buffer, and frame_num restarts at 0."""
    assert dpb_after(None, None, ((5, 0, 0),)).decode_indices == (2,)
    dpb = dpb_after(None, None, ((5, 0, 0),))
    dpb.add(ReferenceFrame(3, 3), RefPicMarking(1, MAX_FRAME_NUM, ((1, 0, 0),)))
    assert dpb.decode_indices == (3,)


def test_operations_on_missing_frames_change_nothing() -> None:
    """Operations of a damaged stream that name no frame are ignored, and the capacity still holds."""
    odd = ((1, 12, 0), (2, 3, 0), (3, 11, 2), (4, 0, 0), (9, 0, 0))
    assert dpb_after(None, None, odd, odd, odd, odd, capacity=3).decode_indices == (3, 4, 5)


@pytest.mark.parametrize("container", ["mp4", "mpegts"])
@pytest.mark.parametrize(
    "options", [{"weightp": 2, "ref": 3}, {"interlaced": 1}, {"cabac": 0}, {"b_pyramid": "strict"}]
)
def test_frame_num_of_reference_frames(container: str, options: dict[str, object]) -> None:
    """frame_num of reference frames increases by 1, and x264 marks frames with operation 1 only."""
    options_of_x264 = synthetic.x264(**{"bframes": 3, "b_adapt": 0, "b_pyramid": "normal", **options})
    data = synthetic.encode(synthetic.pan(25).frames, options=options_of_x264, container=container)
    with av.open(io.BytesIO(data)) as file:
        stream = file.streams.video[0]
        sets, size = parse_extradata(stream.codec_context.extradata), nal_length_size(stream.codec_context.extradata)
        units = [parse_access_unit(bytes(packet), size, sets) for packet in file.demux(stream) if packet.size]
    markings = [unit.marking for unit in units if unit.is_reference and unit.marking]
    assert [marking.frame_num for marking in markings] == [i % markings[0].max_frame_num for i in range(len(markings))]
    assert len(markings) == sum(unit.is_reference for unit in units) > 8
    mmco = [operation for marking in markings for operation in marking.mmco or ()]
    assert {operation for operation, _, _ in mmco} <= {1}
    assert options != {"b_pyramid": "strict"} or mmco


def test_a_strict_pyramid_keeps_the_frames_around_it() -> None:
    """Both P frames around a pyramid are available to all of its B frames."""
    options = synthetic.x264(bframes=7, b_adapt=0, b_pyramid="strict", ref=3)
    with codec.open_video(synthetic.encode(synthetic.pan(25).frames, options=options)) as video:
        frames = list(video)
    position = {frame.decode_index: frame.index for frame in frames}
    available: set[int] = set()
    between = [frame for frame in frames if frame.index % 8]
    for frame in frames:
        if frame in between:
            assert {frame.index // 8 * 8, frame.index // 8 * 8 + 8} <= available
        available = {position[decode_index] for decode_index in frame.available_references}
    assert len(between) == 21


@pytest.mark.shared
@pytest.mark.parametrize("clip", ["MR1_BT_A.h264", "MR2_MW_A.264"])
def test_long_term_streams_refer_to_available_frames(shared_dir: Path, clip: str) -> None:
    """In streams with long-term references, hardly any cell is predicted better by a frame that was removed."""
    (path,) = (shared_dir / "data" / "clips").rglob(clip)
    with codec.open_video(path) as video:
        frames = [frame for frame, _ in zip(video, range(40), strict=False)]
    wrong = total = 0
    for before, frame in pairwise(frames):
        available = set(before.available_references)
        for row, column in np.argwhere((frame.motion.reference[0] >= 0) & (frame.motion.reference[1] < 0))[::41]:
            place = np.array((column, row)) * STRIDE + frame.motion.vectors[0, row, column]
            errors = {
                other.decode_index: _error(frame, (row, column), other, place) for other in frames[: frame.decode_index]
            }
            lowest = min(errors[index] for index in available)
            removed = [errors[index] for index in range(frame.decode_index) if index not in available]
            wrong += lowest > 6 and min(removed, default=lowest) < 0.5 * lowest
            total += 1
    assert total > 600
    assert wrong / total < 0.01


def _error(frame: CompressedFrame, cell: tuple[int, int], other: CompressedFrame, place: np.ndarray) -> float:
    """Mean absolute difference between a cell and another frame at `place` (x, y): bilinear, edges repeated."""
    lines, columns = (np.arange(5) + int(np.floor(place[axis])) for axis in (1, 0))
    x, y = place - np.floor(place)
    height, width = other.luma.shape
    area = other.luma[np.clip(lines, 0, height - 1)][:, np.clip(columns, 0, width - 1)].astype(float)
    mixed = area[:-1] * (1 - y) + area[1:] * y
    mixed = mixed[:, :-1] * (1 - x) + mixed[:, 1:] * x
    patch = frame.luma[cell[0] * STRIDE :, cell[1] * STRIDE :][:STRIDE, :STRIDE]
    return float(np.abs(patch - mixed).mean())
