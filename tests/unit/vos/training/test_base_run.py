"""Training runs of the base network: they learn; stopping, resuming and sharing the work do not change the result."""

import csv
import hashlib
import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from vos.errors import OptionError, WeightsError
from vos.modeling.compact import CompactNetwork
from vos.training.base.batches import ClipBatches
from vos.training.base.recipe import Recipe, Stage
from vos.training.base.run import RunOptions, train
from vos.training.base.trainer import Trainer, measure_tap_scale
from vos.training.common.errors import CheckpointError
from vos.training.common.state import learning_rate
from vos.training.data.datasets import load_data
from vos.weights.load import load_network

SHORT = Recipe(stages=(Stage(3, 2, 2, 64), Stage(3, 4, 2, 64)), warmup_steps=2)


def _options(data: Path, out: Path, **changes: object) -> RunOptions:
    return RunOptions(data=(data,), out=out, workers=0, **changes)


def _state(out: Path) -> dict[str, torch.Tensor]:
    return torch.load(out / "checkpoint.pt", weights_only=True)["network"]


def test_a_few_steps_learn_a_batch(training_folder: Path) -> None:
    """Sixty steps on one batch of synthetic clips reduce the loss to a fifth and reach an IoU above 0.8."""
    recipe = Recipe(stages=(Stage(400, 2, 2, 64),), warmup_steps=5, followed={1: 1.0}, absent=0)
    torch.manual_seed(0)
    trainer = Trainer(CompactNetwork(), recipe, torch.device("cpu"))
    batch = ClipBatches(load_data([training_folder]), recipe)[0]
    measure_tap_scale(trainer.network, batch["images"].flatten(0, 1).permute(0, 3, 1, 2))
    steps = [trainer.step(batch) for _ in range(60)]
    assert np.mean([step["loss"] for step in steps[-5:]]) < 0.2 * steps[0]["loss"]
    assert np.mean([step["iou"] for step in steps[-5:]]) > 0.8


def test_resuming_changes_nothing(training_folder: Path, tmp_path: Path) -> None:
    """A stopped and resumed run ends with the parameters and the average of an uninterrupted run."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(_options(training_folder, whole), SHORT)
    assert train(_options(training_folder, parts, stop_after=2), SHORT).steps == 2
    assert train(_options(training_folder, parts, resume=True), SHORT).steps == 6
    expected, found = _state(whole), _state(parts)
    assert expected.keys() == found.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-6)
    for name, tensor in load_file(whole / "compact.safetensors").items():
        torch.testing.assert_close(load_file(parts / "compact.safetensors")[name], tensor, rtol=1e-3, atol=1e-4)


def test_sharing_batches_hardly_changes_the_weights(training_folder: Path, tmp_path: Path) -> None:
    """Two processes that share batches take the averaged step and write one set of weights."""
    recipe = Recipe(stages=(Stage(2, 2, 2, 64),), warmup_steps=1, learning_rate=1e-4)
    train(_options(training_folder, tmp_path / "one"), recipe)
    train(_options(training_folder, tmp_path / "two", processes=2), recipe)
    start = torch.load(tmp_path / "one" / "checkpoint.pt", weights_only=True)
    shared = torch.load(tmp_path / "two" / "checkpoint.pt", weights_only=True)
    assert shared["step"] == start["step"] == 2
    moves = [abs(shared["network"][n] - x).mean().item() for n, x in start["network"].items() if x.ndim == 4]
    assert max(moves) < 2e-4
    metadata = safe_open(tmp_path / "two" / "compact.safetensors", "pt").metadata()
    assert metadata["processes"] == "2"


def test_a_signal_stops_with_a_checkpoint(training_folder: Path, tmp_path: Path) -> None:
    """SIGTERM stops a run after its step with a checkpoint, and the previous signal handlers are restored."""
    recipe = Recipe(stages=(Stage(400, 2, 2, 64),))
    before = signal.getsignal(signal.SIGTERM)

    def ask(done: int, _total: int, _means: dict[str, float]) -> None:
        if done == 20:
            os.kill(os.getpid(), signal.SIGTERM)

    result = train(_options(training_folder, tmp_path / "run"), recipe, ask)
    assert result.steps in (20, 21)
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["step"] == result.steps
    assert signal.getsignal(signal.SIGTERM) == before


def listed(folder: Path) -> str:
    """SHA-256 of the output of `find . -type f | sort | xargs sha256sum`, without the leading ./."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}\n" for path in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def test_weights_name_their_origin(training_folder: Path, tmp_path: Path) -> None:
    """The weights of a run load as the compact network and name recipe, data, seed, steps, time, hardware, commit."""
    weights = train(_options(training_folder, tmp_path / "run", stop_after=1), SHORT).weights
    with safe_open(weights, "pt") as file:
        metadata = file.metadata()
        assert all(file.get_slice(name).get_dtype() == "F16" for name in file.keys())  # noqa: SIM118 - not a dict
    assert {"recipe", "data", "data_sha256", "seed", "steps", "hours", "hardware", "commit", "licence"} <= set(metadata)
    assert json.loads(metadata["data"]) == {"video/made": 2, "static/made": 3}
    expected = {name: listed(training_folder / name) for name in ("video/made", "static/made")}
    assert json.loads(metadata["data_sha256"]) == expected
    assert json.loads(metadata["recipe"])["stages"][1] == {
        "steps": 3,
        "frames": 4,
        "clips": 2,
        "crop": 64,
        "widest_gap": 12,
    }
    assert metadata["steps"] == "1"
    assert load_network("compact", device="cpu", precision="float32", weights=weights).name == "compact"


def test_training_starts_from_whole_weights(training_folder: Path, tmp_path: Path) -> None:
    """A run starts from the given weights and names them, also when resumed; a backbone beside them is refused."""
    first = train(_options(training_folder, tmp_path / "first"), SHORT).weights
    still = Recipe(stages=SHORT.stages, learning_rate=1e-12)
    train(_options(training_folder, tmp_path / "second", start=first, stop_after=2), still)
    second = train(_options(training_folder, tmp_path / "second", start=first, resume=True), still).weights
    expected = load_file(first)
    for name, tensor in load_file(second).items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=1e-3)
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"another")
    with pytest.raises(CheckpointError, match=r"started from compact.safetensors [0-9a-f]{64}, not from other"):
        train(_options(training_folder, tmp_path / "second", start=other, resume=True), still)
    with safe_open(second, "pt") as file:
        assert file.metadata()["start"] == f"{first.name} {hashlib.sha256(first.read_bytes()).hexdigest()}"
    with pytest.raises(OptionError, match="start and backbone are both given"):
        train(_options(training_folder, tmp_path / "third", start=first, backbone=first), SHORT)


def test_a_run_is_resumed_with_its_own_recipe(training_folder: Path, tmp_path: Path) -> None:
    """A recipe that differs from the run's is refused, and the message names both values."""
    train(_options(training_folder, tmp_path / "run", stop_after=1), SHORT)
    with pytest.raises(CheckpointError, match=r"started with seed 1, not 2"):
        train(_options(training_folder, tmp_path / "run", resume=True), replace(SHORT, seed=2))


def test_a_run_is_resumed_at_another_length(training_folder: Path, tmp_path: Path) -> None:
    """A run can be resumed with fewer steps and ends after them."""
    train(_options(training_folder, tmp_path / "run", stop_after=1), SHORT)
    assert train(_options(training_folder, tmp_path / "run", resume=True), SHORT.scaled(4)).steps == 4


def test_weights_without_a_presence_head_get_a_fresh_one(training_folder: Path, tmp_path: Path) -> None:
    """The head starts fresh only if the start weights lack it, and the new weights say so."""
    older = load_file(train(_options(training_folder, tmp_path / "first", stop_after=1), SHORT).weights)
    bare = tmp_path / "bare.safetensors"
    save_file({name: tensor for name, tensor in older.items() if not name.startswith("presence.")}, bare)
    for start, fresh in ((bare, True), (tmp_path / "first" / "compact.safetensors", False)):
        out = tmp_path / start.stem
        weights = train(_options(training_folder, out, start=start, stop_after=1), SHORT).weights
        with safe_open(weights, "pt") as file:
            assert file.metadata()["start"].endswith(", without presence") == fresh
            assert "presence.last.weight" in file.keys()  # noqa: SIM118 - not a dict
        assert train(_options(training_folder, out, start=start, resume=True, stop_after=2), SHORT).steps == 2


def test_a_fold_is_left_out(training_folder: Path, tmp_path: Path) -> None:
    """Each sequence of the named sets is in one of the folds, and the weights name the fold left out."""
    recipe = replace(SHORT, fold_sets=("made",))
    found = []
    for number in (1, 2, 3):
        folded = replace(recipe, fold=f"{number}/3")
        weights = train(_options(training_folder, tmp_path / str(number), stop_after=1), folded).weights
        with safe_open(weights, "pt") as file:
            metadata = file.metadata()
        assert json.loads(metadata["recipe"])["fold"] == f"{number}/3"
        found.append(json.loads(metadata["data"]).get("video/made", 0))
    assert sum(found) == 2 * 2
    with pytest.raises(OptionError, match=r"fold is '3/2'; it must be K/N"):
        train(_options(training_folder, tmp_path / "bad"), replace(recipe, fold="3/2"))


def test_log_has_a_line_of_means_every_20_steps(training_folder: Path, tmp_path: Path) -> None:
    """log.csv has one line per 20 steps: step, seconds and means since the previous line."""
    train(_options(training_folder, tmp_path / "run"), Recipe(stages=(Stage(40, 2, 1, 32),)))
    with (tmp_path / "run" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["20", "40"]
    assert all(0 <= float(row["iou"]) <= 1 and float(row["loss"]) > 0 for row in rows)


def test_learning_rate_warms_up_and_falls() -> None:
    """The rate rises during warm-up, is half the peak in the middle and ends near zero."""
    recipe = Recipe(stages=(Stage(1000, 2, 1, 64),), warmup_steps=10, learning_rate=1.0)
    rates = [learning_rate(recipe, step) for step in range(1000)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == pytest.approx(1.0, abs=1e-3)
    assert rates[500] == pytest.approx(0.505, abs=1e-3)
    assert rates[999] < 0.011


def test_bad_requests_are_named(training_folder: Path, tmp_path: Path) -> None:
    """Requests that cannot be trained or resumed are refused with the reason."""
    with pytest.raises(CheckpointError, match="there is no run to resume"):
        train(_options(training_folder, tmp_path / "a", resume=True), SHORT)
    with pytest.raises(OptionError, match="must divide the clips per batch of each stage, which are 2, 2"):
        train(_options(training_folder, tmp_path / "b", processes=3), SHORT)
    with pytest.raises(WeightsError, match="is missing; --backbone takes"):
        train(_options(training_folder, tmp_path / "c", backbone=tmp_path / "no.safetensors"), SHORT)
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="does not hold MobileNetV2 weights"):
        train(_options(training_folder, tmp_path / "d", backbone=tmp_path / "bad.safetensors"), SHORT)
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "checkpoint.pt").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="is damaged"):
        train(_options(training_folder, tmp_path / "e", resume=True), SHORT)
