"""`keymask models`: listing, showing and pulling."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from service.cli.main import main
from vos.modeling.network import Features, Memory, VOSNetwork
from vos.weights import build
from vos.weights.catalog import MODELS, Model


class TinyNetwork(VOSNetwork):
    """Replaces `stcn`, so that files are small."""

    name = "stcn"

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def normalize(self, rgb: Tensor) -> Tensor:
        """Not needed here."""
        raise NotImplementedError

    def encode(self, image: Tensor) -> Features:
        """Not needed here."""
        raise NotImplementedError

    def memorize(self, features: Features, masks: Tensor) -> Memory:
        """Not needed here."""
        raise NotImplementedError

    def segment(self, features: Features, memory: Memory, previous: Tensor | None, top_k: int) -> Tensor:
        """Not needed here."""
        raise NotImplementedError


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The path of the store, whose folder does not exist yet; `stcn` is a tiny network."""
    monkeypatch.setenv("KEYMASK_HOME", str(tmp_path / "home"))
    monkeypatch.setitem(build.BUILDERS, "stcn", TinyNetwork)
    return tmp_path / "home" / "weights"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint of the tiny network."""
    torch.save(TinyNetwork().state_dict(), tmp_path / "stcn.pth")
    return tmp_path / "stcn.pth"


def read_json(capsys: pytest.CaptureFixture[str]) -> Any:
    """Parse standard output, which must be JSON alone."""
    return json.loads(capsys.readouterr().out)


def test_the_list_names_every_network_with_its_licence(capsys: pytest.CaptureFixture[str]) -> None:
    """There is one line per network, with its licence; it says whether the network is installed and the default."""
    assert main(["models", "list"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert set(lines) == {*MODELS, "refiner"}
    assert "(default)" in lines["compact"]
    assert "not here" in lines["stm"]
    assert "MIT" in lines["stm"]


def test_the_refiner_is_shown_like_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    """`info` checks the refiner's file and shows its training record; its weights need not be pulled."""
    assert main(["models", "info", "refiner", "--json", "-"]) == 0
    shown = read_json(capsys)
    assert (shown["installed"], shown["unchanged"], shown["default"]) == (True, True, False)
    assert {"recipe", "steps", "commit"} <= shown["metadata"].keys()
    assert main(["models", "pull", "refiner"]) == 2
    assert "refiner is part of keymask; its weights need not be pulled" in capsys.readouterr().err


def test_a_pulled_file_is_in_the_store(checkpoint: Path, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pull puts the file into the store; `pull`, `info` and `list` report its SHA-256."""
    assert main(["models", "info", "stcn", "--json", "-"]) == 0
    assert read_json(capsys)["installed"] is False
    assert main(["models", "pull", "stcn", "--from", str(checkpoint), "--json", "-"]) == 0
    pulled = read_json(capsys)
    digest = hashlib.sha256((store / "stcn.safetensors").read_bytes()).hexdigest()
    assert pulled["sha256"] == digest
    assert main(["models", "info", "stcn", "--json", "-"]) == 0
    shown = read_json(capsys)
    assert (shown["sha256"], shown["unchanged"]) == (digest, True)
    assert shown["record"]["origin_sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert main(["models", "list", "--json", "-"]) == 0
    assert {m["name"]: m["sha256"] for m in read_json(capsys)["models"]}["stcn"] == digest


def test_pull_and_info_show_the_licence(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`pull` and `info` show the licence and the training data of the weights."""
    assert main(["models", "pull", "stcn", "--from", str(checkpoint)]) == 0
    assert capsys.readouterr().out.startswith("stcn: licence MIT; trained on DAVIS")
    assert main(["models", "info", "stcn"]) == 0
    assert "MIT; trained on DAVIS" in capsys.readouterr().out


def test_a_changed_file_is_detected(checkpoint: Path, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`info` exits 2 and says so if a file differs from its record."""
    assert main(["models", "pull", "stcn", "--from", str(checkpoint)]) == 0
    path = store / "stcn.safetensors"
    path.write_bytes(path.read_bytes() + b"\0")
    assert main(["models", "info", "stcn"]) == 2
    assert "has changed since it was recorded" in capsys.readouterr().err


def test_pull_checks_the_given_digest(checkpoint: Path, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --sha256, a file of another digest is refused and not stored; the right digest is accepted."""
    assert main(["models", "pull", "stcn", "--from", str(checkpoint), "--sha256", "0" * 64]) == 2
    assert "--sha256 requires 000" in capsys.readouterr().err
    assert not store.exists()
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest().upper()
    assert main(["models", "pull", "stcn", "--from", str(checkpoint), "--sha256", digest]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "sam"], "model is 'sam'; it must be one of compact, stm, stcn"),
        (["pull", "compact"], "compact is part of keymask; its weights need not be pulled"),
        (["pull", "stcn", "--from", "none.pth"], "none.pth cannot be read"),
        (["pull", "stcn", "--from", "pyproject.toml"], "is not a weights file; it must end in"),
        (["pull", "stcn", "--from", "http://example.org/a.pth"], "must start with https://"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Bad input exits 2 with one line that describes the problem."""
    assert main(["models", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_failed_download_names_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    """A failed download exits 1 and names the page for a manual download."""
    assert main(["models", "pull", "stcn", "--from", "http://127.0.0.1:9/stcn.pth"]) == 1
    error = capsys.readouterr().err
    assert "download it by hand from https://github.com/hkchengrex/STCN#pretrained-models" in error
    assert "--from FILE" in error


def test_a_folder_is_searched_for_its_weights_file(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder with one weights file is pulled like the file; with none or several, the command says what is there."""
    assert main(["models", "pull", "stcn", "--from", str(tmp_path)]) == 0
    capsys.readouterr()
    checkpoint.with_name("other.pth").write_bytes(checkpoint.read_bytes())
    assert main(["models", "pull", "stcn", "--from", str(tmp_path)]) == 2
    assert "must have one weights file" in (error := capsys.readouterr().err)
    assert "found: other.pth, stcn.pth" in error
    (tmp_path / "empty").mkdir()
    assert main(["models", "pull", "stcn", "--from", str(tmp_path / "empty")]) == 2
    assert "found: none that ends in .safetensors" in capsys.readouterr().err


def test_a_network_of_another_library_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without its package, `info` and `pull` name the command that installs it."""
    monkeypatch.setattr(Model, "is_installed", False)
    assert main(["models", "info", "cutie-base"]) == 0
    assert "rf-cutie (not here: `pip install 'keymask-server[cutie]'`)" in capsys.readouterr().out
    assert main(["models", "pull", "sam2.1-tiny", "--from", "model.safetensors"]) == 2
    assert "sam2.1-tiny needs transformers, not installed here" in capsys.readouterr().err
