"""Entry point of a worker process, the only place that imports torch."""

from __future__ import annotations

import os
from multiprocessing.connection import Connection

from service.engine.messages import Assignment
from service.logs import configure_logging
from service.processes import become_child
from service.run.torch_runtime import prepare_torch

_NICENESS = 10
"""On a busy processor, HTTP responses take precedence over frames."""


def launch(assignment: Assignment, connection: Connection) -> None:
    """Run a worker until the supervisor stops it."""
    become_child()
    os.nice(_NICENESS)
    configure_logging(assignment.config.settings.log_level)
    prepare_torch()
    from service.engine.worker import Worker  # noqa: PLC0415 - the supervisor's process must not import torch

    Worker(assignment, connection).run()
