"""Training step of the refiner."""

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
    """Numbers of a training run of the refiner; the model card says which made the shipped weights.

    Attributes:
        seed: Seed of everything random.
        steps: Number of updates.
        clips: Coded clips per batch.
        frames: Frames per clip, in decode order.
        learning_rate: Peak learning rate.
        backbone_rate: Learning rate of the backbone as a share of the learning rate.
        weight_decay: Weight decay of AdamW.
        warmup_steps: Steps of linear warm-up.
        clip_norm: Largest norm of the gradient.
        ema: Decay of the moving average of the weights.
        hardest: Share of the hardest pixels that the cross-entropy is taken over at the end of the run.
        confidence_weight: Weight of the confidence loss.
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
        """Return plain values for metadata."""
        return asdict(self)


class RefinerTrainer(TrainingState[Refiner, RefinerRecipe]):
    """Training state of the refiner; `step` makes one update."""

    def __init__(self, network: Refiner, recipe: RefinerRecipe, device: torch.device) -> None:
        for module in (network.stem, *network.blocks[:FROZEN_BLOCKS]):
            module.requires_grad_(False)
        super().__init__(network, network.blocks, recipe, device, Peers())

    def step(self, batch: Sample, stop: bool = False) -> dict[str, float]:
        """Make one update.

        Returns:
            Loss, its parts, mean IoU before and after refinement, gradient norm and learning rate.
        """
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
        """Measure the scale of the deepest tap on a batch; the start weights hold the scales of all other taps."""
        pictures = batch["rgb"].flatten(0, 1).permute(0, 3, 1, 2).to(self.device)
        deepest = self.network.taps(self.network.normalize(pictures))[-1]
        self.network.tap_scale[-1] = 1 / deepest.float().std()


def _losses(out: Unrolled, batch: Sample, share: float) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Losses of the refined frames, and mean IoU before and after refinement."""
    labels = batch["labels"][out.clip, out.time].to(torch.int64)
    logits = functional.interpolate(out.logits, scale_factor=4, mode="bilinear", align_corners=False)
    objects = out.propagated.shape[1]
    small = torch.stack([(labels == k + 1).float() for k in range(objects)], dim=1)
    truth = functional.avg_pool2d(small, 4)
    # The target is where the propagated mask is right, weighted by the surroundings of objects.
    wrong = (out.propagated - truth).abs().amax(dim=1, keepdim=True)
    near = functional.max_pool2d(torch.maximum(out.propagated, truth).amax(dim=1, keepdim=True), 9, 1, 4)
    confidence = functional.binary_cross_entropy_with_logits(
        out.confidence.float(), 1 - wrong, weight=near, reduction="sum"
    ) / near.sum().clamp(min=1)
    best = out.logits.detach().argmax(dim=1)
    after, visible = _ious(best, truth)
    background = out.propagated.new_full((len(truth), 1, *truth.shape[2:]), 0.5)
    before, _ = _ious(torch.cat([background, out.propagated], 1).argmax(1), truth)
    losses = {
        "entropy": bootstrapped_cross_entropy(logits, labels, share),
        "dice": dice_loss(logits, labels),
        "confidence": confidence,
    }
    by_name = {"propagated": before, "iou": after}
    return losses, {name: ious[visible].mean().nan_to_num(0).item() for name, ious in by_name.items()}


def _ious(best: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """IoU [n, K] of labels [n, h, w] with soft truth [n, K, h, w], 1 if both are empty, and visibility [n, K]."""
    predicted = torch.stack([best == k + 1 for k in range(truth.shape[1])], dim=1).flatten(2)
    actual = truth.flatten(2) > 0.5
    union = (predicted | actual).sum(dim=2)
    iou = torch.where(union > 0, (predicted & actual).sum(dim=2) / union.clamp(min=1), 1.0)
    return iou, actual.any(dim=2)
