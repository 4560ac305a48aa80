"""Cutie on key frames gives what the core of its own package gives."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from codec import open_video
from tests.support.adapters import HEIGHT, TINY_CUTIE, WIDTH, begin, frames, held, picture, single_thread, square
from tests.support.frames import chain, info, stored, truth
from tests.support.synthetic import encode, pan, x264
from vos.segmenter import Segmenter
from vos.types import MaskSource, Options, Prompt
from vos.weights import build
from vos.weights.load import load_network, load_refiner, pull_weights

pytest.importorskip("cutie.inference", reason="rf-cutie is not installed")
from cutie.inference.inference_core import InferenceCore
from cutie.model.cutie import CUTIE

from vos.keyframes.adapters.cutie import CutieNetwork, CutieSession


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with single_thread():
        yield


@pytest.fixture(scope="module")
def network() -> CutieNetwork:
    """Small Cutie with few channels and random weights."""
    torch.manual_seed(0)
    network = CutieNetwork("small", **TINY_CUTIE).eval().requires_grad_(False)
    network.model.mask_decoder.pred.weight.mul_(20)  # so that masks are not all alike
    return network


def image(index: int) -> Tensor:
    """Return a picture as the package takes it: float32 [3, HEIGHT, WIDTH], 0 to 1."""
    return torch.from_numpy(picture(index)).permute(2, 0, 1).float() / 255


@pytest.mark.parametrize("interval", [1, 5])
@torch.inference_mode()
def test_it_equals_its_own_core(network: CutieNetwork, interval: int) -> None:
    """Fed the same frames, both give the same shares, also after an object was added and another was corrected."""
    core = InferenceCore(network.model, network.config)
    session = begin(network)
    given = frames(8 * interval)[::interval]
    core.step(image(0), torch.stack([square(5, 5), square(40, 60)]), objects=[1, 2], idx_mask=False)
    session.prompt(0, session.encode(given[0]), {0: square(5, 5), 1: square(40, 60)})
    for frame in given[1:]:
        features = session.encode(frame)
        if frame.index == 3 * interval:
            expected = core.step(image(frame.index), (square(40, 10) * 3).long(), objects=[3], force_permanent=True)
            found = session.prompt(frame.index, features, {2: square(40, 10)})
        elif frame.index == 5 * interval:
            others = core.step(image(frame.index), end=True)[1:] * (1 - square(10, 50))
            merged = torch.stack([square(10, 50), others[1], others[2]])
            core.step(image(frame.index), merged, idx_mask=False, force_permanent=True)
            expected = torch.cat([1 - merged.sum(dim=0, keepdim=True), merged])
            found = session.prompt(frame.index, features, {0: square(10, 50)})
        else:
            expected = core.step(image(frame.index))
            found = session.to_full(session.segment(features, None).logits)
            session.memorize(frame.index, features, found)
        assert found.shape == (len(expected) - 1, HEIGHT, WIDTH)
        torch.testing.assert_close(found, expected[1:], rtol=0, atol=1e-4)
        assert float(found.std()) > 0.01


def test_a_run_gives_it_the_propagated_masks(network: CutieNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a run, each key frame equals a step of the core whose previous mask is the propagated one."""
    hints: list[Tensor] = []
    segment = CutieSession.segment

    def record(self: CutieSession, features: Any, hint: Tensor | None) -> Any:
        assert hint is not None
        hints.append(hint.clone())
        return segment(self, features, hint)

    monkeypatch.setattr(CutieSession, "segment", record)
    masks = list(
        Segmenter(network, Options(keyframes="every:2", edges="raw")).run(chain(7), info(64, 48), Prompt(truth(0)))
    )
    assert [mask.index for mask in masks if mask.source is MaskSource.KEY] == [2, 4, 6]
    core = InferenceCore(network.model, network.config | {"top_k": 12})
    soft = torch.from_numpy(np.stack([truth(0) == 1, truth(0) == 2])).float()
    pictures = [torch.from_numpy(frame.rgb()).permute(2, 0, 1).float() / 255 for frame in chain(7)]
    with torch.inference_mode():
        core.step(pictures[0], soft, idx_mask=False)
        for mask, hint in zip((m for m in masks if m.source is MaskSource.KEY), hints, strict=True):
            core.last_mask = torch.nn.functional.interpolate(hint[None], scale_factor=4, mode="bilinear")
            expected = core.output_prob_to_mask(core.step(pictures[mask.index]))
            assert (mask.labels == expected.numpy()).mean() > 0.99


@pytest.mark.parametrize("cut", [2, pytest.param(7, marks=pytest.mark.long)])
def test_a_run_can_be_resumed(network: CutieNetwork, cut: int, tmp_path: Path) -> None:
    """The masks after an interruption are those of the whole run, recurrent features included."""
    options, prompt = Options(keyframes="every:1"), Prompt(truth(0))
    whole = list(Segmenter(network, options).run(chain(9), info(64, 48), prompt))
    first = Segmenter(network, options)
    list(islice(first.run(chain(9), info(64, 48), prompt), cut))
    rest = list(Segmenter(network, options).run(chain(9), info(64, 48), prompt, stored(first.state, tmp_path)))
    assert [mask.index for mask in rest] == list(range(cut, 9))
    for mask, expected in zip(rest, whole[cut:], strict=True):
        assert np.array_equal(mask.labels, expected.labels)
        assert mask.scores == pytest.approx(expected.scores, abs=1e-5)


@torch.inference_mode()
def test_memory_stays_flat(network: CutieNetwork) -> None:
    """Once the memory is full, a session holds as many bytes and entries as before, however long the video is."""
    session = begin(network)
    session.prompt(0, session.encode(frames(1)[0]), {0: square(5, 5), 1: square(40, 60)})
    sizes = []
    for frame in frames(24)[1:]:
        features = session.encode(frame)
        masks = session.to_full(session.segment(features, None).logits)
        session.memorize(frame.index, features, masks)
        sizes.append(held(session))
    assert sizes[0] < sizes[5]
    assert len(set(sizes[8:])) == 1


def test_a_published_file_is_pulled_and_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file with the names of the package's own model loads, parameters of training included; another is refused."""
    monkeypatch.setitem(build.BUILDERS, "cutie-small", lambda: CutieNetwork("small", **TINY_CUTIE))
    with monkeypatch.context() as patch:
        patch.setattr("torch.utils.model_zoo.load_url", _no_download)
        network = CutieNetwork("small", **TINY_CUTIE)
    published = {f"aux_computer.{k}": torch.zeros(1) for k in "ab"} | network.model.state_dict()
    torch.save(published, tmp_path / "cutie-small-mega.pth")
    record = pull_weights("cutie-small", tmp_path / "cutie-small-mega.pth", tmp_path / "store")
    assert record.license == "MIT"
    loaded = load_network("cutie-small", device="cpu", precision="float32", store=tmp_path / "store")
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, published[name])
    masks = list(Segmenter(loaded, Options()).run(chain(6), info(64, 48), Prompt(truth(0))))
    assert len(masks) == 6


def _no_download(*_args: object, **_kwargs: object) -> None:
    raise AssertionError("the package must not download anything")


@pytest.mark.parametrize("size", ["small", "base"])
def test_published_sizes_are_those_of_the_packaged_model(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parameters have the names and shapes of the package's own model of this size, less those of training."""
    monkeypatch.setattr("torch.utils.model_zoo.load_url", _no_download)
    with torch.device("meta"):
        network = CutieNetwork(size)
    published = {k: v.shape for k, v in network.model.state_dict().items()}
    assert isinstance(network.model, CUTIE)
    assert not any(name.startswith("aux_computer") for name in published)
    count = sum(p.numel() for p in network.parameters())
    assert count == {"small": 28_681_529, "base": 34_958_137}[size]


def test_bfloat16_runs_and_is_close(network: CutieNetwork) -> None:
    """In bfloat16 the masks of an untrained network differ little from those in float32."""
    session = begin(network)
    network.set_precision(torch.bfloat16)
    try:
        assert network.compute_dtype == torch.bfloat16
        with torch.inference_mode():
            session.prompt(0, session.encode(frames(1)[0]), {0: square(5, 5)})
            rough = session.to_full(session.segment(session.encode(frames(2)[1]), None).logits)
    finally:
        network.set_precision(torch.float32)
    session = begin(network)
    with torch.inference_mode():
        session.prompt(0, session.encode(frames(1)[0]), {0: square(5, 5)})
        exact = session.to_full(session.segment(session.encode(frames(2)[1]), None).logits)
    assert 0 < float((rough - exact).abs().mean()) < 0.02


def test_adaptive_runs_on_a_real_clip(network: CutieNetwork) -> None:
    """A coded clip runs to its end with adaptive key frames, the refiner and one key frame encoded early."""
    scene = pan(14, (96, 64))
    labels = np.zeros((64, 96), np.uint8)
    labels[10:50, 20:60] = 7
    with open_video(io.BytesIO(encode(scene.frames, options=x264(bframes=3, ref=2)))) as video:
        segmenter = Segmenter(network, Options(), load_refiner(device="cpu", precision="float32"))
        masks = list(segmenter.run(video, video.info, Prompt(labels)))
    assert [mask.index for mask in masks] == list(range(14))
    assert {mask.source for mask in masks} >= {MaskSource.PROMPT, MaskSource.KEY, MaskSource.PROPAGATED}
