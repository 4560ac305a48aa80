"""The weights of the default network in the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vos.modeling.network import VOSNetwork
from vos.weights.catalog import is_unchanged, read_record, weights_path
from vos.weights.load import load_network, read_metadata

SIZE = (864, 480)


def test_embedded_weights_match_their_record() -> None:
    """The weights fit the network, match their record, name their origin, and have at most 12 MB."""
    path = weights_path("compact", None)
    assert path is not None
    record = read_record(path)
    assert record is not None, "the package has no weights: copy both files that training exported to vos/pretrained"
    assert is_unchanged(path, record)
    assert path.stat().st_size == record.bytes <= 12_000_000
    assert {"recipe", "data", "commit"} <= read_metadata(path).keys()
    assert load_network("compact", device="cpu").name == "compact"


def read_picture(path: Path) -> torch.Tensor:
    """Read a picture as uint8 [1, 3, 480, 864]."""
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image.convert("RGB").resize(SIZE))).permute(2, 0, 1).unsqueeze(0)


@torch.inference_mode()
def probabilities(network: VOSNetwork, sequence: str, root: Path) -> torch.Tensor:
    """Segment the fifth frame of a sequence from its first frame and mask: probability [1, 1, 120, 216]."""
    with Image.open(root / "Annotations/480p" / sequence / "00000.png") as image:
        labels = np.array(image.convert("L").resize(SIZE, Image.Resampling.NEAREST)) > 0
    mask = torch.from_numpy(labels)[None, None].float()
    pictures = [read_picture(root / "JPEGImages/480p" / sequence / f"{index:05d}.jpg") for index in (0, 4)]
    first, later = (network.encode(network.normalize(picture)) for picture in pictures)
    previous = torch.nn.functional.avg_pool2d(mask, 4)
    return network.segment(later, network.memorize(first, mask), previous, 20).float().sigmoid()


@pytest.mark.shared
@pytest.mark.parametrize("sequence", ["car-turn", "horsejump-low", "breakdance-flare"])
def test_bfloat16_is_close_to_float32(sequence: str, shared_dir: Path) -> None:
    """On real pictures, bfloat16 changes probabilities by at most 0.15, 0.002 on average; 99.8 % of labels agree."""
    root = shared_dir / "data/dev/davis480"
    exact, rough = (
        probabilities(load_network("compact", device="cpu", precision=precision), sequence, root)
        for precision in ("float32", "bfloat16")
    )
    error = (exact - rough).abs()
    assert 0 < error.max() <= 0.15
    assert error.mean() <= 0.002
    assert (exact > 0.5).any()
    assert ((exact > 0.5) == (rough > 0.5)).float().mean() >= 0.998
