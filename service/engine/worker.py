"""A worker: loads its network once, then runs one queued job after another."""

from __future__ import annotations

import importlib
import logging
import random
import signal
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing.connection import Connection
from typing import cast

from sqlalchemy.exc import SQLAlchemyError

from service.engine.attempts.attempt import Attempt, AttemptLimits
from service.engine.attempts.correction_run import CorrectionRun
from service.engine.attempts.job_run import JobRun
from service.engine.lease import Lease
from service.engine.messages import Assignment, AttemptTrace, Ended, Heartbeat, NotReady, Ready
from service.engine.reporting import CanceledError, DrainedError, Inbox, Observer, retry_change
from service.errors import (
    DISK_FULL,
    LostJobError,
    RunError,
    StorageFullError,
    StorageUnavailableError,
    error_mapping,
    message_of,
)
from service.jobs.claims import Release
from service.jobs.store import JobStore
from service.jobs.types import Job, JobError, JobStatus
from service.run.model_loader import LoadedModel, ModelLoader
from service.run.resume.save_schedule import tolerate
from service.run.resume.state import delete_state
from service.storage.correction_files import delete_parent_log
from service.storage.open import open_storage
from vos.runtime.durable import remove_parts
from vos.types import Options, Stats

_log = logging.getLogger(__name__)

_MAX_IDLE_SECONDS = 1.0
"""Longest time between two looks of an idle worker for a job."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What an error means for a job.

    Attributes:
        error: The error that the client sees.
        is_final: Whether the job fails at once, because the request is at fault. Any other error counts as a death of
            the worker: its state may be corrupt, and another worker tries the job once more.
    """

    error: JobError
    is_final: bool


class Worker:
    """Runs in a process of its own, started by `service.engine.launch`."""

    def __init__(self, assignment: Assignment, connection: Connection) -> None:
        self._name = assignment.name
        self._config = assignment.config
        self._model = replace(assignment.config.model, device=assignment.device)
        self._inbox = Inbox(connection)
        settings = assignment.config.settings
        self._limits = AttemptLimits(
            state_seconds=assignment.config.state_seconds,
            max_frames=settings.max_frames,
            max_mask_bytes=int(settings.max_mask_log_bytes),
            max_seconds=settings.job_seconds,
        )
        self._store = JobStore(assignment.database_url, retention=assignment.retention, migrate=False)
        self._storage = open_storage(settings, root=assignment.storage_root)
        self._needs_replacement = False
        self._load: ModelLoader = _import(assignment.config.loader)
        signal.signal(signal.SIGTERM, self._on_terminate)

    def run(self) -> None:
        """Run jobs until the supervisor stops the worker or the process needs to be replaced."""
        with closing(self._store):
            if self._warm_up():
                self._run_jobs()

    def _on_terminate(self, _number: int, _frame: object) -> None:
        self._inbox.draining = True

    def _warm_up(self) -> bool:
        """Load the default network, which most jobs use; return whether that worked."""
        try:
            model = self._load(self._model, Options(), self._config.settings)
        except Exception as error:
            _log.exception("the network cannot be loaded")
            self._inbox.send(NotReady(message_of(error)))
            return False
        self._inbox.send(Ready(model.description, _count_cuda_devices()))
        return True

    def _run_jobs(self) -> None:
        pause = first = min(self._config.poll_seconds, _MAX_IDLE_SECONDS)
        while not (self._inbox.draining or self._needs_replacement):
            job = self._claim()
            if job is None:
                self._inbox.send(Heartbeat())
                # At random, so that the workers of a cluster do not all ask at once. The own supervisor wakes earlier.
                self._inbox.wait(pause * random.uniform(0.5, 1.0))
                pause = min(2 * pause, _MAX_IDLE_SECONDS)
            else:
                self._run_job(job)
                pause = first

    def _claim(self) -> Job | None:
        try:
            return self._store.claim_next(self._name, timedelta(seconds=self._config.lease_seconds))
        except SQLAlchemyError as error:
            _log.warning("no job could be claimed", extra={"reason": str(error)[:200]})
            self._inbox.wait(_MAX_IDLE_SECONDS)
            return None

    def _run_job(self, job: Job) -> None:
        _log.info("job started", extra={"job_id": job.id, "attempt": job.attempts})
        began_at = datetime.now(UTC)
        ended: Job | None = None
        resumed = False
        with Lease(self._store, job, self._config.lease_seconds) as lease:
            observer = Observer(job, self._store, self._inbox, lease, self._config.poll_seconds)
            attempt: Callable[..., Attempt] = JobRun if job.corrects is None else CorrectionRun
            run = attempt(job, self._storage.job(job.id), partial(self._load_for, job), observer, self._limits)
            try:
                change = self._segment(job, run)
                observer.send_heartbeat(run.stats)
                ended = retry_change(change, self._inbox, job.id)
            except LostJobError:
                pass
            resumed = run.resumed
        if ended is None:
            _log.warning("job lost; another worker may have it", extra={"job_id": job.id, "fence": job.fence})
        else:
            _log.info("job ended", extra={"job_id": job.id, "status": str(ended.status), "resumed": resumed})
            if ended.status.finished:
                self._delete_states(job)
        trace = None if job.traceparent is None else _trace(job, began_at, run.stats)
        self._inbox.send(Ended(job.id, None if ended is None else ended.status, resumed, trace))

    def _segment(self, job: Job, run: Attempt) -> Callable[[], Job | None]:
        """Run a job; return the change of the job store that its end requires.

        Raises:
            LostJobError: Another worker may have the job.
        """
        move = partial(self._store.move, job.id, JobStatus.RUNNING, fence=job.fence)
        try:
            outcome = run.run()
        except LostJobError:
            raise
        except DrainedError:
            return partial(self._store.release, job.claim, Release.RETURNED, segments=run.segments)
        except CanceledError:
            return partial(move, JobStatus.CANCELED, segments=run.segments)
        except StorageUnavailableError as error:  # where it could not be left out; the job is not at fault
            _log.warning("job returned", extra={"job_id": job.id, "reason": str(error)[:200]})
            self._inbox.wait(_MAX_IDLE_SECONDS)
            return partial(self._store.release, job.claim, Release.RETURNED, segments=run.segments)
        except Exception as error:
            failure = self._failure(job, error)
            if failure.is_final:
                return partial(move, JobStatus.FAILED, error=failure.error, segments=run.segments)
            self._needs_replacement = True
            return partial(self._store.release, job.claim, Release.DIED, segments=run.segments, error=failure.error)
        return partial(
            move,
            JobStatus.SUCCEEDED,
            report=outcome.report,
            progress=outcome.progress,
            video=replace(job.video, frames=outcome.frames or job.video.frames),
            segments=run.segments,
        )

    def _failure(self, job: Job, error: Exception) -> Failure:
        """Return what an error means for the job."""
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            error = StorageFullError("the disk became full while the job ran; delete jobs or wait until some expire")
        elif isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            detail = "the job needs more memory than is available; choose a smaller max_side or fewer objects"
            return Failure(JobError(error_mapping(RunError(detail)).problem, detail), is_final=False)
        mapping = error_mapping(error)
        if not mapping.expected or isinstance(error, OSError):
            _log.error("job failed unexpectedly", exc_info=error, extra={"job_id": job.id})
            detail = "something went wrong in the service; the request is not at fault"
            return Failure(JobError(mapping.problem, detail), is_final=False)
        detail = message_of(error).replace(f"{self._storage.job(job.id).folder}/", "")
        return Failure(JobError(mapping.problem, detail), is_final=True)

    def _delete_states(self, job: Job) -> None:
        """Delete what a finished job no longer needs: states and walks, its parent's masks, and parts of files."""
        files = self._storage.job(job.id)
        for fence in files.attempts("state", before=job.fence + 1):
            delete_state(files.state(fence))
        delete_parent_log(files)
        tolerate(files.discard_states)
        tolerate(partial(files.walks.discard, job.fence + 1))
        remove_parts(files.folder)

    def _load_for(self, job: Job, options: Options) -> LoadedModel:
        """Load the network that the job asks for."""
        name = job.options.model
        is_default = name is None or name == self._model.name
        choice = self._model if is_default else replace(self._model, name=cast("str", name), weights=None)
        return self._load(choice, options, self._config.settings)


def _import(path: str) -> ModelLoader:
    module, _, name = path.partition(":")
    return cast("ModelLoader", getattr(importlib.import_module(module), name))


def _trace(job: Job, began_at: datetime, stats: Stats | None) -> AttemptTrace:
    stats = stats or Stats({}, {})
    return AttemptTrace(job, began_at, {str(s): n for s, n in stats.frames.items()}, dict(stats.seconds))


def _count_cuda_devices() -> int:
    torch = sys.modules.get("torch")  # a loader without torch does not import it
    return torch.cuda.device_count() if torch is not None and torch.cuda.is_available() else 0
