"""Runs a job with a light network and prints the peak memory on the way; in a process of its own.

All but the base network is what `keymask run` has by default: the adaptive policy, the refiner and its correction, and
the writers of masks and report; and that of run-length masks. (The overlay, which decodes the video once more, is part
of `benchmarks/speed/memory.py`.)
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from service.config import Settings
from service.run.model_loader import LoadedModel, ModelChoice
from service.run.outputs import Outputs
from service.run.run_to_files import RunRequest, run_to_files
from vos.modeling.memory_read import l2_affinity, read_top_k
from vos.modeling.network import Features, Memory, VOSNetwork
from vos.modeling.refiner import Refiner
from vos.segmenter import Segmenter
from vos.types import Options
from vos.weights.catalog import PACKAGE_FOLDER, REFINER
from vos.weights.load import read_weights


class ColourNetwork(VOSNetwork):
    """Follows colours: the key is the mean colour of a position, the value its share of object."""

    name = "colour"
    stride = 4

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(20.0), requires_grad=False)

    def normalize(self, rgb: Tensor) -> Tensor:
        """To 0..1."""
        return rgb.float() / 255

    def encode(self, image: Tensor) -> Features:
        """Mean colours at stride 4."""
        return Features(image, F.avg_pool2d(image, 4) * self.scale, {})

    def memorize(self, features: Features, masks: Tensor) -> Memory:
        """Colour -> share of object."""
        return Memory(features.key.flatten(2), F.avg_pool2d(masks, 4).flatten(2))

    def segment(self, features: Features, memory: Memory, previous: Tensor | None, top_k: int) -> Tensor:  # noqa: ARG002
        """Share of object of the most similar colours, as logits."""
        rows, columns = features.key.shape[2:]
        read = read_top_k(l2_affinity(memory.key, features.key.flatten(2)), memory.value, top_k)
        return read.view(-1, 1, rows, columns).clamp(0.01, 0.99).logit()


def load(_choice: ModelChoice, options: Options, _settings: Settings) -> LoadedModel:
    """The light network with the shipped refiner, whose convolutions are not packed: that is slow on maps so small."""
    refiner = Refiner().eval().to(memory_format=torch.channels_last)
    refiner.load_state_dict(read_weights(refiner, PACKAGE_FOLDER / REFINER.file, REFINER.name))
    return LoadedModel(Segmenter(ColourNetwork().eval(), options, refiner), {"name": "colour"})


def main() -> None:
    """Segment sys.argv[1] from the mask sys.argv[2] into the folder sys.argv[3]."""
    video, mask, folder = (Path(argument) for argument in sys.argv[1:])
    torch.set_num_threads(1)  # on so small pictures threads would wait for each other, long on a busy machine
    peaks = {}

    def watch(done: int, _total: int | None) -> None:
        if done == 1000:
            peaks["1000"] = peak_kib()

    outputs = Outputs(folder, rle=folder / "masks.ndjson")
    settings = Settings(home=folder / "home")
    report = run_to_files(RunRequest(video, mask, outputs), settings, on_progress=watch, load=load)
    peaks["end"] = peak_kib()
    sources = {source.value: count for source, count in report.stats.frames.items()}
    print(json.dumps({"sources": sources, "seconds": report.stats.seconds, "peak_kib": peaks}))


def peak_kib() -> int:
    """Peak resident size so far; Linux counts it in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak


if __name__ == "__main__":
    main()
