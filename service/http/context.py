"""What the routes work with, put together once for an application."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeAlias

import anyio

from service.config import Settings
from service.engine.open import engine_config, open_store
from service.engine.supervisor import Supervisor
from service.engine.types import Engine, EngineConfig
from service.errors import UsageError
from service.http.metrics import Metrics
from service.http.streaming.job_watcher import JobWatcher
from service.jobs.store import JobStore
from service.problems import ProblemError
from service.sandbox.inspection import UploadLimits
from service.sandbox.pool import Sandbox, SandboxClosedError, SandboxDiedError, SandboxTimeoutError
from service.storage.job_files import Storage
from service.threads import Args, Result

EngineFactory: TypeAlias = Callable[[EngineConfig, JobStore, Storage], Engine]
SandboxFactory: TypeAlias = Callable[[int, float, int], Sandbox]
"""Called with processes, seconds of a call, bytes of a process."""


def make_process_sandbox(processes: int, seconds: float, memory_bytes: int) -> Sandbox:
    """The real one."""
    return Sandbox(processes, timeout=seconds, memory_bytes=memory_bytes)


@dataclass(frozen=True, slots=True)
class ResultBuild:
    """A result on its way.

    Attributes:
        part: The file while it grows.
        task: Ends when the result is there.
    """

    part: Path
    task: asyncio.Task[None]


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that lives as long as the application.

    Attributes:
        settings: What the environment decides.
        store: The jobs.
        storage: Their files.
        engine: Runs them.
        watcher: Tells streams of news.
        metrics: Counters.
        inspection_pool: Processes that look at uploads.
        probe_pool: Processes that probe, apart: a probe may take longer than an upload should wait.
        export_pool: Processes that make results, which may take many minutes.
        keys: SHA-256 of an API key -> its name; empty: no key is asked for.
        slots: Who may call a sandbox, so that nobody waits for one in a thread.
        result_builds: (job id, format) -> the result that is being made.
    """

    settings: Settings
    store: JobStore
    storage: Storage
    engine: Engine
    watcher: JobWatcher
    metrics: Metrics
    inspection_pool: Sandbox
    probe_pool: Sandbox
    export_pool: Sandbox
    keys: dict[str, str]
    slots: dict[int, anyio.CapacityLimiter] = field(default_factory=dict)
    result_builds: dict[tuple[str, str], ResultBuild] = field(default_factory=dict)

    @property
    def limits(self) -> UploadLimits:
        """What a video and a mask may have at most."""
        s = self.settings
        return UploadLimits(s.max_pixels, s.max_frames, s.max_duration_seconds, s.max_objects)

    async def sandboxed(
        self,
        sandbox: Sandbox,
        seconds: float,
        function: Callable[Args, Result],
        *args: Args.args,
        **kwargs: Args.kwargs,
    ) -> Result:
        """Call a function in a sandbox; who waits for a free process holds no thread.

        Raises:
            ProblemError: The file broke the process, or it took too long, or the service stops.
            Exception: What the function raised.
        """
        slots = self.slots.setdefault(id(sandbox), anyio.CapacityLimiter(self.settings.inspect_processes))
        call: Callable[[], Result] = partial(sandbox.call_within, seconds, function, *args, **kwargs)
        try:
            return await anyio.to_thread.run_sync(call, limiter=slots)
        except (SandboxDiedError, SandboxTimeoutError) as error:
            raise ProblemError("video-undecodable", str(error)) from None
        except SandboxClosedError as error:
            raise ProblemError("not-ready", str(error)) from None

    def end_sandboxes(self) -> None:
        """End all calls in sandboxes, and their processes."""
        for sandbox in (self.inspection_pool, self.probe_pool, self.export_pool):
            sandbox.close()


def build_services(
    settings: Settings,
    make_engine: EngineFactory = Supervisor,
    make_sandbox: SandboxFactory = make_process_sandbox,
) -> Services:
    """Open database and files; nothing runs yet.

    Raises:
        UsageError: The settings do not fit together.
    """
    keys = keys_in_force(settings)
    store, storage = open_store(settings)
    engine = make_engine(engine_config(settings), store, storage)
    watcher = JobWatcher(store, storage, settings.max_followers)
    engine.listen(watcher.changed_soon)
    memory = int(settings.inspect_bytes)
    return Services(
        settings=settings,
        store=store,
        storage=storage,
        engine=engine,
        watcher=watcher,
        metrics=Metrics(store, storage, engine),
        inspection_pool=make_sandbox(settings.inspect_processes, settings.inspect_seconds, memory),
        probe_pool=make_sandbox(settings.inspect_processes, settings.probe_seconds, memory),
        export_pool=make_sandbox(settings.inspect_processes, settings.render_seconds, memory),
        keys=keys,
    )


def keys_in_force(settings: Settings) -> dict[str, str]:
    """The API keys to ask for, none where `auth` or the address says so.

    Raises:
        UsageError: Keys are needed and there are none.
    """
    if settings.auth == "off":
        return {}
    keys = settings.key_digests()
    if not keys and (settings.auth == "required" or not settings.only_local):
        raise UsageError(
            f"the service would listen on {settings.host} without an API key: make one with `keymask keys new NAME`, "
            "listen on 127.0.0.1, or set KEYMASK_AUTH=off if something in front of it checks who may come in"
        )
    return keys
