"""The engine of one machine: one spawned process a device, watched and replaced."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.connection import wait

from sqlalchemy.exc import SQLAlchemyError

from service.engine.housekeeper import Housekeeper
from service.engine.messages import Command, Ended, Heartbeat
from service.engine.types import EngineConfig, EngineTotals, WorkerState, WorkerStatus
from service.engine.worker_process import WorkerProcess
from service.jobs.claims import Release
from service.jobs.store import JobStore
from service.storage.job_files import Storage

_log = logging.getLogger(__name__)

_TICK_SECONDS = 0.5
_ORPHAN_SECONDS = 2.0
_START_SECONDS = 300.0
"""Least time that a worker has to load its network, however little is allowed between two masks."""


class Supervisor:
    """An `Engine` whose workers are children of this process, watched by one thread."""

    def __init__(self, config: EngineConfig, store: JobStore, storage: Storage) -> None:
        self._config = config
        self._store = store
        self._storage = storage
        self._housekeeper = Housekeeper(store, storage)
        self._slots = [WorkerProcess(device, config, store, storage) for device in config.devices]
        self._lock = threading.Lock()
        self._frames: Counter[str] = Counter()
        self._seconds: Counter[str] = Counter()
        self._jobs: Counter[str] = Counter()
        self._restarts = self._resumed = 0
        self._releases: dict[str, Release] = {}
        self._due: dict[str, float] = {}
        self._listener: Callable[[str], None] = lambda _job_id: None
        self._stopping = threading.Event()
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        self._thread = threading.Thread(target=self._watch, name="keymask-engine", daemon=True)

    def start(self) -> None:
        """Bring interrupted jobs back into the queue and start the workers."""
        self._try("requeue", lambda: self._store.requeue_orphans(self._is_cared_for))
        self._try("remove", self._housekeeper.remove_deleted)
        # Nobody can be in the middle of creating a job now, unless another process takes uploads in.
        self._try("sweep", partial(self._housekeeper.sweep, min_age=0.0 if self._storage.is_sole_process() else 60.0))
        self._thread.start()

    def stop(self) -> None:
        """Let every worker come to a safe point and end; what was running goes back into the queue."""
        self._stopping.set()
        self.wake()
        if self._thread.is_alive():
            self._thread.join()
        with self._lock:
            if self._wake >= 0:
                os.close(self._wake)
                os.close(self._woken)
                self._wake = -1

    def wake(self) -> None:
        """Say that a job waits, was canceled or is to be deleted."""
        with self._lock, suppress(BlockingIOError):  # a full pipe wakes as well
            if self._wake >= 0:
                os.write(self._wake, b"x")

    def listen(self, listener: Callable[[str], None]) -> None:
        """Have a function called with the id of each job that has ended; it must not block."""
        self._listener = listener

    @property
    def ready(self) -> bool:
        """Whether a worker holds its network."""
        return any(worker.model is not None for worker in self.workers())

    def workers(self) -> tuple[WorkerStatus, ...]:
        """The workers as they are now."""
        return tuple(slot.status for slot in self._slots)

    def totals(self) -> EngineTotals:
        """What was done so far."""
        with self._lock:
            return EngineTotals(
                dict(self._frames), dict(self._seconds), dict(self._jobs), self._restarts, self._resumed
            )

    def _watch(self) -> None:
        while not self._stopping.is_set():
            for slot in self._slots:
                self._try("start", slot.start_if_due)
            self._wait(_TICK_SECONDS)
            self._attend()
        self._drain()

    def _wait(self, seconds: float) -> None:
        """Until a worker has news or ended, `wake` was called, or the time is over."""
        ready = wait([self._woken, *(w for slot in self._slots for w in slot.waitables)], seconds)
        if self._woken in ready:
            os.read(self._woken, 1 << 16)
            self._due.pop("remove", None)
            for slot in self._slots:
                slot.send(Command.WAKE)

    def _attend(self) -> None:
        """Look after everything once; whatever fails is logged and tried again at the next tick."""
        for slot in self._slots:
            is_dead = slot.is_dead  # asked first: its last words are still in the pipe
            self._count(slot)
            if is_dead:
                self._bury(slot)
            elif slot.running:
                self._try("check", partial(self._check, slot))
        self._add_devices()
        for worker in list(self._releases):
            self._try("release", partial(self._release, worker))
        every = self._config.housekeeping_seconds
        self._every(_ORPHAN_SECONDS, "requeue", lambda: self._store.requeue_orphans(self._is_cared_for))
        self._every(_ORPHAN_SECONDS, "remove", self._housekeeper.remove_deleted)
        self._every(every, "expire", self._housekeeper.expire)
        self._every(every, "sweep", self._housekeeper.sweep)

    def _is_cared_for(self, worker: str) -> bool:
        """Whether a worker lives, or was this engine's own, which counts its death when it buries it."""
        own = {slot.status.name for slot in self._slots} | self._releases.keys()
        return worker in own or self._storage.is_worker_alive(worker)

    def _count(self, slot: WorkerProcess) -> None:
        for message in slot.receive():
            with self._lock:
                if isinstance(message, Heartbeat):
                    self._frames.update(message.frames)
                    self._seconds.update(message.seconds)
                else:
                    self._jobs[str(message.status)] += message.status.finished
                    self._resumed += message.resumed
            if isinstance(message, Ended):
                self._listener(message.job_id)

    def _bury(self, slot: WorkerProcess) -> None:
        """A worker has ended: its job is queued again, and another one takes its place."""
        name, job_id = slot.status.name, slot.status.job_id
        exit_code = slot.bury()
        self._releases[name] = Release.RETURNED if self._stopping.is_set() else Release.DIED
        if not self._stopping.is_set():
            with self._lock:
                self._restarts += 1
            _log.warning("worker ended", extra={"worker": name, "exit_code": exit_code, "job_id": job_id})

    def _check(self, slot: WorkerProcess) -> None:
        """Kill a worker that hangs: for long, or for a while although its job was canceled."""
        silent = time.monotonic() - slot.beat_at
        job_id = slot.status.job_id
        starting = slot.status.state is WorkerState.STARTING
        stalled = silent > max(self._config.stall_seconds, _START_SECONDS if starting else 0.0)
        deaf = job_id and silent > self._config.cancel_seconds and self._store.is_cancel_requested(job_id)
        if stalled or deaf:
            _log.warning("worker hangs and is killed", extra={"worker": slot.status.name, "job_id": job_id})
            slot.kill()

    def _release(self, worker: str) -> None:
        for job in self._store.release(worker, self._releases[worker]):
            _log.info("job released", extra={"job_id": job.id, "status": str(job.status)})
            with self._lock:
                self._jobs[str(job.status)] += job.status.finished
            self._listener(job.id)
        del self._releases[worker]

    def _add_devices(self) -> None:
        """With "auto", the first worker has taken CUDA device 0, if there is one; the others get workers too."""
        if self._config.devices == ("auto",) and len(self._slots) == 1 and self._slots[0].devices > 1:
            more = range(1, self._slots[0].devices)
            self._slots += [WorkerProcess(f"cuda:{i}", self._config, self._store, self._storage) for i in more]

    def _drain(self) -> None:
        """Ask all workers to end; kill those that do not in time."""
        deadline = time.monotonic() + self._config.grace_seconds
        for slot in self._slots:
            slot.send(Command.DRAIN)
        while any(slot.running for slot in self._slots):
            self._wait(0.1)
            for slot in self._slots:
                is_dead = slot.is_dead
                self._count(slot)
                if is_dead:
                    self._bury(slot)
                elif time.monotonic() > deadline:
                    slot.kill()
        for worker in list(self._releases):
            self._try("release", partial(self._release, worker))
        self._try("remove", self._housekeeper.remove_deleted)

    def _every(self, seconds: float, name: str, action: Callable[[], object]) -> None:
        now = time.monotonic()
        if now >= self._due.get(name, 0.0):
            self._due[name] = now + seconds
            self._try(name, action)

    def _try(self, name: str, action: Callable[[], object]) -> None:
        """The engine outlives a database, disk or system that fails for a while."""
        try:
            action()
        except (SQLAlchemyError, OSError) as error:
            _log.warning("housekeeping failed", extra={"step": name, "reason": str(error)[:200]})
