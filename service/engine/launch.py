"""The first thing that runs in a worker's process. Torch is imported there and nowhere else."""

from __future__ import annotations

import os
from multiprocessing.connection import Connection

from service.engine.messages import Assignment
from service.logs import configure_logging
from service.processes import become_child
from service.torch_runtime import prepare_torch

_NICENESS = 10
"""Where processor time is short, answers come before frames."""


def launch(assignment: Assignment, connection: Connection) -> None:
    """Be a worker until the engine says otherwise."""
    become_child()
    os.nice(_NICENESS)
    configure_logging(assignment.config.settings.log_level)
    prepare_torch()
    from service.engine.worker import Worker  # noqa: PLC0415 - the engine's own process must not import torch

    Worker(assignment, connection).run()
