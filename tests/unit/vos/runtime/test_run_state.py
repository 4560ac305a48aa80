"""A run resumed from a saved state yields the same masks as an uninterrupted one."""

from __future__ import annotations

import io
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from codec import open_video
from tests.support.frames import FINGERPRINT, assert_same, chain, info, pyramid, stored, truth
from tests.support.networks import BrightnessNetwork, MemoryNetwork
from tests.support.synthetic import encode, pan, x264
from vos.runtime.run_state import RunState
from vos.segmenter import Segmenter
from vos.types import FrameMask, MaskSource, Options, Prompt


@pytest.mark.parametrize("keyframes", ["every:1", "every:3", "codec", "adaptive"])
@pytest.mark.parametrize("cut", [1, 2, 4, 6])
def test_a_run_with_b_frames_can_be_resumed(keyframes: str, cut: int, tmp_path: Path) -> None:
    """Wherever a pyramid of B frames is interrupted, the remaining masks equal those of the whole run."""
    options = Options(keyframes=keyframes, soft=True)
    prompt = Prompt(truth(0))
    whole = list(Segmenter(MemoryNetwork(), options).run(pyramid(), info(64, 48), prompt))
    first = Segmenter(MemoryNetwork(), options)
    first_masks = list(islice(first.run(pyramid(), info(64, 48), prompt), cut))
    second = Segmenter(MemoryNetwork(), options)
    rest = list(second.run(pyramid(), info(64, 48), prompt, stored(first.state, tmp_path)))
    assert_same(first_masks + rest, whole)
    assert second.stats.total == len(whole)


@pytest.mark.parametrize("cut", [1, 5, 8, 10])
def test_a_full_memory_is_rebuilt_slot_by_slot(cut: int, tmp_path: Path) -> None:
    """When there were more key frames than slots, each frame returns to its slot and later ones replace the same."""
    options = Options(keyframes="every:1", memory_frames=3, memory_spacing=2)
    prompt = Prompt(truth(0))
    whole = list(Segmenter(MemoryNetwork(), options).run(chain(11), info(64, 48), prompt))
    first = Segmenter(MemoryNetwork(), options)
    first_masks = list(islice(first.run(chain(11), info(64, 48), prompt), cut))
    second = Segmenter(MemoryNetwork(), options)
    rest = list(second.run(chain(11), info(64, 48), prompt, stored(first.state, tmp_path)))
    assert_same(first_masks + rest, whole)


def test_finished_frames_are_not_segmented_again(tmp_path: Path) -> None:
    """Resuming memorizes each key frame in memory once, and segments no frame again."""
    options = Options(keyframes="every:2", memory_frames=3, memory_spacing=2)
    prompt = Prompt(truth(0))
    first = Segmenter(BrightnessNetwork(), options)
    run = first.run(chain(11), info(64, 48), prompt)
    for _ in range(8):
        next(run)
    state = stored(first.state, tmp_path)
    assert state is not None
    network = BrightnessNetwork()
    rest = list(Segmenter(network, options).run(chain(11), info(64, 48), prompt, state))
    keys = [mask for mask in rest if mask.source is MaskSource.KEY]
    assert [mask.index for mask in rest] == [8, 9, 10]
    assert network.segmented == len(keys)
    assert network.memorized == len(keys) + len(state.memory.indices)


def test_a_resumed_run_can_be_interrupted_again(tmp_path: Path) -> None:
    """Stopping after every single mask yields the same masks."""
    options = Options(keyframes="every:2")
    prompt = Prompt(truth(0))
    whole = list(Segmenter(MemoryNetwork(), options).run(pyramid(), info(64, 48), prompt))
    state, masks = None, []
    for _ in whole:
        segmenter = Segmenter(MemoryNetwork(), options)
        masks.append(next(segmenter.run(pyramid(), info(64, 48), prompt, state)))
        state = stored(segmenter.state, tmp_path)
    assert_same(masks, whole)


def test_a_resumed_run_keeps_its_range(tmp_path: Path) -> None:
    """Start and end also hold for the resumed run."""
    options = Options(keyframes="every:2", start=2, end=6)
    prompt = Prompt(truth(0))
    first = Segmenter(BrightnessNetwork(), options)
    first_masks = list(islice(first.run(chain(9), info(64, 48), prompt), 2))
    rest = list(
        Segmenter(BrightnessNetwork(), options).run(chain(9), info(64, 48), prompt, stored(first.state, tmp_path))
    )
    assert [mask.index for mask in first_masks + rest] == [2, 3, 4, 5]


def test_a_run_on_an_encoded_clip_can_be_resumed(tmp_path: Path) -> None:
    """This also holds for an encoded clip with several references, read again from its beginning."""
    clip = encode(pan(14, (128, 96)).frames, options=x264(bframes=2, ref=3, b_pyramid="normal"))
    labels = np.zeros((96, 128), np.uint8)
    labels[20:60, 30:80] = 3
    prompt, options = Prompt(labels), Options()

    def run(limit: int | None, state: RunState | None) -> tuple[list[FrameMask], RunState | None]:
        segmenter = Segmenter(MemoryNetwork(), options)
        with open_video(io.BytesIO(clip)) as reader:
            return list(islice(segmenter.run(reader, reader.info, prompt, state), limit)), segmenter.state

    whole, _ = run(None, None)
    first_masks, state = run(6, None)
    rest, _ = run(None, stored(state, tmp_path))
    assert len(whole) == 14
    assert_same(first_masks + rest, whole)


def test_an_unusable_state_file_loads_as_none(tmp_path: Path) -> None:
    """A missing, truncated or altered file, or one of another run, loads as None."""
    segmenter = Segmenter(BrightnessNetwork())
    next(segmenter.run(chain(3), info(64, 48), Prompt(truth(0))))
    path = tmp_path / "state.npz"
    assert RunState.load(path, FINGERPRINT) is None
    assert stored(segmenter.state, tmp_path) is not None
    assert RunState.load(path, "another") is None
    whole = path.read_bytes()
    for cut in range(0, len(whole), 97):
        path.write_bytes(whole[:cut])
        assert RunState.load(path, FINGERPRINT) is None
    path.write_bytes(b"not a zip file")
    assert RunState.load(path, FINGERPRINT) is None


def test_before_the_first_mask_there_is_no_state() -> None:
    """There is nothing to resume."""
    assert Segmenter(BrightnessNetwork()).state is None
