"""`keymask migrate`: bring the schema of the service's database up to date."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli.console import JsonOption, text_console, write_json
from service.config import load_settings


def migrate_command(
    *,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="SCHEMA",
            help="Take the schema back to this one, which `keymask migrate` of an earlier version has named, before "
            "that version is started again. Stop all other processes first; what only later versions store is lost.",
            show_default=False,
        ),
    ] = None,
    json_file: JsonOption = None,
) -> None:
    """Bring the schema of KEYMASK_DATABASE_URL up to date, as `serve` and `worker` do when they start."""
    from sqlalchemy.engine import make_url  # noqa: PLC0415

    from service.engine.open import open_store  # noqa: PLC0415 - not needed for --help
    from service.jobs.store import JobStore  # noqa: PLC0415

    settings = load_settings()
    if to is None:
        store, storage = open_store(settings)
        storage.close()
    else:
        store = JobStore(settings.database, migrate=False)
        store.roll_back(to)
    version = store.schema_version()
    store.close()
    shown = make_url(settings.database).render_as_string()
    text_console(json_file).print(f"{shown} has schema {version}", soft_wrap=True)
    write_json({"database": shown, "schema": version}, json_file)
