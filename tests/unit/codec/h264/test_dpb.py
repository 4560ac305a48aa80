"""Which frames later ones may refer to, against hand-made cases of H.264 clause 8.2.5 and against x264's own words."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

import codec
from codec import STRIDE, CompressedFrame
from codec.h264.access_unit import access_unit, length_size, parameter_sets
from codec.h264.dpb import Reach, Reference
from codec.h264.slice_header import Marking
from tests.support import synthetic

MODULUS = 16


def reach_after(*commands: tuple[tuple[int, int, int], ...] | None, capacity: int = 4, first: int = 0) -> Reach:
    """Frames 0, 1, 2, ... with numbers from `first` on, each with its commands."""
    reach = Reach(capacity)
    for name, given in enumerate(commands):
        reach.add(Reference(name, name), Marking((first + name) % MODULUS, MODULUS, given))
    return reach


def test_window_slides_in_decode_order() -> None:
    """The frame that came first leaves first, whatever its place in presentation order."""
    reach = Reach(2)
    for decode_index, index in enumerate((0, 4, 2)):
        reach.add(Reference(decode_index, index))
    assert reach.decode_indices == (1, 2)
    reach.clear()
    assert reach.frames == ()


@pytest.mark.parametrize("first", [0, 14])
def test_a_frame_may_be_taken_out_of_turn(first: int) -> None:
    """Operation 1 names a frame by how far its number lies back, also over the end of the count; none slides out."""
    assert reach_after(None, None, None, ((1, 0, 0),), first=first).decode_indices == (0, 1, 3)
    assert reach_after(None, None, None, ((1, 1, 0), (1, 2, 0)), first=first).decode_indices == (2, 3)


def test_long_term_frames_stay_while_others_slide() -> None:
    """Operation 3 makes a frame long-term: the window slides past it; 2 takes it out by its long-term number."""
    keep = ((3, 0, 5),)
    assert reach_after(None, keep, None, None, None, capacity=3).decode_indices == (0, 3, 4)
    assert reach_after(None, keep, None, ((2, 5, 0),), capacity=3).decode_indices == (1, 2, 3)
    assert reach_after(None, keep, None, ((2, 4, 0),), capacity=3).decode_indices == (0, 2, 3)


def test_a_long_term_number_is_given_once() -> None:
    """A frame that takes a long-term number drives out the one that had it; 4 drives out all from a number on."""
    assert reach_after(None, ((3, 0, 1),), ((3, 0, 1),)).decode_indices == (1, 2)
    assert reach_after(None, ((3, 0, 1),), ((6, 1, 0),), None).decode_indices == (1, 2, 3)
    assert reach_after(None, ((3, 0, 1), (6, 0, 0)), ((4, 1, 0),)).decode_indices == (1, 2)


def test_all_may_be_forgotten() -> None:
    """Operation 5 empties the reach, and numbers start again."""
    assert reach_after(None, None, ((5, 0, 0),)).decode_indices == (2,)
    reach = reach_after(None, None, ((5, 0, 0),))
    reach.add(Reference(3, 3), Marking(1, MODULUS, ((1, 0, 0),)))
    assert reach.decode_indices == (3,)


def test_commands_for_frames_that_are_not_there_change_nothing() -> None:
    """Commands of a damaged stream that name no frame are passed over, and no more than the capacity are held."""
    odd = ((1, 12, 0), (2, 3, 0), (3, 11, 2), (4, 0, 0), (9, 0, 0))
    assert reach_after(None, None, odd, odd, odd, odd, capacity=3).decode_indices == (3, 4, 5)


@pytest.mark.parametrize("container", ["mp4", "mpegts"])
@pytest.mark.parametrize(
    "options", [{"weightp": 2, "ref": 3}, {"interlaced": 1}, {"cabac": 0}, {"b_pyramid": "strict"}]
)
def test_frame_numbers_of_slices(container: str, options: dict[str, object]) -> None:
    """Each reference frame's number follows the last one's, and no command names a frame that is not there."""
    told = synthetic.x264(**{"bframes": 3, "b_adapt": 0, "b_pyramid": "normal", **options})
    data = synthetic.encode(synthetic.pan(25).frames, options=told, container=container)
    with av.open(io.BytesIO(data)) as file:
        stream = file.streams.video[0]
        sets, size = parameter_sets(stream.codec_context.extradata), length_size(stream.codec_context.extradata)
        units = [access_unit(bytes(packet), size, sets) for packet in file.demux(stream) if packet.size]
    markings = [unit.marking for unit in units if unit.is_reference and unit.marking]
    assert [marking.number for marking in markings] == [i % markings[0].modulus for i in range(len(markings))]
    assert len(markings) == sum(unit.is_reference for unit in units) > 8
    commands = [command for marking in markings for command in marking.commands or ()]
    assert {operation for operation, _, _ in commands} <= {1}
    assert options != {"b_pyramid": "strict"} or commands


def test_a_strict_pyramid_keeps_the_frames_around_it() -> None:
    """While the B frames between two P frames are read, both P frames are in reach."""
    told = synthetic.x264(bframes=7, b_adapt=0, b_pyramid="strict", ref=3)
    with codec.open_video(synthetic.encode(synthetic.pan(25).frames, options=told)) as video:
        frames = list(video)
    position = {frame.decode_index: frame.index for frame in frames}
    reach: set[int] = set()
    between = [frame for frame in frames if frame.index % 8]
    for frame in frames:
        if frame in between:
            assert {frame.index // 8 * 8, frame.index // 8 * 8 + 8} <= reach
        reach = {position[name] for name in frame.available_references}
    assert len(between) == 21


@pytest.mark.shared
@pytest.mark.parametrize("clip", ["MR1_BT_A.h264", "MR2_MW_A.264"])
def test_long_term_streams_refer_to_frames_in_reach(shared_dir: Path, clip: str) -> None:
    """In streams that mark frames as long-term, hardly a cell is explained only by a frame that is said to be gone."""
    (path,) = (shared_dir / "data" / "clips").rglob(clip)
    with codec.open_video(path) as video:
        frames = [frame for frame, _ in zip(video, range(40), strict=False)]
    gone = total = 0
    for before, frame in pairwise(frames):
        reach = set(before.available_references)
        for row, column in np.argwhere((frame.motion.reference[0] >= 0) & (frame.motion.reference[1] < 0))[::41]:
            place = np.array((column, row)) * STRIDE + frame.motion.vectors[0, row, column]
            errors = {
                other.decode_index: _error(frame, (row, column), other, place) for other in frames[: frame.decode_index]
            }
            known = min(errors[name] for name in reach)
            others = [errors[name] for name in range(frame.decode_index) if name not in reach]
            gone += known > 6 and min(others, default=known) < 0.5 * known
            total += 1
    assert total > 600
    assert gone / total < 0.01


def _error(frame: CompressedFrame, cell: tuple[int, int], other: CompressedFrame, place: np.ndarray) -> float:
    """Mean absolute difference of a cell and another frame at `place` (x, y), bilinear, edges repeated."""
    lines, columns = (np.arange(5) + int(np.floor(place[axis])) for axis in (1, 0))
    x, y = place - np.floor(place)
    height, width = other.luma.shape
    area = other.luma[np.clip(lines, 0, height - 1)][:, np.clip(columns, 0, width - 1)].astype(float)
    mixed = area[:-1] * (1 - y) + area[1:] * y
    mixed = mixed[:, :-1] * (1 - x) + mixed[:, 1:] * x
    patch = frame.luma[cell[0] * STRIDE :, cell[1] * STRIDE :][:STRIDE, :STRIDE]
    return float(np.abs(patch - mixed).mean())
