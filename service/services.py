"""What the routes work with, put together once for an application."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeAlias, TypeVar

import anyio
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from service.config import Settings
from service.engine.local import LocalEngine
from service.engine.types import Engine, EngineConfig
from service.errors import UsageError
from service.feed import Feed
from service.inspection import Limits
from service.jobs.store import JobStore
from service.loading import ModelChoice
from service.metrics import Metrics
from service.problems import ProblemError
from service.sandbox import Sandbox, SandboxClosedError, SandboxDiedError, SandboxTimeoutError
from service.storage import Storage
from service.threads import brief_calls

Args = ParamSpec("Args")
Result = TypeVar("Result")

EngineFactory: TypeAlias = Callable[[EngineConfig, JobStore, Storage], Engine]
SandboxFactory: TypeAlias = Callable[[int, float, int], Sandbox]
"""Called with processes, seconds of a call, bytes of a process."""


def make_process_sandbox(processes: int, seconds: float, memory_bytes: int) -> Sandbox:
    """The real one."""
    return Sandbox(processes, timeout=seconds, memory_bytes=memory_bytes)


@dataclass(frozen=True, slots=True)
class Making:
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
        feed: Tells streams of news.
        metrics: Counters.
        inspection: Processes that look at uploads.
        probing: Processes that probe, apart: a probe may take longer than an upload should wait.
        workshop: Processes that make results, which may take many minutes.
        keys: SHA-256 of an API key -> its name; empty: no key is asked for.
        slots: Who may call a sandbox, so that nobody waits for one in a thread.
        rendering: (job id, format) -> the result that is being made.
    """

    settings: Settings
    store: JobStore
    storage: Storage
    engine: Engine
    feed: Feed
    metrics: Metrics
    inspection: Sandbox
    probing: Sandbox
    workshop: Sandbox
    keys: dict[str, str]
    slots: dict[int, anyio.CapacityLimiter] = field(default_factory=dict)
    rendering: dict[tuple[str, str], Making] = field(default_factory=dict)

    @property
    def limits(self) -> Limits:
        """What a video and a mask may have at most."""
        s = self.settings
        return Limits(s.max_pixels, s.max_frames, s.max_duration_seconds, s.max_objects)

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
        for sandbox in (self.inspection, self.probing, self.workshop):
            sandbox.close()


def build_services(
    settings: Settings,
    make_engine: EngineFactory = LocalEngine,
    make_sandbox: SandboxFactory = make_process_sandbox,
) -> Services:
    """Open database and files; nothing runs yet.

    Raises:
        UsageError: The settings do not fit together.
    """
    keys = keys_in_force(settings)
    store, storage = open_store(settings)
    engine = make_engine(engine_config(settings), store, storage)
    feed = Feed(store, storage, settings.max_followers)
    engine.listen(feed.changed_soon)
    memory = int(settings.inspect_bytes)
    return Services(
        settings=settings,
        store=store,
        storage=storage,
        engine=engine,
        feed=feed,
        metrics=Metrics(store, storage, engine),
        inspection=make_sandbox(settings.inspect_processes, settings.inspect_seconds, memory),
        probing=make_sandbox(settings.inspect_processes, settings.probe_seconds, memory),
        workshop=make_sandbox(settings.inspect_processes, settings.render_seconds, memory),
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


def engine_config(settings: Settings) -> EngineConfig:
    """How the engine is to run."""
    return EngineConfig(
        devices=settings.device_list,
        model=ModelChoice(settings.model, settings.weights, precision=settings.precision),
        stall_seconds=settings.stall_seconds,
        grace_seconds=settings.grace_seconds,
        settings=settings,
    )


def open_store(settings: Settings) -> tuple[JobStore, Storage]:
    """Database and files.

    Raises:
        UsageError: The database cannot be opened.
    """
    try:
        url = make_url(settings.database)
        if url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:":
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        store = JobStore(settings.database, retention=timedelta(seconds=settings.retention_seconds))
    except (SQLAlchemyError, ImportError) as error:
        raise UsageError(f"the database of the jobs cannot be opened: {error}") from error
    return store, Storage(settings.files_dir, quota=settings.storage_quota)


@contextmanager
def open_engine(settings: Settings) -> Iterator[Engine]:
    """An engine alone, for a process that runs jobs and serves nothing."""
    store, storage = open_store(settings)
    engine = LocalEngine(engine_config(settings), store, storage)
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()
        storage.close()
        store.close()


async def in_thread(function: Callable[Args, Result], *args: Args.args, **kwargs: Args.kwargs) -> Result:
    """Call what blocks for a moment (database, small pieces of files) in a thread; few run at a time."""
    call: Callable[[], Any] = partial(function, *args, **kwargs)
    result: Result = await anyio.to_thread.run_sync(call, limiter=brief_calls())
    return result
