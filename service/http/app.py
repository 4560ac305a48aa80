"""The application: `create_app(settings)` puts it together, nothing is opened or started before it is served."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import Any

from anyio.to_thread import run_sync
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from codec.errors import CodecError
from service.config import Settings
from service.engine.supervisor import Supervisor
from service.errors import ServiceError, error_mapping, message_of
from service.http.context import EngineFactory, SandboxFactory, Services, build_services, make_process_sandbox
from service.http.examples import EXAMPLES
from service.http.middleware import Observe
from service.http.problem_responses import answer
from service.http.routes import events, jobs, masks, models, operations, probe, results
from service.http.schemas import FrameLine, Options, ProblemView
from service.problems import ProblemError
from vos.errors import VosError

_log = logging.getLogger(__name__)

_STATUS_KINDS = {404: "not-found", 405: "method-not-allowed", 400: "bad-request"}
_DESCRIPTION = """Masks for every frame of a compressed video from the mask of one frame.

Post a video and a mask, follow the job, take the masks while they are computed. Errors are RFC 9457 problems whose
`type` is stable. Times are UTC, RFC 3339."""


def create_app(
    settings: Settings,
    *,
    make_engine: EngineFactory = Supervisor,
    make_sandbox: SandboxFactory = make_process_sandbox,
) -> FastAPI:
    """The service as an ASGI application.

    Args:
        settings: What the environment decides.
        make_engine: Makes what runs the jobs.
        make_sandbox: Makes what looks at uploads.
    """
    app = FastAPI(
        title="keymask",
        version=version("keymask-server"),
        description=_DESCRIPTION,
        lifespan=_lifespan(partial(build_services, settings, make_engine, make_sandbox)),
        redirect_slashes=False,
    )
    for resource in (jobs, events, masks, results, probe, models, operations):
        app.include_router(resource.router)
    _add_handlers(app)
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.allowed_origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Idempotency-Key", "Prefer", "Last-Event-ID", "Range", "If-None-Match"],
            expose_headers=["Location", "Retry-After", "ETag", "Content-Range", "X-Request-ID"],
        )
    app.add_middleware(Observe)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _lifespan(build: Callable[[], Services]) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        services = await run_sync(build)
        app.state.services = services
        await run_sync(services.engine.start)
        warming = asyncio.create_task(run_sync(services.inspection_pool.warm_up))
        if services.settings.auth == "off" and (services.settings.api_keys or services.settings.api_keys_file):
            _log.warning("API keys are set, but KEYMASK_AUTH is off: nobody is asked for one")
        _log.info("started", extra={"version": app.version, "keys": len(services.keys)})
        try:
            yield
        finally:
            services.watcher.close()
            await run_sync(services.end_sandboxes)
            results = [making.task for making in services.result_builds.values()]
            await asyncio.gather(warming, *results, return_exceptions=True)
            await run_sync(_stop, services)
            _log.info("stopped")

    return lifespan


def _stop(services: Services) -> None:
    services.engine.stop()
    services.storage.close()
    services.store.close()


def _add_handlers(app: FastAPI) -> None:
    app.add_exception_handler(ProblemError, _on_problem)
    for kind in (ServiceError, CodecError, VosError):
        app.add_exception_handler(kind, _on_known_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_unexpected)


def _answer(request: Request, kind: str, detail: str, members: dict[str, Any] | None = None) -> JSONResponse:
    services: Services | None = getattr(request.app.state, "services", None)
    if services is not None:
        services.metrics.refused.labels(kind).inc()
    return answer(kind, detail, members)


async def _on_problem(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ProblemError)
    return _answer(request, error.kind, error.detail, error.members)


async def _on_known_error(request: Request, error: Exception) -> JSONResponse:
    return _answer(request, error_mapping(error).problem, message_of(error))


async def _on_invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = [
        {"where": str(e["loc"][0]), "name": ".".join(str(part) for part in e["loc"][1:]), "message": str(e["msg"])}
        for e in error.errors()
    ]
    first = errors[0]
    detail = f"{first['name']} ({first['where']}): {first['message'][0].lower()}{first['message'][1:]}"
    return _answer(request, "invalid-request", detail, {"errors": errors})


async def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    kind = _STATUS_KINDS.get(error.status_code, "bad-request" if error.status_code < 500 else "internal-error")
    response = _answer(request, kind, f"{request.method} {request.url.path[:200]}: {error.detail}")
    response.headers.update(error.headers or {})
    return response


async def _on_unexpected(request: Request, error: Exception) -> JSONResponse:
    _log.error("unexpected error", exc_info=error, extra={"path": request.url.path})
    response = _answer(request, "internal-error", "something went wrong here that is not the request's fault")
    response.headers["Connection"] = "close"  # the server closes it after a defect: the client must not use it again
    return response


def _openapi(app: FastAPI) -> dict[str, Any]:
    """OpenAPI 3.1, made once."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas = schema["components"]["schemas"]
        for model in (Options, FrameLine, ProblemView):
            own = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(own.pop("$defs", {}))
            schemas[own["title"]] = own
        for name, example in EXAMPLES.items():  # set here: FastAPI would leave out their nulls, and they would not fit
            schemas[name]["examples"] = [example]
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        app.openapi_schema = schema
    return app.openapi_schema
