"""The network with a replaced answer, and the rows of the speed-up."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import gpu
from benchmarks.speed import speedup
from benchmarks.speed.stub_networks import EchoNetwork, IdleNetwork, echoing, expected_logits
from tests.support import synthetic
from tests.support.paths import ROOT
from tests.support.scripts import load_script
from vos.modeling.network import Features, Memory
from vos.types import Prompt, Stats


class Lost(IdleNetwork):
    """Finds nothing and counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def encode(self, image: torch.Tensor) -> Features:
        """Return a key of one channel."""
        self.calls.append("encode")
        return super().encode(image)

    def memorize(self, features: Features, masks: torch.Tensor) -> Memory:
        """Return a memory of one position."""
        self.calls.append("memorize")
        return super().memorize(features, masks)

    def segment(self, features: Features, memory: Memory, previous: torch.Tensor | None, top_k: int) -> torch.Tensor:
        """Return no object."""
        self.calls.append("segment")
        return super().segment(features, memory, previous, top_k).fill_(-9)


def test_all_work_is_done_and_the_object_stays() -> None:
    """The network encodes, segments and memorizes every frame and finds nothing, yet the object is followed."""
    clip = synthetic.pan(6)
    labels = np.zeros(clip.frames.shape[1:3], np.uint8)
    labels[40:90, 60:130] = 1
    inner = Lost()
    work = speedup.segment(EchoNetwork(inner), None, "every:1", synthetic.encode(clip.frames), Prompt(labels))
    assert inner.calls == ["encode", "memorize"] + 5 * ["encode", "segment", "memorize"]
    assert work.details()["sources"] == {"prompt": 1, "key": 5}
    assert work.areas == pytest.approx(6 * [50 * 70], rel=0.1)
    lost = speedup.segment(Lost(), None, "every:1", synthetic.encode(clip.frames), Prompt(labels))
    assert lost.areas[1:] == 5 * [0]


def test_area_kept_is_relative_to_the_prompt() -> None:
    """Masks of 100, 50 and 150 pixels keep the prompt's area on average."""
    assert speedup.Work(Stats({}, {}), [100, 50, 150]).details()["area_kept"] == 1.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_expected_masks_come_back(dtype: torch.dtype) -> None:
    """Logits are finite in every dtype, also for masks of 0 and 1, and return the masks up to rounding."""
    masks = torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=dtype).view(1, 1, 2, 2)
    logits = expected_logits(masks)
    assert torch.isfinite(logits).all()
    assert logits.sigmoid().flatten().tolist() == pytest.approx([0.0, 0.25, 0.5, 1.0], abs=1.1e-3)
    with pytest.raises(ValueError, match="there are no previous masks"):
        expected_logits(None)


def test_the_goal_is_for_refined_masks() -> None:
    """60 s against 12 s is 5 times, which meets the goal; 60 s against 10 s is 6 times, which has no goal."""
    seconds = {"every:1": [60.0, 60.0], "every:6": [12.0, 12.0], "every:6, not refined": [10.0, 10.0]}
    refined, plain = speedup.rows("stm", seconds)
    assert (refined.measured.median, refined.met) == (5, True)
    assert (plain.measured.median, plain.met) == (6, None)


def test_another_base_network_does_its_work_too() -> None:
    """A network with a session of its own segments each key frame, and the expected masks take the place of its own."""
    example = load_script(ROOT / "examples" / "own_network.py")
    clip = synthetic.pan(6)
    labels = np.zeros(clip.frames.shape[1:3], np.uint8)
    labels[40:90, 60:130] = 1
    network = echoing(example.ColorNetwork())
    work = speedup.segment(network, None, "every:1", synthetic.encode(clip.frames), Prompt(labels))
    assert work.details()["sources"] == {"prompt": 1, "key": 5}
    assert work.areas == pytest.approx(6 * [50 * 70], rel=0.1)


def test_the_gpu_benchmark_runs_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --quick, the script measures one case on any device, and lists no failure."""
    monkeypatch.setattr("sys.argv", ["gpu.py", "--quick", "--device", "cpu", "--out", str(tmp_path)])
    gpu.main()
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["details"]["left_out"] == {}
    assert found["rows"][0]["question"] == "compact adaptive 480p, 1 object"
    assert found["rows"][0]["measured"]["median"] > 0
