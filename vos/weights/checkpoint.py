"""Read foreign weights without trusting the file: no code runs, and names and shapes must match."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from vos.errors import WeightsError
from vos.weights.catalog import SUFFIXES

_NESTED = ("network", "state_dict", "model")
"""Keys under which training checkpoints store the state dict beside optimizer states."""


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a .safetensors, .pth or .pt file, by name.

    Raises:
        WeightsError: The file is missing, of another kind or damaged, or holds more than tensors.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise WeightsError(f"{path.name} is not a weights file; it must end in {', '.join(SUFFIXES)}")
    try:
        if path.suffix.lower() == ".safetensors":
            return load(path.read_bytes())
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error
    except SafetensorError as error:
        raise WeightsError(f"{path.name} is not a safetensors file, or is damaged: {error}") from error
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path.name} is refused: it is damaged, or holds objects that could run code; only plain tensors are read"
        ) from error
    except Exception as error:
        # torch raises almost any exception for a file that is truncated or not a checkpoint.
        raise WeightsError(f"{path.name} is not a PyTorch checkpoint, or is damaged or cut off") from error
    return _state_dict(content, path.name)


def _state_dict(content: Any, file: str) -> dict[str, Tensor]:
    """Return the state dict itself, or the one inside a training checkpoint."""
    if isinstance(content, Mapping):
        for key in _NESTED:
            if isinstance(content.get(key), Mapping):
                content = content[key]
                break
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{file} holds no state dict; it must map names to tensors")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor) or value.layout != torch.strided:
            raise WeightsError(f"{file} holds {name!r}, which is not a dense tensor; it must map names to tensors")
    return dict(content)


def check_state(given: Mapping[str, Tensor], expected: Mapping[str, Tensor], name: str, file: str) -> None:
    """Check that names and shapes are those of the network, and that all values are finite.

    Args:
        given: State dict of the file.
        expected: State dict of the network.
        name: Name of the network, for messages.
        file: Name of the file, for messages.

    Raises:
        WeightsError: A tensor is missing, unexpected, of another shape or kind, or not finite; the message names it.
    """
    shared = [key for key in expected if key in given]
    faults = {
        "missing": [key for key in expected if key not in given],
        "unexpected": [key for key in given if key not in expected],
        "of another shape": [
            f"{key} {list(given[key].shape)} instead of {list(expected[key].shape)}"
            for key in shared
            if given[key].shape != expected[key].shape
        ],
        "not real numbers": [
            key for key in shared if given[key].is_floating_point() != expected[key].is_floating_point()
        ],
    }
    found = [f"{len(keys)} {fault}: {_some(keys)}" for fault, keys in faults.items() if keys]
    if not found and (broken := [key for key in shared if not bool(torch.isfinite(given[key]).all())]):
        found = [f"{len(broken)} with values that are not finite: {_some(broken)}"]
    if found:
        raise WeightsError(
            f"{file} does not hold the weights of {name}; of its {len(given)} tensors {'; '.join(found)}"
        )


def _some(names: list[str]) -> str:
    """List the first three names, and show whether there are more."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
