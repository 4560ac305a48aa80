"""Fold linear layers into convolutions: the same function at inference, with fewer passes over memory."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


@torch.no_grad()
def fold_batch_norm(network: nn.Module) -> None:
    """Fold every `BatchNorm2d` that its parent registers directly after a `Conv2d` into it, in place.

    The network must be in eval mode and must apply layers in the order in which it registers them, as all networks
    here do. Its state dict then has no batch norms, so it no longer fits a checkpoint.
    """
    for parent in list(network.modules()):
        children = list(parent.named_children())
        for (conv_name, conv), (norm_name, norm) in pairwise(children):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, norm_name, nn.Identity())


@torch.no_grad()
def fold_scales(scales: Tensor, *readers: tuple[nn.Conv2d, ...]) -> None:
    """Multiply the weights of the convolutions that read map i by scale i, in place, and set the scales to 1."""
    for index, layers in enumerate(readers):
        for layer in layers:
            layer.weight.mul_(scales[index])
        scales[index] = 1
