"""`keymask migrate`: bring the schema of the service's database up to date."""

from __future__ import annotations

from service.cli.console import JsonOption, text_console, write_json
from service.config import load_settings


def migrate_command(json_file: JsonOption = None) -> None:
    """Bring the schema of KEYMASK_DATABASE_URL up to date, as `serve` and `worker` do when they start."""
    from sqlalchemy.engine import make_url  # noqa: PLC0415

    from service.engine.open import open_store  # noqa: PLC0415 - not needed for --help

    settings = load_settings()
    store, storage = open_store(settings)
    version = store.schema_version()
    storage.close()
    store.close()
    shown = make_url(settings.database).render_as_string()
    text_console(json_file).print(f"{shown} has schema {version}", soft_wrap=True)
    write_json({"database": shown, "schema": version}, json_file)
