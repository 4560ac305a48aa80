"""One training step of the refiner, and the state that it changes."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.nn import functional

from vos.modeling.mobilenet import FROZEN_BLOCKS
from vos.modeling.refiner import Refiner
from vos.training.common.losses import bootstrapped_cross_entropy, dice_loss, hardest_share
from vos.training.common.parallel import Peers
from vos.training.common.state import TrainingState
from vos.training.refiner.batches import Sample
from vos.training.refiner.unroll import Unrolled, unroll


@dataclass(frozen=True, slots=True)
class RefinerRecipe:
    """Every number of a training run of the refiner. The model card says which made the shipped weights.

    Attributes:
        steps: Updates.
        clips, frames: Coded clips a batch, and frames of each, in decode order.
        confidence_weight: Of this loss beside those of the masks.
    """

    seed: int = 1
    steps: int = 1500
    clips: int = 4
    frames: int = 10
    learning_rate: float = 6e-4
    backbone_rate: float = 0.15
    weight_decay: float = 0.02
    warmup_steps: int = 30
    clip_norm: float = 1.0
    ema: float = 0.997
    hardest: float = 0.25
    confidence_weight: float = 0.2

    def as_dict(self) -> dict[str, object]:
        """Plain values for metadata."""
        return asdict(self)


class RefinerTrainer(TrainingState[Refiner, RefinerRecipe]):
    """The refiner on its way; `step` makes one update."""

    def __init__(self, network: Refiner, recipe: RefinerRecipe, device: torch.device) -> None:
        for module in (network.stem, *network.blocks[:FROZEN_BLOCKS]):
            module.requires_grad_(False)
        super().__init__(network, network.blocks, recipe, device, Peers())

    def step(self, batch: Sample, stop: bool = False) -> dict[str, float]:
        """One update; returns the loss, its parts, mean IoU before and after repair, gradient norm and rate."""
        batch = {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}
        rate = self.set_rate()
        with self.mixed_precision():
            out = unroll(self.network, batch)
        losses, ious = _losses(out, batch, hardest_share(self.done / self.recipe.steps, self.recipe.hardest))
        loss = losses["entropy"] + losses["dice"]
        loss = loss + self.recipe.confidence_weight * losses["confidence"]
        norm = self.update(loss, stop)
        values = {name: value.item() for name, value in losses.items()}
        return {"loss": loss.item(), **values, **ious, "norm": norm, "rate": rate}

    @torch.no_grad()
    def measure_scale(self, batch: Sample) -> None:
        """Set the scale of the deepest tap from a batch; the others came with the weights that training starts from."""
        pictures = batch["rgb"].flatten(0, 1).permute(0, 3, 1, 2).to(self.device)
        deepest = self.network.taps(self.network.normalize(pictures))[-1]
        self.network.tap_scale[-1] = 1 / deepest.float().std()


def _losses(out: Unrolled, batch: Sample, share: float) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Losses of the repaired frames, and mean IoU before and after."""
    labels = batch["labels"][out.clip, out.time].to(torch.int64)
    logits = functional.interpolate(out.logits, scale_factor=4, mode="bilinear", align_corners=False)
    objects = out.carried.shape[1]
    small = torch.stack([(labels == k + 1).float() for k in range(objects)], dim=1)
    truth = functional.avg_pool2d(small, 4)
    # A carried mask is to be believed where it is right; far from all objects that says nothing.
    wrong = (out.carried - truth).abs().amax(dim=1, keepdim=True)
    near = functional.max_pool2d(torch.maximum(out.carried, truth).amax(dim=1, keepdim=True), 9, 1, 4)
    confidence = functional.binary_cross_entropy_with_logits(
        out.confidence.float(), 1 - wrong, weight=near, reduction="sum"
    ) / near.sum().clamp(min=1)
    best = out.logits.detach().argmax(dim=1)
    after, there = _ious(best, truth)
    before, _ = _ious(
        torch.cat([out.carried.new_full((len(truth), 1, *truth.shape[2:]), 0.5), out.carried], 1).argmax(1), truth
    )
    losses = {
        "entropy": bootstrapped_cross_entropy(logits, labels, share),
        "dice": dice_loss(logits, labels),
        "confidence": confidence,
    }
    found = {"carried": before, "iou": after}
    return losses, {name: ious[there].mean().nan_to_num(0).item() for name, ious in found.items()}


def _ious(best: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """IoU [n, K] of labels [n, h, w] with soft truth [n, K, h, w], 1 where both are empty; and whether it is there."""
    found = torch.stack([best == k + 1 for k in range(truth.shape[1])], dim=1).flatten(2)
    real = truth.flatten(2) > 0.5
    union = (found | real).sum(dim=2)
    iou = torch.where(union > 0, (found & real).sum(dim=2) / union.clamp(min=1), 1.0)
    return iou, real.any(dim=2)
