"""Runs the steps of a loop so that a failed one ends neither the loop nor the other steps."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from service.errors import StorageUnavailableError
from service.runtime.logs import LogBudget

_log = logging.getLogger(__name__)

_LOG_SECONDS = 60.0
"""Time between two records of the same failure."""


class Steps:
    """Guards each step on its own. A failed step is logged at a limited rate; the loop repeats it at its next turn."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}
        self._budget = LogBudget(1, _LOG_SECONDS)

    def run(self, name: str, action: Callable[[], object]) -> bool:
        """Run a step; return whether it succeeded."""
        try:
            action()
        except Exception as error:
            self._report(name, error)
            return False
        return True

    def every(self, seconds: float, name: str, action: Callable[[], object]) -> None:
        """Run a step unless it has run within this time."""
        now = time.monotonic()
        if now >= self._due.get(name, 0.0):
            self._due[name] = now + seconds
            self.run(name, action)

    def hasten(self, name: str) -> None:
        """Let the next call of `every` run the step."""
        self._due.pop(name, None)

    def _report(self, name: str, error: Exception) -> None:
        """Log a failure: of the database or the system in one line, any other with its traceback, as it is a defect."""
        dropped = self._budget.take((name, type(error)))
        if dropped is None:
            return
        is_expected = isinstance(error, SQLAlchemyError | OSError | StorageUnavailableError)
        reason = {"step": name, "reason": f"{type(error).__name__}: {error}"[:200], "dropped": dropped}
        _log.warning("step failed", extra=reason, exc_info=None if is_expected else error)
