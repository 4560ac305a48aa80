"""No command writes its JSON over a file that it reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.cli.main import main

COMMANDS = {
    "run": ["run", "in.bin", "--mask", "mask.png", "--out", "out"],
    "run, mask": ["run", "video.mp4", "--mask", "in.bin", "--out", "out"],
    "run, weights": ["run", "video.mp4", "--mask", "mask.png", "--out", "out", "--weights", "in.bin"],
    "probe": ["probe", "in.bin"],
    "bench": ["bench", "in.bin", "--mask", "mask.png"],
    "bench, mask": ["bench", "video.mp4", "--mask", "in.bin"],
    "eval, split": ["eval", ".", "--split", "in.bin"],
    "eval, weights": ["eval", ".", "--weights", "in.bin"],
    "train base": ["train", "base", "--data", ".", "--backbone", "in.bin"],
    "train refiner": ["train", "refiner", "--data", ".", "--start", "in.bin"],
    "models pull": ["models", "pull", "stm", "--from", "in.bin"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_json_is_not_written_over_an_input(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command says so in one line, with exit code 2, and leaves the file as it was."""
    monkeypatch.chdir(tmp_path)
    Path("in.bin").write_bytes(b"precious")
    assert main([*COMMANDS[name], "--json", "./in.bin"]) == 2
    assert capsys.readouterr().err == (
        "keymask: error: --json: in.bin is an input of this run; choose another file to write\n"
    )
    assert Path("in.bin").read_bytes() == b"precious"
    assert [path.name for path in tmp_path.iterdir()] == ["in.bin"]
