"""Segments a video with a light network and prints the peak memory on the way; run in a process of its own."""

from __future__ import annotations

import json
import resource
import sys

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec import open_video
from vos.modeling.memory_read import l2_affinity, read_top_k
from vos.modeling.network import Features, Memory, VOSNetwork
from vos.segmenter import Segmenter
from vos.types import Options, Prompt


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


def main() -> None:
    """Segment sys.argv[1] from the labels in sys.argv[2]."""
    torch.set_num_threads(1)
    segmenter = Segmenter(ColourNetwork().eval(), Options(keyframes="every:10"))
    peaks = {}
    masks = area = 0
    with open_video(sys.argv[1]) as video:
        for mask in segmenter.run(video, video.info, Prompt(np.load(sys.argv[2]))):
            masks, area = masks + 1, int(np.count_nonzero(mask.labels))
            if masks == 1000:
                peaks["1000"] = peak_kib()
    peaks["end"] = peak_kib()
    sources = {source.value: count for source, count in segmenter.stats.frames.items()}
    print(json.dumps({"masks": masks, "last_area": area, "sources": sources, "peak_kib": peaks}))


def peak_kib() -> int:
    """Peak resident size so far; Linux counts it in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak


if __name__ == "__main__":
    main()
