"""Waves: which frames they contain, their order, and which references are kept for later waves."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest

from codec import open_video
from codec.errors import BrokenStreamError
from codec.types import CompressedFrame, FrameType, MotionField
from tests.support.synthetic import encode, pan, x264
from vos.runtime.waves import LARGEST, WINDOW, Wave, one_by_one, waves


def frame(number: int, references: tuple[int, ...], available: tuple[int, ...] = ()) -> CompressedFrame:
    """Return a frame whose cells point to the references in turn."""
    pointed = np.full((2, 8, 8), -1, np.int32)
    if references:
        pointed[0] = np.resize(np.array(references, np.int32), (8, 8))
    motion = MotionField(np.zeros((2, 8, 8, 2), np.float32), pointed)
    blank = np.zeros((32, 32), np.uint8)
    kind = FrameType.P if references else FrameType.I
    return CompressedFrame(
        number, number, number, 0.0, kind, True, blank, motion, blank.astype(np.int16), available, lambda: blank
    )


def random_stream(seed: int) -> list[CompressedFrame]:
    """Return 40 frames that refer to up to two of the four frames before them; some have no reference."""
    rng = np.random.default_rng(seed)
    frames = []
    for number in range(40):
        near = [n for n in range(number - 4, number) if n >= 0]
        count = 0 if number == 0 or rng.random() < 0.1 else int(rng.integers(1, 3))
        references = rng.choice(near, min(count, len(near)), replace=False).tolist() if near else []
        frames.append(frame(number, tuple(references), tuple(n for n in range(number - 3, number + 1) if n >= 0)))
    return frames


def check(done: list[Wave], frames: list[CompressedFrame]) -> None:
    """Assert every rule of waves, frame by frame."""
    order = [f.decode_index for wave in done for f in wave.frames]
    assert sorted(order) == [f.decode_index for f in frames]
    at = {f.decode_index: n for n, wave in enumerate(done) for f in wave.frames}
    for f in frames:
        assert all(at[r] < at[f.decode_index] for r in f.motion.references)
        for later in done[at[f.decode_index] + 1 :]:
            for other in later.frames:
                if f.decode_index in other.motion.references:
                    between = done[at[f.decode_index] : at[other.decode_index]]
                    assert all(f.decode_index in wave.needed for wave in between)
        if not f.motion.references:
            assert len(done[at[f.decode_index]].frames) == 1
            assert all(at[n] < at[f.decode_index] for n in range(f.decode_index))
            assert all(at[n] > at[f.decode_index] for n in range(f.decode_index + 1, len(frames)))
    for n, wave in enumerate(done):
        indices = [f.decode_index for f in wave.frames]
        assert 1 <= len(indices) <= LARGEST
        assert indices == sorted(indices)
        later = sorted(f.decode_index for later in done[n + 1 :] for f in later.frames)
        ahead = [f.decode_index for f in wave.ahead]
        assert ahead == later[: len(ahead)]
        assert len(ahead) < WINDOW
        assert max(indices) - min(f.decode_index for later in done[n:] for f in later.frames) < WINDOW


@pytest.mark.parametrize("seed", range(20))
def test_every_frame_comes_once_and_after_its_references(seed: int) -> None:
    """In random streams, references are kept until they are used, and no frame is delayed beyond the window."""
    frames = random_stream(seed)
    check(list(waves(frames, 0)), frames)


def test_independent_b_frames_share_a_wave() -> None:
    """B frames that are no references share a wave, and an encoded stream keeps every rule."""
    with open_video(io.BytesIO(encode(pan(40, (128, 96)).frames, options=x264(bframes=3, ref=3)))) as reader:
        frames = list(reader)
    done = list(waves(frames, 0))
    check(done, frames)
    assert len(done) < 0.75 * len(frames)
    assert all(len(wave.ahead) >= WINDOW - LARGEST for wave in done[1:] if wave.frames[-1].decode_index < 40 - WINDOW)


def test_a_chain_of_references_stays_in_decode_order() -> None:
    """When every frame refers to the one before it, frames come alone and in decode order."""
    frames = [frame(n, (n - 1,) if n else ()) for n in range(20)]
    assert [f.decode_index for wave in waves(frames, 0) for f in wave.frames] == list(range(20))


def test_frames_up_to_the_prompt_come_at_once() -> None:
    """Nothing is read ahead before the prompt frame has been yielded, so its mask comes at once."""
    read = 0

    def reading() -> Iterator[CompressedFrame]:
        nonlocal read
        for n in range(30):
            read += 1
            yield frame(n, (n - 1,) if n else ())

    stream = waves(reading(), 3)
    for n in range(4):
        assert [f.index for f in next(stream).frames] == [n]
        assert read == n + 1


def test_frames_before_a_decoding_error_are_yielded() -> None:
    """A decoding error is raised after the last wave, and no frame is lost."""

    def breaking() -> Iterator[CompressedFrame]:
        for n in range(11):
            yield frame(n, (n - 1,) if n else ())
        raise BrokenStreamError("broken at 11", 11)

    got: list[int] = []
    with pytest.raises(BrokenStreamError, match="broken at 11"):
        got.extend(f.index for wave in waves(breaking(), 0) for f in wave.frames)
    assert got == list(range(11))


def test_one_by_one_is_decode_order() -> None:
    """Each frame comes alone, with its available references."""
    frames = random_stream(0)
    assert [(wave.frames, wave.needed) for wave in one_by_one(frames)] == [
        ((f,), f.available_references) for f in frames
    ]
