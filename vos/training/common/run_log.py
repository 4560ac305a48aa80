"""Output of a run: log of mean metrics, checkpoints, and weights ready for use."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vos.training.common.checkpoint import write_atomic
from vos.training.common.export import Provenance, export_weights, source_commit
from vos.training.common.state import TrainingState
from vos.training.data.datasets import TrainingData

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LOG_EVERY = 20
SAVE_SECONDS = 180.0
CHECKPOINT = "checkpoint.pt"

Progress = Callable[[int, int, dict[str, float]], None]
"""Called with (steps done, total steps, mean metrics since the last call)."""


class RunLog:
    """Context manager with log, clock and files of a run; saves on exit, also after an error.

    Args:
        trainer: Trainer whose state is saved.
        data: Training data, for the provenance.
        folder: Folder for log.csv, tensorboard/ (if installed), checkpoint.pt, NAME.safetensors and its record.
        seconds: Duration of the earlier parts of a resumed run.
        name: Name of the network, "compact" or "refiner".
        start: Name and SHA-256 of the weights that the run started from, if any.
    """

    def __init__(
        self,
        trainer: TrainingState[Any, Any],
        data: TrainingData,
        folder: Path,
        seconds: float,
        *,
        name: str = "compact",
        start: str = "",
    ) -> None:
        self._trainer = trainer
        self._data = data
        self._folder = folder
        self._name = name
        self._start = start
        self._started = time.monotonic() - seconds
        self._saved = time.monotonic()
        self._sums: dict[str, float] = {}
        self._count = 0
        self._board = _board(folder)
        self._commit = source_commit()  # of the running code; the checkout may change later

    def __enter__(self) -> RunLog:
        path = self._folder / "log.csv"
        self._fresh = self._trainer.done == 0 or not path.exists()
        self._file = path.open("w" if self._fresh else "a", newline="")
        self._log = csv.writer(self._file)
        return self

    def __exit__(self, *_: object) -> None:
        self.save()
        self._file.close()
        if self._board is not None:
            self._board.close()

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of the run, including earlier parts of a resumed run."""
        return time.monotonic() - self._started

    def record(self, metrics: dict[str, float], on_progress: Progress | None) -> None:
        """Record one step; write a line of means every `LOG_EVERY` steps, a checkpoint every `SAVE_SECONDS`."""
        for name, value in metrics.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1
        if self._trainer.done % LOG_EVERY == 0:
            self._write(on_progress)
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write the checkpoint and the averaged weights."""
        self._saved = time.monotonic()
        write_atomic(self._trainer.state() | {"seconds": self.seconds, "start": self._start}, self._folder / CHECKPOINT)
        provenance = Provenance(
            name=self._name,
            recipe=self._trainer.recipe.as_dict(),
            seed=self._trainer.recipe.seed,
            steps=self._trainer.done,
            hours=self.seconds / 3600,
            data=self._data.summary,
            data_digests=self._data.digests,
            start=self._start,
            device=str(self._trainer.device),
            commit=self._commit,
            processes=self._trainer.peers.processes,
        )
        export_weights(self._trainer.averaged_state(), provenance, self._folder)

    def _write(self, on_progress: Progress | None) -> None:
        step = self._trainer.done
        means = {name: value / self._count for name, value in self._sums.items()}
        if self._fresh:
            self._log.writerow(["step", "seconds", *means])
            self._fresh = False
        self._log.writerow([step, f"{self.seconds:.1f}", *(f"{value:.5g}" for value in means.values())])
        self._file.flush()
        if self._board is not None:
            for name, value in means.items():
                self._board.add_scalar(name, value, step)
        if on_progress is not None:
            on_progress(step, self._trainer.recipe.steps, means)
        self._sums, self._count = {}, 0


def _board(folder: Path) -> SummaryWriter | None:
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - optional
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"))
