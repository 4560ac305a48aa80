"""`keymask train base`: what it leaves, and what it says when it cannot start."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from service.cli import main


def made_data(folder: Path) -> Path:
    """Two stills of a square, which is all that a run needs."""
    for number in range(2):
        mask = np.zeros((64, 80), dtype=np.uint8)
        mask[20:40, 20 + 10 * number : 45 + 10 * number] = 1
        for kind, array in (("images", 90 + 80 * mask), ("masks", mask)):
            (folder / "static" / "made" / kind).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / "static" / "made" / kind / f"{number}.png"), array)
    return folder


def test_a_run_leaves_weights_state_and_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One step makes weights, checkpoint and log, says where they are, and gives the same as JSON."""
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
        (["--data", "{tmp}/nowhere"], "nowhere is no folder; --data takes folders with video/ or static/ in them"),
        (["--data", "{tmp}"], "no training data in {tmp}"),
        (["--data", "{tmp}/data", "--resume"], "there is no run to resume"),
        (["--data", "{tmp}/data", "--backbone", "{tmp}/none"], "--backbone takes a safetensors file"),
        (["--data", "{tmp}/data", "--processes", "5"], "must divide each stage's clips a batch"),
        (["--data", "{tmp}/data", "--steps", "0"], "Invalid value for '--steps'"),
        (["--data", "{tmp}/data", "--device", "abacus"], "it must be auto, cpu, cuda or cuda:N"),
    ],
)
def test_what_cannot_be_trained_is_said_in_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bad options and folders end with code 2 and one line that names what was given."""
    made_data(tmp_path / "data")
    filled = [argument.replace("{tmp}", str(tmp_path)) for argument in arguments]
    assert main(["train", "base", "--out", str(tmp_path / "out"), *filled]) == 2
    error = capsys.readouterr().err
    assert message.replace("{tmp}", str(tmp_path)) in error
    assert len(error.strip().splitlines()) == 1
