"""`keymask train base|refiner`: the files of a run, and the errors of one that cannot start."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from service.cli.main import main
from vos.training.base.recipe import Recipe
from vos.training.refiner import batches
from vos.training.refiner.trainer import RefinerRecipe
from vos.weights.load import load_refiner


def made_data(folder: Path, objects: int = 1) -> Path:
    """Write two stills of a square (with `objects=0`, without one), enough for a run; return the folder."""
    for number in range(2):
        mask = np.zeros((64, 80), dtype=np.uint8)
        mask[20:40, 20 + 10 * number : 45 + 10 * number] = objects
        for kind, array in (("images", 90 + 80 * mask), ("masks", mask)):
            (folder / "static" / "made" / kind).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / "static" / "made" / kind / f"{number}.png"), array)
    return folder


def test_a_base_run_writes_weights_checkpoint_and_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One step writes weights, checkpoint and log; the text and the JSON describe the run."""
    data, out, report = made_data(tmp_path / "data"), tmp_path / "out", tmp_path / "report.json"
    arguments = ["train", "base", "--data", str(data), "--out", str(out), "--steps", "1", "--workers", "0"]
    assert main([*arguments, "--device", "cpu", "--json", str(report)]) == 0
    assert {"compact.safetensors", "compact.json", "checkpoint.pt", "log.csv"} <= {path.name for path in out.iterdir()}
    assert "Steps done: 1 of 1" in capsys.readouterr().out
    result = json.loads(report.read_text())
    assert (result["weights"], result["steps"]) == (str(out / "compact.safetensors"), 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing option '--data'"),
        (["--data", "{tmp}/nowhere"], "nowhere is not a folder; --data takes folders with video/ or static/ in them"),
        (["--data", "{tmp}"], "no training data in {tmp}"),
        (["--data", "{tmp}/data", "--resume"], "there is no run to resume"),
        (["--data", "{tmp}/data", "--backbone", "{tmp}/none"], "--backbone takes a safetensors file"),
        (["--data", "{tmp}/data", "--processes", "5"], "must divide the clips per batch of each stage"),
        (["--data", "{tmp}/data", "--steps", "0"], "Invalid value for '--steps'"),
        (["--data", "{tmp}/data", "--device", "abacus"], "it must be auto, cpu, cuda or cuda:N"),
    ],
)
def test_bad_input_of_a_base_run_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bad options and folders exit 2 with one line that names the input."""
    made_data(tmp_path / "data")
    filled = [argument.replace("{tmp}", str(tmp_path)) for argument in arguments]
    assert main(["train", "base", "--out", str(tmp_path / "out"), *filled]) == 2
    error = capsys.readouterr().err
    assert message.replace("{tmp}", str(tmp_path)) in error
    assert len(error.strip().splitlines()) == 1


@pytest.fixture
def small_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the refiner's clips small, so that encoding and training are fast."""
    monkeypatch.setattr(batches, "SIZE", (64, 80))


@pytest.mark.usefixtures("small_clips")
def test_a_refiner_run_writes_weights_checkpoint_and_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One step from the shipped base network writes loadable weights, checkpoint, log and JSON."""
    data, out, report = made_data(tmp_path / "data"), tmp_path / "out", tmp_path / "report.json"
    arguments = ["train", "refiner", "--data", str(data), "--out", str(out), "--steps", "1", "--workers", "0"]
    assert main([*arguments, "--device", "cpu", "--json", str(report)]) == 0
    assert {"refiner.safetensors", "refiner.json", "checkpoint.pt", "log.csv"} <= {path.name for path in out.iterdir()}
    assert "Steps done: 1 of 1" in capsys.readouterr().out
    assert json.loads(report.read_text())["weights"] == str(out / "refiner.safetensors")
    load_refiner(device="cpu", weights=out / "refiner.safetensors")
    assert main([*arguments, "--resume", "--seed", "2"]) == 2
    assert "started with seed 1, not 2; resume it with the same" in capsys.readouterr().err


@pytest.mark.usefixtures("small_clips")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing option '--data'"),
        (["--data", "{tmp}/nowhere"], "nowhere is not a folder; --data takes folders with video/ or static/ in them"),
        (["--data", "{tmp}/empty"], "no training data in {tmp}/empty"),
        (["--data", "{tmp}/bare"], "they need sequences of at least 12 frames, or stills with objects"),
        (["--data", "{tmp}/data", "--resume"], "there is no run to resume in {tmp}/out"),
        (["--data", "{tmp}/data", "--start", "{tmp}/none"], "{tmp}/none cannot be read: No such file"),
        (["--data", "{tmp}/data", "--start", "{tmp}/bad.safetensors"], "is not a safetensors file, or is damaged"),
        (["--data", "{tmp}/data", "--steps", "0"], "Invalid value for '--steps'"),
        (["--data", "{tmp}/data", "--device", "abacus"], "it must be auto, cpu, cuda or cuda:N"),
    ],
)
def test_bad_input_of_a_refiner_run_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bad options, folders, weights and checkpoints exit 2 with one line that names the input."""
    made_data(tmp_path / "data")
    (tmp_path / "empty").mkdir()
    made_data(tmp_path / "bare", objects=0)
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    filled = [argument.replace("{tmp}", str(tmp_path)) for argument in arguments]
    assert main(["train", "refiner", "--out", str(tmp_path / "out"), *filled]) == 2
    error = capsys.readouterr().err
    assert message.replace("{tmp}", str(tmp_path)) in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        (b"nothing", "checkpoint.pt is damaged and cannot be resumed"),
        ({"recipe": Recipe().as_dict()}, "checkpoint.pt is not a checkpoint of `keymask train refiner`"),
        ({"recipe": RefinerRecipe().as_dict()}, "started with steps 1500, not 7; resume it with the same"),
        ({"recipe": RefinerRecipe(steps=7).as_dict()}, "checkpoint.pt holds another network's state"),
    ],
)
def test_a_mismatched_checkpoint_is_refused(
    checkpoint: bytes | dict[str, object], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A checkpoint that is damaged, or of another command, length or network, exits 2 with one line."""
    path = tmp_path / "checkpoint.pt"
    if isinstance(checkpoint, bytes):
        path.write_bytes(checkpoint)
    else:
        state = {"step": 1, "network": {"stem.weight": torch.zeros(2)}, "ema": [], "optimizer": {}, "seconds": 1.0}
        torch.save(state | checkpoint, path)
    data = made_data(tmp_path / "data")
    assert main(["train", "refiner", "--data", str(data), "--out", str(tmp_path), "--steps", "7", "--resume"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
