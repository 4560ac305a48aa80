"""What callers need to receive events: the secret that signs them, and what became of each."""

from __future__ import annotations

from fastapi import APIRouter

from service.http.dependencies import COMMON, CallerDep, JobDep, ServicesDep
from service.http.problem_responses import document_problems
from service.http.schemas import Deliveries, DeliveryView, WebhookSecret
from service.net.webhooks import secret_of
from service.problems import ProblemError
from service.runtime.threads import in_thread

router = APIRouter(tags=["webhooks"])


@router.get(
    "/v1/webhook-secret",
    summary="Read the secret of the caller's webhooks",
    responses=document_problems(*COMMON, "not-found"),
)
async def read_webhook_secret(services: ServicesDep, caller: CallerDep) -> WebhookSecret:
    """The secret with which events are signed. Each API key has one of its own, which stays the same."""
    secret = services.settings.webhook_secret
    if secret is None:
        raise ProblemError("not-found", "this service sends no webhooks")
    return WebhookSecret(secret=secret_of(secret.get_secret_value(), caller))


@router.get(
    "/v1/jobs/{job_id}/deliveries",
    summary="List what was sent to a job's webhook",
    responses=document_problems(*COMMON, "job-not-found"),
)
async def list_deliveries(job: JobDep, services: ServicesDep) -> Deliveries:
    """Each event of the job that its webhook asks for, with the number of attempts and the latest answer."""
    found = await in_thread(services.store.deliveries, job.id)
    return Deliveries(deliveries=[DeliveryView.of(delivery) for delivery in found])
