"""The refiner's weights in the package, and what they are worth on real clips."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from codec import open_video
from codec.encode import Encoder, encode
from codec.types import UInt8Array
from vos.modeling.refiner import Refiner
from vos.segmenter import Segmenter
from vos.types import MaskSource, Options, Prompt
from vos.weights.catalog import PACKAGE_FOLDER, REFINER, is_unchanged, read_record
from vos.weights.load import load_network, load_refiner, read_metadata

FRAMES = 13
SIZE = (432, 240)


def test_they_are_as_recorded() -> None:
    """They fit the network, are unchanged since recorded, say how they were made, and are at most 3 MB."""
    path = PACKAGE_FOLDER / REFINER.file
    record = read_record(path)
    assert record is not None
    assert is_unchanged(path, record)
    assert path.stat().st_size == record.bytes <= 3_000_000
    assert {"recipe", "data", "steps", "commit"} <= read_metadata(path).keys()
    assert isinstance(load_refiner(device="cpu"), Refiner)


def sequence(root: Path, name: str) -> tuple[list[UInt8Array], list[UInt8Array]]:
    """The first pictures of a sequence and their labels, at half size."""
    pictures, labels = [], []
    for path in islice(sorted((root / "JPEGImages/480p" / name).glob("*.jpg")), FRAMES):
        with Image.open(path) as image:
            pictures.append(np.array(image.convert("RGB").resize(SIZE, Image.Resampling.BOX)))
        with Image.open(root / "Annotations/480p" / name / f"{path.stem}.png") as image:
            labels.append((np.array(image.convert("L").resize(SIZE, Image.Resampling.NEAREST)) > 0).astype(np.uint8))
    return pictures, labels


@pytest.mark.shared
@pytest.mark.parametrize("name", ["horsejump-low", "breakdance-flare"])
def test_repair_is_better_than_carrying_and_copying(name: str, shared_dir: Path) -> None:
    """With one key frame in ten, repaired masks fit the truth better than carried ones, and those than a copy."""
    pictures, labels = sequence(shared_dir / "data/dev/davis480", name)
    clip = encode(pictures, Encoder("libx264", {"preset": "veryfast", "bf": "0"}))
    network = load_network("compact", device="cpu", precision="float32")

    def overlap(found: UInt8Array, index: int) -> float:
        truth = labels[index] > 0
        return float((truth & (found > 0)).sum() / (truth | (found > 0)).sum())

    def carried(refiner: Refiner | None) -> tuple[list[float], list[float]]:
        """J of each propagated mask, and of the latest mask that was not propagated in its place."""
        own, copied, held = [], [], labels[0]
        with open_video(clip) as video, torch.inference_mode():
            for mask in Segmenter(network, Options(keyframes="every:10"), refiner).run(video, video.info, Prompt(held)):
                if mask.source in (MaskSource.KEY, MaskSource.PROMPT):
                    held = mask.labels
                    continue
                own.append(overlap(mask.labels, mask.index))
                copied.append(overlap(held, mask.index))
        return own, copied

    plain, copied = carried(None)
    repaired, _ = carried(load_refiner(device="cpu", precision="float32"))
    assert len(plain) == len(repaired) == FRAMES - 2
    assert np.mean(plain) > np.mean(copied)
    assert np.mean(repaired) > np.mean(plain)
    assert np.mean(repaired) > 0.6
