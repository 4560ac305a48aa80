"""SAM 2.1 and EdgeTAM on key frames give what the sessions of transformers give."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.support.adapters import HEIGHT, WIDTH, begin, frames, held, picture, single_thread, square
from tests.support.frames import chain, info, stored, truth
from tests.support.tiny_sam2 import SIDE, edgetam_config, enliven, sam2_config
from vos.errors import OptionError, WeightsError
from vos.segmenter import Segmenter
from vos.types import MaskSource, Options, Prompt
from vos.weights import build
from vos.weights.load import load_network, pull_weights

pytest.importorskip("transformers", reason="transformers is not installed")
from vos.keyframes.adapters import sam2
from vos.keyframes.adapters.sam2 import EdgeTamNetwork, Sam2Network


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with single_thread():
        yield


@pytest.fixture(scope="module", params=["sam2.1-tiny", "edgetam"])
def network(request: pytest.FixtureRequest) -> Sam2Network:
    """A tiny network with random weights."""
    torch.manual_seed(0)
    network = EdgeTamNetwork(edgetam_config()) if request.param == "edgetam" else Sam2Network("tiny", sam2_config())
    network.eval().requires_grad_(False)
    enliven(network.model)
    return network


def pixels(index: int) -> Tensor:
    """Return a picture as the networks take it: normalized, float32 [3, SIDE, SIDE]."""
    rgb = torch.from_numpy(picture(index)).permute(2, 0, 1)[None].float() / 255
    stretched = F.interpolate(rgb, (SIDE, SIDE), mode="bilinear", antialias=True)[0]
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (stretched - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)


def stretched(mask: Tensor) -> Tensor:
    """Return a mask as the networks take it: 0 or 1, float32 [1, 1, SIDE, SIDE]."""
    return (F.interpolate(mask[None, None], (SIDE, SIDE), mode="bilinear", antialias=True) > 0.5).float()


@pytest.mark.parametrize(("interval", "count"), [pytest.param(1, 22, marks=pytest.mark.long), (5, 8)])
def test_it_equals_the_packages_session(network: Sam2Network, interval: int, count: int) -> None:
    """Fed the same frames by number, both give the same logits, also after an object was added and one corrected."""
    video = network.session_type(dtype=torch.float32)
    session = begin(network)
    given = frames(count * interval)[::interval]

    def expect(number: int, inputs: dict[int, Tensor]) -> Any:
        for k, mask in inputs.items():
            video.add_mask_inputs(video.obj_id_to_idx(k), number, stretched(mask))
        if inputs:
            video.obj_with_new_inputs = list(inputs)
        return network.model(video, frame_idx=number, frame=pixels(given[number].index))

    prompts = {0: {0: square(5, 5), 1: square(40, 60)}, 3: {2: square(40, 10)}, 6: {1: square(10, 50)}}
    for number, frame in enumerate(given):
        with torch.inference_mode():
            features = session.encode(frame)
        inputs = prompts.get(number, {})
        expected = expect(number, {k + 1: mask for k, mask in inputs.items()})
        with torch.inference_mode():
            if inputs:
                found = session.prompt(frame.index, features, inputs)
                assert found.shape == (3 if number >= 3 else 2, HEIGHT, WIDTH)
                assert all(torch.equal(found[k], mask) for k, mask in inputs.items())
                continue
            prediction = session.segment(features, None)
            session.memorize(frame.index, features, session.to_full(prediction.logits))
        torch.testing.assert_close(prediction.logits, expected.pred_masks, rtol=1e-4, atol=1e-4)
        scores = expected.object_score_logits.flatten()
        torch.testing.assert_close(prediction.presence, scores, rtol=1e-4, atol=1e-4)
        assert float(prediction.logits.std()) > 0.05
        assert (scores > 0).all()
    assert number == count - 1


@pytest.mark.parametrize("cut", [2, pytest.param(9, marks=pytest.mark.long)])
def test_a_run_can_be_resumed(network: Sam2Network, cut: int, tmp_path: Path) -> None:
    """The masks after an interruption are those of the whole run: the state holds the network's memory."""
    options, prompt = Options(keyframes="every:1"), Prompt(truth(0))
    whole = list(Segmenter(network, options).run(chain(11), info(64, 48), prompt))
    first = Segmenter(network, options)
    list(islice(first.run(chain(11), info(64, 48), prompt), cut))
    rest = list(Segmenter(network, options).run(chain(11), info(64, 48), prompt, stored(first.state, tmp_path)))
    assert [mask.index for mask in rest] == list(range(cut, 11))
    for mask, expected in zip(rest, whole[cut:], strict=True):
        assert np.array_equal(mask.labels, expected.labels)
        assert mask.scores == pytest.approx(expected.scores, abs=1e-5)


@torch.inference_mode()
def test_memory_stays_flat(network: Sam2Network) -> None:
    """Once the memory is full, a session holds as many bytes and entries as before, however long the video is."""
    session = begin(network)
    given = frames(24)
    session.prompt(0, session.encode(given[0]), {0: square(5, 5), 1: square(40, 60)})
    sizes = []
    for frame in given[1:]:
        session.segment(session.encode(frame), None)
        sizes.append(held(session))
    assert sizes[0] < sizes[5]
    assert len(set(sizes[17:])) == 1


@torch.inference_mode()
def test_features_may_be_computed_early(network: Sam2Network) -> None:
    """Features of later frames that were computed before a frame was segmented change nothing."""
    given = frames(3)
    results = []
    for early in (False, True):
        session = begin(network)
        session.prompt(0, session.encode(given[0]), {0: square(5, 5)})
        ahead = session.encode(given[2]) if early else None
        session.segment(session.encode(given[1]), None)
        results.append(session.segment(ahead or session.encode(given[2]), None).logits)
    assert torch.equal(*results)


def test_presence_scales_the_scores(network: Sam2Network) -> None:
    """The score of a key frame is the confidence of its mask times the network's own presence."""
    prompt = Prompt((truth(0) == 1).astype(np.uint8))
    name = "mask_decoder.pred_obj_score_head.proj_out.bias"
    masks = list(Segmenter(network, Options(keyframes="every:1")).run(chain(3), info(64, 48), prompt))
    bias = network.model.state_dict()[name]
    bias -= 100
    try:
        gone = list(Segmenter(network, Options(keyframes="every:1")).run(chain(3), info(64, 48), prompt))
    finally:
        bias += 100
    assert masks[2].source is MaskSource.KEY
    assert max(masks[2].scores.values()) > 0.1
    assert gone[2].scores == {1: 0}
    assert not gone[2].labels.any()


def test_adaptive_runs_on_top(network: Sam2Network) -> None:
    """A run with adaptive key frames has some key frames and some propagated ones."""
    masks = list(Segmenter(network, Options()).run(chain(14), info(64, 48), Prompt(truth(0))))
    assert len(masks) == 14
    assert {mask.source for mask in masks} >= {MaskSource.KEY, MaskSource.PROPAGATED}


def test_a_published_file_is_pulled_and_runs(
    network: Sam2Network, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The folder that the package's `save_pretrained` writes is pulled, checked and run; a foreign one is refused."""
    config = network.model.config

    def builder() -> Sam2Network:
        return EdgeTamNetwork(config) if network.name == "edgetam" else Sam2Network("tiny", config)

    monkeypatch.setitem(build.BUILDERS, network.name, builder)
    network.model.save_pretrained(tmp_path / "published")
    record = pull_weights(network.name, tmp_path / "published" / "model.safetensors", tmp_path / "store")
    assert record.license == "Apache-2.0"
    loaded = load_network(network.name, device="cpu", precision="float32", store=tmp_path / "store")
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, network.model.state_dict()[name])
    assert len(list(Segmenter(loaded, Options()).run(chain(4), info(64, 48), Prompt(truth(0))))) == 4
    (tmp_path / "other.pt").write_bytes(b"no checkpoint")
    with pytest.raises(WeightsError, match=r"other\.pt is refused"):
        pull_weights(network.name, tmp_path / "other.pt", tmp_path / "store")


@pytest.mark.parametrize(("size", "millions"), [("tiny", 38.9), ("small", 46.0), ("base-plus", 80.8), ("large", 224.4)])
def test_published_sizes(size: str, millions: float) -> None:
    """The numbers of parameters are those that the authors publish (README of SAM 2)."""
    with torch.device("meta"):
        network = Sam2Network(size)
    count = sum(p.numel() for p in network.model.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.2)


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The adapter prunes sessions from inside, so it refuses a version that it does not know."""
    monkeypatch.setattr(sam2.transformers, "__version__", "5.99.0")
    with pytest.raises(OptionError, match=r"transformers is 5\.99\.0; sam2\.1-tiny needs 5\.24"):
        Sam2Network("tiny", sam2_config())


@torch.inference_mode()
def test_bfloat16_runs_and_is_close(network: Sam2Network) -> None:
    """In bfloat16, also with an object that is added later, logits differ little from those in float32."""
    results = []
    for dtype in (torch.float32, torch.bfloat16):
        copy = deepcopy(network)
        copy.set_precision(dtype)
        assert copy.compute_dtype == dtype
        session = begin(copy)
        given = frames(4)
        session.prompt(0, session.encode(given[0]), {0: square(5, 5)})
        session.segment(session.encode(given[1]), None)
        session.prompt(2, session.encode(given[2]), {1: square(40, 60)})
        results.append(session.segment(session.encode(given[3]), None).logits)
    exact, rough = results
    assert exact.shape == rough.shape == (2, 1, SIDE // 4, SIDE // 4)
    assert 0 < float((rough - exact).abs().mean()) < 0.2 * float(exact.abs().mean())
