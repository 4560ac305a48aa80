"""What a training run changes from step to step, whatever it trains: parameters, optimizer and moving average."""

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
    """The numbers of a run that every trainer needs; the recipes say what they mean."""

    @property
    def seed(self) -> int:
        """What all that is random is drawn from."""

    @property
    def steps(self) -> int:
        """Steps of the run."""

    @property
    def learning_rate(self) -> float:
        """The highest one."""

    @property
    def backbone_rate(self) -> float:
        """The backbone's, as a share of it."""

    @property
    def warmup_steps(self) -> int:
        """Steps until it is reached."""

    @property
    def weight_decay(self) -> float:
        """AdamW's."""

    @property
    def clip_norm(self) -> float:
        """Largest norm of the gradient."""

    @property
    def ema(self) -> float:
        """How much of the moving average stays at a step."""

    def as_dict(self) -> dict[str, object]:
        """Plain values for metadata."""


_Network = TypeVar("_Network", bound=nn.Module)
_Recipe = TypeVar("_Recipe", bound=TrainingRecipe)


class TrainingState(Generic[_Network, _Recipe]):
    """Network, optimizer and moving average of a run.

    Args:
        network: What is trained; its frozen parameters want no gradient.
        backbone: The part of it that is trained at `recipe.backbone_rate`.
        recipe: How.
        device: Where.
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
        """Autocast to bfloat16, but on a CPU that only emulates it, which takes 20 times as long as float32."""
        native = self.device.type != "cpu" or cpu_has_bfloat16()
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=native)

    def set_rate(self) -> float:
        """Give the optimizer the learning rate of the step to come, and say what it is."""
        rate = learning_rate(self.recipe, self.done)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["rate"]
        return rate

    def update(self, loss: Tensor, stop: bool) -> float:
        """Change the parameters by the loss's gradient, with that of all processes; gives its norm.

        `stop` asks all processes to end; afterwards `stopped` says on each whether any did.
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


def learning_rate(recipe: TrainingRecipe, step: int) -> float:
    """Linear warm-up, then half a cosine down to a hundredth."""
    warmup = min(1.0, (step + 1) / recipe.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / recipe.steps)))
    return recipe.learning_rate * warmup * (0.01 + 0.99 * cosine)
