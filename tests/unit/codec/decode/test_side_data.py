"""Reading what is attached to a picture does not keep the picture."""

from __future__ import annotations

import gc

import av
import pytest

import codec
from codec import MotionSource
from tests.support import synthetic

FRAMES = 60
MOST_ALIVE = 24
"""Decoded pictures that the reader may hold at once: those that wait to be shown or looked at."""


@pytest.mark.parametrize("motion", [MotionSource.BITSTREAM, MotionSource.PROXY])
def test_a_decoded_picture_goes_when_its_frame_was_given(motion: MotionSource) -> None:
    """Without the help of Python's search for cycles, of which a picture with side data would otherwise be one."""
    clip = synthetic.encode(synthetic.pan(FRAMES).frames, options=synthetic.x264(bframes=2))
    gc.collect()
    before = _pictures()
    gc.disable()
    try:
        with codec.open_video(clip, motion=motion.value) as video:
            alive = [_pictures() - before for frame in video if frame.motion is not None]
    finally:
        gc.enable()
    assert len(alive) == FRAMES
    assert max(alive) <= MOST_ALIVE


def _pictures() -> int:
    # Not isinstance, which asks objects for their class: one of torch's then warns.
    return sum(issubclass(type(thing), av.VideoFrame) for thing in gc.get_objects())
