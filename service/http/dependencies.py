"""Dependencies that routes declare as parameters: the services, the caller, the job of the path.

All dependencies are coroutines, because FastAPI calls plain functions in threads, which takes longer than they do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Annotated, TypeAlias, cast

import structlog
from fastapi import Depends, Path, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from service.errors import JobNotFoundError
from service.http.context import Services
from service.http.limits.places import share_of
from service.jobs.types import Job, is_job_id
from service.problems import ProblemError
from service.runtime.threads import in_thread

_bearer = HTTPBearer(auto_error=False, description="An API key, if the service requires one.")

COMMON = (
    "invalid-request", "unauthorized", "host-not-allowed", "origin-not-allowed", "bad-request", "method-not-allowed",
    "database-unavailable", "storage-unavailable", "internal-error",
)  # fmt: skip
"""Problem types that any call may be answered with."""
VIDEO_UPLOAD = (
    *COMMON, "invalid-multipart", "invalid-parts", "unsupported-media-type", "upload-too-large", "upload-interrupted",
    "video-unreadable", "no-video-stream", "video-encrypted", "video-truncated", "no-frames", "video-undecodable",
    "too-many-pixels", "storage-full", "too-many-requests", "busy", "not-ready",
)  # fmt: skip
"""Problem types that a call with a video may be answered with."""


async def get_services(request: Request) -> Services:
    """Return the services of the application."""
    return cast("Services", request.app.state.services)


ServicesDep: TypeAlias = Annotated[Services, Depends(get_services)]


CredentialsDep: TypeAlias = Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]


async def get_caller(request: Request, services: ServicesDep, credentials: CredentialsDep) -> str | None:
    """Return the name of the caller's API key; None if the service requires none.

    Raises:
        ProblemError: The key is missing or wrong.
    """
    if not services.keys.required:
        return None
    if credentials is None:
        raise ProblemError("unauthorized", "send an API key in the header 'Authorization: Bearer KEY'")
    name = await services.keys.name_of(credentials.credentials)
    if name is None:
        raise ProblemError("unauthorized", "this service does not know the API key")
    request.state.api_key = name  # for the log
    return name


CallerDep: TypeAlias = Annotated[str | None, Depends(get_caller)]


async def is_trusted(request: Request, services: ServicesDep, credentials: CredentialsDep) -> bool:
    """Return whether the caller has an API key, or needs none: routes open to all tell others no details."""
    try:
        await get_caller(request, services, credentials)
    except ProblemError:
        return False
    return True


TrustedDep: TypeAlias = Annotated[bool, Depends(is_trusted)]


async def get_job(
    services: ServicesDep,
    caller: CallerDep,
    job_id: Annotated[str, Path(description="Id of the job.", examples=["01939f0f1c2a8c1b2d3e4f5061728394"])],
) -> Job:
    """Return the job of the path if the caller may see it.

    Raises:
        JobNotFoundError: There is none.
    """
    if not is_job_id(job_id):  # some databases refuse text with control characters
        raise JobNotFoundError(f"there is no job {job_id[:80]!r}")
    structlog.contextvars.bind_contextvars(job_id=job_id)
    return await in_thread(services.store.get, job_id, caller)


JobDep: TypeAlias = Annotated[Job, Depends(get_job)]


def root_of(request: Request) -> str:
    """Return the prefix under which the client sees the service, "" if there is none."""
    return str(request.scope.get("root_path", ""))


async def check_open(services: ServicesDep) -> None:
    """Refuse the request during shutdown."""
    services.watcher.check_open()


async def get_until_answered() -> AsyncIterator[ExitStack]:
    """Return a stack of what the request holds until its response has ended."""
    with ExitStack() as stack:
        yield stack


UntilAnsweredDep: TypeAlias = Annotated[ExitStack, Depends(get_until_answered)]


async def take_stream_place(request: Request, services: ServicesDep, caller: CallerDep) -> AsyncIterator[None]:
    """Take a place for a stream until its response has ended; refuse it beyond the limit, or during shutdown."""
    services.watcher.check_open()
    with services.streams.take(share_of(request, caller)):
        yield
