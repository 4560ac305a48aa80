"""Run the tasks of a batch on a Ray cluster, by Ray Data: one row per video, in a pool of actors that can grow.

Each actor leaves the work to a process of its own, as `workers` does, so what crashes there costs one video. A row
whose actor or node dies runs again elsewhere.
"""

from __future__ import annotations

import logging
import pickle
import sys
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from service.config import Settings, load_settings
from service.errors import RunError, UsageError
from service.run.batch.plan import BatchTask
from service.run.batch.task import TaskResult, failed, run_task
from service.run.batch.workers import RunTask, TaskProcess


def run_tasks_on_ray(
    tasks: Sequence[BatchTask], settings: Settings, *, jobs: int, run: RunTask = run_task
) -> Generator[TaskResult]:
    """Run tasks on a cluster and yield the results as they come. Closing the iterator ends the actors.

    A task may begin a second time, so all continue what they find of themselves, unless they replace it.

    Args:
        tasks: The tasks. Their local paths must lead to the same files on every node.
        settings: Address of the cluster, and what an actor takes of a node.
        jobs: Largest number of videos side by side.
        run: Module-level function that runs one task.

    Raises:
        UsageError: Ray is not installed, or there is no such cluster.
        RunError: Ray gave up.
    """
    ray = _connect(settings)
    missing = {task.name: task for task in tasks}
    try:
        for result in _results(ray, tasks, settings, jobs, run):
            if (task := missing.pop(result.task.name, None)) is not None:
                yield replace(result, task=task)
    except ray.exceptions.RayError as error:
        reason = str(error).strip().rpartition("\n")[2]
        raise RunError(f"Ray has ended the batch; --resume continues it: {reason:.300}") from None
    finally:
        ray.shutdown()
    for task in missing.values():
        yield failed(task, "Ray returned nothing for this video; the logs of the cluster may have the reason")


def _connect(settings: Settings) -> Any:
    try:
        import ray  # noqa: PLC0415 - an extra; batches of one machine do not need it
        import ray.data  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(
            f"--engine ray needs Ray Data: pip install 'keymask-server[cluster]' ({error.name} is missing)"
        ) from None
    try:
        ray.init(address=settings.ray_address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"there is no Ray cluster at KEYMASK_RAY_ADDRESS {settings.ray_address}: {reason}") from None
    return ray


def _results(
    ray: Any, tasks: Sequence[BatchTask], settings: Settings, jobs: int, run: RunTask
) -> Generator[TaskResult]:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # one block per video: the others go on
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    rows = [{"task": pickle.dumps(_for_any_node(task))} for task in tasks]
    pool = ray.data.ActorPoolStrategy(
        min_size=min(max(1, settings.ray_min_workers), jobs),
        max_size=jobs,
        max_tasks_in_flight_per_actor=1,  # no video waits for another one while an actor is idle
    )
    done = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        _Runner, fn_constructor_args=(run,), compute=pool, num_cpus=settings.ray_cpus, num_gpus=settings.ray_gpus
    )
    # With a prefetched batch, each result would wait for the next one.
    for batch in done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for result in batch.column("result").to_pylist():
            yield pickle.loads(result)


def _for_any_node(task: BatchTask) -> BatchTask:
    """Return a task with paths that do not depend on the working directory, which continues what it finds of itself."""
    video = task.video if task.url else task.video.absolute()
    mask = task.mask.absolute() if isinstance(task.mask, Path) else task.mask
    folder = task.folder.absolute() if isinstance(task.folder, Path) else task.folder
    options = task.options
    if options.weights is not None:
        options = options.model_copy(update={"weights": str(Path(options.weights).absolute())})
    resume = task.resume or not task.force
    return replace(task, video=video, mask=mask, folder=folder, options=options, resume=resume)


class _Runner:
    """An actor that runs tasks, with the settings of its node.

    Args:
        run: Runs one task.
    """

    def __init__(self, run: RunTask) -> None:
        # A spawned process would import the main module of its parent, which is Ray's.
        sys.modules["__main__"].__file__ = None
        self._process = TaskProcess(load_settings(), run, threads=None)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"result": pickle.dumps(self._process.ask(pickle.loads(row["task"])))}
