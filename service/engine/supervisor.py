"""The engine of one machine: a thread that supervises one worker process per device."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.connection import wait

from service.engine.lease import LeaseWatch
from service.engine.messages import Command, Ended, Heartbeat
from service.engine.steps import Steps
from service.engine.tracing import trace_attempt, trace_release
from service.engine.types import EngineConfig, EngineTotals, WorkerState, WorkerStatus
from service.engine.upkeep.housekeeping import Housekeeping
from service.engine.worker_process import WorkerProcess
from service.jobs.claims import Release
from service.jobs.store import JobStore
from service.jobs.types import Claim, JobStatus
from service.storage.job_files import Storage
from service.storage.mask_log import settle

_log = logging.getLogger(__name__)

_TICK_SECONDS = 0.5
_MIN_START_SECONDS = 300.0
"""Time a worker always has to load its network, even if `stall_seconds` is shorter."""
_SILENT_SECONDS = 60.0
"""Time without a tick after which the engine is not ready. A tick may wait for the database several times."""
_KILL_SECONDS = 5.0
"""Time that a killed worker has to disappear when the engine stops."""
_STOP_SECONDS = 30.0
"""Time after the grace period that `stop` waits for the thread, which may wait for the database."""


class Supervisor:
    """An `Engine` whose workers are child processes. One thread starts, observes and replaces them."""

    def __init__(self, config: EngineConfig, store: JobStore, storage: Storage) -> None:
        self._config = config
        self._store = store
        self._storage = storage
        self._housekeeping = Housekeeping(config, store, storage, self._has_ready_worker)
        self._leases = LeaseWatch(store.claims if config.caretaker else self._own_claims, config.lease_seconds)
        self._workers = [WorkerProcess(device, config, store, storage) for device in config.devices]
        self._lock = threading.Lock()
        self._frames: Counter[str] = Counter()
        self._seconds: Counter[str] = Counter()
        self._jobs: Counter[str] = Counter()
        self._restarts = self._resumed = 0
        self._releases: dict[str, Release] = {}
        self._steps = Steps()
        self._ticked_at = time.monotonic()
        self._listener: Callable[[str], None] = lambda _job_id: None
        self._stopping = threading.Event()
        self._wake_out, self._wake_in = os.pipe()
        os.set_blocking(self._wake_in, False)
        self._thread = threading.Thread(target=self._run, name="keymask-engine", daemon=True)

    def start(self) -> None:
        """Start the workers."""
        self._housekeeping.start()
        self._ticked_at = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """Stop all workers at a safe point and requeue their jobs. Returns in bounded time whatever hangs."""
        self._stopping.set()
        self.wake()
        if self._thread.is_alive():
            self._thread.join(self._config.grace_seconds + _KILL_SECONDS + _STOP_SECONDS)
        self._housekeeping.stop(_STOP_SECONDS)
        if self._thread.is_alive():
            _log.error("the engine's thread does not end; jobs of this process are released at the next start")
            return
        with self._lock:
            if self._wake_in >= 0:
                os.close(self._wake_in)
                os.close(self._wake_out)
                self._wake_in = -1

    def wake(self) -> None:
        """Tell the engine that a job was created, canceled or deleted."""
        with self._lock, suppress(BlockingIOError):  # a full pipe wakes the thread too
            if self._wake_in >= 0:
                os.write(self._wake_in, b"x")

    def listen(self, listener: Callable[[str], None]) -> None:
        """Register a function to call with the id of each job that ends; it must not block."""
        self._listener = listener

    @property
    def ready(self) -> bool:
        """Whether jobs run."""
        return self.unready_reason() is None

    def unready_reason(self) -> str | None:
        """Return why no job can run now, in one line; None if jobs can run."""
        if not self._thread.is_alive() or time.monotonic() - self._ticked_at > _SILENT_SECONDS:
            return "the thread that supervises the workers does not run; the log may have the reason"
        if self._has_ready_worker():
            return None
        if not self._config.devices:
            return self._housekeeping.presence.absence()
        failures = [worker.failure for worker in self.workers() if worker.failure]
        return failures[0] if failures else "no worker has loaded its network yet"

    def has_work(self) -> bool:
        """Return whether a job waits for any worker, or a worker of this engine has one; reads the database."""
        waiting = self._store.counts()[JobStatus.QUEUED]
        return bool(waiting) or any(self._store.claims(worker.name) for worker in self.workers() if worker.name)

    def workers(self) -> tuple[WorkerStatus, ...]:
        """Return the current status of all workers."""
        return tuple(worker.status for worker in self._workers)

    def totals(self) -> EngineTotals:
        """Return the counters."""
        with self._lock:
            return EngineTotals(
                dict(self._frames),
                dict(self._seconds),
                dict(self._jobs),
                self._restarts,
                self._resumed,
                self._housekeeping.presence.count(),
            )

    def _has_ready_worker(self) -> bool:
        return any(worker.model is not None for worker in self.workers())

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._ticked_at = time.monotonic()
            for worker in self._workers:
                self._steps.run("start", worker.start_if_due)
            self._wait(min(_TICK_SECONDS, self._leases.poll_seconds))
            self._steps.run("tick", self._tick)
        self._steps.run("drain", self._drain)

    def _wait(self, seconds: float) -> None:
        """Wait for a message, the end of a worker, a call of `wake` or the timeout."""
        if not self._steps.run("wait", partial(self._wait_for_handles, seconds)):
            time.sleep(seconds)

    def _wait_for_handles(self, seconds: float) -> None:
        ready = wait([self._wake_out, *(handle for worker in self._workers for handle in worker.handles)], seconds)
        if self._wake_out in ready:
            os.read(self._wake_out, 1 << 16)
            self._housekeeping.wake()
            for worker in self._workers:
                worker.send(Command.WAKE)

    def _tick(self) -> None:
        """Do all checks once. A failed one is logged and retried at the next tick."""
        for worker in self._workers:
            self._steps.run("observe", partial(self._observe, worker))
        self._steps.run("add", self._add_cuda_workers)
        self._release_all()
        self._steps.every(self._leases.poll_seconds, "take over", self._take_over)

    def _observe(self, worker: WorkerProcess, deadline: float = math.inf) -> None:
        """Handle the messages and the end of a worker; kill it if it hangs or still runs at the deadline."""
        is_dead = worker.is_dead  # before receiving, so that its last messages are not lost
        self._steps.run("receive", partial(self._receive, worker))
        if is_dead:
            self._steps.run("reap", partial(self._reap, worker))
        elif time.monotonic() > deadline:
            worker.kill()
        elif worker.exists and deadline == math.inf:
            self._steps.run("check", partial(self._kill_if_hung, worker))

    def _take_over(self) -> None:
        """Release the jobs of workers that no longer renew their leases, of any machine or of this one.

        Workers of our own are killed first: one that was stopped in the middle of a change locks the database.
        """
        for claim in self._leases.expired():
            _log.warning("lease expired", extra={"job_id": claim.job_id, "worker": claim.worker, "fence": claim.fence})
            for worker in self._workers:
                if (worker.status.name, worker.status.job_id) == (claim.worker, claim.job_id):
                    worker.kill()
            self._steps.run("release", partial(self._release_claim, claim, Release.LOST))

    def _own_claims(self) -> list[Claim]:
        """Return the claims of this engine's workers."""
        names = [worker.name for worker in self.workers() if worker.name]
        return [claim for name in names for claim in self._store.claims(name)]

    def _receive(self, worker: WorkerProcess) -> None:
        for message in worker.receive():
            with self._lock:
                if isinstance(message, Heartbeat):
                    self._frames.update(message.frames)
                    self._seconds.update(message.seconds)
                elif message.status is not None:
                    self._jobs[str(message.status)] += message.status.finished
                    self._resumed += message.resumed
            if isinstance(message, Ended):
                trace_attempt(message, worker.status)
                self._tell_listener(message.job_id)
                self._steps.run("measure", partial(self._store.measure_speed, message.job_id, self._config.model.name))

    def _tell_listener(self, job_id: str) -> None:
        self._steps.run("listener", partial(self._listener, job_id))

    def _reap(self, worker: WorkerProcess) -> None:
        """Clean up after a dead worker and schedule the release of its job."""
        name, job_id = worker.status.name, worker.status.job_id
        self._releases[name] = Release.RETURNED if self._stopping.is_set() else Release.DIED
        exit_code = worker.reap()
        if not self._stopping.is_set():
            with self._lock:
                self._restarts += 1
            _log.warning("worker ended", extra={"worker": name, "exit_code": exit_code, "job_id": job_id})

    def _kill_if_hung(self, worker: WorkerProcess) -> None:
        """Kill a worker that has been silent for too long; a canceled job shortens the time allowed."""
        silence = time.monotonic() - worker.heartbeat_at
        job_id = worker.status.job_id
        starting = worker.status.state is WorkerState.STARTING
        stalled = silence > max(self._config.stall_seconds, _MIN_START_SECONDS if starting else 0.0)
        ignores_cancel = job_id and silence > self._config.cancel_seconds and self._store.is_cancel_requested(job_id)
        if stalled or ignores_cancel:
            _log.warning("killing a worker that hangs", extra={"worker": worker.status.name, "job_id": job_id})
            worker.kill()

    def _release_all(self) -> None:
        """Release the jobs of dead workers; those that the store cannot release now remain scheduled."""
        for name in list(self._releases):
            self._steps.run("release", partial(self._release, name))

    def _release(self, name: str) -> None:
        for claim in self._store.claims(name):
            self._release_claim(claim, self._releases[name])
        del self._releases[name]

    def _release_claim(self, claim: Claim, why: Release) -> None:
        files = self._storage.job(claim.job_id)
        segments = None if claim.segments is None or files.is_copy else settle(files, claim.segments)[0]
        job = self._store.release(claim, why, segments=segments)
        if job is None:
            return
        _log.info("job released", extra={"job_id": job.id, "status": str(job.status), "why": str(why)})
        trace_release(job, claim.worker, why)
        with self._lock:
            self._jobs[str(job.status)] += job.status.finished
        self._tell_listener(job.id)

    def _add_cuda_workers(self) -> None:
        """With devices "auto", add a worker for each further CUDA device once the first worker has counted them."""
        if self._config.devices == ("auto",) and len(self._workers) == 1 and self._workers[0].devices > 1:
            more = range(1, self._workers[0].devices)
            self._workers += [WorkerProcess(f"cuda:{i}", self._config, self._store, self._storage) for i in more]

    def _drain(self) -> None:
        """Ask all workers to stop, and kill the workers that are still running after `grace_seconds`."""
        deadline = time.monotonic() + self._config.grace_seconds
        for worker in self._workers:
            worker.send(Command.DRAIN)
        while any(worker.exists for worker in self._workers) and time.monotonic() < deadline + _KILL_SECONDS:
            self._wait(0.1)
            for worker in self._workers:
                self._steps.run("observe", partial(self._observe, worker, deadline))
        self._release_all()
