"""A run's state on disk: written whole or not at all, and read back with checks."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch

from vos.training.common.errors import CheckpointError
from vos.training.common.state import TrainingState


def write_atomic(state: dict[str, Any], path: Path) -> None:
    """Write beside `path`, then rename: a crash leaves the checkpoint before it."""
    draft = path.with_suffix(".part")
    torch.save(state, draft)
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.replace(path)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """State of an earlier run; raises CheckpointError."""
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: there is no run to resume in {path.parent}; leave out --resume")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path} is damaged and cannot be resumed: {error}") from error
    if not isinstance(state, dict) or not {"step", "network", "ema", "optimizer", "recipe"} <= state.keys():
        raise CheckpointError(f"{path} is no checkpoint of `keymask train`")
    return state


def restore_checkpoint(
    trainer: TrainingState[Any, Any], path: Path, command: str, *, any_length: bool = False
) -> dict[str, Any]:
    """Let a trainer go on from a checkpoint, which is given back; raises CheckpointError if it is another's."""
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
    """Refuse, as CheckpointError, the state of a run by another recipe or of another command's network.

    With `any_length`, stages may have been planned with other numbers of steps.
    """
    begun: dict[str, Any] = state["recipe"]
    if begun.keys() != recipe.keys():
        raise CheckpointError(f"{path} is no checkpoint of `{command}`, or of another version of it")
    if any_length:
        begun, recipe = _without_steps(begun), _without_steps(recipe)
    changed = [f"{name} {begun[name]}, not {value}" for name, value in recipe.items() if begun[name] != value]
    if changed:
        raise CheckpointError(f"the run in {path.parent} was begun with {', '.join(changed)}; resume it with the same")


def _without_steps(recipe: dict[str, Any]) -> dict[str, Any]:
    return recipe | {"stages": [{**stage, "steps": 0} for stage in recipe["stages"]]}
