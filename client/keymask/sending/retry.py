"""When and how often a request is retried."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import monotonic

import httpx

from keymask.errors import ConnectionFailedError, url_of

_RETRIED = frozenset({423, 429, 502, 503, 504})
_PERHAPS_DONE = frozenset({502, 504})
"""Answers of a proxy that got none from the service."""
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_FIRST_DELAY = 0.25
_LONGEST_DELAY = 30.0
_LONGEST_DELAY_FOLLOWING = 5.0
"""The same for calls that follow a job, which should notice soon that the service is back."""
_STEADY_SECONDS = 5.0
"""A stream that breaks after this time without data has not failed: a queued job sends nothing."""
FOLLOW_SECONDS = 60.0
"""How long the service may be unreachable while a job is followed, for example during a restart."""


class Retry:
    """Retry policy: exponential back-off with full jitter, or the delay that the service asks for.

    Every call of this client may be repeated: a submission carries an idempotency key, and all other calls are
    idempotent.

    Args:
        retries: Number of retries; a success restores it.
        seconds: Limits the time without a success instead of the number of retries; 0 limits the number. Ignored if
            `retries` is 0.

    Attributes:
        perhaps_done: Whether an earlier attempt may have done what the call asks for, although its answer was lost.
    """

    def __init__(self, retries: int, seconds: float = 0.0) -> None:
        self._retries = retries
        self._seconds = seconds if retries else 0.0
        self._longest = _LONGEST_DELAY_FOLLOWING if self._seconds else _LONGEST_DELAY
        self._opened_at: float | None = None
        self.perhaps_done = False
        self.succeeded()

    def after_failure(self, error: httpx.TransportError) -> float:
        """Return the seconds to wait after a connection failed.

        Raises:
            ConnectionFailedError: No retry is left.
        """
        self.perhaps_done = self.perhaps_done or not isinstance(error, _NEVER_SENT)
        opened_at, self._opened_at = self._opened_at, None
        if self._seconds and opened_at is not None and monotonic() - opened_at >= _STEADY_SECONDS:
            self.succeeded()
        if not self._may_try():
            reason = str(error) or type(error).__name__
            raise ConnectionFailedError(f"no answer from {url_of(error)}: {reason}") from error
        return self._next(None)

    def after_answer(self, response: httpx.Response) -> float | None:
        """Return the seconds to wait before a retry, or None if the response is final."""
        if response.status_code not in _RETRIED or not self._may_try():
            self._opened_at = monotonic()
            return None
        self.perhaps_done = self.perhaps_done or response.status_code in _PERHAPS_DONE
        return self._next(_retry_after(response))

    def succeeded(self) -> None:
        """Reset the policy after data arrived."""
        self._left = self._retries
        self._failing_since: float | None = None
        self._delay = _FIRST_DELAY

    def _may_try(self) -> bool:
        if not self._seconds:
            return self._left > 0
        if self._failing_since is None:
            self._failing_since = monotonic()
        return monotonic() - self._failing_since < self._seconds

    def _next(self, asked: float | None) -> float:
        self._left -= 1
        drawn = random.uniform(0, self._delay)
        self._delay = min(2 * self._delay, self._longest)
        return drawn if asked is None else min(asked, _LONGEST_DELAY) + drawn


def _retry_after(response: httpx.Response) -> float | None:
    """Parse a Retry-After header, in either of its forms (RFC 9110, section 10.2.3), to seconds."""
    text = response.headers.get("retry-after", "")
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None
