"""Stand-ins for a batch's task that its processes can import."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from service.config import Settings
from service.run.batch.plan import BatchTask
from service.run.batch.task import TaskResult, failed, run_task
from tests.support.still_engine import load_still

_PATIENCE_SECONDS = 120.0


def run_or_die(task: BatchTask, _settings: Settings) -> TaskResult:
    """Die if the video is called so; a video called "meet N" succeeds once the other one is in progress."""
    if task.name.startswith("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    if task.name.startswith("meet"):
        assert isinstance(task.folder, Path)
        task.folder.mkdir(parents=True)
        end = time.monotonic() + _PATIENCE_SECONDS
        while len(list(task.folder.parent.glob("meet *"))) < 2:
            if time.monotonic() > end:
                return failed(task, "no other video is in progress")
            time.sleep(0.02)
    return TaskResult(task, "done")


def run_twice(task: BatchTask, settings: Settings) -> TaskResult:
    """Run a task without a network. A video called "wait" ends only at its second try; one called "die" never does."""
    assert isinstance(task.mask, Path)
    begun = task.mask.parent / "begun"
    if task.name == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if task.name == "wait" and not begun.exists():
        begun.touch()
        time.sleep(_PATIENCE_SECONDS)
    return run_still(task, settings)


def run_still(task: BatchTask, settings: Settings) -> TaskResult:
    """Run a task without a network."""
    return run_task(task, settings, load=load_still)
