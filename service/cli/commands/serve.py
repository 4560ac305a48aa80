"""`keymask serve`: the HTTP service."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated

import typer

from service.cli.console import JsonOption, text_console, write_json
from service.config import Settings, load_settings
from service.errors import UsageError


def serve_command(
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on; KEYMASK_HOST by default.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on, 0: any free one; KEYMASK_PORT by default.")
    ] = None,
    auth: Annotated[
        str | None,
        typer.Option(
            help="Whether requests need an API key (see `keymask keys new`): auto, required or off; KEYMASK_AUTH by "
            "default."
        ),
    ] = None,
    devices: Annotated[
        str | None,
        typer.Option(
            help="Devices: cpu, cuda:0,cuda:1, auto, or none to leave the work to `keymask worker`; KEYMASK_DEVICES by "
            "default."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Base network that workers keep loaded; KEYMASK_MODEL by default.")
    ] = None,
    json_file: JsonOption = None,
) -> None:
    """Serve jobs over HTTP until Ctrl-C. Settings come from KEYMASK_* variables; options override them."""
    given = {"host": host, "port": port, "auth": auth, "devices": devices, "model": model}
    settings = with_options(load_settings(), given)
    from service.engine.open import check_writable, engine_class  # noqa: PLC0415
    from service.http.access.api_keys import ApiKeys  # noqa: PLC0415
    from service.http.app import create_app  # noqa: PLC0415
    from service.http.server import listen, run_server  # noqa: PLC0415
    from service.net.tracing import tracing  # noqa: PLC0415
    from service.runtime.logs import configure_logging  # noqa: PLC0415 - av and cv2 are not needed for --help
    from service.runtime.processes import keep_files_private  # noqa: PLC0415

    keep_files_private()
    keys = ApiKeys(settings)
    check_writable(settings)
    make_engine = engine_class(settings)
    configure_logging(settings.log_level)
    socket, address = listen(settings)
    console = text_console(json_file)
    console.print(f"keymask is listening on {address} (documentation: {address}/docs); stop it with Ctrl-C")
    console.print(f"API keys: {', '.join(keys.names) or 'not required'}")
    write_json({"address": address, "pid": os.getpid()}, json_file)
    with tracing():
        run_server(create_app(settings, make_engine=make_engine), socket, settings)


def with_options(settings: Settings, given: Mapping[str, object]) -> Settings:
    """Return the settings with the given options in place of their own.

    Raises:
        UsageError: A value is not allowed.
    """
    from pydantic import ValidationError  # noqa: PLC0415

    chosen = {name: value for name, value in given.items() if value is not None}
    try:
        return Settings.model_validate(settings.model_dump() | chosen)
    except ValidationError as error:
        first = error.errors()[0]
        name, message = first["loc"][0], first["msg"]
        raise UsageError(f"--{name} is {first['input']!r}: {message[0].lower()}{message[1:]}") from None
