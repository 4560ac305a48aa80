"""`keymask worker`: run the jobs of a service that shares its database and files with this process."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.commands.serve import with_options
from service.cli.console import JsonOption, text_console, write_json
from service.config import load_settings
from service.errors import RunError, UsageError

if TYPE_CHECKING:
    from service.engine.supervisor import Supervisor


def worker_command(
    *,
    devices: Annotated[
        str | None,
        typer.Option(help="Devices with one worker each: cpu, cuda:0,cuda:1 or auto; KEYMASK_DEVICES by default."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Base network to keep loaded; KEYMASK_MODEL by default.")] = None,
    once: Annotated[
        bool,
        typer.Option("--once", help="Stop when no job is left, for schedulers that start workers for waiting jobs."),
    ] = False,
    json_file: JsonOption = None,
) -> None:
    """Run jobs until Ctrl-C, for `keymask serve --devices none` with the same KEYMASK_DATABASE_URL and files."""
    settings = with_options(load_settings(), {"devices": devices, "model": model})
    if not settings.device_list:
        raise UsageError("--devices is none: a worker needs at least one device")
    from service.engine.open import check_writable, open_engine  # noqa: PLC0415
    from service.net.tracing import tracing  # noqa: PLC0415
    from service.runtime.logs import configure_logging  # noqa: PLC0415 - av and cv2 are not needed for --help
    from service.runtime.processes import keep_files_private  # noqa: PLC0415

    keep_files_private()
    check_writable(settings)
    configure_logging(settings.log_level)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with tracing(), open_engine(settings) as engine:
        devices_here = [worker.device for worker in engine.workers()] or [f"Ray at {settings.ray_address}"]
        console = text_console(json_file)
        console.print(
            f"keymask is running jobs on {', '.join(devices_here)}, files in {settings.storage or settings.files_dir}; "
            "stop it with Ctrl-C"
        )
        write_json({"devices": devices_here, "pid": os.getpid()}, json_file)
        while not stop.wait(0.5):
            if once and _has_finished(engine):
                break


def _has_finished(engine: Supervisor) -> bool:
    """Return whether no job is left.

    Raises:
        RunError: No worker can start.
    """
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    failures = [worker.failure for worker in engine.workers()]
    if all(failures) and failures:
        raise RunError(str(failures[0]))
    try:
        return not engine.has_work()
    except SQLAlchemyError:
        return False  # the engine says so in the log, and the database may come back
