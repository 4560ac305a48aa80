"""Run the tasks of a batch in processes of their own, so that a crash costs one video and not the batch."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from time import perf_counter

from service.config import Settings, set_default_variables
from service.run.batch.plan import BatchTask
from service.run.batch.task import TaskResult, failed, run_task
from service.run.torch_runtime import prepare_torch
from service.runtime.processes import SPAWN, become_child

RunTask = Callable[[BatchTask, Settings], TaskResult]


def run_tasks(
    tasks: Sequence[BatchTask], settings: Settings, *, jobs: int = 1, run: RunTask = run_task
) -> Generator[TaskResult]:
    """Run tasks side by side and yield the results as they come. Closing the iterator ends the processes.

    Args:
        tasks: The tasks.
        settings: Where pulled weights lie, and limits.
        jobs: Number of processes.
        run: Module-level function that runs one task.
    """
    waiting: queue.SimpleQueue[BatchTask] = queue.SimpleQueue()
    results: queue.SimpleQueue[TaskResult] = queue.SimpleQueue()
    for task in tasks:
        waiting.put(task)
    workers = [TaskProcess(settings, run, threads=_threads_of(jobs)) for _ in range(min(jobs, len(tasks)))]
    for worker in workers:
        threading.Thread(target=worker.work_off, args=(waiting, results), daemon=True).start()
    try:
        for _ in tasks:
            yield results.get()
    finally:
        for worker in workers:
            worker.close()


def _threads_of(jobs: int) -> int | None:
    """Return the number of threads per process that share the processors; None leaves it to a single process."""
    return None if jobs == 1 else max(1, (os.cpu_count() or 1) // jobs)


class TaskProcess:
    """One process that runs tasks, and a new one after it died.

    Args:
        settings: Where pulled weights lie, and limits.
        run: Module-level function that runs one task.
        threads: Number of its threads; None leaves it to the environment.
    """

    def __init__(self, settings: Settings, run: RunTask, threads: int | None) -> None:
        self._arguments = (settings, run, threads)
        self._closed = False
        self._lock = threading.Lock()
        self._process: SpawnProcess | None = None

    def work_off(self, waiting: queue.SimpleQueue[BatchTask], results: queue.SimpleQueue[TaskResult]) -> None:
        """Take tasks until none is left."""
        with suppress(queue.Empty):
            while not self._closed:
                results.put(self.ask(waiting.get_nowait()))

    def close(self) -> None:
        """End the process; what it was writing can be continued."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()
                self._process.join()

    def _start(self) -> None:
        self._connection, theirs = SPAWN.Pipe()
        arguments = (theirs, *self._arguments)
        process = SPAWN.Process(target=_serve, args=arguments, name="keymask-batch", daemon=True)
        process.start()
        theirs.close()
        self._process = process

    def ask(self, task: BatchTask) -> TaskResult:
        """Run a task; if the process dies, the task has failed."""
        started = perf_counter()
        try:
            with self._lock:
                if self._closed:
                    return failed(task, "interrupted")
                if self._process is None:
                    self._start()
            self._connection.send(task)
            result: TaskResult = self._connection.recv()
        except (EOFError, OSError) as error:
            return failed(task, self._reason(error), perf_counter() - started)
        return result

    def _reason(self, error: Exception) -> str:
        """Say why a task has no result, and forget a process that died."""
        process, self._process = self._process, None
        if process is None:
            return f"no process could be started for it: {error}"
        process.join(5)
        return f"the process that segmented it died ({_ending(process.exitcode)})"


def _ending(code: int | None) -> str:
    """Return how a process ended, in words."""
    if code is not None and code < 0:
        return f"signal {-code}" + ("; most likely out of memory" if code == -9 else "")
    return f"exit code {code}"


def _serve(connection: Connection, settings: Settings, run: RunTask, threads: int | None) -> None:
    """Run tasks until the other end of the pipe closes."""
    become_child()
    if threads is not None:
        set_default_variables({"OMP_NUM_THREADS": str(threads)})
    prepare_torch()
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        connection.send(run(task, settings))
