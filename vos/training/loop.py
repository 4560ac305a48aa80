"""The training run: data, steps, log, checkpoints, weights. Resumable and stoppable."""

from __future__ import annotations

import csv
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.utils.data import DataLoader

from vos.errors import WeightsError
from vos.modeling.compact import CompactNetwork
from vos.modeling.mobilenet import load_backbone
from vos.training.batches import Batch, ClipBatches
from vos.training.checkpoint import read_checkpoint, write_atomic
from vos.training.datasets import TrainingData, load_data
from vos.training.errors import TrainingDataError
from vos.training.export import Provenance, export_weights
from vos.training.parallel import Peers, join_peers, leave_peers
from vos.training.recipe import Recipe
from vos.training.trainer import Trainer, measure_tap_scale

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_LOG_EVERY = 20
_SAVE_SECONDS = 180.0
_FIELDS = ("step", "seconds", "loss", "entropy", "dice", "iou", "norm", "rate")


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Where a run reads and writes.

    Attributes:
        data: Data folders.
        out: Folder for checkpoint.pt, log.csv and compact.safetensors; made if absent.
        backbone: Safetensors file with the pretrained backbone; None starts it at random.
        resume: Go on from the checkpoint in `out`.
        processes: Training processes that share each batch, one thread each; 1 uses torch's threads.
        workers: Loader processes of each training process.
        stop_after: Stop (with a checkpoint) once the run is at this step; None: at the recipe's end.
    """

    data: tuple[Path, ...]
    out: Path
    backbone: Path | None = None
    resume: bool = False
    device: str = "cpu"
    processes: int = 1
    workers: int = 1
    stop_after: int | None = None


def train(
    options: RunOptions, recipe: Recipe, on_progress: Callable[[int, int, dict[str, float]], None] | None = None
) -> Path:
    """Train the base network.

    Args:
        options: Where to read and write.
        recipe: How to train.
        on_progress: Called with (steps done, steps in all, means since the last call).

    Returns:
        The file with the averaged weights.

    Raises:
        TrainingDataError, WeightsError, CheckpointError: something that was given cannot be used.
    """
    _check_share(recipe, options.processes)
    options.out.mkdir(parents=True, exist_ok=True)
    meeting = options.out / "meeting"
    meeting.unlink(missing_ok=True)
    context = multiprocessing.get_context("spawn")
    helpers = [
        context.Process(target=_help, args=(rank, options, recipe, meeting), daemon=False)
        for rank in range(1, options.processes)
    ]
    for helper in helpers:
        helper.start()
    _lead(options, recipe, meeting, on_progress)
    for helper in helpers:
        helper.join()
    return options.out / "compact.safetensors"


def _lead(
    options: RunOptions,
    recipe: Recipe,
    meeting: Path,
    on_progress: Callable[[int, int, dict[str, float]], None] | None,
) -> None:
    """The process that logs and saves."""
    data = load_data(list(options.data))
    peers = join_peers(0, options.processes, meeting)
    trainer, seconds = _start(options, recipe, data, peers)
    with _Run(trainer, options, data, seconds) as run, stop_signals() as asked:
        for batch in _loader(data, recipe, trainer, options):
            stop = asked() or trainer.done + 1 == options.stop_after
            run.record(trainer.step(batch, stop), on_progress)
            if stop or trainer.stopped:
                break
    leave_peers(peers)


def _help(rank: int, options: RunOptions, recipe: Recipe, meeting: Path) -> None:
    """A process that only computes; the leader tells it when to stop."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    data = load_data(list(options.data))
    peers = join_peers(rank, options.processes, meeting)
    trainer, _ = _start(options, recipe, data, peers)
    for batch in _loader(data, recipe, trainer, options):
        trainer.step(batch)
        if trainer.stopped:
            break
    leave_peers(peers)


def _check_share(recipe: Recipe, processes: int) -> None:
    for stage in recipe.stages:
        if stage.clips % processes:
            raise TrainingDataError(f"{processes} processes cannot share batches of {stage.clips} clips evenly")


class _Run:
    """Log, clock and files of a run; saves on leaving, also when it leaves by an error."""

    def __init__(self, trainer: Trainer, options: RunOptions, data: TrainingData, seconds: float) -> None:
        self.trainer = trainer
        self.options = options
        self.data = data
        self._started = time.monotonic() - seconds
        self._saved = time.monotonic()
        self._sums: dict[str, float] = {}
        self._count = 0
        self._board = _board(options.out)

    def __enter__(self) -> _Run:
        path = self.options.out / "log.csv"
        fresh = not (self.options.resume and path.exists())
        self._file = path.open("w" if fresh else "a", newline="")
        self._log = csv.DictWriter(self._file, _FIELDS)
        if fresh:
            self._log.writeheader()
        return self

    def __exit__(self, *_: object) -> None:
        self.save()
        self._file.close()
        if self._board is not None:
            self._board.close()

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of the run, earlier parts of a resumed one included."""
        return time.monotonic() - self._started

    def record(
        self, metrics: dict[str, float], on_progress: Callable[[int, int, dict[str, float]], None] | None
    ) -> None:
        """Note one step; write a line of means now and then, a checkpoint every few minutes."""
        for name, value in metrics.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1
        step = self.trainer.done
        if step % _LOG_EVERY == 0:
            means = {name: value / self._count for name, value in self._sums.items()}
            self._log.writerow({"step": step, "seconds": round(self.seconds, 1)} | _rounded(means))
            self._file.flush()
            if self._board is not None:
                for name, value in means.items():
                    self._board.add_scalar(name, value, step)
            if on_progress is not None:
                on_progress(step, self.trainer.recipe.steps, means)
            self._sums, self._count = {}, 0
        if time.monotonic() - self._saved > _SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Checkpoint and averaged weights."""
        self._saved = time.monotonic()
        write_atomic(self.trainer.state() | {"seconds": self.seconds}, self.options.out / "checkpoint.pt")
        provenance = Provenance(
            recipe=self.trainer.recipe,
            steps=self.trainer.done,
            hours=self.seconds / 3600,
            data=self.data.summary,
            data_digest=self.data.digest,
            device=self.options.device,
            processes=self.options.processes,
        )
        export_weights(self.trainer.averaged_state(), provenance, self.options.out)


def _start(options: RunOptions, recipe: Recipe, data: TrainingData, peers: Peers) -> tuple[Trainer, float]:
    """Fresh or resumed state, the same on each process, and the seconds that a resumed run has already taken."""
    torch.manual_seed(recipe.seed)
    trainer = Trainer(CompactNetwork(), recipe, torch.device(options.device), peers)
    if options.resume:
        state = read_checkpoint(options.out / "checkpoint.pt")
        trainer.restore(state)
        return trainer, float(state["seconds"])
    if options.backbone is not None:
        _load_backbone(trainer.network, options.backbone)
    pictures = ClipBatches(data, recipe)[0]["images"].flatten(0, 1).permute(0, 3, 1, 2)
    measure_tap_scale(trainer.network, pictures.to(trainer.device))
    return trainer, 0.0


def _load_backbone(network: CompactNetwork, path: Path) -> None:
    if not path.is_file():
        raise WeightsError(f"{path} is missing; --backbone takes a safetensors file with MobileNetV2 weights")
    try:
        load_backbone(network.backbone, load_file(path))
    except (SafetensorError, RuntimeError) as error:
        raise WeightsError(f"{path} does not hold MobileNetV2 weights: {str(error).splitlines()[0]}") from error


def _loader(data: TrainingData, recipe: Recipe, trainer: Trainer, options: RunOptions) -> Iterator[Batch]:
    batches = ClipBatches(data, recipe, trainer.peers.rank, trainer.peers.processes)
    steps = range(trainer.done, recipe.steps)
    if options.workers == 0:
        return (batches[step] for step in steps)
    return iter(
        DataLoader(
            batches,
            batch_size=None,
            sampler=steps,
            num_workers=options.workers,
            prefetch_factor=4,
            multiprocessing_context="fork",
            worker_init_fn=_free_worker,
        )
    )


def _free_worker(_: int) -> None:
    """Let a worker run on any core: it inherits the main thread's, which OMP_PROC_BIND pins to one.

    Signals that stop the run are the main process's affair, also when they go to the whole group.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """While inside, SIGINT and SIGTERM ask the run to stop after its step; yields whether they did."""
    asked: list[int] = []
    before = {number: signal.signal(number, lambda n, _: asked.append(n)) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _board(out: Path) -> SummaryWriter | None:
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - optional
    except ImportError:
        return None
    return SummaryWriter(str(out / "tensorboard"))


def _rounded(values: dict[str, float]) -> dict[str, Any]:
    return {name: float(f"{value:.5g}") for name, value in values.items()}
