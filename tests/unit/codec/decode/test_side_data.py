"""Reading a picture's side data does not keep the picture in memory."""

from __future__ import annotations

import gc

import av
import pytest

import codec
from codec import MotionSource
from tests.support import synthetic

FRAMES = 60
MOST_ALIVE = 24
"""Most decoded pictures that the reader may hold: those in reordering and in its queues."""


@pytest.mark.parametrize("motion", [MotionSource.BITSTREAM, MotionSource.PROXY])
def test_decoded_pictures_are_freed_without_garbage_collection(motion: MotionSource) -> None:
    """Pictures are freed by reference counting alone: `frame.side_data` would put each in a reference cycle."""
    clip = synthetic.encode(synthetic.pan(FRAMES).frames, options=synthetic.x264(bframes=2))
    gc.collect()
    gc.freeze()  # what other tests have left is not listed below
    gc.disable()
    try:
        with codec.open_video(clip, motion=motion.value) as video:
            alive = [_pictures() for frame in video if frame.motion is not None]
    finally:
        gc.enable()
        gc.unfreeze()
    assert len(alive) == FRAMES
    assert 0 < max(alive) <= MOST_ALIVE


def _pictures() -> int:
    # isinstance would read __class__, at which an object of torch warns.
    return sum(issubclass(type(thing), av.VideoFrame) for thing in gc.get_objects())
