"""Networks that OpenVINO runs in int8 against the same networks in torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from codec import open_video
from tests.support.frames import assert_same, stored
from tests.support.paths import ROOT
from vos.errors import OptionError, WeightsError
from vos.modeling.compact import CompactNetwork
from vos.modeling.cpu import int8
from vos.runtime.run_state import RunState
from vos.segmenter import Segmenter
from vos.types import FrameMask, Options, Prompt
from vos.weights import load
from vos.weights.catalog import PACKAGE_FOLDER, find_weights, is_unchanged, read_record
from vos.weights.load import load_network, load_refiner

SAMPLE = ROOT / "service/sample"
needs_openvino = pytest.mark.skipif(not int8.is_available(), reason="needs the extra openvino")


@pytest.fixture
def without_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU on which "auto" is int8: x86 without bfloat16."""
    monkeypatch.setattr("vos.runtime.device.cpu_has_bfloat16", lambda: False)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")


def compact(precision: str, weights: Path | None = None) -> CompactNetwork:
    """Load the default network."""
    network = load_network("compact", device="cpu", precision=precision, weights=weights)
    assert isinstance(network, CompactNetwork)
    return network


@pytest.mark.parametrize(("name", "limit"), [("compact", 12_000_000), ("refiner", 4_000_000)])
def test_the_int8_forms_belong_to_the_embedded_weights(name: str, limit: int) -> None:
    """Each form matches its record and the weights beside it, and both together keep within their limit."""
    weights, form = PACKAGE_FOLDER / find_weights(name).file, PACKAGE_FOLDER / f"{name}{int8.SUFFIX}"
    record, source = read_record(form), read_record(weights)
    assert record is not None
    assert source is not None
    assert is_unchanged(form, record)
    assert record.origin_sha256 == source.sha256, "the weights have changed: run scripts/make_int8.py"
    assert weights.stat().st_size + form.stat().st_size <= limit


@needs_openvino
@torch.inference_mode()
def test_int8_is_close_to_float32() -> None:
    """On the sample, probabilities differ by at most 0.01 in the mean, and 99.5 % of the labels are the same."""
    with closing(open_video(SAMPLE / "clip.mp4")) as video, Image.open(SAMPLE / "mask.png") as image:
        frames = sorted(islice(video, 6), key=lambda frame: frame.index)
        height, width = (side // 16 * 16 for side in frames[0].rgb().shape[:2])
        mask = torch.from_numpy(np.array(image)[:height, :width] > 0)[None, None].float()
    pictures = [torch.from_numpy(frames[i].rgb()[:height, :width].copy()).permute(2, 0, 1)[None] for i in (0, 2)]
    masks = torch.cat([mask, mask.flip(3)])
    expected, found = (probabilities(compact(precision), pictures, masks) for precision in ("float32", "int8"))
    assert (expected > 0.5).any()
    assert 0 < (found - expected).abs().mean() <= 0.01
    assert ((found > 0.5) == (expected > 0.5)).float().mean() >= 0.995


def probabilities(network: CompactNetwork, pictures: list[torch.Tensor], masks: torch.Tensor) -> torch.Tensor:
    """Segment two objects in the second picture from their masks in the first one: [2, 1, h, w]."""
    first, second = (network.encode(network.normalize(picture)) for picture in pictures)
    memory = network.memorize(first, masks)
    return network.segment(second, memory, functional.avg_pool2d(masks, 4), 20).sigmoid()


@needs_openvino
@torch.inference_mode()
def test_results_depend_neither_on_threads_nor_on_the_calling_thread() -> None:
    """Eight callers at once get what one caller gets, with one thread or two each, for pictures of two sizes."""
    network = compact("int8")
    generator = torch.Generator().manual_seed(3)
    pictures = [torch.rand(1, 3, 48, side, generator=generator) * 2 - 1 for side in (64, 96)]
    expected = [network.encode(picture).key for picture in pictures]

    def keys(threads: int) -> list[torch.Tensor]:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            return [network.encode(picture).key for picture in pictures]

    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(keys, [1, 2] * 4):
            for got, wanted in zip(found, expected, strict=True):
                assert torch.equal(got, wanted)


@needs_openvino
@torch.inference_mode()
def test_as_many_pictures_as_objects_are_decoded_as_one_by_one() -> None:
    """In a batch of three pictures with an object each, every one gets the logits that it gets alone."""
    decode = load_refiner(device="cpu", precision="int8").decoder.decode
    generator = torch.Generator().manual_seed(3)
    maps, readout, expected, cells = (
        {stride: torch.rand(3, channels, 64 // stride, 96 // stride, generator=generator) for stride, channels in sizes}
        for sizes in (((4, 24), (8, 32), (16, 128)), ((16, 144),), ((16, 5),), ((4, 6),))
    )
    found = decode(maps, readout[16], expected[16], cells[4])
    assert found.shape == (3, 1, 16, 24)
    for k in range(3):
        own = {stride: one[k : k + 1] for stride, one in maps.items()}
        assert torch.equal(
            found[k : k + 1], decode(own, readout[16][k : k + 1], expected[16][k : k + 1], cells[4][k : k + 1])
        )


@needs_openvino
@pytest.mark.usefixtures("without_bfloat16")
def test_auto_is_int8_only_for_the_weights_it_was_made_from(tmp_path: Path) -> None:
    """Other weights run in float32, and asking for int8 by name says why that cannot be; a changed form is refused."""
    assert compact("auto").compute_dtype == "int8"
    assert compact("float32").compute_dtype is None
    for file in PACKAGE_FOLDER.glob("compact*"):
        shutil.copy(file, tmp_path)
    weights, form = tmp_path / "compact.safetensors", tmp_path / f"compact{int8.SUFFIX}"
    form.write_bytes(form.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="has changed since it was recorded"):
        compact("auto", weights)
    record = read_record(form)
    assert record is not None
    form.with_suffix(".json").write_text(json.dumps(asdict(replace(record, origin_sha256="0" * 64))), encoding="utf-8")
    assert compact("auto", weights).compute_dtype is None
    with pytest.raises(OptionError, match="these weights of compact have no int8 form; use auto or float32"):
        compact("int8", weights)


@pytest.mark.usefixtures("without_bfloat16")
def test_without_openvino_auto_is_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch runs everything then, and asking for int8 says what to install."""
    monkeypatch.setattr(load.int8, "is_available", lambda: False)
    network = compact("auto")
    assert network.compute_dtype is None
    assert load.lacks_openvino(network)
    assert load_refiner(device="cpu").compute_dtype is None
    with pytest.raises(OptionError, match=r"OpenVINO is not installed; install keymask-server\[openvino\]"):
        compact("int8")


@needs_openvino
def test_openvino_writes_nothing_into_the_home_folder(tmp_path: Path) -> None:
    """Its telemetry would, and a confined worker, which cannot, would fail."""
    code = "from vos.weights.load import load_refiner; load_refiner(device='cpu', precision='int8')"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "HOME": str(tmp_path)}, cwd=ROOT, check=True)
    assert not list(tmp_path.iterdir())


@needs_openvino
def test_a_run_in_int8_can_be_resumed(tmp_path: Path) -> None:
    """An interrupted run yields the masks of an uninterrupted one, whatever ran beside it."""
    network, refiner = compact("int8"), load_refiner(device="cpu", precision="int8")
    with Image.open(SAMPLE / "mask.png") as image:
        prompt = Prompt(np.array(image))

    def masks(limit: int, state: RunState | None) -> tuple[list[FrameMask], RunState | None]:
        segmenter = Segmenter(network, Options(end=10), refiner)
        with closing(open_video(SAMPLE / "clip.mp4", short_side=96)) as video:
            return list(islice(segmenter.run(video, video.info, prompt, state), limit)), segmenter.state

    whole, _ = masks(10, None)
    first, state = masks(5, None)
    rest, _ = masks(5, stored(state, tmp_path))
    assert_same([*first, *rest], whole)
