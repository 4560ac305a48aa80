"""Export weights for use: half precision, with their provenance as metadata."""

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
    """Origin of a set of weights.

    Attributes:
        name: Name of the network.
        recipe: All numbers of the run.
        seed: Seed of the run.
        steps: Steps done.
        hours: Wall-clock time.
        data: Number of sequences or pictures per set.
        data_digests: See `TrainingData.digests`.
        device: Torch device.
        commit: Commit of the code.
        start: Name and SHA-256 of the weights that the run started from, if any.
        processes: Number of training processes.
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
        """Return flat text for safetensors; nested values are JSON."""
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
    """Write a state dict as float16 `NAME.safetensors` with its record; return the file."""
    half = {name: tensor.to(torch.float16) for name, tensor in state.items()}
    command = "keymask train refiner" if provenance.name == "refiner" else "keymask train base"
    save_weights(provenance.name, half, folder, origin=command, metadata=provenance.metadata())
    return folder / f"{provenance.name}.safetensors"


def named_with_hash(path: Path) -> str:
    """Return name and SHA-256 of a file, separated by a space."""
    return f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}"


def _hardware(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(torch.device(device))
    return f"{os.cpu_count()} x {platform.machine()} CPU cores, {torch.backends.cpu.get_cpu_capability()}"


def source_commit() -> str:
    """Return the commit of the source tree, "unknown" outside a git checkout."""
    try:
        result = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, cwd=Path(__file__).parent
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return result.stdout.strip()
