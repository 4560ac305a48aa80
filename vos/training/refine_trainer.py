"""One training step of the refiner, and the state that it changes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils import convert_conv2d_weight_memory_format
from torch.optim import AdamW

from vos.modeling.mobilenet import FROZEN_BLOCKS
from vos.modeling.refiner import Refiner
from vos.training.losses import bootstrapped_cross_entropy, dice_loss, hardest_share
from vos.training.parallel import Peers
from vos.training.refine import Unrolled, unroll
from vos.training.refine_samples import Sample
from vos.training.trainer import learning_rate


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


class RefinerTrainer:
    """Network, optimizer and moving average; `step` makes one update."""

    def __init__(self, network: Refiner, recipe: RefinerRecipe, device: torch.device) -> None:
        self.recipe = recipe
        self.peers = Peers()
        self.stopped = False
        self.device = device
        self.network = convert_conv2d_weight_memory_format(network.to(device), torch.channels_last)
        for module in (network.stem, *network.blocks[:FROZEN_BLOCKS]):
            module.requires_grad_(False)
        slow = [p for p in network.blocks.parameters() if p.requires_grad]
        ids = {id(p) for p in network.blocks.parameters()}
        fast = [p for p in network.parameters() if p.requires_grad and id(p) not in ids]
        groups = [{"params": fast, "rate": 1.0}, {"params": slow, "rate": recipe.backbone_rate}]
        self.trained = fast + slow
        self.optimizer = AdamW(groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)
        self.average = [p.detach().clone() for p in self.trained]
        self.done = 0

    def step(self, batch: Sample, stop: bool = False) -> dict[str, float]:
        """One update; returns the loss, its parts, mean IoU before and after repair, gradient norm and rate."""
        batch = {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}
        rate = learning_rate(self.recipe, self.done)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["rate"]
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            out = unroll(self.network, batch)
        losses, ious = _losses(out, batch, hardest_share(self.done / self.recipe.steps, self.recipe.hardest))
        loss = losses["entropy"] + losses["dice"]
        loss = loss + self.recipe.confidence_weight * losses["confidence"]
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.stopped = stop
        norm = torch.nn.utils.clip_grad_norm_(self.trained, self.recipe.clip_norm)
        if torch.isfinite(norm):
            self.optimizer.step()
        self.done += 1
        self._update_average()
        values = {name: value.item() for name, value in losses.items()}
        return {"loss": loss.item(), **values, **ious, "norm": norm.item(), "rate": rate}

    def reset_average(self) -> None:
        """Let the moving average start from the network as it is."""
        self.average = [p.detach().clone() for p in self.trained]

    @torch.no_grad()
    def measure_scale(self, batch: Sample) -> None:
        """Set the scale of the deepest tap from a batch; the others came with the weights that training starts from."""
        pictures = batch["rgb"].flatten(0, 1).permute(0, 3, 1, 2).to(self.device)
        deepest = self.network.taps(self.network.normalize(pictures))[-1]
        self.network.tap_scale[-1] = 1 / deepest.float().std()

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
