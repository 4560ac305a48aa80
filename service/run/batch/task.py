"""Run one video of a batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal

from service.config import Settings
from service.errors import message_of
from service.run.batch.local_task import on_this_machine
from service.run.batch.plan import BatchTask
from service.run.model_loader import ModelLoader, load_model
from service.run.run_to_files import RunRequest, run_to_files


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What became of a video.

    Attributes:
        task: The task.
        status: "done", "failed", or "skipped" because an earlier batch finished it.
        error: Why it failed; None if it did not.
        seconds: How long it took.
        report: The report of the run without its frames; None if it failed, or was skipped.
    """

    task: BatchTask
    status: Literal["done", "failed", "skipped"]
    error: str | None = None
    seconds: float = 0.0
    report: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the line of the batch's report."""
        task = self.task
        return {
            "name": task.name,
            "video": task.source,
            "mask": None if task.mask is None else str(task.mask),
            "out": str(task.folder),
            "status": self.status,
            "error": self.error,
            "seconds": round(self.seconds, 3),
            "report": self.report,
        }


def run_task(
    task: BatchTask,
    settings: Settings,
    *,
    on_frame: Callable[[], None] = lambda: None,
    load: ModelLoader = load_model,
) -> TaskResult:
    """Run a task. An error is part of the result; only an interruption is raised.

    Args:
        task: The task.
        settings: Where pulled weights lie, and limits.
        on_frame: Called after each frame.
        load: Loads the network; the latest one stays loaded for the next task.
    """
    started = perf_counter()

    def run(request: RunRequest, on_state: Callable[[], None]) -> dict[str, Any]:
        report = run_to_files(
            request, settings, on_progress=lambda _done, _total: on_frame(), on_state=on_state, load=load
        )
        return report.to_json()

    named: Callable[[str], str] = str
    try:
        with on_this_machine(task, settings) as here:
            named = here.named
            if task.resume and here.is_finished():
                return TaskResult(task, "skipped")
            report = here.run(run)
    except Exception as error:
        return failed(task, named(message_of(error)), perf_counter() - started)
    return TaskResult(task, "done", None, perf_counter() - started, report)


def failed(task: BatchTask, reason: str, seconds: float = 0.0) -> TaskResult:
    """Return the result of a task that failed for this reason."""
    return TaskResult(task, "failed", reason, seconds)
