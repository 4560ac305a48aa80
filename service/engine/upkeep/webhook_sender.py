"""The threads that send the events of jobs to their webhooks.

Every process of the service that may send has them. The database gives each event to one process at a time.
"""

from __future__ import annotations

import random
import threading
import time
from datetime import UTC, datetime
from functools import partial

from service.config import Settings
from service.engine.steps import Steps
from service.jobs.store import JobStore
from service.jobs.types import Delivery, Job
from service.net.address_guard import UrlRules
from service.net.tracing import record
from service.net.webhooks import body_of, post, rules_of, secret_of, sign

_PAUSE_SECONDS = 1.0
"""Time between two looks for events that are due, random within a factor of two."""
_MAX_SENDING = 8
"""Largest number of events that are being sent at a time, each to another host."""


class WebhookSender:
    """Sends what is due: to several hosts at a time, and to each of them one event after the other.

    A thread claims events and starts one more thread for each, so a receiver that is slow delays only itself.

    Args:
        settings: Settings of the service.
        store: The job store.
        rules: Where events may be sent; by default, what the settings allow.
    """

    def __init__(self, settings: Settings, store: JobStore, rules: UrlRules | None = None) -> None:
        assert settings.webhook_secret is not None
        self._secret = settings.webhook_secret.get_secret_value()
        self._store = store
        self._rules = rules or rules_of(settings)
        self._steps = Steps()
        self._stopping, self._sent = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="keymask-webhooks", daemon=True)
        self._sending: dict[threading.Thread, str] = {}

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """End the threads after the events that they send; do not wait for longer than this."""
        end = time.monotonic() + seconds
        self._stopping.set()
        self._sent.set()
        if self._thread.is_alive():
            self._thread.join(seconds)
        for thread in list(self._sending):
            thread.join(max(0.0, end - time.monotonic()))

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._sent.clear()
            self._steps.run("send webhooks", self._send_due)
            if not self._stopping.is_set():
                self._sent.wait(_PAUSE_SECONDS * random.uniform(0.5, 1.0))

    def _send_due(self) -> None:
        """Begin to send what is due, as far as threads and hosts are free."""
        while len(self._sending) < _MAX_SENDING and not self._stopping.is_set():
            busy = set(self._sending.copy().values())  # threads remove themselves meanwhile
            if (claimed := self._store.claim_delivery(busy)) is None:
                return
            delivery, job = claimed
            thread = threading.Thread(target=self._send_and_leave, args=(delivery, job), daemon=True)
            self._sending[thread] = delivery.host or ""
            thread.start()

    def _send_and_leave(self, delivery: Delivery, job: Job) -> None:
        self._steps.run("send a webhook", partial(self._send, delivery, job))
        del self._sending[threading.current_thread()]
        self._sent.set()

    def _send(self, delivery: Delivery, job: Job) -> None:
        if job.webhook is None:  # a version that does not know this one's webhooks wrote the row
            self._store.settle_delivery(delivery, "the job has no webhook", delivered=False, final=True)
            return
        body = body_of(delivery.event, delivery.created_at, data_of(job))
        headers = sign(secret_of(self._secret, job.api_key_id), delivery.id, datetime.now(UTC), body)
        began_at = datetime.now(UTC)
        answer, delivered, final = post(job.webhook.url, self._rules, headers, body)
        self._store.settle_delivery(delivery, answer, delivered=delivered, final=final)
        about = {"keymask.job.id": job.id, "keymask.event": delivery.event, "keymask.answer": answer}
        record("webhook", job.traceparent, (began_at, datetime.now(UTC)), about, failed=not delivered)


def data_of(job: Job) -> dict[str, str | None]:
    """Return what an event says of a job."""
    error = None if job.error is None else job.error.detail
    return {"id": job.id, "corrects": job.corrects, "status": str(job.status), "error": error}
