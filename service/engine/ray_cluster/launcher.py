"""A process that connects to a Ray cluster and keeps as many worker actors as the queue needs.

It is a process of its own because Ray ends the processes that are connected to it when the head node dies. Actors are
detached: they outlive this process, and any number of such processes may keep the same actors, which have names.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from service.config import Settings
from service.engine.ray_cluster.actor import WorkerActor
from service.jobs.store import JobStore
from service.jobs.types import UNFINISHED
from service.runtime.logs import configure_logging
from service.runtime.processes import become_child

_log = logging.getLogger(__name__)

NAMESPACE = "keymask"
ROUND_SECONDS = 1.0
"""Time between two looks at the queue and the actors."""
IDLE_SECONDS = 60.0
"""How long there must be more workers than jobs before one is retired."""
_ANSWER_SECONDS = 5.0
"""How long actors may take to answer before they count as busy."""
_RETIRE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class ActorPlan:
    """What to keep running.

    Attributes:
        address: Address of the Ray cluster.
        minimum, maximum: Bounds of the number of workers.
        cpus, gpus: Resources that each declares.
        loader: Dotted path of a `ModelLoader`.
        database_url: URL of the job store.
        log_level: Lowest level that is logged.
        idle_seconds: How long there must be more workers than jobs before one is retired.
    """

    address: str
    minimum: int
    maximum: int
    cpus: float
    gpus: float
    loader: str
    database_url: str
    log_level: str
    idle_seconds: float = IDLE_SECONDS

    def wanted(self, unfinished: int) -> int:
        """Return the number of workers for this number of queued and running jobs."""
        return min(max(unfinished, self.minimum), self.maximum)


def plan_of(settings: Settings, loader: str) -> ActorPlan:
    """Return what the settings ask for."""
    return ActorPlan(
        address=settings.ray_address,
        minimum=settings.ray_min_workers,
        maximum=settings.ray_max_workers,
        cpus=settings.ray_cpus,
        gpus=settings.ray_gpus,
        loader=loader,
        database_url=settings.database,
        log_level=settings.log_level,
    )


class ActorFleet:
    """The worker actors of a cluster.

    Args:
        ray: The module, connected to the cluster.
        plan: What to keep running.
        clock: Returns monotonic seconds.
    """

    def __init__(self, ray: Any, plan: ActorPlan, clock: Callable[[], float] = time.monotonic) -> None:
        self._ray = ray
        self._plan = plan
        self._clock = clock
        self._surplus_since: float | None = None
        self._actor = ray.remote(
            num_cpus=plan.cpus, num_gpus=plan.gpus, max_restarts=-1, max_task_retries=0, max_concurrency=2
        )(WorkerActor)

    def scale(self, unfinished: int) -> int:
        """Start missing actors, and retire an idle one if there were too many for a while; return their number."""
        wanted = self._plan.wanted(unfinished)
        names = sorted(name for name in self._ray.util.list_named_actors() if name.startswith("worker-"))
        free = (name for number in range(self._plan.maximum) if (name := f"worker-{number:05}") not in names)
        for _, name in zip(range(wanted - len(names)), free, strict=False):
            self._start(name)
        if len(names) <= wanted:
            self._surplus_since = None
        elif self._surplus_since is None:
            self._surplus_since = self._clock()
        elif self._clock() - self._surplus_since > self._plan.idle_seconds:
            self._retire_one(names)
        return max(wanted, len(names))

    def _start(self, name: str) -> None:
        """Ask for an actor. Until a node has its resources, Ray keeps the request, which its autoscaler sees."""
        _log.info("starting a worker actor", extra={"actor": name})
        options = {"name": name, "namespace": NAMESPACE, "lifetime": "detached", "get_if_exists": True}
        device = "cuda:0" if self._plan.gpus else "cpu"
        self._actor.options(**options).remote(device, self._plan.loader)

    def _retire_one(self, names: list[str]) -> None:
        """Retire an idle actor. If it gets a job in this very moment, it returns it."""
        try:
            actors = [self._ray.get_actor(name, namespace=NAMESPACE) for name in names]
            asked = {actor.is_idle.remote(): actor for actor in actors}
            answered, _ = self._ray.wait(list(asked), num_returns=len(asked), timeout=_ANSWER_SECONDS)
            idle = [asked[answer] for answer in answered if self._ray.get(answer)]
            if idle:
                self._ray.get(idle[-1].retire.remote(), timeout=_RETIRE_SECONDS)
                self._ray.kill(idle[-1], no_restart=True)
                _log.info("worker actor retired")
        except (
            ValueError,
            self._ray.exceptions.RayError,
        ) as error:  # one is gone: the next round tries
            _log.info("no actor retired", extra={"reason": str(error)[:200]})


def launch_actors(plan: ActorPlan, connection: Connection) -> None:
    """Keep the actors of a plan until the other end of the pipe is closed; send their number after each round."""
    configure_logging(plan.log_level)
    become_child()
    import ray  # noqa: PLC0415 - an optional dependency, and only this process may be ended by it

    ray.init(address=plan.address, namespace=NAMESPACE, configure_logging=False, log_to_driver=False)
    store = JobStore(plan.database_url, migrate=False)
    fleet = ActorFleet(ray, plan)
    with suppress(EOFError, OSError):
        while not connection.poll(ROUND_SECONDS):
            counts = store.counts()
            connection.send(fleet.scale(sum(counts[status] for status in UNFINISHED)))
