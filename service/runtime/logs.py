"""Log one JSON object per line to standard error, with the ids of the request and the job where there are any."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Hashable, MutableMapping
from threading import Lock
from typing import Any

import structlog
from structlog.tracebacks import ExceptionDictTransformer

REQUEST_LOG = "keymask.http"
"""Logger of one line per request."""
_QUIET = (
    "uvicorn.access", "sqlalchemy.engine", "service.jobs.postgres.BreakerPool", "alembic", "multipart",
    "python_multipart", "httpx",
)  # fmt: skip


class LogBudget:
    """Limits records by kind: a burst passes at once, then one per interval.

    Args:
        burst: Number of records of one kind that pass at once.
        seconds: Time after which one more passes.
    """

    def __init__(self, burst: int, seconds: float) -> None:
        self._burst = burst
        self._seconds = seconds
        self._kinds: dict[Hashable, tuple[float, float, int]] = {}
        self._lock = Lock()

    def take(self, kind: Hashable) -> int | None:
        """Return the number of records of this kind that were dropped since the latest one; None: drop this one too."""
        now = time.monotonic()
        with self._lock:
            tokens, at, dropped = self._kinds.get(kind, (float(self._burst), now, 0))
            tokens = min(self._burst, tokens + (now - at) / self._seconds)
            passes = tokens >= 1
            self._kinds[kind] = (tokens - 1, now, 0) if passes else (tokens, now, dropped + 1)
        return dropped if passes else None


class RepeatFilter(logging.Filter):
    """Drops warnings and errors that one place repeats, so that a fault that lasts does not fill the disk.

    The next record that passes has the number of dropped ones as `dropped`. Lines of requests all pass.
    """

    def __init__(self, burst: int = 20, seconds: float = 5.0) -> None:
        super().__init__()
        self._budget = LogBudget(burst, seconds)

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is written."""
        if record.levelno < logging.WARNING or record.name == REQUEST_LOG:
            return True
        kind = record.exc_info[0] if record.exc_info else None
        dropped = self._budget.take((record.name, record.lineno, kind))
        if dropped:
            record.dropped = dropped
        return dropped is not None


def configure_logging(level: str) -> None:
    """Send the whole process's log records to standard error as JSON.

    Args:
        level: "debug", "info", "warning" or "error".
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        _drop_colours,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(RepeatFilter())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
                structlog.processors.EventRenamer("message"),
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True


def _drop_colours(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Drop uvicorn's second copy of the message, which has terminal colors."""
    event.pop("color_message", None)
    return event
