"""The refiner's training run, start to end; resumable and stoppable."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.utils.data import DataLoader

from vos.errors import WeightsError
from vos.modeling.refiner import Refiner
from vos.training.checkpoint import read_checkpoint
from vos.training.datasets import TrainingData, load_data
from vos.training.loop import Outcome, free_worker, stop_signals
from vos.training.refine_samples import RefinerBatches, Sample
from vos.training.refine_trainer import RefinerRecipe, RefinerTrainer
from vos.training.runlog import CHECKPOINT, Progress, RunLog


@dataclass(frozen=True, slots=True)
class RefinerOptions:
    """Where a run reads and writes, and on what it runs.

    Attributes:
        data: Data folders.
        out: Folder for checkpoint, log and weights; made if absent.
        start: Weights of `compact`, which the refiner starts from.
        resume: Go on from the checkpoint in `out`.
        device: As torch names it.
        workers: Loader processes, at least 1.
    """

    data: tuple[Path, ...]
    out: Path
    start: Path
    resume: bool = False
    device: str = "cpu"
    workers: int = 1


def train_refiner(options: RefinerOptions, recipe: RefinerRecipe, on_progress: Progress | None = None) -> Outcome:
    """Train the refiner until the recipe ends, or SIGINT or SIGTERM asks to stop.

    Raises:
        TrainingDataError, WeightsError, CheckpointError: something that was given cannot be used.
    """
    options.out.mkdir(parents=True, exist_ok=True)
    data = load_data(list(options.data))
    trainer, seconds = _start(options, recipe)
    with RunLog(trainer, data, options.out, seconds, name="refiner") as log, stop_signals() as asked:
        for batch in _loader(data, recipe, trainer.done, options.workers):
            if trainer.done == 0:
                trainer.measure_scale(batch)
            log.record(trainer.step(batch, asked()), on_progress)
            if trainer.stopped:
                break
    return Outcome(options.out / "refiner.safetensors", trainer.done)


def _start(options: RefinerOptions, recipe: RefinerRecipe) -> tuple[RefinerTrainer, float]:
    torch.manual_seed(recipe.seed)
    trainer = RefinerTrainer(Refiner(), recipe, torch.device(options.device))
    if options.resume:
        state = read_checkpoint(options.out / CHECKPOINT)
        trainer.restore(state)
        return trainer, float(state["seconds"])
    try:
        trainer.network.start_from({name: x.float() for name, x in load_file(options.start).items()})
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        raise WeightsError(f"{options.start} does not hold weights of compact: {error}") from error
    trainer.reset_average()
    return trainer, 0.0


def _loader(data: TrainingData, recipe: RefinerRecipe, done: int, workers: int) -> Iterator[Sample]:
    batches = RefinerBatches(data, recipe.seed, recipe.clips, recipe.frames, recipe.steps)
    return iter(
        DataLoader(
            batches,
            batch_size=None,
            sampler=range(done, recipe.steps),
            num_workers=workers,
            prefetch_factor=4,
            multiprocessing_context="fork",  # shares the decoded pictures
            worker_init_fn=free_worker,
        )
    )
