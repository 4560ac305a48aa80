"""The weights of the refiner in the package, and their gain on real clips."""

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


def test_embedded_weights_match_their_record() -> None:
    """The weights fit the network, match their record, name their origin, and have at most 3 MB."""
    path = PACKAGE_FOLDER / REFINER.file
    record = read_record(path)
    assert record is not None
    assert is_unchanged(path, record)
    assert path.stat().st_size == record.bytes <= 3_000_000
    assert {"recipe", "data", "steps", "commit"} <= read_metadata(path).keys()
    assert isinstance(load_refiner(device="cpu"), Refiner)


def sequence(root: Path, name: str) -> tuple[list[UInt8Array], list[UInt8Array]]:
    """Read the first pictures of a sequence and their labels, at half size."""
    pictures, labels = [], []
    for path in islice(sorted((root / "JPEGImages/480p" / name).glob("*.jpg")), FRAMES):
        with Image.open(path) as image:
            pictures.append(np.array(image.convert("RGB").resize(SIZE, Image.Resampling.BOX)))
        with Image.open(root / "Annotations/480p" / name / f"{path.stem}.png") as image:
            labels.append((np.array(image.convert("L").resize(SIZE, Image.Resampling.NEAREST)) > 0).astype(np.uint8))
    return pictures, labels


@pytest.mark.shared
@pytest.mark.parametrize("name", ["horsejump-low", "breakdance-flare"])
def test_refinement_is_better_than_propagation_and_copies(name: str, shared_dir: Path) -> None:
    """With one key frame in ten, refined masks are better than propagated ones, and these better than copies."""
    pictures, labels = sequence(shared_dir / "data/dev/davis480", name)
    clip = encode(pictures, Encoder("libx264", {"preset": "veryfast", "bf": "0"}))
    network = load_network("compact", device="cpu", precision="float32")

    def overlap(found: UInt8Array, index: int) -> float:
        truth = labels[index] > 0
        return float((truth & (found > 0)).sum() / (truth | (found > 0)).sum())

    def propagated(refiner: Refiner | None) -> tuple[list[float], list[float]]:
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

    plain, copied = propagated(None)
    refined, _ = propagated(load_refiner(device="cpu", precision="float32"))
    assert len(plain) == len(refined) == FRAMES - 2
    assert np.mean(plain) > np.mean(copied)
    assert np.mean(refined) > np.mean(plain)
    assert np.mean(refined) > 0.6
