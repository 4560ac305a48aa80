"""Serves the application on a local socket in a thread, so that tests stream and disconnect for real."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

import codec.kernels  # noqa: F401 - compiles it; in a fresh checkout that takes longer than a request may
from service.config import Settings
from service.engine.types import EngineConfig
from service.http.app import create_app
from service.http.context import Services
from service.http.server import HttpServer, listen
from service.jobs.store import JobStore
from service.sandbox.answers import decode, encode_error, encode_result
from service.sandbox.handles import packed, unpacked
from service.sandbox.pool import Sandbox
from service.storage.job_files import Storage
from tests.support.media import write_clip, write_mask
from tests.support.thread_engine import ThreadEngine
from tests.support.waiting import wait_for

FRAMES = 12
_DRAIN_SECONDS = 60
"""Time that requests have to end at the end of a test; a stream that never ends would block it."""


class InlineSandbox(Sandbox):
    """Calls functions in this process. Calls and answers are encoded as for a process of their own."""

    def call_within(self, _seconds: float, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call the function; it has no time limit."""
        with packed((function, args, kwargs)) as (call, files):
            descriptors = [os.dup(file) for file in files]
        try:
            with unpacked(call, descriptors) as (called, given, named):
                answer = encode_result(called, called(*given, **named))
        except Exception as error:
            answer = encode_error(error)
        return decode(function, answer)


@dataclass
class Served:
    """A running service.

    Attributes:
        client: An HTTP client of the service.
        app: The application.
        engine: The job engine of the application.
        clip: A video of `FRAMES` frames of 64x48 pixels.
        mask: A mask that fits the clip.
    """

    client: httpx.Client
    app: FastAPI
    engine: ThreadEngine
    clip: Path
    mask: Path

    @property
    def services(self) -> Services:
        """The services of the application."""
        services: Services = self.app.state.services
        return services

    def post(
        self,
        *,
        options: str | None = None,
        video: Any = None,
        mask: Any = None,
        prompt: str | None = None,
        **headers: str,
    ) -> httpx.Response:
        """Post a job, with a mask or, if it is given, a prompt. Header names have underscores for hyphens."""
        files: dict[str, Any] = {"video": ("clip.mp4", self.clip.read_bytes() if video is None else video)}
        if prompt is None or mask is not None:
            files["mask"] = ("mask.png", self.mask.read_bytes() if mask is None else mask)
        data = {name: text for name, text in (("options", options), ("prompt", prompt)) if text is not None}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.post("/v1/jobs", files=files, data=data, headers=named)

    def run(self, *, options: str | None = None) -> str:
        """Post a job, wait for its end and return its id."""
        answer = self.post(options=options, prefer="wait=60")
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    @contextmanager
    def held(self, at: int = 0) -> Iterator[threading.Event]:
        """Hold jobs after `at` frames while the block runs, or until the yielded event is set."""
        self.engine.hold_at = at
        self.engine.gate.clear()
        try:
            yield self.engine.gate
        finally:
            self.engine.gate.set()
            self.engine.hold_at = 0

    def until(self, job_id: str, *statuses: str) -> dict[str, Any]:
        """Wait until the job has one of the statuses; return the job."""
        found: dict[str, Any] = wait_for(
            lambda: (job := self.client.get(f"/v1/jobs/{job_id}").json())["status"] in statuses and job
        )
        return found


@contextmanager
def served(folder: Path, **settings: Any) -> Iterator[Served]:
    """Serve with a `ThreadEngine`; all files are below `folder`."""
    folder.mkdir(exist_ok=True)
    engines: list[ThreadEngine] = []

    def make_engine(config: EngineConfig, store: JobStore, storage: Storage) -> ThreadEngine:
        engines.append(ThreadEngine(config, store, storage))
        return engines[0]

    own = Settings(home=folder, **settings)
    app = create_app(
        own,
        make_engine=make_engine,
        make_sandbox=lambda processes, *_limits: InlineSandbox(processes),
    )
    clip, mask = write_clip(folder / "clip.mp4"), write_mask(folder / "mask.png")
    with listening(app, own) as address, httpx.Client(base_url=address, timeout=240) as client:
        # FastAPI completes its routes when a request passes them, and ignores a warning for all threads meanwhile. Once
        # others run, they may restore the filter that makes it an error.
        client.get("/nowhere")
        yield Served(client, app, engines[0], clip, mask)


@contextmanager
def listening(app: FastAPI, settings: Settings | None = None) -> Iterator[str]:
    """Serve an application on a free port, as `keymask serve` does; yield its address."""
    settings = (settings or Settings()).model_copy(update={"host": "127.0.0.1", "port": 0})
    listener, address = listen(settings)
    server = HttpServer(app, settings)
    server.config.timeout_graceful_shutdown = _DRAIN_SECONDS
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the service did not start"
            time.sleep(0.01)
        yield address
    finally:
        app.state.services.watcher.close_soon()
        server.should_exit = True
        thread.join(120)
        listener.close()
    assert not thread.is_alive()
