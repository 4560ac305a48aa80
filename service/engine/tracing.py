"""What the supervisor adds to the traces of jobs: its workers may open no sockets."""

from __future__ import annotations

from datetime import UTC, datetime

from service.engine.messages import Ended
from service.engine.types import WorkerStatus
from service.jobs.claims import Release
from service.jobs.types import Job, JobStatus
from service.net.tracing import Attributes, record


def trace_attempt(ended: Ended, worker: WorkerStatus) -> None:
    """Record an attempt that has ended and, if it was the first, the time that the job has waited for it."""
    trace = ended.trace
    if trace is None:
        return
    job = trace.job
    if job.attempts == 1:
        record("queue", job.traceparent, (job.created_at, trace.began_at), {"keymask.job.id": job.id})
    attributes: Attributes = {
        "keymask.job.id": job.id,
        "keymask.attempt": job.attempts,
        "keymask.worker": worker.name,
        "keymask.device": worker.device,
        "keymask.status": "lost" if ended.status is None else str(ended.status),
        "keymask.resumed": ended.resumed,
        **{f"keymask.frames.{source}": count for source, count in trace.frames.items()},
        **{f"keymask.seconds.{stage}": round(seconds, 3) for stage, seconds in trace.seconds.items()},
    }
    period = trace.began_at, datetime.now(UTC)
    record("run", job.traceparent, period, attributes, failed=ended.status in (None, JobStatus.FAILED))


def trace_release(job: Job, worker: str, why: Release) -> None:
    """Record that a worker no longer has its job."""
    now = datetime.now(UTC)
    attributes = {"keymask.job.id": job.id, "keymask.worker": worker, "keymask.reason": str(why)}
    record("release", job.traceparent, (now, now), attributes, failed=why is not Release.RETURNED)
