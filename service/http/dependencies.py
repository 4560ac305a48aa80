"""What routes ask for: the services, who calls, the job that a path names.

All are coroutines: FastAPI would call plain functions in threads, which costs more than they do.
"""

from __future__ import annotations

from typing import Annotated, cast

import structlog
from fastapi import Depends, Path, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from service.config import digest_of_key
from service.errors import JobNotFoundError
from service.http.context import Services
from service.jobs.types import Job
from service.problems import ProblemError
from service.threads import in_thread

_bearer = HTTPBearer(auto_error=False, description="An API key, where the service asks for one.")

COMMON = ("invalid-request", "unauthorized", "bad-request", "method-not-allowed", "internal-error")
"""Kinds of problems that any call may be answered with."""


async def get_services(request: Request) -> Services:
    """The services of the application."""
    return cast("Services", request.app.state.services)


ServicesDep = Annotated[Services, Depends(get_services)]


async def get_caller(
    services: ServicesDep, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
) -> str | None:
    """Name of the API key that the caller has; None where none is asked for.

    Raises:
        ProblemError: There is none, or a wrong one.
    """
    if not services.keys:
        return None
    if credentials is None:
        raise ProblemError("unauthorized", "give an API key in the header 'Authorization: Bearer KEY'")
    name = services.keys.get(digest_of_key(credentials.credentials))
    if name is None:
        raise ProblemError("unauthorized", "the API key is not one of this service's")
    return name


CallerDep = Annotated[str | None, Depends(get_caller)]


async def get_job(
    services: ServicesDep,
    caller: CallerDep,
    job_id: Annotated[str, Path(description="Id of the job.", examples=["01939f0f1c2a8c1b2d3e4f5061728394"])],
) -> Job:
    """The job that the path names, if the caller may see it.

    Of a job that is followed and runs, what its followers know is good enough: at most a tenth of a second old.

    Raises:
        JobNotFoundError: There is none.
    """
    structlog.contextvars.bind_contextvars(job_id=job_id)
    job = await services.watcher.latest(job_id)
    if job is None:
        job = await in_thread(services.store.get, job_id, caller)
        services.watcher.outdate(job_id)
    elif caller not in (None, job.api_key_id):
        raise JobNotFoundError(f"there is no job {job_id}")
    return job


JobDep = Annotated[Job, Depends(get_job)]
