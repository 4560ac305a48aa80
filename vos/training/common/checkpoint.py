"""Checkpoints of training runs: written atomically, checked when read."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from vos.runtime.durable import replacing
from vos.training.common.errors import CheckpointError
from vos.training.common.state import TrainingState


def write_atomic(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint. A crash or a power cut leaves the previous one or the whole new one."""
    with replacing(path) as file:
        torch.save(state, file)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read the state of an earlier run.

    Raises:
        CheckpointError: The file is missing, damaged or not a checkpoint.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: there is no run to resume in {path.parent}; leave out --resume")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path} is damaged and cannot be resumed: {error}") from error
    if not isinstance(state, dict) or not {"step", "network", "ema", "optimizer", "recipe"} <= state.keys():
        raise CheckpointError(f"{path} is not a checkpoint of `keymask train`")
    return state


def restore_checkpoint(
    trainer: TrainingState[Any, Any], path: Path, command: str, *, any_length: bool = False
) -> dict[str, Any]:
    """Restore a trainer from a checkpoint and return the checkpoint.

    Args:
        trainer: Trainer with the recipe of the run.
        path: Checkpoint file.
        command: Command that wrote such checkpoints, for messages.
        any_length: Whether the stages may have other numbers of steps.

    Raises:
        CheckpointError: The checkpoint is damaged or of another run.
    """
    state = read_checkpoint(path)
    check_recipe(state, trainer.recipe.as_dict(), path, command, any_length=any_length)
    try:
        trainer.restore(state)
    except (RuntimeError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} holds another network's state: {str(error).splitlines()[0]}") from error
    return state


def check_recipe(
    state: dict[str, Any], recipe: dict[str, object], path: Path, command: str, *, any_length: bool = False
) -> None:
    """Check that a run had the given recipe; see `restore_checkpoint` for the arguments.

    Raises:
        CheckpointError: The run had another recipe, or another command wrote the checkpoint.
    """
    stored: dict[str, Any] = state["recipe"]
    if stored.keys() != recipe.keys():
        raise CheckpointError(f"{path} is not a checkpoint of `{command}`, or of another version of it")
    if any_length:
        stored, recipe = _without_steps(stored), _without_steps(recipe)
    changed = [f"{name} {stored[name]}, not {value}" for name, value in recipe.items() if stored[name] != value]
    if changed:
        raise CheckpointError(
            f"the run in {path.parent} started with {', '.join(changed)}; resume it with the same values"
        )


def _without_steps(recipe: dict[str, Any]) -> dict[str, Any]:
    return recipe | {"stages": [{**stage, "steps": 0} for stage in recipe["stages"]]}
