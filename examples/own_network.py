"""Segments key frames with a network of one's own, which finds objects by the colors that their prompt covers.

python examples/own_network.py VIDEO MASK
"""

import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from codec import open_video
from service.prompts.read_prompt import read_prompt
from vos.keyframes.base_network import BaseNetwork, BaseSession, merge_given
from vos.masks.geometry import PaddedSize, rgb_to_tensor
from vos.modeling.network import FramePrediction
from vos.runtime.run_state import MemoryLayout
from vos.segmenter import Segmenter
from vos.weights.load import load_refiner


class ColorNetwork(BaseNetwork):
    """Features are averaged colors. A network with weights has them in `model`, under their published names."""

    name = "color"

    def __init__(self):
        super().__init__()
        self.model = nn.Conv2d(3, 3, 1)  # not used; a network must have a parameter, which tells its device

    def begin(self, setup):
        return ColorSession(PaddedSize.of(setup.height, setup.width, 1), setup.pools, setup.timer)


class ColorSession(BaseSession):
    """Remembers the mean color of each object and of the background, and nothing of later frames."""

    colors = torch.zeros(1, 3)
    layout = MemoryLayout((), 0, ())  # no key frame has to be memorized again when a run is resumed

    def _encode(self, frame):
        return F.avg_pool2d(rgb_to_tensor(frame.rgb(), torch.device("cpu")).float(), 4, ceil_mode=True)[0]

    def segment(self, features, hint):
        distance = (features[None] - self.colors[:, :, None, None]).square().sum(1) / 200
        shares = torch.softmax(-distance, dim=0)[1:]
        return FramePrediction(torch.logit(shares, eps=1e-4).unsqueeze(1))

    def to_full(self, logits):
        full = F.interpolate(torch.sigmoid(logits), scale_factor=4, mode="bilinear")[:, 0]
        return full[:, : self.size.height, : self.size.width]

    def memorize(self, index, features, masks):
        pass

    def prompt(self, index, features, masks):
        known = self.to_full(self.segment(features, None).logits) if len(self.colors) > 1 else torch.zeros(0)
        merged = merge_given(known, masks)
        weights = F.avg_pool2d(torch.cat([1 - merged.sum(0, keepdim=True), merged]), 4, ceil_mode=True)
        self.colors = torch.einsum("khw,chw->kc", weights, features) / weights.sum((1, 2))[:, None].clamp(min=1e-6)
        return merged

    def capture(self):
        return {"colors": self.colors.numpy()}

    def reserve(self, layout, captured):
        self.colors = torch.from_numpy(captured["colors"])

    def restore(self, frame, masks):
        pass


def main(video_path, mask_path):
    """Segment the video and print how each mask was made."""
    with open_video(video_path) as video:
        prompt = read_prompt(Path(mask_path), video.info, 0).prompt
        for mask in Segmenter(ColorNetwork(), refiner=load_refiner()).run(video, video.info, prompt):
            print(f"frame {mask.index:4d}  {mask.source:10s}  {(mask.labels > 0).sum()} pixels")


if __name__ == "__main__":
    main(*sys.argv[1:])
