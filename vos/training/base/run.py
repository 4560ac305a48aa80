"""Training run of the base network: processes, data, steps; it can be stopped and resumed."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.utils.data import DataLoader, Dataset

from vos.errors import OptionError, WeightsError
from vos.modeling.compact import CompactNetwork
from vos.modeling.mobilenet import load_backbone
from vos.training.base.batches import Batch, ClipBatches
from vos.training.base.recipe import Recipe
from vos.training.base.trainer import Trainer, measure_tap_scale
from vos.training.common.checkpoint import restore_checkpoint
from vos.training.common.errors import CheckpointError
from vos.training.common.export import named_with_hash
from vos.training.common.parallel import Peers, join_peers, leave_peers
from vos.training.common.run_log import CHECKPOINT, Progress, RunLog
from vos.training.data.datasets import TrainingData, load_data
from vos.training.data.folds import Fold, leave_out
from vos.weights.catalog import DEFAULT
from vos.weights.load import read_weights

_Item = TypeVar("_Item")
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Paths and machine settings of a training run.

    Attributes:
        data: Data folders.
        out: Folder for checkpoint, log and weights, created if missing.
        backbone: Safetensors file with the pretrained backbone; None initializes it at random.
        start: Weights of the whole network to start from, in place of a backbone.
        resume: Whether to resume from the checkpoint in `out`.
        device: Torch device.
        processes: Training processes that share each batch, with one thread each; 1 uses torch's threads.
        workers: Loader processes per training process.
        stop_after: Number of steps after which to stop with a checkpoint; None runs to the end of the recipe.
    """

    data: tuple[Path, ...]
    out: Path
    backbone: Path | None = None
    start: Path | None = None
    resume: bool = False
    device: str = "cpu"
    processes: int = 1
    workers: int = 1
    stop_after: int | None = None


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """Result of a training run.

    Attributes:
        weights: File with the averaged weights.
        steps: Steps done so far.
        start: Name and SHA-256 of the weights that the run started from; empty without such weights.
    """

    weights: Path
    steps: int
    start: str = ""


def train(options: RunOptions, recipe: Recipe, on_progress: Progress | None = None) -> TrainingResult:
    """Train the base network until the recipe ends or SIGINT or SIGTERM asks to stop.

    Args:
        options: Paths and machine settings.
        recipe: Numbers of the run.
        on_progress: Called every few steps.

    Raises:
        OptionError: Options contradict each other or the recipe.
        TrainingDataError: The data cannot be used.
        WeightsError: Start weights or backbone cannot be used.
        CheckpointError: The checkpoint is damaged or of another run.
    """
    _check_processes(recipe, options.processes)
    if options.start is not None and options.backbone is not None:
        raise OptionError(
            "start and backbone are both given; weights of the whole network have a backbone of their own"
        )
    options.out.mkdir(parents=True, exist_ok=True)
    data = _read_data(options, recipe)
    trainer, seconds, start = _start(options, recipe, data, Peers(0, options.processes))
    with _peer_processes(options, recipe) as rendezvous:
        join_peers(trainer.peers, rendezvous)
        with RunLog(trainer, data, options.out, seconds, start=start) as log, stop_signals() as stop_requested:
            for batch in _loader(data, recipe, trainer, options):
                stop = stop_requested() or trainer.done + 1 == options.stop_after
                log.record(trainer.step(batch, stop), on_progress)
                if trainer.stopped:
                    break
        leave_peers(trainer.peers)
    return TrainingResult(options.out / "compact.safetensors", trainer.done, start)


def _read_data(options: RunOptions, recipe: Recipe) -> TrainingData:
    data = load_data(list(options.data), recipe.least_share)
    return leave_out(data, Fold.parse(recipe.fold, recipe.fold_sets)) if recipe.fold else data


def _check_processes(recipe: Recipe, processes: int) -> None:
    for stage in recipe.stages:
        if stage.clips % processes:
            raise OptionError(
                f"processes is {processes}; it must divide the clips per batch of each stage, "
                f"which are {', '.join(str(stage.clips) for stage in recipe.stages)}"
            )


@contextmanager
def _peer_processes(options: RunOptions, recipe: Recipe) -> Iterator[Path]:
    """Run the other training processes; yields the rendezvous file of all processes."""
    rendezvous = options.out / "meeting"
    rendezvous.unlink(missing_ok=True)
    context = multiprocessing.get_context("spawn")
    peers: list[BaseProcess] = [
        context.Process(target=_run_peer, args=(rank, options, recipe, rendezvous))
        for rank in range(1, options.processes)
    ]
    for peer in peers:
        peer.start()
    try:
        yield rendezvous
    finally:
        for peer in peers:
            peer.join(timeout=30)
            if peer.is_alive():
                peer.kill()
        rendezvous.unlink(missing_ok=True)


def _run_peer(rank: int, options: RunOptions, recipe: Recipe, rendezvous: Path) -> None:
    """Train in another process, without log or checkpoint, until the first process stops."""
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    data = _read_data(options, recipe)
    trainer, _, _ = _start(options, recipe, data, Peers(rank, options.processes))
    join_peers(trainer.peers, rendezvous)
    for batch in _loader(data, recipe, trainer, options):
        trainer.step(batch)
        if trainer.stopped:
            break
    leave_peers(trainer.peers)


def _start(options: RunOptions, recipe: Recipe, data: TrainingData, peers: Peers) -> tuple[Trainer, float, str]:
    """Return fresh or resumed state, equal in all processes, the seconds so far, and the start weights' name."""
    torch.manual_seed(recipe.seed)
    trainer = Trainer(CompactNetwork(), recipe, torch.device(options.device), peers)
    if options.resume:
        state = restore_checkpoint(trainer, options.out / CHECKPOINT, "keymask train base", any_length=True)
        start = str(state.get("start", ""))
        given = options.start or options.backbone
        if given is not None and start and named_with_hash(given) != start.partition(", ")[0]:
            raise CheckpointError(f"the run in {options.out} started from {start}, not from {named_with_hash(given)}")
        return trainer, float(state["seconds"]), start
    if options.start is not None:
        weights = read_weights(trainer.network, options.start, DEFAULT)
        missing = trainer.network.missing_optional(weights)
        trainer.network.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, strict=not missing)
        trainer.reset_average()
        fresh = f", without {', '.join(missing)}" if missing else ""
        return trainer, 0.0, named_with_hash(options.start) + fresh
    if options.backbone is not None:
        _load_backbone(trainer.network, options.backbone)
    pictures = ClipBatches(data, recipe)[0]["images"].flatten(0, 1).permute(0, 3, 1, 2)
    measure_tap_scale(trainer.network, pictures.to(trainer.device))
    return trainer, 0.0, "" if options.backbone is None else named_with_hash(options.backbone)


def _load_backbone(network: CompactNetwork, path: Path) -> None:
    if not path.is_file():
        raise WeightsError(f"{path} is missing; --backbone takes a safetensors file with MobileNetV2 weights")
    try:
        load_backbone(network.backbone, load_file(path))
    except (SafetensorError, RuntimeError) as error:
        raise WeightsError(f"{path} does not hold MobileNetV2 weights: {str(error).splitlines()[0]}") from error


def _loader(data: TrainingData, recipe: Recipe, trainer: Trainer, options: RunOptions) -> Iterator[Batch]:
    batches = ClipBatches(data, recipe, trainer.peers.rank, trainer.peers.processes)
    return load_steps(batches, range(trainer.done, recipe.steps), options.workers)


def load_steps(batches: Dataset[_Item], steps: range, workers: int) -> Iterator[_Item]:
    """Yield the items of these steps, prefetched by loader processes if there are any."""
    if workers == 0:
        return (batches[step] for step in steps)
    return iter(
        DataLoader(
            batches,
            batch_size=None,
            sampler=steps,
            num_workers=workers,
            prefetch_factor=4,
            multiprocessing_context="fork",  # share the decoded pictures
            worker_init_fn=_prepare_worker,
        )
    )


def _prepare_worker(_: int) -> None:
    """Let a loader process run on any core, and ignore stop signals, which the main process handles.

    The process inherits the main thread's affinity, which OMP_PROC_BIND pins to one core.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Catch SIGINT and SIGTERM; yields a function that tells whether one arrived."""
    received: list[int] = []
    before = {number: signal.signal(number, lambda n, _: received.append(n)) for number in _STOP_SIGNALS}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
