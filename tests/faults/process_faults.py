"""Processes of the service that are killed, drained or stopped."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from threading import Lock

from tests.faults.clients import Ledger
from tests.faults.fault import FollowUp, WeightedFaults, nothing
from tests.support.plant import LEASE_SECONDS, Member, Plant

_STOPPED_SECONDS = 2.5 * LEASE_SECONDS


class ProcessFaults:
    """Faults of workers, hosts, API processes and sandboxes.

    Args:
        plant: The plant.
        ledger: Knows which API processes have open streams.
        chooser: Decides which process it is.
    """

    def __init__(self, plant: Plant, ledger: Ledger, chooser: random.Random) -> None:
        self._plant = plant
        self._ledger = ledger
        self._random = chooser
        self._restarting = {"api": Lock(), "host": Lock()}

    def faults(self) -> WeightedFaults:
        """Return all faults."""
        return (
            (3, self.kill_worker),
            (3, self.stop_worker),
            (1, self.kill_host),
            (1, self.drain_host),
            (1, self.kill_api),
            (1, self.drain_api),
            (1, self.kill_api_with_open_streams),
            (2, self.kill_sandbox),
        )

    def kill_worker(self) -> FollowUp | None:
        """Kill a worker."""
        return self._signal(self._plant.workers(), signal.SIGKILL)

    def stop_worker(self) -> FollowUp | None:
        """Stop a worker for longer than its lease, then let it go on."""
        workers = self._plant.workers()
        if not workers:
            return None
        worker = self._random.choice(workers)

        def stop() -> None:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGSTOP)
                time.sleep(_STOPPED_SECONDS)
                os.kill(worker, signal.SIGCONT)

        return stop

    def kill_host(self) -> FollowUp | None:
        """Kill the process that has a worker, and start it anew."""
        return self._restart(self._plant.hosts, signal.SIGKILL)

    def drain_host(self) -> FollowUp | None:
        """Ask the process that has a worker to end, and start it anew."""
        return self._restart(self._plant.hosts, signal.SIGTERM)

    def kill_api(self) -> FollowUp | None:
        """Kill an API process and start it anew."""
        return self._restart(self._plant.apis, signal.SIGKILL)

    def drain_api(self) -> FollowUp | None:
        """Ask an API process to end, and start it anew."""
        return self._restart(self._plant.apis, signal.SIGTERM)

    def kill_api_with_open_streams(self) -> FollowUp | None:
        """Kill an API process that sends masks at this moment."""
        followed = [api for api in self._plant.apis if self._ledger.streams[api.name]]
        return self._restart(followed, signal.SIGKILL) if followed else None

    def kill_sandbox(self) -> FollowUp | None:
        """Kill a process that inspects uploads."""
        children = self._random.choice(self._plant.apis).children()
        return self._signal(children, self._random.choice((signal.SIGKILL, signal.SIGTERM)))

    def _signal(self, processes: Sequence[int], number: signal.Signals) -> FollowUp | None:
        if not processes:
            return None
        with suppress(ProcessLookupError):
            os.kill(self._random.choice(processes), number)
        return nothing

    def _restart(self, members: Sequence[Member], number: signal.Signals) -> FollowUp | None:
        """End one of two processes and start it again; the other one is left alone meanwhile."""
        member = self._random.choice(members)
        alone = self._restarting[member.kind]
        if not alone.acquire(blocking=False):
            return None

        def restart() -> None:
            try:
                self._plant.kill(member, number)
            finally:
                alone.release()

        return restart
