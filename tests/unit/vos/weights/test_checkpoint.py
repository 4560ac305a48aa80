"""Foreign checkpoints: which are read, and which are refused."""

from __future__ import annotations

import pickle
import random
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from vos.errors import WeightsError
from vos.weights.checkpoint import check_state, read_checkpoint

STATE = {"conv.weight": torch.arange(18.0).reshape(2, 1, 3, 3), "conv.bias": torch.tensor([1.0, -1.0])}


class Trap:
    """Its pickle creates a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Same names, same values."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("key", [None, "network", "state_dict", "model"])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_pytorch_checkpoint_yields_its_tensors(key: str | None, zipped: bool, tmp_path: Path) -> None:
    """A .pth file of either format yields its state dict, also if it holds an optimizer state too."""
    content = STATE if key is None else {key: STATE, "it": 7, "optimizer": {"lr": 0.1}}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    assert equal(read_checkpoint(tmp_path / "a.pth"), STATE)


def test_a_safetensors_file_yields_its_tensors(tmp_path: Path) -> None:
    """A .safetensors file yields its tensors by name."""
    save_file(STATE, tmp_path / "a.safetensors")
    assert equal(read_checkpoint(tmp_path / "a.safetensors"), STATE)


@pytest.mark.parametrize("form", ["zip", "legacy", "plain pickle"])
def test_a_malicious_checkpoint_runs_nothing(form: str, tmp_path: Path) -> None:
    """A pickle that would run code when loaded is refused, and its code does not run."""
    trap, file = tmp_path / "trap", tmp_path / "evil.pth"
    content = STATE | {"evil": Trap(trap)}
    if form == "plain pickle":
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(WeightsError, match=r"evil\.pth is (refused: .* could run code|not a PyTorch checkpoint)"):
        read_checkpoint(file)
    assert not trap.exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused(suffix: str, share: float, tmp_path: Path) -> None:
    """A truncated or empty file raises WeightsError."""
    file = tmp_path / f"cut{suffix}"
    if suffix == ".pth":
        torch.save(STATE, file)
    else:
        save_file(STATE, file)
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    with pytest.raises(WeightsError, match=f"cut{suffix} is "):
        read_checkpoint(file)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_bytes_never_raise_anything_else(suffix: str, tmp_path: Path) -> None:
    """Reading a file with random damage returns tensors or raises WeightsError, 300 times over."""
    file, rng = tmp_path / f"a{suffix}", random.Random(5)
    if suffix == ".pth":
        torch.save(STATE, file)
    else:
        save_file(STATE, file)
    whole = file.read_bytes()
    refused = 0
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 8)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        file.write_bytes(content)
        try:
            with warnings.catch_warnings(action="ignore"):
                assert all(isinstance(tensor, Tensor) for tensor in read_checkpoint(file).values())
        except WeightsError:
            refused += 1
    assert refused > 0


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A missing file or a folder raises WeightsError with the system's reason."""
    with pytest.raises(WeightsError, match=r"none\.pth cannot be read: No such file"):
        read_checkpoint(tmp_path / "none.pth")
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(WeightsError, match=r"folder\.pth cannot be read"):
        read_checkpoint(tmp_path / "folder.pth")


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    """A file with another suffix is refused, and the message lists the allowed ones."""
    with pytest.raises(WeightsError, match=r"weights\.zip is not a weights file; it must end in \.safetensors, \.pth"):
        read_checkpoint(tmp_path / "weights.zip")


@pytest.mark.parametrize(
    "content",
    [[1, 2], {}, torch.zeros(3), {"a": 1}, {1: torch.zeros(1)}, {"a": torch.eye(2).to_sparse()}, {"model": {"a": "x"}}],
    ids=["list", "empty", "tensor", "number", "name that is a number", "sparse", "nested text"],
)
def test_content_other_than_a_state_dict_is_refused(content: Any, tmp_path: Path) -> None:
    """A checkpoint that does not map names to dense tensors is refused."""
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="it must map names to tensors"):
        read_checkpoint(tmp_path / "a.pth")


DIFFERENCES: dict[str, tuple[dict[str, Tensor | None], str]] = {
    "missing": ({"conv.bias": None}, r"of its 1 tensors 1 missing: conv\.bias"),
    "unexpected": ({"extra": torch.zeros(1)}, "1 unexpected: extra"),
    "shape": ({"conv.bias": torch.zeros(3)}, r"1 of another shape: conv\.bias \[3\] instead of \[2\]"),
    "integers": ({"conv.bias": torch.zeros(2, dtype=torch.int64)}, r"1 not real numbers: conv\.bias"),
    "nan": ({"conv.bias": torch.tensor([0.0, float("nan")])}, r"1 with values that are not finite: conv\.bias"),
    "many": ({f"extra{i}": torch.zeros(1) for i in range(5)}, r"5 unexpected: extra0, extra1, extra2, \.\.\."),
}


@pytest.mark.parametrize("kind", DIFFERENCES)
def test_differences_are_named(kind: str) -> None:
    """Tensors that are missing, unexpected, of another shape or kind, or not finite are named."""
    change, message = DIFFERENCES[kind]
    given = {name: tensor for name, tensor in (STATE | change).items() if tensor is not None}
    with pytest.raises(WeightsError, match=rf"a\.pth does not hold the weights of stm; .*{message}"):
        check_state(given, STATE, "stm", "a.pth")


def test_a_huge_shape_in_a_small_file_is_refused_by_its_shape(tmp_path: Path) -> None:
    """A tensor that claims terabytes by repeating one number is refused before its values are read."""
    torch.save(STATE | {"conv.bias": torch.zeros(1).expand(1 << 40)}, tmp_path / "huge.pth")
    with pytest.raises(WeightsError, match="1 of another shape"):
        check_state(read_checkpoint(tmp_path / "huge.pth"), STATE, "stm", "huge.pth")
