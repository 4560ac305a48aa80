"""Weights for use, in half precision, that say what they were made of."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vos.weights.load import save_weights

WEIGHTS_LICENCE = "Apache-2.0 for the weights file; terms of the training data: docs/model_card_{name}.md"


@dataclass(frozen=True, slots=True)
class Provenance:
    """What made a set of weights.

    Attributes:
        name: Of the network.
        recipe: Every number of the run.
        seed: Its seed.
        steps: Steps done, of the recipe's.
        hours: Wall-clock time.
        data: Sequences and pictures by set.
        data_digests: See `TrainingData.digests`.
        device: As torch names it.
        commit: Of the code.
        start: Name and SHA-256 of the weights that the run started from, if any.
        processes: Processes that shared the work.
    """

    name: str
    recipe: dict[str, object]
    seed: int
    steps: int
    hours: float
    data: dict[str, int]
    data_digests: dict[str, str]
    device: str
    commit: str
    start: str = ""
    processes: int = 1

    def metadata(self) -> dict[str, str]:
        """Flat text, as safetensors wants it; nested values are JSON."""
        return {
            "name": self.name,
            "licence": WEIGHTS_LICENCE.format(name=self.name),
            "recipe": json.dumps(self.recipe),
            "seed": str(self.seed),
            "steps": str(self.steps),
            "hours": f"{self.hours:.2f}",
            "data": json.dumps(self.data),
            "data_sha256": json.dumps(self.data_digests),
            "start": self.start,
            "hardware": _hardware(self.device),
            "processes": str(self.processes),
            "torch": torch.__version__,
            "commit": self.commit,
        }


def export_weights(state: dict[str, Tensor], provenance: Provenance, folder: Path) -> Path:
    """Write a state dict as float16 `NAME.safetensors` with its record; returns the file."""
    half = {name: tensor.to(torch.float16) for name, tensor in state.items()}
    command = "keymask train refiner" if provenance.name == "refiner" else "keymask train base"
    save_weights(provenance.name, half, folder, origin=command, metadata=provenance.metadata())
    return folder / f"{provenance.name}.safetensors"


def named_with_hash(path: Path) -> str:
    """Name and SHA-256 of a file that a run starts from."""
    return f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}"


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
