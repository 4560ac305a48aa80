"""Training runs of the refiner: they learn; stopping and resuming do not change the result."""

from __future__ import annotations

import csv
import hashlib
import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from vos.modeling.refiner import Refiner
from vos.training.common import run_log
from vos.training.data.coded_clips import CodedRecipe, coded_clips
from vos.training.data.datasets import load_data
from vos.training.refiner import batches
from vos.training.refiner.batches import Sample, collate, sample
from vos.training.refiner.run import RefinerOptions, train_refiner
from vos.training.refiner.trainer import RefinerRecipe, RefinerTrainer, _ious
from vos.weights.catalog import PACKAGE_FOLDER
from vos.weights.load import load_refiner

SHORT = RefinerRecipe(steps=4, clips=2, frames=4, warmup_steps=2)
FROZEN = ("stem.", *(f"blocks.{n}." for n in range(6)))


@pytest.fixture
def batch(training_folder: Path) -> Sample:
    """Two clips with two objects each."""
    recipe = CodedRecipe(frames=(4, 5), sizes=((64, 80),), most_objects=2)
    clips = islice(coded_clips(load_data([training_folder]), 1, recipe), 2)
    return collate([sample(clip, 4, 2, np.random.default_rng(n)) for n, clip in enumerate(clips)])


def trainer(**changes: object) -> RefinerTrainer:
    """A fresh trainer with seeded weights."""
    torch.manual_seed(0)
    return RefinerTrainer(Refiner(), RefinerRecipe(**{"warmup_steps": 1, **changes}), torch.device("cpu"))


def test_steps_on_one_batch_lower_its_loss(batch: Sample) -> None:
    """A few steps on one batch reduce its loss."""
    learner = trainer(steps=100, learning_rate=2e-4)
    learner.measure_scale(batch)
    losses = [learner.step(batch)["loss"] for _ in range(6)]
    assert max(losses[-2:]) < 0.98 * losses[0], losses


def test_gradients_reach_trained_tensors_only(batch: Sample) -> None:
    """A step changes every trained tensor; the frozen backbone blocks get no gradient and do not change."""
    learner = trainer(steps=100)
    before = {name: p.detach().clone() for name, p in learner.network.named_parameters()}
    learner.step(batch)
    for name, parameter in learner.network.named_parameters():
        if name.startswith(FROZEN):
            assert parameter.grad is None, name
            assert torch.equal(parameter, before[name]), name
        else:
            assert parameter.grad is not None, name
            assert parameter.grad.any(), name
            assert not torch.equal(parameter, before[name]), name


def test_metrics_are_those_of_the_batch(batch: Sample) -> None:
    """The loss is the weighted sum of its parts, and IoUs lie between 0 and 1."""
    recipe = RefinerRecipe()
    found = trainer().step(batch)
    parts = found["entropy"] + found["dice"]
    parts += recipe.confidence_weight * found["confidence"]
    assert found["loss"] == pytest.approx(parts, rel=1e-4)
    assert 0 <= found["iou"] <= 1
    assert 0.3 < found["propagated"] <= 1
    assert np.isfinite(list(found.values())).all()


def test_overlap_equals_a_loop() -> None:
    """The IoU of each frame and object is that of its sets of cells, 1 if both are empty."""
    torch.manual_seed(0)
    best, truth = torch.randint(0, 3, (5, 6, 7)), torch.rand(5, 2, 6, 7)
    best[1], truth[1] = 0, 0.3
    best[2] = 0
    found, visible = _ious(best, truth)
    for n, k in np.ndindex(5, 2):
        cells = {tuple(c) for c in (best[n] == k + 1).nonzero().tolist()}
        real = {tuple(c) for c in (truth[n, k] > 0.5).nonzero().tolist()}
        assert found[n, k] == pytest.approx(len(cells & real) / len(cells | real) if cells | real else 1.0)
        assert visible[n, k] == bool(real)


def options(data: Path, out: Path, **changes: object) -> RefinerOptions:
    """Options of a run from the shipped weights of `compact`."""
    return RefinerOptions(**{"data": (data,), "out": out, "start": PACKAGE_FOLDER / "compact.safetensors", **changes})


def test_resuming_changes_nothing(training_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped and resumed run, with batches from another process, ends as an uninterrupted run does."""
    monkeypatch.setattr(batches, "SIZE", (64, 80))
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train_refiner(options(training_folder, whole, workers=0), SHORT)
    assert train_refiner(options(training_folder, parts, workers=0, stop_after=2), SHORT).steps == 2
    # The checkpoint knows the start weights; the option is ignored when resuming.
    gone = tmp_path / "gone.safetensors"
    assert train_refiner(options(training_folder, parts, workers=1, resume=True, start=gone), SHORT).steps == 4
    starts = {safe_open(out / "refiner.safetensors", "pt").metadata()["start"] for out in (whole, parts)}
    assert len(starts) == 1
    assert starts.pop().startswith("compact.safetensors ")
    expected, found = (torch.load(out / "checkpoint.pt", weights_only=True) for out in (whole, parts))
    assert expected["step"] == found["step"] == 4
    assert expected["network"].keys() == found["network"].keys()
    for name, tensor in expected["network"].items():
        torch.testing.assert_close(found["network"][name], tensor, rtol=1e-5, atol=1e-6)
    for mine, theirs in zip(expected["ema"], found["ema"], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_a_run_may_start_from_a_refiner(training_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run from a refiner's weights starts with all of them, and the new weights name the old file."""
    monkeypatch.setattr(batches, "SIZE", (64, 80))
    shipped = PACKAGE_FOLDER / "refiner.safetensors"
    recipe = RefinerRecipe(steps=1, clips=2, frames=4, learning_rate=1e-9)
    weights = train_refiner(options(training_folder, tmp_path / "run", workers=0, start=shipped), recipe).weights
    before, after = load_file(shipped), load_file(weights)
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, rtol=2e-3, atol=1e-6)
    with safe_open(weights, "pt") as file:
        assert file.metadata()["start"] == f"refiner.safetensors {hashlib.sha256(shipped.read_bytes()).hexdigest()}"


def test_weights_name_their_origin(training_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run writes a log and half-precision weights that load as the refiner and name recipe, data and steps."""
    monkeypatch.setattr(batches, "SIZE", (64, 80))
    monkeypatch.setattr(run_log, "LOG_EVERY", 2)
    recipe = RefinerRecipe(steps=2, clips=2, frames=4)
    weights = train_refiner(options(training_folder, tmp_path / "run", workers=0), recipe).weights
    with safe_open(weights, "pt") as file:
        metadata = file.metadata()
        assert all(file.get_slice(name).get_dtype() == "F16" for name in file.keys())  # noqa: SIM118 - not a dict
    assert (metadata["name"], metadata["steps"]) == ("refiner", "2")
    assert json.loads(metadata["recipe"]) == recipe.as_dict()
    assert json.loads(metadata["data"]) == {"video/made": 2, "static/made": 3}
    assert json.loads(weights.with_suffix(".json").read_text())["origin"] == "keymask train refiner"
    assert load_refiner(device="cpu", weights=weights).training is False
    with (tmp_path / "run" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2"]
    assert 0 <= float(rows[0]["iou"]) <= 1
