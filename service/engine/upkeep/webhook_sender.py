"""The thread that sends the events of jobs to their webhooks.

Every process of the service that may send has one. The database gives each event to one of them at a time.
"""

from __future__ import annotations

import random
import threading
from datetime import UTC, datetime

from service.config import Settings
from service.engine.steps import Steps
from service.jobs.store import JobStore
from service.jobs.types import Delivery, Job
from service.net.address_guard import UrlRules
from service.net.webhooks import body_of, post, rules_of, secret_of, sign

_PAUSE_SECONDS = 1.0
"""Time between two looks for events that are due, random within a factor of two."""


class WebhookSender:
    """Sends what is due, one event after the other.

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
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keymask-webhooks", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """End the thread after the event that it sends; do not wait for longer than this."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stopping.wait(_PAUSE_SECONDS * random.uniform(0.5, 1.0)):
            self._steps.run("send webhooks", self._send_due)

    def _send_due(self) -> None:
        while not self._stopping.is_set() and (claimed := self._store.claim_delivery()) is not None:
            self._send(*claimed)

    def _send(self, delivery: Delivery, job: Job) -> None:
        if job.webhook is None:  # a version that does not know this one's webhooks wrote the row
            self._store.settle_delivery(delivery, "the job has no webhook", delivered=False, final=True)
            return
        data = {"id": job.id, "status": str(job.status), "error": None if job.error is None else job.error.detail}
        body = body_of(delivery.event, delivery.created_at, data)
        headers = sign(secret_of(self._secret, job.api_key_id), delivery.id, datetime.now(UTC), body)
        answer, delivered, final = post(job.webhook.url, self._rules, headers, body)
        self._store.settle_delivery(delivery, answer, delivered=delivered, final=final)
