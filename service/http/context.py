"""Services that the routes use, built once per application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import anyio

from service.config import Settings
from service.engine.open import engine_config, open_store
from service.engine.supervisor import Supervisor
from service.engine.types import Engine, EngineConfig
from service.http.access.api_keys import ApiKeys
from service.http.job_watcher import JobWatcher
from service.http.limits.places import JobPlaces, Places
from service.http.metrics import Metrics
from service.http.streaming.frame_cache import FrameCache
from service.jobs.requests import QueueLimits
from service.jobs.store import JobStore
from service.problems import ProblemError
from service.runtime.threads import Args, Result
from service.sandbox.confinement import ProcessLimits
from service.sandbox.inspection import UploadLimits
from service.sandbox.pool import (
    Sandbox,
    SandboxClosedError,
    SandboxDiedError,
    SandboxKilledError,
    SandboxTimeoutError,
)
from service.storage.job_files import Storage

EngineFactory: TypeAlias = Callable[[EngineConfig, JobStore, Storage], Engine]
SandboxFactory: TypeAlias = Callable[[int, float, ProcessLimits, tuple[str, ...]], Sandbox]
"""Takes the number of processes, the seconds that a call may take, the limits of each process, and further modules."""
_PROBE_MODULES = ("vos.probe.probe", "codec.kernels", "vos.kernels")
"""What a probe imports, also late: a confined process would compile kernels anew each time, and could not store them.

They load numba, 110 MB that other sandboxes do not need.
"""
_MASK_BYTES, _RESULT_BYTES = 64 << 20, 64 << 30
"""Largest file that an inspection and that the building of a result may write."""


def make_process_sandbox(processes: int, seconds: float, limits: ProcessLimits, modules: tuple[str, ...]) -> Sandbox:
    """Create a sandbox of real processes."""
    return Sandbox(processes, timeout=seconds, limits=limits, modules=modules)


class SandboxPool:
    """A sandbox for coroutines. A call that waits for a free process holds no thread, and can be cancelled.

    Args:
        sandbox: The sandbox.
        processes: The number of its processes.
    """

    def __init__(self, sandbox: Sandbox, processes: int) -> None:
        self._sandbox = sandbox
        self._processes = processes
        self._turns: anyio.CapacityLimiter | None = None
        self._threads: anyio.CapacityLimiter | None = None

    async def call(self, function: Callable[Args, Result], *args: Args.args, **kwargs: Args.kwargs) -> Result:
        """Call a function in the sandbox.

        Raises:
            ProblemError: The process died, the call took too long, or the service is shutting down; `not-ready` if the
                process was killed from outside twice, because a later request may succeed.
            Exception: Whatever the function raised.
        """
        async with self.turn():
            return await self._run(function, *args, **kwargs)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
        """Wait for a free process; yield a function that calls a function in it as `call` does."""
        if self._turns is None:
            self._turns = anyio.CapacityLimiter(self._processes)
            self._threads = anyio.CapacityLimiter(self._processes)
        async with self._turns:
            yield self._run

    async def _run(self, function: Callable[Args, Result], *args: Args.args, **kwargs: Args.kwargs) -> Result:
        call: Callable[[], Result] = partial(self._sandbox.call, function, *args, **kwargs)
        try:
            return await anyio.to_thread.run_sync(call, limiter=self._threads)
        except (SandboxDiedError, SandboxTimeoutError) as error:
            raise ProblemError("video-undecodable", str(error)) from None
        except (SandboxClosedError, SandboxKilledError) as error:
            raise ProblemError("not-ready", str(error)) from None

    async def warm_up(self) -> None:
        """Start one process, so that the first call does not wait for it."""
        await anyio.to_thread.run_sync(self._sandbox.warm_up)

    def close(self) -> None:
        """End all calls and processes."""
        self._sandbox.close()


@dataclass(slots=True)
class ResultBuild:
    """A result file that is being made.

    Attributes:
        part: The file while it grows.
        task: Ends when the result file has its final name.
        clients: Number of requests that wait for the file or read it.
        begun: Whether a process works on it.
    """

    part: Path
    task: asyncio.Task[None]
    clients: int = 0
    begun: bool = False


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that lives as long as the application.

    Attributes:
        settings: The settings of the service.
        store: The jobs.
        storage: The files of the jobs.
        engine: Runs the jobs.
        watcher: Tells streams about changes of their job.
        metrics: Counters for Prometheus.
        inspection_pool: Processes that inspect uploads.
        probe_pool: Processes that probe videos. They are separate, because an upload must not wait for a slow probe.
        export_pool: Processes that make result files, which may take many minutes.
        frame_pool: Processes that make pictures of frames, which people wait for.
        frame_cache: Pictures of frames.
        streams: Places of open event and mask streams, and of downloads of results.
        uploads: Places of uploads that arrive, or wait for a sandbox or are in one.
        builds: Places of requests for results that are not made yet, and for masks that are drawn in a sandbox.
        coming_jobs: Places of jobs that are being submitted.
        keys: The API keys.
        result_builds: (job id, format) -> the result file that is being made.
    """

    settings: Settings
    store: JobStore
    storage: Storage
    engine: Engine
    watcher: JobWatcher
    metrics: Metrics
    inspection_pool: SandboxPool
    probe_pool: SandboxPool
    export_pool: SandboxPool
    frame_pool: SandboxPool
    frame_cache: FrameCache
    streams: Places
    uploads: Places
    builds: Places
    coming_jobs: JobPlaces
    keys: ApiKeys
    result_builds: dict[tuple[str, str], ResultBuild] = field(default_factory=dict)

    @property
    def queue_limits(self) -> QueueLimits:
        """The limits of unfinished jobs."""
        return QueueLimits(self.settings.max_queued_jobs, self.settings.max_jobs_per_key)

    @property
    def limits(self) -> UploadLimits:
        """The limits of an upload."""
        s = self.settings
        return UploadLimits(s.max_pixels, s.max_frames, s.max_duration_seconds, s.max_objects)

    def close_pools(self) -> None:
        """End all calls in sandboxes, and their processes."""
        for pool in (self.inspection_pool, self.probe_pool, self.export_pool, self.frame_pool):
            pool.close()


def build_services(
    settings: Settings,
    make_engine: EngineFactory = Supervisor,
    make_sandbox: SandboxFactory = make_process_sandbox,
) -> Services:
    """Open the database and the files; nothing runs yet.

    Raises:
        UsageError: The settings do not fit together.
    """
    keys = ApiKeys(settings)
    store, storage = open_store(settings)
    engine = make_engine(engine_config(settings), store, storage)
    watcher = JobWatcher(store, storage)
    engine.listen(watcher.changed_soon)

    def make_pool(seconds: float, file_bytes: int = _MASK_BYTES, modules: tuple[str, ...] = ()) -> SandboxPool:
        processes = settings.inspect_processes
        limits = ProcessLimits(int(settings.inspect_bytes), file_bytes, settings.max_pixels)
        return SandboxPool(make_sandbox(processes, seconds, limits, modules), processes)

    return Services(
        settings=settings,
        store=store,
        storage=storage,
        engine=engine,
        watcher=watcher,
        metrics=Metrics(store, storage, engine, settings.lease_seconds),
        inspection_pool=make_pool(settings.inspect_seconds),
        probe_pool=make_pool(settings.probe_seconds, modules=_PROBE_MODULES),
        export_pool=make_pool(settings.render_seconds, _RESULT_BYTES),
        frame_pool=make_pool(settings.inspect_seconds),
        frame_cache=FrameCache(int(settings.frame_cache_bytes)),
        streams=Places(
            settings.max_followers,
            settings.max_followers_per_key,
            "streams",
            full="too-many-streams",
            too_many="too-many-streams",
        ),
        uploads=Places(settings.max_uploads, settings.max_uploads_per_key, "uploads"),
        builds=Places(settings.max_uploads, settings.max_uploads_per_key, "requests for results in the making"),
        coming_jobs=JobPlaces(store, QueueLimits(settings.max_queued_jobs, settings.max_jobs_per_key)),
        keys=keys,
    )
