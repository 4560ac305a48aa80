"""Stand-ins for a batch's task that its processes can import."""

from __future__ import annotations

import os
import signal
import time

from service.config import Settings
from service.run.batch.plan import BatchTask
from service.run.batch.task import TaskResult, run_task
from tests.support.still_engine import load_still


def run_or_die(task: BatchTask, _settings: Settings) -> TaskResult:
    """Return a result with the number of the process; die if the video is called so."""
    if task.name.startswith("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.2)
    return TaskResult(task, "done", seconds=0.2, report={"process": os.getpid()})


def run_still(task: BatchTask, settings: Settings) -> TaskResult:
    """Run a task without a network."""
    return run_task(task, settings, load=load_still)
