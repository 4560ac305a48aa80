"""Training step of the base network."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from vos.modeling.compact import CompactNetwork
from vos.training.base.batches import Batch
from vos.training.base.recipe import Recipe
from vos.training.base.unroll import unroll
from vos.training.common.losses import bootstrapped_cross_entropy, dice_loss, hardest_share, presence_loss
from vos.training.common.parallel import Peers
from vos.training.common.state import TrainingState


class Trainer(TrainingState[CompactNetwork, Recipe]):
    """Training state of the base network; `step` makes one update."""

    def __init__(
        self, network: CompactNetwork, recipe: Recipe, device: torch.device, peers: Peers | None = None
    ) -> None:
        freeze_all = recipe.backbone_rate == 0
        for parameter in network.backbone.parameters() if freeze_all else network.backbone.frozen_parameters():
            parameter.requires_grad_(False)
        super().__init__(network, network.backbone, recipe, device, peers or Peers())

    def step(self, batch: Batch, stop: bool = False) -> dict[str, float]:
        """Make one update.

        Args:
            batch: Batch of clips.
            stop: Whether to ask all processes to stop; afterwards `stopped` is set in each of them.

        Returns:
            Loss, its parts, mean IoU of the batch, gradient norm and learning rate.
        """
        batch = {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}
        rate = self.set_rate()
        with self.mixed_precision():
            outputs, presence = unroll(self.network, batch, self.recipe.top_k)
        labels = batch["labels"][:, 1:].transpose(0, 1).flatten(0, 1).to(torch.int64)
        logits = functional.interpolate(outputs.flatten(0, 1), scale_factor=4, mode="bilinear", align_corners=False)
        share = hardest_share(self.done / self.recipe.steps, self.recipe.hardest)
        entropy = bootstrapped_cross_entropy(logits, labels, share)
        dice = dice_loss(logits, labels)
        presence_error = presence_loss(presence.flatten(0, 1), labels)
        loss = entropy + dice + self.recipe.presence * presence_error
        norm = self.update(loss, stop)
        return {
            "loss": loss.item(),
            "entropy": entropy.item(),
            "dice": dice.item(),
            "presence": presence_error.item(),
            "iou": _mean_iou(logits.detach()[:, :, ::4, ::4], labels[:, ::4, ::4]),
            "norm": norm,
            "rate": rate,
        }


@torch.no_grad()
def measure_tap_scale(network: CompactNetwork, images: Tensor) -> None:
    """Measure the tap scales of a network on pictures uint8 [B, 3, H, W]."""
    taps = network.backbone(network.normalize(images))
    network.tap_scale.copy_(torch.stack([1 / tap.float().std() for tap in taps]))


@torch.no_grad()
def _mean_iou(logits: Tensor, labels: Tensor) -> float:
    """Mean IoU of all visible objects; callers subsample the pixels, since argmax over channels is slow."""
    best = logits.argmax(dim=1)
    values = []
    for k in range(1, logits.shape[1]):
        predicted, truth = (best == k).flatten(1), (labels == k).flatten(1)
        union = (predicted | truth).sum(dim=1)
        visible = truth.any(dim=1)
        values.append(((predicted & truth).sum(dim=1) / union.clamp(min=1))[visible])
    return torch.cat(values).mean().nan_to_num(0).item()
