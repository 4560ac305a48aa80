"""How many worker actors a Ray cluster runs, with a cluster that only notes what it is asked for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from service.engine.ray_cluster.launcher import ActorFleet, ActorPlan

PLAN = ActorPlan("auto", 1, 3, 2.0, 1.0, "module:load", "sqlite://", "info", idle_seconds=60.0)


class Cluster:
    """Stands for the module `ray`: actors exist at once, and are idle unless they are named in `busy`."""

    def __init__(self) -> None:
        self.actors: dict[str, dict[str, Any]] = {}
        self.busy: set[str] = set()
        self.retired: list[str] = []
        self.util = SimpleNamespace(list_named_actors=lambda: ["another", *self.actors])
        self.exceptions = SimpleNamespace(RayError=RuntimeError)

    def remote(self, **declared: Any) -> Any:
        """Return a decorator of a class of actors."""

        def options(**named: Any) -> Any:
            return SimpleNamespace(remote=lambda *given: self._add(named, declared, given))

        return lambda _actor: SimpleNamespace(options=options)

    def get_actor(self, name: str, **_: Any) -> Any:
        """Return an actor; its methods answer at once."""
        idle = SimpleNamespace(remote=lambda: (name, name not in self.busy))
        return SimpleNamespace(name=name, is_idle=idle, retire=SimpleNamespace(remote=lambda: (name, True)))

    def wait(self, asked: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        """Return all answers."""
        return asked, []

    def get(self, answer: tuple[str, bool], **_: Any) -> bool:
        """Return an answer."""
        return answer[1]

    def kill(self, actor: Any, no_restart: bool) -> None:
        """End an actor."""
        assert no_restart
        self.retired.append(actor.name)
        del self.actors[actor.name]

    def _add(self, named: dict[str, Any], declared: dict[str, Any], given: tuple[Any, ...]) -> None:
        assert named["name"] not in self.actors
        self.actors[named["name"]] = {**named, **declared, "given": given}


@pytest.mark.parametrize(("unfinished", "workers"), [(0, 1), (1, 1), (2, 2), (3, 3), (50, 3)])
def test_there_is_one_worker_per_unfinished_job_within_the_bounds(unfinished: int, workers: int) -> None:
    """Actors are detached, have names, declare their resources and are restarted for ever."""
    cluster = Cluster()
    assert ActorFleet(cluster, PLAN).scale(unfinished) == workers
    assert len(cluster.actors) == workers
    actor = cluster.actors["worker-00000"]
    assert (actor["num_gpus"], actor["num_cpus"], actor["max_restarts"]) == (1.0, 2.0, -1)
    assert (actor["lifetime"], actor["namespace"], actor["get_if_exists"]) == ("detached", "keymask", True)
    assert actor["given"] == ("cuda:0", "module:load")


def test_an_idle_worker_is_retired_when_there_were_too_many_for_a_while() -> None:
    """One at a time, never a busy one, and its name is used again."""
    now = [0.0]
    cluster = Cluster()
    fleet = ActorFleet(cluster, PLAN, clock=lambda: now[0])
    fleet.scale(3)
    cluster.busy = {"worker-00002"}
    for now[0] in (1.0, 60.0):
        fleet.scale(1)
    assert cluster.retired == []
    now[0] = 62.0
    fleet.scale(1)
    assert cluster.retired == ["worker-00001"]
    fleet.scale(3)
    assert sorted(cluster.actors) == ["worker-00000", "worker-00001", "worker-00002"]
    now[0] = 63.0
    fleet.scale(2)
    assert cluster.retired == ["worker-00001"], "the time begins anew"
