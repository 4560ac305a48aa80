"""The log: a place that repeats itself is cut short, and says so."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from service.runtime import logs
from service.runtime.logs import REQUEST_LOG, LogBudget, RepeatFilter


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time as the log sees it, in its only element."""
    now = [0.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What is written of records, with the number of dropped ones."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(logging.Formatter("%(message)s %(dropped)s", defaults={"dropped": 0}))
    handler.addFilter(RepeatFilter(burst=3, seconds=10))
    root = logging.getLogger()
    root.addHandler(handler)
    yield text
    root.removeHandler(handler)


def test_a_budget_lets_a_burst_pass_then_one_per_interval(clock: list[float]) -> None:
    """Each kind has a budget of its own, which fills up again; dropped records are counted."""
    budget = LogBudget(2, 10)
    assert [budget.take("a") for _ in range(4)] == [0, 0, None, None]
    assert budget.take("b") == 0
    clock[0] = 10.0
    assert [budget.take("a") for _ in range(2)] == [2, None]
    clock[0] = 1000.0
    assert [budget.take("a") for _ in range(3)] == [1, 0, None]


def test_repeated_errors_are_dropped_and_counted(clock: list[float], written: io.StringIO) -> None:
    """A thousand errors of one place leave three lines and, later, one with the number of the others."""
    log = logging.getLogger("service.somewhere")
    for at in (0.0, 10.0):
        clock[0] = at
        for _ in range(500):
            log.error("broken")
    assert written.getvalue().splitlines() == ["broken 0"] * 3 + ["broken 497"]


def test_other_places_and_requests_are_written(clock: list[float], written: io.StringIO) -> None:
    """The same message of another place passes, and so does every line of a request."""
    for _ in range(9):
        logging.getLogger("service.somewhere").error("broken")
    logging.getLogger("service.somewhere").error("broken")
    for _ in range(9):
        logging.getLogger(REQUEST_LOG).error("request")
    lines = written.getvalue().splitlines()
    assert (lines.count("broken 0"), lines.count("request 0")) == (4, 9)
    assert clock == [0.0]
