"""The application. `create_app(settings)` builds it; nothing is opened or started before it is served."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from importlib.metadata import version

from anyio.to_thread import run_sync
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from service.config import Settings
from service.engine.supervisor import Supervisor
from service.http.access.gate import RequestGate
from service.http.access.middleware import HeadAsGet, RequestObserver, TrustedProxies
from service.http.context import EngineFactory, SandboxFactory, Services, build_services, make_process_sandbox
from service.http.openapi import describe
from service.http.problem_responses import add_error_handlers
from service.http.routes import (
    corrections,
    docs,
    events,
    frames,
    jobs,
    masks,
    models,
    operations,
    page,
    probe,
    prompts,
    results,
    uploads,
    webhooks,
)
from service.sandbox.confinement import available_confinement

_log = logging.getLogger(__name__)

_DESCRIPTION = """Masks for every frame of a compressed video from the mask of one frame.

Post a video and a mask, follow the job, and read the masks while they are computed. Errors are RFC 9457 problems whose
`type` is stable. Times are UTC, RFC 3339."""


def create_app(
    settings: Settings,
    *,
    make_engine: EngineFactory = Supervisor,
    make_sandbox: SandboxFactory = make_process_sandbox,
) -> FastAPI:
    """Build the service as an ASGI application.

    Args:
        settings: The settings of the service.
        make_engine: Creates the job engine.
        make_sandbox: Creates a pool of processes that read uploads.
    """
    app = FastAPI(
        title="keymask",
        version=version("keymask-server"),
        description=_DESCRIPTION,
        lifespan=_lifespan(partial(build_services, settings, make_engine, make_sandbox)),
        redirect_slashes=False,
        docs_url=None,  # FastAPI's pages load scripts from other servers
        redoc_url=None,
    )
    for resource in (
        *(jobs, corrections, events, masks, results, frames, uploads),
        *(webhooks, probe, prompts, models, operations, docs, page),
    ):
        app.include_router(resource.router)
    add_error_handlers(app)
    app.add_middleware(HeadAsGet)
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.allowed_origins),
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=[
                *("Authorization", "Idempotency-Key", "Prefer", "Last-Event-ID", "Range", "If-None-Match"),
                *("Tus-Resumable", "Upload-Length", "Upload-Metadata", "Upload-Offset", "Content-Type"),
            ],
            expose_headers=[
                *("Location", "Retry-After", "ETag", "Content-Range", "X-Request-ID", "X-Keymask-Notes"),
                *("Tus-Resumable", "Upload-Length", "Upload-Offset", "Upload-Expires"),
            ],
        )
    app.add_middleware(RequestGate, settings=settings)
    app.add_middleware(RequestObserver)
    if settings.trusted_proxy_list or settings.root_path:
        app.add_middleware(TrustedProxies, trusted=settings.trusted_proxy_list, prefix=settings.root_path)
    app.openapi = partial(describe, app)  # type: ignore[method-assign]
    return app


def _lifespan(build: Callable[[], Services]) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        services = await run_sync(build)
        app.state.services = services
        await run_sync(services.engine.start)
        warm_up = asyncio.create_task(_warm_up(services))
        if services.settings.auth == "off" and (services.settings.api_keys or services.settings.api_keys_file):
            _log.warning("API keys are set, but KEYMASK_AUTH is off: no request needs a key")
        if not (services.keys.required or services.settings.only_local):
            _log.warning("everybody who can reach this service can use it and read all jobs: no request needs a key")
        confinement = available_confinement()
        if not confinement.is_complete:
            _log.warning("this kernel confines the decoding of uploads only in part", extra=confinement.as_json())
        about = {"version": app.version, "keys": len(services.keys.names), "confinement": confinement.as_json()}
        _log.info("started", extra=about)
        try:
            yield
        finally:
            services.watcher.close()
            await run_sync(services.close_pools)
            builds = [build.task for build in services.result_builds.values()]
            await asyncio.gather(warm_up, *builds, return_exceptions=True)
            await run_sync(_stop, services)
            _log.info("stopped")

    return lifespan


async def _warm_up(services: Services) -> None:
    """Start the processes that people wait for first: those that inspect an upload, and show its first frame."""
    await services.inspection_pool.warm_up()
    await services.frame_pool.warm_up()


def _stop(services: Services) -> None:
    services.engine.stop()
    services.storage.close()
    services.store.close()
