"""State of a training run, shared by both trainers: parameters, optimizer and moving average."""

from __future__ import annotations

import math
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format
from torch.optim import AdamW

from vos.runtime.device import cpu_has_bfloat16
from vos.training.common.parallel import Peers


class TrainingRecipe(Protocol):
    """Numbers of a run that every trainer needs."""

    @property
    def seed(self) -> int:
        """Seed of everything random."""

    @property
    def steps(self) -> int:
        """Steps of the run."""

    @property
    def learning_rate(self) -> float:
        """Peak learning rate."""

    @property
    def backbone_rate(self) -> float:
        """Learning rate of the backbone as a share of the learning rate."""

    @property
    def warmup_steps(self) -> int:
        """Steps of linear warm-up."""

    @property
    def weight_decay(self) -> float:
        """Weight decay of AdamW."""

    @property
    def clip_norm(self) -> float:
        """Largest norm of the gradient."""

    @property
    def ema(self) -> float:
        """Decay of the moving average."""

    def as_dict(self) -> dict[str, object]:
        """Return plain values for metadata."""


_Network = TypeVar("_Network", bound=nn.Module)
_Recipe = TypeVar("_Recipe", bound=TrainingRecipe)


class TrainingState(Generic[_Network, _Recipe]):
    """Network, optimizer and moving average of a run.

    Args:
        network: Network to train; frozen parameters must not require gradients.
        backbone: Part of the network that is trained at `recipe.backbone_rate`.
        recipe: Numbers of the run.
        device: Torch device.
        peers: Processes that train together.
    """

    def __init__(
        self, network: _Network, backbone: nn.Module, recipe: _Recipe, device: torch.device, peers: Peers
    ) -> None:
        self.recipe = recipe
        self.peers = peers
        self.stopped = False
        self.device = device
        self.network: _Network = convert_conv2d_weight_memory_format(network.to(device), torch.channels_last)
        slow = [p for p in backbone.parameters() if p.requires_grad]
        ids = {id(p) for p in backbone.parameters()}
        fast = [p for p in network.parameters() if p.requires_grad and id(p) not in ids]
        groups = [{"params": fast, "rate": 1.0}, {"params": slow, "rate": recipe.backbone_rate}]
        self.trained = fast + slow
        self.optimizer = AdamW(groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)
        self.reset_average()
        self.done = 0

    def mixed_precision(self) -> torch.autocast:
        """Autocast to bfloat16, except on a CPU that only emulates it, 20 times slower than float32."""
        native = self.device.type != "cpu" or cpu_has_bfloat16()
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=native)

    def set_rate(self) -> float:
        """Set and return the learning rate of the next step."""
        rate = learning_rate(self.recipe, self.done)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["rate"]
        return rate

    def update(self, loss: Tensor, stop: bool) -> float:
        """Update the parameters by the gradient of the loss, averaged over all processes; return its norm.

        `stop` asks all processes to stop; afterwards `stopped` is set in each of them if any asked.
        """
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.stopped = self.peers.average(self.trained, stop)
        norm = torch.nn.utils.clip_grad_norm_(self.trained, self.recipe.clip_norm)
        if torch.isfinite(norm):
            self.optimizer.step()
        self.done += 1
        self._update_average()
        return float(norm.item())

    def reset_average(self) -> None:
        """Restart the moving average from the current parameters."""
        self.average = [p.detach().clone() for p in self.trained]

    def averaged_state(self) -> dict[str, Tensor]:
        """Return the state dict with the moving average in place of the trained parameters."""
        names = {id(parameter): name for name, parameter in self.network.named_parameters()}
        state = {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}
        for parameter, average in zip(self.trained, self.average, strict=True):
            state[names[id(parameter)]] = average.clone()
        return state

    def state(self) -> dict[str, Any]:
        """Return everything that a resumed run needs."""
        return {
            "step": self.done,
            "network": self.network.state_dict(),
            "ema": list(self.average),
            "optimizer": self.optimizer.state_dict(),
            "recipe": self.recipe.as_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        for average, saved in zip(self.average, state["ema"], strict=True):
            average.copy_(saved)
        self.done = int(state["step"])

    @torch.no_grad()
    def _update_average(self) -> None:
        weight = 1 - min(self.recipe.ema, (1 + self.done) / (10 + self.done))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.trained], weight)


def learning_rate(recipe: TrainingRecipe, step: int) -> float:
    """Learning rate of a step: linear warm-up, then half a cosine down to one hundredth."""
    warmup = min(1.0, (step + 1) / recipe.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / recipe.steps)))
    return recipe.learning_rate * warmup * (0.01 + 0.99 * cosine)
