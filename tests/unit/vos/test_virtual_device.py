"""On another device than the CPU: no operation mixes devices, masks are the same, and little is copied per frame."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from codec import open_video
from tests.support.adapters import TINY_CUTIE
from tests.support.synthetic import encode, pan, x264
from tests.support.tiny_sam2 import edgetam_config, enliven, sam2_config
from tests.support.virtual_device import to_virtual, virtual_device
from vos.keyframes.base_network import BaseNetwork
from vos.modeling.network import VOSNetwork
from vos.modeling.refiner import Refiner
from vos.segmenter import Segmenter
from vos.types import FrameMask, MaskSource, Options, Prompt
from vos.weights import load

FRAMES, SIZE = 14, (128, 96)


def networks(name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[VOSNetwork | BaseNetwork, Refiner]:
    """Return a network and the refiner as plain modules, as other devices than the CPU run them."""
    monkeypatch.setattr(load, "can_pack", lambda _: False)
    chosen = {"device": "cpu", "precision": "float32"}
    weights = None if name == "compact" else load.SEEDED
    return load.load_network(name, weights=weights, **chosen), load.load_refiner(**chosen)


def run(segmenter: Segmenter, video: bytes) -> list[FrameMask]:
    """Segment two objects."""
    labels = np.zeros(SIZE[::-1], np.uint8)
    labels[20:60, 30:70], labels[40:80, 80:110] = 1, 2
    with open_video(video) as frames:
        return list(segmenter.run(frames, frames.info, Prompt(labels)))


def adapted(name: str) -> BaseNetwork:
    """Return a small network of another library with random weights."""
    torch.manual_seed(0)
    if name == "cutie":
        pytest.importorskip("cutie", reason="rf-cutie is not installed")
        from vos.keyframes.adapters.cutie import CutieNetwork

        cutie = CutieNetwork("small", **TINY_CUTIE).eval().requires_grad_(False)
        cutie.model.mask_decoder.pred.weight.mul_(20)  # so that masks are not all alike
        return cutie
    pytest.importorskip("transformers", reason="transformers is not installed")
    from vos.keyframes.adapters.sam2 import EdgeTamNetwork, Sam2Network

    network = EdgeTamNetwork(edgetam_config()) if name == "edgetam" else Sam2Network("tiny", sam2_config())
    enliven(network.model)
    return network.eval().requires_grad_(False)


@pytest.mark.parametrize(
    "name", ["cutie", "sam2", *(pytest.param(name, marks=pytest.mark.long) for name in ("stm", "stcn", "edgetam"))]
)
def test_other_networks_on_another_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their masks are those of the CPU, too."""
    video = encode(pan(FRAMES, SIZE).frames, options=x264(bframes=3))

    def build() -> VOSNetwork | BaseNetwork:
        return adapted(name) if name in ("cutie", "sam2", "edgetam") else networks(name, monkeypatch)[0]

    options = Options(keyframes="every:4")
    expected = run(Segmenter(build(), options), video)
    with virtual_device() as device:
        masks = run(Segmenter(to_virtual(build()), options), video)
    assert [mask.source for mask in masks] == [mask.source for mask in expected]
    assert np.mean([mask.labels != other.labels for mask, other in zip(masks, expected, strict=True)]) < 0.002
    assert len(np.unique(np.stack([mask.labels for mask in masks[1:]]))) > 1, "empty masks would prove nothing"
    per_frame = {kind: count / FRAMES for kind, count in device.transfers.items()}
    assert per_frame["to device"] <= 5, per_frame
    assert per_frame["to host"] <= 4, per_frame
    assert per_frame["reads"] <= 4.5, per_frame


def test_the_masks_of_another_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the CPU but for rounding, without an operation on tensors of both devices."""
    video = encode(pan(FRAMES, SIZE).frames, options=x264(bframes=3))
    network, refiner = networks("compact", monkeypatch)
    expected = run(Segmenter(network, Options(), refiner), video)
    with virtual_device() as device:
        segmenter = Segmenter(to_virtual(network), Options(), to_virtual(refiner))
        masks = run(segmenter, video)
    assert [mask.source for mask in masks] == [mask.source for mask in expected]
    assert np.mean([mask.labels != other.labels for mask, other in zip(masks, expected, strict=True)]) < 0.002
    sources = Counter(mask.source for mask in masks)
    assert sources[MaskSource.PROPAGATED] > sources[MaskSource.KEY]
    per_frame = {kind: count / FRAMES for kind, count in device.transfers.items()}
    assert 3 < per_frame["to device"] <= 6.5, "the picture, where to sample, what the stream says"
    assert 2 < per_frame["to host"] <= 5, "the mask, and what decides on regions and key frames"
    assert 2 < per_frame["reads"] <= 5
