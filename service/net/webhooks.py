"""Webhooks as Standard Webhooks (https://www.standardwebhooks.com) describes them: what is signed, and how it is sent.

Each API key has a secret of its own, derived from the service's, so that no caller can sign events for another.
"""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any

from service.config import Settings
from service.errors import UrlNotAllowedError, UrlUnavailableError
from service.net.address_guard import UrlRules, open_url

PREFIX = "whsec_"
"""Beginning of a secret in text form, before its bytes in base64."""
SEND_SECONDS = 15.0
"""Time for one attempt."""
_ANSWER_BYTES = 1 << 16


def rules_of(settings: Settings) -> UrlRules:
    """Return where events may be sent."""
    return UrlRules(settings.webhook_host_list, "KEYMASK_WEBHOOK_HOSTS")


def secret_of(service_secret: str, api_key_id: str | None) -> str:
    """Return the secret with which events for jobs of an API key are signed, in text form."""
    derived = hmac.new(service_secret.encode(), f"webhooks of {api_key_id or ''}".encode(), sha256).digest()
    return PREFIX + base64.b64encode(derived).decode()


def sign(secret: str, identifier: str, sent_at: datetime, body: bytes) -> Mapping[str, str]:
    """Return the headers that identify and sign an attempt.

    Args:
        secret: The secret in text form.
        identifier: Identifier of the event, the same at each attempt.
        sent_at: Time of the attempt.
        body: The body.
    """
    timestamp = str(int(sent_at.timestamp()))
    signed = b".".join((identifier.encode(), timestamp.encode(), body))
    digest = hmac.new(base64.b64decode(secret.removeprefix(PREFIX)), signed, sha256).digest()
    return {
        "webhook-id": identifier,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def body_of(event: str, happened_at: datetime, data: Mapping[str, Any]) -> bytes:
    """Return the body of an event."""
    return json.dumps({"type": event, "timestamp": happened_at.isoformat(), "data": data}).encode()


def post(url: str, rules: UrlRules, headers: Mapping[str, str], body: bytes) -> tuple[str, bool, bool]:
    """Send an event once, without following redirects.

    Returns:
        What came of it in one line, whether the receiver confirmed it (2xx), and whether it is of no use to try again
        (410, or a URL that is not allowed).
    """
    sent = {"Content-Type": "application/json", **headers}
    try:
        with open_url(url, rules, seconds=SEND_SECONDS, method="POST", headers=sent, body=body) as answer:
            size = 0
            for block in answer.blocks:  # the receiver may still be writing; what it says is not kept
                size += len(block)
                if size > _ANSWER_BYTES:
                    break
            return f"HTTP {answer.status}", 200 <= answer.status < 300, answer.status == 410
    except UrlNotAllowedError as error:
        return str(error), False, True
    except UrlUnavailableError as error:
        return str(error), False, False
