"""When resume states are saved, by a clock that moves as the test says."""

from __future__ import annotations

import pytest

from service.errors import StorageUnavailableError
from service.run.resume.save_schedule import SaveSchedule, tolerate


class Run:
    """A run with a mask every tenth of a second.

    Attributes:
        now: Time in seconds.
        saved: Times of the states.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, min_seconds: float) -> None:
        self.now, self.saved = 1000.0, [1000.0]
        self._schedule = SaveSchedule(min_seconds)
        monkeypatch.setattr("time.monotonic", lambda: self.now)

    def go_on(self, seconds: float, save_seconds: float, error: Exception | None = None) -> None:
        """Compute for this time; each save takes some, too, and may fail."""
        end = self.now + seconds

        def save() -> None:
            self.now += save_seconds
            if error is not None:
                raise error
            self.saved.append(self.now)

        while self.now < end:
            self.now += 0.1
            tolerate(lambda: self._schedule.run_if_due(save))

    @property
    def pauses(self) -> list[float]:
        """Seconds of work that each state secures."""
        return [later - earlier for earlier, later in zip(self.saved, self.saved[1:], strict=False)]


def test_saves_take_little_of_a_long_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow saves take 2 % of the time, and half a second; quick ones come as often as they may."""
    slow = Run(monkeypatch, 1.0)
    slow.go_on(600.0, 0.2)
    assert 0.2 * len(slow.saved) < 0.02 * 600 + 0.5 + 0.4
    assert max(slow.pauses) < 0.2 / 0.02 + 0.5
    quick = Run(monkeypatch, 1.0)
    quick.go_on(60.0, 0.01)
    assert max(quick.pauses) < 1.3


def test_a_short_run_loses_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """In its first seconds, states are saved as often as they may, although each takes long."""
    run = Run(monkeypatch, 0.2)
    run.go_on(1.5, 0.08)
    assert len(run.saved) > 5
    assert max(run.pauses) < 0.45


def test_a_failed_save_is_soon_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long it waited for a store that is away delays no state after the store is back."""
    run = Run(monkeypatch, 1.0)
    for took, at_most in ((8.0, 10.5), (0.5, 2.5)):
        run.go_on(30.0, took, StorageUnavailableError("away"))
        back_at, before = run.now, len(run.saved)
        run.go_on(30.0, 0.05)
        assert run.saved[before] - back_at < at_most
        assert run.pauses[-1] < 3.0
