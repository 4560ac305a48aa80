"""One training step of the base network, and the state that it changes."""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils import convert_conv2d_weight_memory_format
from torch.optim import AdamW

from vos.modeling.compact import CompactNetwork
from vos.training.batches import Batch
from vos.training.losses import bootstrapped_cross_entropy, dice_loss, hardest_share
from vos.training.parallel import Peers
from vos.training.recipe import Recipe
from vos.training.unroll import unroll


class Trainer:
    """Network, optimizer and moving average; `step` makes one update."""

    def __init__(
        self, network: CompactNetwork, recipe: Recipe, device: torch.device, peers: Peers | None = None
    ) -> None:
        self.recipe = recipe
        self.peers = peers or Peers()
        self.stopped = False
        self.device = device
        self.network = convert_conv2d_weight_memory_format(network.to(device), torch.channels_last)
        for parameter in network.backbone.frozen_parameters():
            parameter.requires_grad_(False)
        slow = [p for p in network.backbone.parameters() if p.requires_grad]
        ids = {id(p) for p in network.backbone.parameters()}
        fast = [p for p in network.parameters() if id(p) not in ids]
        groups = [{"params": fast, "rate": 1.0}, {"params": slow, "rate": recipe.backbone_rate}]
        self.trained = fast + slow
        self.optimizer = AdamW(groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)
        self.average = [p.detach().clone() for p in self.trained]
        self.done = 0

    def step(self, batch: Batch, stop: bool = False) -> dict[str, float]:
        """One update; returns loss, its parts, mean IoU of the batch, gradient norm and learning rate.

        `stop` asks all processes to end; afterwards `stopped` says on each whether any did.
        """
        batch = {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}
        rate = learning_rate(self.recipe, self.done)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["rate"]
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            outputs = unroll(self.network, batch, self.recipe.top_k)
        labels = batch["labels"][:, 1:].transpose(0, 1).flatten(0, 1).to(torch.int64)
        logits = functional.interpolate(outputs.flatten(0, 1), scale_factor=4, mode="bilinear", align_corners=False)
        share = hardest_share(self.done / self.recipe.steps, self.recipe.hardest)
        entropy = bootstrapped_cross_entropy(logits, labels, share)
        dice = dice_loss(logits, labels)
        loss = entropy + dice
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.stopped = self.peers.average(self.trained, stop)
        norm = torch.nn.utils.clip_grad_norm_(self.trained, self.recipe.clip_norm)
        if torch.isfinite(norm):
            self.optimizer.step()
        self.done += 1
        self._update_average()
        return {
            "loss": loss.item(),
            "entropy": entropy.item(),
            "dice": dice.item(),
            "iou": _mean_iou(logits.detach()[:, :, ::4, ::4], labels[:, ::4, ::4]),
            "norm": norm.item(),
            "rate": rate,
        }

    def reset_average(self) -> None:
        """Let the moving average start from the network as it is."""
        self.average = [p.detach().clone() for p in self.trained]

    def averaged_state(self) -> dict[str, Tensor]:
        """State dict of the network with the moving average in place of the trained parameters."""
        names = {id(parameter): name for name, parameter in self.network.named_parameters()}
        state = {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}
        for parameter, average in zip(self.trained, self.average, strict=True):
            state[names[id(parameter)]] = average.clone()
        return state

    def state(self) -> dict[str, Any]:
        """Everything that a resumed run needs."""
        return {
            "step": self.done,
            "network": self.network.state_dict(),
            "ema": list(self.average),
            "optimizer": self.optimizer.state_dict(),
            "recipe": self.recipe.as_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up the state that `state` gave."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        for average, saved in zip(self.average, state["ema"], strict=True):
            average.copy_(saved)
        self.done = int(state["step"])

    @torch.no_grad()
    def _update_average(self) -> None:
        weight = 1 - min(self.recipe.ema, (1 + self.done) / (10 + self.done))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.trained], weight)


class Schedule(Protocol):
    """What the learning rate depends on."""

    @property
    def steps(self) -> int:
        """Steps of the run."""

    @property
    def learning_rate(self) -> float:
        """The highest one."""

    @property
    def warmup_steps(self) -> int:
        """Steps until it is reached."""


def learning_rate(recipe: Schedule, step: int) -> float:
    """Linear warm-up, then half a cosine down to a hundredth."""
    warmup = min(1.0, (step + 1) / recipe.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / recipe.steps)))
    return recipe.learning_rate * warmup * (0.01 + 0.99 * cosine)


@torch.no_grad()
def measure_tap_scale(network: CompactNetwork, images: Tensor) -> None:
    """Set the network's tap scales from pictures uint8 [B, 3, H, W]."""
    taps = network.backbone(network.normalize(images))
    network.tap_scale.copy_(torch.stack([1 / tap.float().std() for tap in taps]))


@torch.no_grad()
def _mean_iou(logits: Tensor, labels: Tensor) -> float:
    """Mean IoU of all objects that are there; callers thin out the pixels, since argmax over channels is slow."""
    best = logits.argmax(dim=1)
    values = []
    for k in range(1, logits.shape[1]):
        found, truth = (best == k).flatten(1), (labels == k).flatten(1)
        union = (found | truth).sum(dim=1)
        there = truth.any(dim=1)
        values.append(((found & truth).sum(dim=1) / union.clamp(min=1))[there])
    return torch.cat(values).mean().nan_to_num(0).item()
