"""Parts of a Ray cluster that are killed."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from threading import Lock

from tests.faults.fault import FollowUp, WeightedFaults, nothing
from tests.support.ray_nodes import RayNodes

_HEAD = b"gcs_server"
_HEADLESS_SECONDS = 2.0


class RayFaults:
    """Faults of actors, nodes and the head. The cluster itself changes once at a time.

    Args:
        nodes: The cluster.
        chooser: Decides what is killed.
    """

    def __init__(self, nodes: RayNodes, chooser: random.Random) -> None:
        self._nodes = nodes
        self._random = chooser
        self._changing = Lock()

    def faults(self) -> WeightedFaults:
        """Return all faults."""
        return ((14, self.kill_actor), (8, self.kill_node), (4, self.kill_head))

    def kill_actor(self) -> FollowUp | None:
        """Kill the process of an actor, whose worker ends with it; Ray restarts it."""
        actors = self._nodes.actors()
        if not actors:
            return None
        with suppress(ProcessLookupError):
            os.kill(self._random.choice(actors), signal.SIGKILL)
        return nothing

    def kill_node(self) -> FollowUp | None:
        """Kill all processes of a node; another one takes its place."""
        node = self._random.randrange(self._nodes.count)
        if not self._changing.acquire(blocking=False):
            return None

        def replace() -> None:
            try:
                self._nodes.remove(node)
                self._nodes.add(node)
            finally:
                self._changing.release()

        return replace

    def kill_head(self) -> FollowUp | None:
        """Kill the head. Its nodes and actors end soon after; a new cluster starts at the same address."""
        if not self._changing.acquire(blocking=False):
            return None
        for head in self._nodes.processes(_HEAD):
            os.kill(head, signal.SIGKILL)

        def start_anew() -> None:
            try:
                time.sleep(_HEADLESS_SECONDS)
                self._nodes.stop()
                self._nodes.start()
            finally:
                self._changing.release()

        return start_anew
