"""The thread beside the supervisor for what may wait: removal, expiry, sweeps and signs of life.

Each of these changes the database or deletes files, and waits for as long as a worker that was stopped in the middle of
a change locks SQLite. The supervisor, which kills such a worker, must not wait with them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from service.engine.steps import Steps
from service.engine.types import EngineConfig
from service.engine.upkeep.housekeeper import Housekeeper
from service.engine.upkeep.presence import PRESENCE_SECONDS, Presence
from service.engine.upkeep.webhook_sender import WebhookSender
from service.jobs.store import JobStore
from service.storage.job_files import Storage

_TICK_SECONDS = 0.5
_REMOVAL_SECONDS = 2.0


class Housekeeping:
    """Runs the chores of one process in a thread.

    Args:
        config: The engine's configuration.
        store: The job store.
        storage: The files of jobs.
        has_ready_worker: Returns whether a worker of this process can run jobs.

    Attributes:
        presence: Signs of life of processes with workers.
    """

    def __init__(
        self, config: EngineConfig, store: JobStore, storage: Storage, has_ready_worker: Callable[[], bool]
    ) -> None:
        self.presence = Presence(store)
        self._config = config
        self._storage = storage
        self._housekeeper = Housekeeper(store, storage)
        self._has_ready_worker = has_ready_worker
        self._steps = Steps()
        self._changed, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="keymask-housekeeping", daemon=True)
        settings = config.settings
        self._webhooks = WebhookSender(settings, store) if settings.webhook_hosts else None

    def start(self) -> None:
        """Remove what the last run of the process has left, then start the thread."""
        if self._config.caretaker:
            self._steps.run("remove", self._housekeeper.remove_deleted)
            self._steps.run("sweep", self._housekeeper.sweep)
        self._thread.start()
        if self._webhooks is not None:
            self._webhooks.start()

    def wake(self) -> None:
        """Look for deleted jobs at once."""
        self._changed.set()

    def stop(self, seconds: float) -> None:
        """End the thread after a last removal; do not wait for longer than this."""
        self._stopping.set()
        self._changed.set()
        if self._thread.is_alive():
            self._thread.join(seconds)
        if self._webhooks is not None:
            self._webhooks.stop(seconds)

    def _run(self) -> None:
        while not self._stopping.is_set():
            if self._changed.wait(_TICK_SECONDS):
                self._changed.clear()
                self._steps.hasten("remove")
            self._tick()
        if self._config.caretaker:
            self._steps.run("remove", self._housekeeper.remove_deleted)
        self._steps.run("withdraw", self.presence.withdraw)

    def _tick(self) -> None:
        interval = self._config.housekeeping_seconds
        self._steps.every(PRESENCE_SECONDS, "presence", self._update_presence)
        if not self._config.caretaker:
            self._steps.every(interval, "trim", self._storage.trim)
            return
        self._steps.every(_REMOVAL_SECONDS, "remove", self._housekeeper.remove_deleted)
        self._steps.every(interval, "expire", self._housekeeper.expire)
        self._steps.every(min(interval, 2 * self._config.lease_seconds), "sweep", self._housekeeper.sweep)

    def _update_presence(self) -> None:
        """Give a sign of life if a worker is ready; without own workers, look for those of others."""
        if not self._config.devices:
            self.presence.look()
        elif self._has_ready_worker():
            self.presence.announce()
