"""Weights for use, in half precision, that say what they were made of."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vos.training.recipe import Recipe
from vos.weights import save_weights

WEIGHTS_LICENCE = "Apache-2.0 for the weights file; terms of the training data: docs/model_card_compact.md"


@dataclass(frozen=True, slots=True)
class Provenance:
    """What made a set of weights.

    Attributes:
        steps: Steps done, of the recipe's.
        hours: Wall-clock time.
        data: Sequences and pictures by set.
        data_digest: See `TrainingData.digest`.
        device: As torch names it.
        commit: Of the code.
        processes: Processes that shared the work.
    """

    recipe: Recipe
    steps: int
    hours: float
    data: dict[str, int]
    data_digest: str
    device: str
    commit: str
    processes: int = 1

    def metadata(self) -> dict[str, str]:
        """Flat text, as safetensors wants it; nested values are JSON."""
        return {
            "name": "compact",
            "licence": WEIGHTS_LICENCE,
            "recipe": json.dumps(self.recipe.as_dict()),
            "seed": str(self.recipe.seed),
            "steps": str(self.steps),
            "hours": f"{self.hours:.2f}",
            "data": json.dumps(self.data),
            "data_sha256": self.data_digest,
            "hardware": _hardware(self.device),
            "processes": str(self.processes),
            "torch": torch.__version__,
            "commit": self.commit,
        }


def export_weights(state: dict[str, Tensor], provenance: Provenance, folder: Path) -> Path:
    """Write a state dict as float16 `compact.safetensors` with its record; returns the file."""
    half = {name: tensor.to(torch.float16) for name, tensor in state.items()}
    save_weights("compact", half, folder, origin="keymask train base", metadata=provenance.metadata())
    return folder / "compact.safetensors"


def _hardware(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(torch.device(device))
    return f"{os.cpu_count()} x {platform.machine()} CPU cores, {torch.backends.cpu.get_cpu_capability()}"


def source_commit() -> str:
    """Commit of the source tree, "unknown" outside of one."""
    try:
        result = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, cwd=Path(__file__).parent
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return result.stdout.strip()
