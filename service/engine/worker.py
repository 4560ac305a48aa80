"""A worker: loads its network once, then takes one waiting job after another."""

from __future__ import annotations

import errno
import importlib
import logging
import signal
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from typing import cast

from sqlalchemy.exc import SQLAlchemyError

from service.engine.job_run import Task
from service.engine.messages import Assignment, Ended, Heartbeat, NotReady, Ready
from service.engine.reporting import CanceledError, DrainedError, Inbox, Observer, persist
from service.errors import LostJobError, RunError, StorageFullError, error_mapping, message_of
from service.jobs.claims import Release
from service.jobs.store import JobStore
from service.jobs.types import Job, JobError, JobStatus
from service.run.model_loader import LoadedModel, ModelLoader
from service.storage.job_files import Storage
from vos.types import Options

_log = logging.getLogger(__name__)

_FULL = (errno.ENOSPC, errno.EDQUOT)
_IDLE_BEAT_SECONDS = 1.0


class Worker:
    """Runs in a process of its own; see `service.engine.launch`."""

    def __init__(self, assignment: Assignment, connection: Connection) -> None:
        self._name = assignment.name
        self._config = assignment.config
        self._model = replace(assignment.config.model, device=assignment.device)
        self._inbox = Inbox(connection)
        self._store = JobStore(assignment.database_url, retention=assignment.retention, migrate=False)
        self._storage = Storage(assignment.storage_root)
        self._spent = False
        self._load: ModelLoader = _import(assignment.config.loader)
        signal.signal(signal.SIGTERM, self._on_terminate)

    def run(self) -> None:
        """Work until the engine says otherwise."""
        lock = self._storage.lock_worker(self._name)
        try:
            with closing(self._store):
                if self._warm_up():
                    self._work()
        finally:
            lock.release()

    def _on_terminate(self, _number: int, _frame: object) -> None:
        self._inbox.draining = True

    def _warm_up(self) -> bool:
        """Load the default network, with which most jobs start, and the compiled loops."""
        for compiled in ("codec.kernels", "vos.kernels", "vos.modeling.cpu.topk_kernels"):
            importlib.import_module(compiled)
        try:
            engine = self._load(self._model, Options(), self._config.settings)
        except Exception as error:
            _log.exception("the network cannot be loaded")
            self._inbox.send(NotReady(message_of(error)))
            return False
        self._inbox.send(Ready(engine.description, _count_devices()))
        return True

    def _work(self) -> None:
        while not (self._inbox.draining or self._spent):
            job = self._claim()
            if job is None:
                self._inbox.send(Heartbeat())
                self._inbox.wait(min(self._config.poll_seconds, _IDLE_BEAT_SECONDS))
            else:
                self._run(job)

    def _claim(self) -> Job | None:
        try:
            return self._store.claim_next(self._name)
        except SQLAlchemyError as error:
            _log.warning("no job could be claimed", extra={"reason": str(error)[:200]})
            self._inbox.wait(_IDLE_BEAT_SECONDS)
            return None

    def _run(self, job: Job) -> None:
        _log.info("job started", extra={"job_id": job.id, "attempt": job.attempts})
        observer = Observer(job, self._name, self._store, self._inbox, self._config.poll_seconds)
        task = Task(
            job,
            self._storage.job(job.id),
            partial(self._engine_for, job),
            observer,
            state_seconds=self._config.state_seconds,
            max_frames=self._config.settings.max_frames,
        )
        end, status = self._ending(job, task)
        observer.beat(task.stats)
        try:
            persist(end, self._inbox, job.id)
        except LostJobError:
            _log.warning("job lost", extra={"job_id": job.id})
        _log.info("job ended", extra={"job_id": job.id, "status": str(status), "resumed": task.resumed})
        self._inbox.send(Ended(job.id, status, task.resumed))

    def _ending(self, job: Job, task: Task) -> tuple[Callable[[], object], JobStatus]:
        """Run the task; gives the change of the store that follows from how it ended."""
        move = partial(self._store.move, job.id, JobStatus.RUNNING, worker=self._name)
        try:
            outcome = task.run()
        except DrainedError:
            return partial(self._store.release, self._name, Release.RETURNED), JobStatus.QUEUED
        except CanceledError:
            task.forget_state()
            return partial(move, JobStatus.CANCELED), JobStatus.CANCELED
        except Exception as error:
            task.forget_state()
            return partial(move, JobStatus.FAILED, error=self._explain(job, error)), JobStatus.FAILED
        video = replace(job.video, frames=outcome.frames or job.video.frames)
        changes = partial(move, JobStatus.SUCCEEDED, report=outcome.report, progress=outcome.progress, video=video)
        return changes, JobStatus.SUCCEEDED

    def _explain(self, job: Job, error: Exception) -> JobError:
        """What the client is told of an error; after one that nobody expected, a fresh process takes over."""
        if isinstance(error, OSError) and error.errno in _FULL:
            error = StorageFullError("the disk became full while the job ran; delete jobs or wait until some expire")
        elif isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            self._spent = True
            error = RunError("the job needs more memory than there is; choose a smaller max_side or fewer objects")
        mapping = error_mapping(error)
        if not mapping.expected or isinstance(error, OSError):
            self._spent = True
            _log.error("job failed unexpectedly", exc_info=error, extra={"job_id": job.id})
            return JobError(mapping.problem, "something went wrong here that is not the request's fault")
        return JobError(mapping.problem, message_of(error).replace(f"{self._storage.job(job.id).folder}/", ""))

    def _engine_for(self, job: Job, options: Options) -> LoadedModel:
        name = job.options.model
        own = name is None or name == self._model.name
        choice = self._model if own else replace(self._model, name=cast("str", name), weights=None)
        return self._load(choice, options, self._config.settings)


def _import(path: str) -> ModelLoader:
    module, _, name = path.partition(":")
    return cast("ModelLoader", getattr(importlib.import_module(module), name))


def _count_devices() -> int:
    torch = sys.modules.get("torch")  # a loader may do without it
    return torch.cuda.device_count() if torch is not None and torch.cuda.is_available() else 0
