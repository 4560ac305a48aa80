"""What commands print: text for people, JSON for programs, a progress bar on a terminal.

Results go to standard output, errors and progress to standard error. With `--json -` standard output belongs to the
JSON alone, so the text for people moves to standard error.
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

from service.errors import UsageError

STDOUT = "-"


def _check_json(json_file: str | None) -> str | None:
    """Refuse a file that cannot be made before the work is done."""
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
    """The file that `--json` names, if it names one."""
    return None if json_file in (None, STDOUT) else Path(str(json_file))


def text_console(json_file: str | None = None) -> Console:
    """Where the text for people goes, given the command's `--json` value."""
    return Console(stderr=json_file == STDOUT, highlight=False, markup=False, emoji=False, soft_wrap=True)


def write_json(value: Any, json_file: str | None) -> None:
    """Write `value` to what `--json` names, if anything."""
    if json_file is None:
        return
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    if json_file == STDOUT:
        sys.stdout.write(text)
        return
    Path(json_file).write_text(text, encoding="utf-8")


@contextmanager
def progress_bar(description: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show a bar on standard error while the block runs, if that is a terminal; else show nothing.

    Args:
        description: What is being done.

    Yields:
        A function to call with the number of steps done so far and the number expected, None if unknown.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _done, _total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(description, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def heeded_interrupts() -> Iterator[Callable[[], None]]:
    """Within it, a Ctrl-C is not lost: what is yielded raises it again if a destructor swallowed it when it came."""
    asked: list[int] = []

    def note(number: int, _frame: object) -> None:
        asked.append(number)
        raise KeyboardInterrupt

    def heed() -> None:
        if asked:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield heed
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield heed
    finally:
        signal.signal(signal.SIGINT, before)
