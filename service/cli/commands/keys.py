"""`keymask keys new`: make an API key."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Annotated

import typer

from service.cli.console import JsonOption, text_console, write_json
from service.cli.options import Command, Group
from service.config import digest_of_key
from service.errors import UsageError
from vos.runtime.durable import sync_folder

app = typer.Typer(help="Make API keys for the service.", no_args_is_help=True, cls=Group)


@app.callback()
def keys() -> None:
    """Make API keys for the service."""


@app.command("new", cls=Command)
def new_key(
    name: Annotated[str, typer.Argument(help="Name of the key's owner, shown in logs.", show_default=False)],
    file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Add the key's entry to this file (KEYMASK_API_KEYS_FILE).")
    ] = None,
    json_file: JsonOption = None,
) -> None:
    """Make a random key. It is shown once; the service stores only its SHA-256."""
    if not name or any(c in ",:#" or c.isspace() for c in name):
        raise UsageError(f"the name is {name!r}; it must have at least one character and no space, comma, colon or #")
    key = f"km_{secrets.token_urlsafe(32)}"
    entry = f"{name}:{digest_of_key(key)}"
    if file is not None:
        _append(file, entry)
    console = text_console(json_file)
    console.print(f"key    {key}   (send it as 'Authorization: Bearer ...'; it is not shown again)")
    console.print(f"entry  {entry}   (for KEYMASK_API_KEYS)")
    if file is not None:
        console.print(f"added to {file}")
    write_json({"name": name, "key": key, "entry": entry}, json_file)


def _append(file: Path, entry: str) -> None:
    """Add a line to a file and wait until it is on the disk, so that no key is shown that the service may forget."""
    file.touch(mode=0o600)
    with file.open("a", encoding="utf-8") as entries:
        entries.write(entry + "\n")
        entries.flush()
        os.fsync(entries.fileno())
    sync_folder(file.parent)
