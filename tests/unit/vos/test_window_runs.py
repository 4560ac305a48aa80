"""Runs that see windows: they can be interrupted anywhere, and depend on masks alone; on tiny pictures and windows."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from codec import open_video
from tests.support.frames import assert_same, stored
from tests.support.networks import BrightnessNetwork, UncertainRefiner
from tests.support.synthetic import encode, pan, x264
from vos.keyframes import window
from vos.modeling.network import Features, Memory
from vos.runtime.run_state import RunState
from vos.segmenter import Segmenter
from vos.types import FrameMask, Options, Prompt

WIDTH, HEIGHT = 160, 128
CLIP = encode(pan(18, (WIDTH, HEIGHT)).frames, options=x264(bframes=1, ref=3))


class WindowNetwork(BrightnessNetwork):
    """Returns the previous masks, with logits that depend on every position of the memory; records what it encodes."""

    sees_windows = True

    def __init__(self) -> None:
        super().__init__()
        self.encoded: list[tuple[int, int]] = []

    def encode(self, image: Tensor) -> Features:
        """Record the size of the picture, and return it."""
        self.encoded.append((image.shape[2], image.shape[3]))
        return super().encode(image)

    def segment(self, features: Features, memory: Memory, previous: Tensor | None, top_k: int) -> Tensor:  # noqa: ARG002
        """Return logits of the previous masks, a little more certain the brighter the memory is."""
        assert previous is not None
        assert previous.shape[-2:] == (features.image.shape[2] // 4, features.image.shape[3] // 4)
        order = torch.linspace(0.5, 1.5, memory.value.shape[-1])
        return (previous - 0.5) * (8 + (memory.key * order).mean() / 255 + (memory.value * order).mean())


@pytest.fixture(autouse=True)
def _tiny_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let windows of 48 pixels be worth it in pictures of 160 x 128."""
    for name, value in {"LEAST_SIDE": 48, "_SIDE_STEP": 16, "_MARGIN": 8, "WHOLE_EVERY": 5}.items():
        monkeypatch.setattr(window, name, value)


def prompt(*, far_apart: bool = False) -> Prompt:
    """Mark one small object, or two in opposite corners."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[60:76, 110:126] = 3
    if far_apart:
        labels[4:20, 4:20] = 5
    return Prompt(labels)


def run(
    refined: bool, given: Prompt, limit: int | None = None, state: RunState | None = None, cores: int = 1
) -> tuple[list[FrameMask], RunState | None, list[tuple[int, int]]]:
    """Return masks, resume state, and the sizes of the pictures that were encoded."""
    network = WindowNetwork()
    refiner = UncertainRefiner({}) if refined else None
    segmenter = Segmenter(network, Options(keyframes="every:2", memory_frames=3), refiner)
    segmenter._pools._count = cores
    with open_video(io.BytesIO(CLIP)) as reader:
        masks = list(itertools.islice(segmenter.run(reader, reader.info, given, state), limit))
    return masks, segmenter.state, network.encoded


def test_key_frames_of_a_small_object_are_seen_in_part() -> None:
    """The prompt frame and every fifth key frame are seen whole, the others in a window; two corners always whole."""
    _, _, encoded = run(True, prompt())
    whole = (HEIGHT, WIDTH)
    assert encoded[0] == encoded[5] == whole
    assert len(encoded) == 9
    assert encoded.count(whole) == 2
    assert all(height * width <= 48 * 64 for height, width in encoded if (height, width) != whole)
    _, _, encoded = run(True, prompt(far_apart=True))
    assert encoded == [whole] * 9


@pytest.mark.parametrize("refined", [True, False])
def test_a_run_with_windows_can_be_interrupted_after_every_mask(refined: bool, tmp_path: Path) -> None:
    """The remaining masks are the same: memorized frames are seen through the windows that they had."""
    whole, _, _ = run(refined, prompt())
    assert all((mask.labels == 3).any() for mask in whole)
    state, masks = None, []
    for _ in whole:
        found, state, _ = run(refined, prompt(), 1, state)
        masks += found
        state = stored(state, tmp_path)
    assert_same(masks, whole)


def test_masks_of_windows_do_not_depend_on_prefetching() -> None:
    """On two cores, key frames are encoded ahead in the latest window; those that have left it are encoded again."""
    alone, _, once = run(True, prompt())
    beside, _, encoded = run(True, prompt(), cores=2)
    assert_same(beside, alone)
    assert len(once) < len(encoded) < 2 * len(once), "some windows must move, and most must not"
