"""A small object in a large picture: the base network sees a window around it, and loses nothing."""

from __future__ import annotations

import io

import numpy as np
import pytest

from codec import open_video
from tests.support.discs import DiscClip, disc_clip
from vos.keyframes import window
from vos.modeling.compact import CompactNetwork
from vos.segmenter import Segmenter
from vos.types import Options, Prompt
from vos.weights.load import load_network, load_refiner

FRAMES = 7


@pytest.fixture(scope="module")
def clip() -> DiscClip:
    """A disc of 24 pixels in 720p."""
    return disc_clip(FRAMES, (1280, 720), 24)


def segmented(clip: DiscClip, monkeypatch: pytest.MonkeyPatch) -> tuple[float, int]:
    """Mean J after the prompt frame at 720 lines, and the pixels that the base network encoded after it."""
    encoded: list[int] = []
    encode = CompactNetwork.encode

    def count(self: CompactNetwork, image):
        encoded.append(image.shape[2] * image.shape[3])
        return encode(self, image)

    with monkeypatch.context() as patch, open_video(io.BytesIO(clip.video), short_side=720) as video:
        patch.setattr(CompactNetwork, "encode", count)
        segmenter = Segmenter(load_network("compact"), Options(keyframes="every:2"), load_refiner())
        masks = list(segmenter.run(video, video.info, Prompt(clip.masks[0])))
    overlaps = clip.overlaps(np.stack([mask.labels for mask in masks]))
    return float(np.mean(overlaps[1:])), sum(encoded[1:])


def test_a_window_keeps_what_the_whole_picture_does(clip: DiscClip, monkeypatch: pytest.MonkeyPatch) -> None:
    """J is as with whole pictures, and less than half of their pixels are encoded."""
    narrow, narrow_pixels = segmented(clip, monkeypatch)
    monkeypatch.setattr(window, "WHOLE_EVERY", 1)
    whole, whole_pixels = segmented(clip, monkeypatch)
    assert whole_pixels % (720 * 1280) == 0
    assert narrow_pixels < whole_pixels / 2
    assert narrow >= whole - 0.01
    assert narrow >= 0.8
