"""Segments a video with a light base network in a separate process and prints its peak memory.

Except for the base network, it uses the defaults of `keymask run`: the adaptive policy, the refiner, and the writers of
masks and report. It also writes run-length masks. `benchmarks/speed/memory.py` covers the overlay, which decodes the
video a second time.

Arguments: video, mask, folder, name of the network, and the frame at which memory is read for the first time.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.speed.stub_networks import echoing
from service.config import Settings
from service.run.model_loader import LoadedModel, ModelChoice
from service.run.outputs import Outputs
from service.run.run_to_files import RunRequest, run_to_files
from vos.keyframes.base_network import BaseNetwork
from vos.modeling.memory_read import l2_affinity, read_top_k
from vos.modeling.network import Features, Memory, VOSNetwork
from vos.modeling.refiner import Refiner
from vos.segmenter import Segmenter
from vos.types import Options
from vos.weights.catalog import PACKAGE_FOLDER, REFINER
from vos.weights.load import SEEDED, load_network, read_weights


class ColorNetwork(VOSNetwork):
    """Matches colors: the key is the mean color of a cell, the value the share of object pixels in it."""

    name = "colour"
    stride = 4

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(20.0), requires_grad=False)

    def normalize(self, rgb: Tensor) -> Tensor:
        """Scale to 0..1."""
        return rgb.float() / 255

    def encode(self, image: Tensor) -> Features:
        """Return the mean colors at stride 4."""
        return Features(image, F.avg_pool2d(image, 4) * self.scale, {})

    def memorize(self, features: Features, masks: Tensor) -> Memory:
        """Store the share of object pixels per color."""
        return Memory(features.key.flatten(2), F.avg_pool2d(masks, 4).flatten(2))

    def segment(self, features: Features, memory: Memory, previous: Tensor | None, top_k: int) -> Tensor:  # noqa: ARG002
        """Return the share of object pixels of the most similar colors, as logits."""
        rows, columns = features.key.shape[2:]
        read = read_top_k(l2_affinity(memory.key, features.key.flatten(2)), memory.value, top_k)
        return read.view(-1, 1, rows, columns).clamp(0.01, 0.99).logit()


def build(name: str) -> VOSNetwork | BaseNetwork:
    """Return a network. Of those without weights the propagated masks replace the result, so the object is not lost."""
    torch.manual_seed(0)
    if name == "cutie-small":
        return echoing(load_network(name, weights=SEEDED))
    if name in ("sam2.1-tiny", "edgetam"):
        from tests.support.tiny_sam2 import edgetam_config, sam2_config
        from vos.keyframes.adapters.sam2 import EdgeTamNetwork, Sam2Network

        network = EdgeTamNetwork(edgetam_config()) if name == "edgetam" else Sam2Network("tiny", sam2_config())
        return echoing(network.eval().requires_grad_(False))
    return ColorNetwork().eval()


def load(_choice: ModelChoice, options: Options, _settings: Settings) -> LoadedModel:
    """Return a network with the shipped refiner, not packed, because packing is slow for such small maps."""
    refiner = Refiner().eval().to(memory_format=torch.channels_last)
    refiner.load_state_dict(read_weights(refiner, PACKAGE_FOLDER / REFINER.file, REFINER.name))
    return LoadedModel(Segmenter(build(sys.argv[4]), options, refiner), {"name": sys.argv[4]})


def main() -> None:
    """Segment the video and print sources of masks, seconds by stage and peak memory."""
    video, mask, folder = (Path(argument) for argument in sys.argv[1:4])
    torch.set_num_threads(1)  # on such small pictures several threads mostly wait for each other
    peaks = {}

    def watch(done: int, _total: int | None) -> None:
        if done == int(sys.argv[5]):
            peaks["early"] = peak_kib()

    outputs = Outputs(folder, rle=folder / "masks.ndjson")
    settings = Settings(home=folder / "home")
    report = run_to_files(RunRequest(video, mask, outputs), settings, on_progress=watch, load=load)
    peaks["end"] = peak_kib()
    sources = {source.value: count for source, count in report.stats.frames.items()}
    print(json.dumps({"sources": sources, "seconds": report.stats.seconds, "peak_kib": peaks}))


def peak_kib() -> int:
    """Return the peak resident size so far in KiB; Linux reports KiB, macOS bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak


if __name__ == "__main__":
    main()
