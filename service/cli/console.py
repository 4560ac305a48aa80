"""Output of commands: text for people, JSON for programs, a progress bar on a terminal.

Results go to standard output, errors and progress to standard error. With `--json -`, standard output holds the JSON
alone, and the text for people moves to standard error.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from service.config import Settings
from service.errors import UsageError

STDOUT = "-"


def _check_json(json_file: str | None) -> str | None:
    """Refuse a file that cannot be written before the work is done."""
    if (path := json_path(json_file)) is not None:
        if path.is_dir():
            raise UsageError(f"--json {json_file} is a folder; a file is expected")
        if not path.parent.is_dir():
            raise UsageError(f"--json {json_file}: the folder {path.parent} does not exist")
    return json_file


JsonOption = Annotated[
    str | None,
    typer.Option(
        "--json",
        metavar="FILE",
        help="Also write the result as JSON; '-' for standard output.",
        callback=_check_json,
    ),
]
"""The `--json` option that every command takes: `json_file: JsonOption = None`."""


def json_path(json_file: str | None) -> Path | None:
    """Return the file that `--json` names, None if it names none."""
    return None if json_file in (None, STDOUT) else Path(str(json_file))


def text_console(json_file: str | None = None) -> Console:
    """Return where the text for people goes, given the command's `--json` value."""
    return Console(stderr=json_file == STDOUT, highlight=False, markup=False, emoji=False, soft_wrap=True)


def write_json(value: Any, json_file: str | None) -> None:
    """Write `value` where `--json` says, if it was given."""
    if json_file is None:
        return
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    if json_file == STDOUT:
        sys.stdout.write(text)
        return
    Path(json_file).write_text(text, encoding="utf-8")


@contextmanager
def progress_bar(
    description: str, unit: str = "frames", console: Console | None = None
) -> Iterator[Callable[[int, int | None], None]]:
    """Show a bar with rate and time left while the block runs, if standard error is a terminal; else show nothing.

    Args:
        description: What is being done.
        unit: Name of the steps, in the plural.
        console: Where to draw; standard error by default.

    Yields:
        A function to call with the number of steps done so far and the number expected, None if unknown.
    """
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield lambda _done, _total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    rate, left = TextColumn("{task.fields[rate]}"), TimeRemainingColumn(compact=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, left, TextColumn("left"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(description, total=None, rate="")

        def update(done: int, total: int | None) -> None:
            progress.update(task, completed=done, total=total)
            speed = progress.tasks[0].speed
            progress.update(task, rate="" if speed is None else f"{speed:.1f} {unit}/s")

        yield update


def compile_once(settings: Settings, console: Console | None = None) -> None:
    """Compile the kernels and say so, if that has not been done on this machine and standard error is a terminal.

    Elsewhere they compile unannounced, when the first frame needs them.
    """
    console = console or Console(stderr=True)
    if not console.is_terminal:
        return
    from service.run.compilation import compile_kernels, is_compiled  # noqa: PLC0415

    marker = settings.home / "compiled"
    if not is_compiled(marker):
        with console.status("compiling for this processor, once"):
            compile_kernels(marker)


@contextmanager
def heeded_interrupts() -> Iterator[Callable[[], None]]:
    """Keep a Ctrl-C from being lost: call the yielded function to raise it again if a destructor swallowed it."""
    received: list[int] = []

    def note(number: int, _frame: object) -> None:
        received.append(number)
        raise KeyboardInterrupt

    def heed() -> None:
        if received:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield heed
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield heed
    finally:
        signal.signal(signal.SIGINT, before)
