"""Entry point of a worker process, the only place that imports torch."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from sqlalchemy.engine import make_url

from service.config import credential_folders
from service.engine.messages import Assignment
from service.run.compilation import KERNELS
from service.run.torch_runtime import prepare_torch
from service.runtime.logs import configure_logging
from service.runtime.processes import become_child
from service.sandbox.confinement import confine_worker, limit_formats

_log = logging.getLogger(__name__)

_NICENESS = 10
"""On a busy processor, HTTP responses take precedence over frames."""
_DATABASE_FILES = (".pgpass", ".postgresql")
"""What PostgreSQL's client reads in the user's home."""


def launch(assignment: Assignment, connection: Connection) -> None:
    """Run a worker until the supervisor stops it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_NICENESS)
    configure_logging(assignment.config.settings.log_level)
    prepare_torch()
    for module in KERNELS:  # before the process is confined, because what has to be compiled is stored
        importlib.import_module(module)
    tempfile.tempdir = str(assignment.storage_root)  # a confined worker writes nowhere else
    _confine(assignment)
    become_child()
    from service.engine.worker import Worker  # noqa: PLC0415 - the supervisor's process must not import torch

    Worker(assignment, connection).run()


def _confine(assignment: Assignment) -> None:
    """Leave the worker what its jobs need. It decodes strangers' files, as sandboxes do."""
    settings = assignment.config.settings
    limit_formats(settings.max_pixels)
    url = make_url(assignment.database_url)
    is_file = url.get_backend_name() == "sqlite"
    # Each may be a link to another disk, and a rule holds below what a link leads to.
    home, storage = settings.home.absolute(), assignment.storage_root
    writable = [home, home / "service", storage, storage / "jobs"]
    if is_file and url.database:
        writable += [Path(url.database).absolute().parent, Path(url.database).resolve().parent]
    try:
        confine_worker(_readable(assignment), writable, network=not is_file or settings.storage is not None)
    except OSError as error:
        _log.warning("the worker is not confined", extra={"reason": str(error)})


def _readable(assignment: Assignment) -> Iterator[Path]:
    """Yield where modules, weights and files of the database's client are."""
    yield from (Path(entry).absolute() for entry in sys.path)
    if assignment.config.model.weights:
        yield Path(assignment.config.model.weights).expanduser().absolute()
    yield assignment.config.settings.weights_dir
    yield from (Path.home() / name for name in _DATABASE_FILES)
    if assignment.config.settings.storage is not None:
        yield from credential_folders()
    for value in make_url(assignment.database_url).query.values():  # such as sslrootcert
        yield from (Path(text) for text in ((value,) if isinstance(value, str) else value) if text.startswith("/"))
