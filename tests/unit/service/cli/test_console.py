"""Progress and messages on a terminal, and on a pipe."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path

import pytest
from rich.console import Console

from service.cli.console import compile_once, progress_bar
from service.config import Settings
from service.run import compilation


def terminal() -> tuple[Console, io.StringIO]:
    """A console that takes its text for a terminal's, and the text."""
    text = io.StringIO()
    return Console(file=text, force_terminal=True, width=120), text


def test_the_bar_shows_rate_and_time_left() -> None:
    """Once two steps are done, their rate and an estimate of the rest are drawn."""
    console, text = terminal()
    with progress_bar("segmenting", console=console) as update:
        for done in range(1, 5):
            time.sleep(0.05)
            update(done, 100)
        time.sleep(0.3)
    drawn = text.getvalue()
    assert "segmenting" in drawn
    assert "4/100" in drawn
    assert "frames/s" in drawn
    assert "left" in drawn


def test_a_pipe_shows_no_bar() -> None:
    """Text that is not a terminal's stays empty."""
    text = io.StringIO()
    with progress_bar("segmenting", console=Console(file=text)) as update:
        update(1, 2)
    assert text.getvalue() == ""


def test_compiling_is_announced_once_per_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first run on a terminal says why it waits; the second is silent; another fingerprint compiles anew."""
    loaded: list[str] = []
    monkeypatch.setattr(compilation.compile_kernels, "__defaults__", (loaded.append,))
    settings = Settings(home=tmp_path / "home")
    messages = []
    for fingerprint in ("this processor", "this processor", "another"):
        monkeypatch.setattr(compilation, "_fingerprint", lambda now=fingerprint: now)
        console, text = terminal()
        compile_once(settings, console)
        messages.append("compiling for this processor, once" in text.getvalue())
    assert messages == [True, False, True]
    assert loaded == [*compilation.KERNELS, *compilation.KERNELS]


def test_nothing_is_compiled_ahead_on_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal, nobody reads the message, and bad input must be refused without a wait."""
    monkeypatch.setattr(compilation, "is_compiled", pytest.fail)
    compile_once(Settings(home=tmp_path), Console(file=io.StringIO()))


def test_the_fingerprint_depends_on_the_kernels_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel file of another time gives another fingerprint; the same files give the same one."""
    kernel = tmp_path / "kernel.py"
    kernel.touch()
    monkeypatch.setattr(compilation, "_sources", lambda _module: [kernel])
    compilation.compile_kernels(tmp_path / "marker", load=lambda _module: None)
    assert compilation.is_compiled(tmp_path / "marker")
    os.utime(kernel, (1, 1))
    assert not compilation.is_compiled(tmp_path / "marker")
