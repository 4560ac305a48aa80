"""Training run of the refiner; it can be stopped and resumed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from vos.errors import WeightsError
from vos.modeling.compact import CompactNetwork
from vos.modeling.refiner import Refiner
from vos.training.base.run import TrainingResult, load_steps, stop_signals
from vos.training.common.checkpoint import restore_checkpoint
from vos.training.common.export import named_with_hash
from vos.training.common.run_log import CHECKPOINT, Progress, RunLog
from vos.training.data.datasets import load_data
from vos.training.refiner.batches import RefinerBatches
from vos.training.refiner.trainer import RefinerRecipe, RefinerTrainer
from vos.weights.catalog import DEFAULT, REFINER
from vos.weights.load import read_metadata, read_weights


@dataclass(frozen=True, slots=True)
class RefinerOptions:
    """Paths and machine settings of a training run.

    Attributes:
        data: Data folders.
        out: Folder for checkpoint, log and weights, created if missing.
        start: Weights to start from: a refiner's, or those of `compact`.
        resume: Whether to resume from the checkpoint in `out`.
        device: Torch device.
        workers: Loader processes.
        stop_after: Number of steps after which to stop with a checkpoint; None runs to the end of the recipe.
    """

    data: tuple[Path, ...]
    out: Path
    start: Path
    resume: bool = False
    device: str = "cpu"
    workers: int = 1
    stop_after: int | None = None


def train_refiner(
    options: RefinerOptions, recipe: RefinerRecipe, on_progress: Progress | None = None
) -> TrainingResult:
    """Train the refiner until the recipe ends or SIGINT or SIGTERM asks to stop.

    Args:
        options: Paths and machine settings.
        recipe: Numbers of the run.
        on_progress: Called every few steps.

    Raises:
        TrainingDataError: The data cannot be used.
        WeightsError: The start weights cannot be used.
        CheckpointError: The checkpoint is damaged or of another run.
    """
    options.out.mkdir(parents=True, exist_ok=True)
    trainer, seconds, start = _start(options, recipe)
    unmeasured_tap = not options.resume and not _is_refiner(options.start)
    data = load_data(list(options.data))
    batches = RefinerBatches(data, recipe.seed, recipe.clips, recipe.frames, recipe.steps)
    batches.check()
    with (
        RunLog(trainer, data, options.out, seconds, name=REFINER.name, start=start) as log,
        stop_signals() as stop_requested,
    ):
        for batch in load_steps(batches, range(trainer.done, recipe.steps), options.workers):
            if trainer.done == 0 and unmeasured_tap:
                trainer.measure_scale(batch)
            stop = stop_requested() or trainer.done + 1 == options.stop_after
            log.record(trainer.step(batch, stop), on_progress)
            if trainer.stopped:
                break
    return TrainingResult(options.out / "refiner.safetensors", trainer.done, start)


def _is_refiner(weights: Path) -> bool:
    """Whether the metadata of a weights file name the refiner; a damaged file is reported when it is read."""
    try:
        return read_metadata(weights).get("name") == REFINER.name
    except WeightsError:
        return False


def _start(options: RefinerOptions, recipe: RefinerRecipe) -> tuple[RefinerTrainer, float, str]:
    """Return fresh or resumed state, the seconds so far, and the start weights' name."""
    torch.manual_seed(recipe.seed)
    trainer = RefinerTrainer(Refiner(), recipe, torch.device(options.device))
    if options.resume:
        state = restore_checkpoint(trainer, options.out / CHECKPOINT, "keymask train refiner")
        return trainer, float(state["seconds"]), str(state.get("start", ""))
    if _is_refiner(options.start):
        trainer.network.load_state_dict(read_weights(Refiner(), options.start, REFINER.name))
    else:
        compact = read_weights(CompactNetwork(), options.start, DEFAULT)
        trainer.network.start_from({name: tensor.float() for name, tensor in compact.items()})
    trainer.reset_average()
    return trainer, 0.0, named_with_hash(options.start)
