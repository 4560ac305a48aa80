"""The weights store: pull, record, check, load."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vos.errors import OptionError, WeightsError
from vos.modeling.network import Features, Memory, VOSNetwork
from vos.weights import build
from vos.weights.catalog import MODELS, find_model, is_unchanged, read_record
from vos.weights.load import load_network, pull_weights, read_metadata, save_weights


class TinyNetwork(VOSNetwork):
    """Takes the place of `stm` for small files: one convolution with batch norm."""

    name = "stm"

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.bn = nn.BatchNorm2d(4)

    def normalize(self, rgb: Tensor) -> Tensor:
        """Convert to float."""
        return rgb.float()

    def encode(self, image: Tensor) -> Features:
        """Run the one convolution."""
        return Features(image, self.bn(self.conv(image)), {})

    def memorize(self, features: Features, masks: Tensor) -> Memory:
        """Not needed here."""
        raise NotImplementedError

    def segment(self, features: Features, memory: Memory, previous: Tensor | None, top_k: int) -> Tensor:
        """Not needed here."""
        raise NotImplementedError


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """Make `stm` a tiny network; return its state dict with batch norms that have an effect."""
    monkeypatch.setitem(build.BUILDERS, "stm", TinyNetwork)
    torch.manual_seed(0)
    state = TinyNetwork().state_dict()
    state["bn.running_var"] = torch.tensor([0.5, 1.0, 2.0, 4.0])
    state["bn.running_mean"] = torch.tensor([0.0, 1.0, -1.0, 2.0])
    return state


@pytest.fixture
def checkpoint(tiny: dict[str, Tensor], tmp_path: Path) -> Path:
    """A published checkpoint of the tiny network."""
    path = tmp_path / "published.pth"
    torch.save(tiny, path)
    return path


def test_pulling_converts_by_name_and_records(checkpoint: Path, tiny: dict[str, Tensor], tmp_path: Path) -> None:
    """Pulling stores the same tensors as safetensors, beside a record with their SHA-256."""
    store = tmp_path / "store"
    record = pull_weights("stm", checkpoint, store)
    stored = load_file(store / "stm.safetensors")
    assert stored.keys() == tiny.keys()
    assert all(torch.equal(stored[name], tensor) for name, tensor in tiny.items())
    assert record.sha256 == hashlib.sha256((store / "stm.safetensors").read_bytes()).hexdigest()
    assert record.origin_sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert json.loads((store / "stm.json").read_text())["sha256"] == record.sha256
    assert sorted(path.name for path in store.iterdir()) == ["stm.json", "stm.safetensors"]


def test_a_loaded_network_computes_as_the_checkpoint(checkpoint: Path, tiny: dict[str, Tensor], tmp_path: Path) -> None:
    """`load_network` returns a network that computes as the checkpoint's layers do, in eval mode, without gradients."""
    pull_weights("stm", checkpoint, tmp_path)
    network = load_network("stm", device="cpu", precision="float32", store=tmp_path)
    image = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    plain = nn.functional.conv2d(image, tiny["conv.weight"], tiny["conv.bias"])
    mean, var = (tiny[f"bn.running_{name}"].view(1, -1, 1, 1) for name in ("mean", "var"))
    torch.testing.assert_close(network.encode(image).key, (plain - mean) / (var + 1e-5).sqrt())
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_half_precision_checkpoints_are_widened(tiny: dict[str, Tensor], tmp_path: Path) -> None:
    """Weights published as float16 are stored as float32."""
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tiny.items()}
    save_file(half, tmp_path / "half.safetensors")
    pull_weights("stm", tmp_path / "half.safetensors", tmp_path / "store")
    assert load_file(tmp_path / "store" / "stm.safetensors")["conv.weight"].dtype == torch.float32


def test_another_networks_checkpoint_is_refused(tiny: dict[str, Tensor], tmp_path: Path) -> None:
    """A checkpoint with other names is refused with the missing names, and the store does not change."""
    torch.save({"backbone.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"other\.pth does not hold the weights of stm; .*missing: conv\.weight"):
        pull_weights("stm", tmp_path / "other.pth", tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_changed_file_is_refused_at_every_load(checkpoint: Path, tmp_path: Path) -> None:
    """One flipped bit in a stored file makes loading fail, even if the file is well formed."""
    pull_weights("stm", checkpoint, tmp_path)
    path = tmp_path / "stm.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="has changed since it was recorded"):
        load_network("stm", device="cpu", store=tmp_path)
    with pytest.raises(WeightsError, match="has changed since it was recorded"):
        load_network("stm", device="cpu", weights=path)
    record = read_record(path)
    assert record is not None
    assert not is_unchanged(path, record)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "has no record"), ("{", "is damaged"), ("[]", "is damaged"), ('{"sha256": "0"}', "is damaged")],
)
def test_a_store_file_needs_its_record(content: str | None, message: str, checkpoint: Path, tmp_path: Path) -> None:
    """A stored file whose record is missing or damaged is not loaded."""
    pull_weights("stm", checkpoint, tmp_path)
    (tmp_path / "stm.json").unlink()
    if content is not None:
        (tmp_path / "stm.json").write_text(content)
    with pytest.raises(WeightsError, match=message):
        load_network("stm", device="cpu", store=tmp_path)


def test_missing_weights_say_how_to_get_them(tiny: dict[str, Tensor], tmp_path: Path) -> None:
    """Without weights, the error names the command that fetches them."""
    with pytest.raises(WeightsError, match=r"stm\.safetensors\); fetch them with `keymask models pull stm`"):
        load_network("stm", device="cpu", store=tmp_path)
    with pytest.raises(WeightsError, match="no weights folder is set"):
        load_network("stm", device="cpu")


def test_a_weights_file_can_be_given(tiny: dict[str, Tensor], tmp_path: Path) -> None:
    """`weights` takes any safetensors file of the network, with or without a record."""
    save_file(tiny, tmp_path / "mine.safetensors")
    network = load_network("stm", device="cpu", precision="float32", weights=str(tmp_path / "mine.safetensors"))
    assert network.name == "stm"
    for name, content in (("none.safetensors", None), ("text.safetensors", b"hello")):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=name):
            load_network("stm", device="cpu", weights=tmp_path / name)


def test_metadata_is_kept_inside_the_file(tiny: dict[str, Tensor], tmp_path: Path) -> None:
    """Metadata such as recipe and commit are stored in the weights file and read back."""
    save_weights("stm", tiny, tmp_path, origin="trained here", metadata={"commit": "abc", "recipe": "base"})
    assert read_metadata(tmp_path / "stm.safetensors") == {"commit": "abc", "recipe": "base"}
    with safe_open(tmp_path / "stm.safetensors", framework="pt") as file:
        assert file.metadata() == {"commit": "abc", "recipe": "base"}


def test_names_are_checked() -> None:
    """An unknown model raises OptionError with the known ones; an embedded model cannot be pulled."""
    with pytest.raises(OptionError, match="model is 'sam'; it must be one of compact, stm, stcn"):
        load_network("sam", device="cpu")
    with pytest.raises(OptionError, match="it must be one of compact, stm, stcn"):
        find_model("sam")
    with pytest.raises(OptionError, match="compact is part of this package"):
        pull_weights("compact", Path("a.pth"), Path("store"))


def test_catalogue_and_registry_name_the_same_networks() -> None:
    """Catalogue and builders have the same networks, and each has a licence and an origin."""
    assert MODELS.keys() == build.BUILDERS.keys()
    assert all(model.license and (model.embedded or (model.page and model.url)) for model in MODELS.values())
