"""`/health/*` and `/metrics`: for whoever runs the service. `/problems/{kind}`: what a problem's `type` points to."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from service.http.dependencies import CallerDep, ServicesDep
from service.http.problem_responses import documented
from service.http.schemas import Health, ProblemKind
from service.problems import PROBLEMS, ProblemError, type_of
from service.threads import in_thread

router = APIRouter(tags=["operations"])


@router.get("/health/live", summary="Does the process answer?", responses=documented("internal-error"))
async def live() -> Health:
    """The process answers."""
    return Health(status="ok")


@router.get("/health/ready", summary="Can jobs be run?", responses=documented("not-ready", "internal-error"))
async def ready(services: ServicesDep) -> Health:
    """The database answers and a worker holds its network; 503 until then."""
    try:
        await in_thread(services.store.ping)
    except Exception as error:
        raise ProblemError("not-ready", "the database does not answer") from error
    if services.watcher.closing:
        raise ProblemError("not-ready", "the service is shutting down")
    if services.settings.device_list and not services.engine.ready:
        failures = [worker.failure for worker in services.engine.workers() if worker.failure]
        raise ProblemError("not-ready", failures[0] if failures else "no worker has loaded its network yet")
    return Health(status="ok")


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=PlainTextResponse,
    responses=documented("unauthorized", "internal-error"),
)
async def metrics(services: ServicesDep, _caller: CallerDep) -> Response:
    """Text in Prometheus's format."""
    return Response(await in_thread(services.metrics.render), media_type=CONTENT_TYPE_LATEST)


@router.get(
    "/problems/{kind}",
    summary="What a problem means",
    responses=documented("not-found", "invalid-request", "internal-error"),
)
async def read_problem(kind: str) -> ProblemKind:
    """A kind of problem, as the `type` of an error names it."""
    if kind not in PROBLEMS:
        raise ProblemError("not-found", f"there is no problem of the kind {kind[:80]!r}")
    problem = PROBLEMS[kind]
    return ProblemKind(
        type=type_of(kind), title=problem.title, status=int(problem.status), retry_after=problem.retry_after
    )
