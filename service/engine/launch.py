"""The first thing that runs in a worker's process. Torch is imported there and nowhere else."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path

from service.config import prepare_torch
from service.engine.types import EngineConfig
from service.logs import configure_logging
from service.processes import become_child

_NICENESS = 10
"""Where processor time is short, answers come before frames."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a worker is told once.

    Attributes:
        name: Its name in `Job.worker`, never used twice.
        device: Its device.
        config: How the engine runs.
        database_url: The jobs.
        storage_root: Their files.
        retention: How long finished ones are kept.
    """

    name: str
    device: str
    config: EngineConfig
    database_url: str
    storage_root: Path
    retention: timedelta


def launch(assignment: Assignment, connection: Connection) -> None:
    """Be a worker until the engine says otherwise."""
    become_child()
    os.nice(_NICENESS)
    configure_logging(assignment.config.settings.log_level)
    prepare_torch()
    from service.engine.worker import Worker  # noqa: PLC0415 - the engine's own process must not import torch

    Worker(assignment, connection).run()
