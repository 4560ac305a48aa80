"""`/health/*` and `/metrics` for operators; `/problems/{kind}`, which the `type` of a problem points to."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from service.http.dependencies import CallerDep, ServicesDep, TrustedDep, check_open
from service.http.problem_responses import document_problems
from service.http.schemas import ConfinementView, Health, ProblemKind
from service.problems import PROBLEMS, ProblemError, type_of
from service.runtime.threads import in_thread
from service.sandbox.confinement import available_confinement

router = APIRouter(tags=["operations"])


@router.get(
    "/health/live",
    summary="Check that the process answers",
    response_model_exclude_none=True,
    responses=document_problems("host-not-allowed", "internal-error"),
)
async def live() -> Health:
    """Answers as long as the process does."""
    return Health(status="ok")


@router.get(
    "/health/ready",
    summary="Check that jobs can run",
    response_model_exclude_none=True,
    responses=document_problems("not-ready", "host-not-allowed", "internal-error"),
    dependencies=[Depends(check_open)],
)
async def ready(services: ServicesDep, trusted: TrustedDep) -> Health:
    """200 if the database answers and a worker has loaded its base network; 503 until then.

    The reason, and how decoding is confined, are shown to callers with an API key, or to all if none is required.
    """
    try:
        await in_thread(services.store.ping)
    except Exception as error:
        raise _not_ready("the database does not answer", trusted) from error
    reason = services.engine.unready_reason()
    if reason is not None:
        raise _not_ready(reason, trusted)
    return Health(status="ok", confinement=ConfinementView(**available_confinement().as_json()) if trusted else None)


def _not_ready(reason: str, trusted: bool) -> ProblemError:
    return ProblemError("not-ready", reason if trusted else "the reason is shown to callers with an API key")


@router.get(
    "/metrics",
    summary="Read metrics for Prometheus",
    response_class=PlainTextResponse,
    responses=document_problems("unauthorized", "host-not-allowed", "internal-error"),
)
async def metrics(services: ServicesDep, _caller: CallerDep) -> Response:
    """Metrics in Prometheus's text format."""
    return Response(await in_thread(services.metrics.render), media_type=CONTENT_TYPE_LATEST)


@router.get(
    "/problems/{kind}",
    summary="Explain a problem",
    responses=document_problems("not-found", "invalid-request", "host-not-allowed", "internal-error"),
)
async def read_problem(kind: str) -> ProblemKind:
    """The kind of error that the `type` of a problem names."""
    if kind not in PROBLEMS:
        raise ProblemError("not-found", f"there is no problem type {kind[:80]!r}")
    problem = PROBLEMS[kind]
    return ProblemKind(
        type=type_of(kind), title=problem.title, status=int(problem.status), retry_after=problem.retry_after
    )
