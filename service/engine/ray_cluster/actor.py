"""A worker in a Ray cluster: an actor that runs the same supervisor and worker process as `keymask worker`.

Ray decides where it runs, and restarts it when its process or its node ends. Which job it has, the database decides:
whatever happens to actors, nodes or the head, claims and fences hold as for any other worker.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from service.config import load_settings
from service.engine.open import engine_config, open_store
from service.engine.supervisor import Supervisor
from service.engine.types import WorkerState
from service.net.tracing import start_tracing, stop_tracing
from service.runtime.logs import configure_logging


class WorkerActor:
    """One worker on one device.

    Settings come from the environment of its node, as those of `keymask worker` do, so no password is stored in Ray.

    Args:
        device: Device of the worker.
        loader: Dotted path of a `ModelLoader`.
    """

    def __init__(self, device: str, loader: str) -> None:
        # A spawned process would import the main module of its parent, which is Ray's.
        sys.modules["__main__"].__file__ = None
        settings = load_settings()
        configure_logging(settings.log_level)
        start_tracing()
        self._store, self._storage = open_store(settings)
        config = replace(engine_config(settings), devices=(device,), loader=loader, caretaker=False)
        self._engine = Supervisor(config, self._store, self._storage)
        self._engine.start()

    def is_idle(self) -> bool:
        """Return whether the worker is ready and has no job."""
        return all(worker.state is WorkerState.IDLE for worker in self._engine.workers())

    def retire(self) -> None:
        """Return the job, if there is one after all, and end the worker."""
        self._engine.stop()
        self._storage.close()
        self._store.close()
        stop_tracing()
