"""Random faults of every kind at once, on each kind of service: nothing acknowledged is lost.

`make faults` injects a thousand faults into each, and a tenth of that where Ray runs the workers; KEYMASK_FAULTS sets
another number, KEYMASK_FAULT_SEED another order.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest

from tests.faults.audit import audit, ownerless
from tests.faults.clients import PATIENCE_SECONDS, Customer, Ledger, probe
from tests.faults.connection_faults import ConnectionFaults
from tests.faults.database_faults import PostgresFaults, SqliteFaults
from tests.faults.fault import WeightedFaults
from tests.faults.injection import Injector
from tests.faults.process_faults import ProcessFaults
from tests.faults.ray_faults import RayFaults
from tests.faults.store_faults import StoreFaults
from tests.support.fakes import behave
from tests.support.object_stores import S3Server, SwitchedProxy, s3_server
from tests.support.plant import LEASE_SECONDS, Plant, plant_environment
from tests.support.postgres import PostgresServer
from tests.support.ray_nodes import RayNodes
from tests.support.waiting import wait_for

FAULTS = int(os.environ.get("KEYMASK_FAULTS", "8"))
SEED = int(os.environ.get("KEYMASK_FAULT_SEED", "20261130"))
CUSTOMERS = 4
JOBS_PER_FAULT = {"sqlite": 0.2, "postgresql": 0.2, "objects": 0.2, "ray": 1.0}
"""Least number of acknowledged jobs per fault. On a busy machine faults wait for them, or clients would do nothing.
Actors need seconds to start anew, and nobody would notice that they are killed before."""
ANSWER_SECONDS = 10.0
"""Longest time without an answer of either API process, on a busy machine."""
KINDS = (
    "sqlite",
    "postgresql",
    pytest.param("objects", marks=pytest.mark.long),
    pytest.param("ray", marks=pytest.mark.long),
)
"""SQLite or PostgreSQL with a folder; PostgreSQL with an object store; the same with the workers in a Ray cluster."""


@pytest.mark.timeout(1200 + 20 * FAULTS)
@pytest.mark.parametrize("kind", KINDS)
def test_random_faults(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """After all faults every acknowledged job is there, once and complete, no file is without an owner."""
    server: PostgresServer | None = None if kind == "sqlite" else request.getfixturevalue("postgres")
    number = max(8, FAULTS // 10) if kind == "ray" else FAULTS
    chooser, ledger = random.Random(SEED), Ledger()
    with breakable(kind, tmp_path / "plant", server, chooser) as (plant, faults):
        processes = ProcessFaults(plant, ledger, chooser)
        injector = Injector((*processes.faults(), *ConnectionFaults(plant, chooser).faults(), *faults), chooser)
        seconds = break_down(plant, ledger, injector, number, JOBS_PER_FAULT[kind])
        outcome = audit(plant, ledger)
        wait_for(lambda: not ownerless(plant), 90)
    print(f"\n{kind}: {number} faults in {seconds:.0f} s, seed {SEED}: {dict(sorted(injector.counts.items()))}")
    print(f"{outcome}, slowest answer {ledger.slowest:.1f} s, {dict(ledger.counts)}")
    each = outcome.computed_twice / max(1, outcome.resumptions)
    print(f"computed twice: {outcome.computed_twice / outcome.frames:.1%} of the frames, {each:.1f} per resumption")
    assert ledger.complaints == []
    assert (outcome.lost, outcome.doubled) == ([], [])
    assert len(ledger.jobs) >= number * JOBS_PER_FAULT[kind], "the clients hardly worked"
    assert sum(injector.counts.values()) == number
    assert ledger.slowest < ANSWER_SECONDS


@contextmanager
def breakable(
    kind: str, home: Path, server: PostgresServer | None, chooser: random.Random
) -> Iterator[tuple[Plant, WeightedFaults]]:
    """Run a plant of a kind; yield it, and the faults of what it stands on."""
    behave(home, seconds=0.1 if kind == "ray" else 0.02)  # actors save their state every two seconds
    (home / "service").mkdir()
    url = server.url if server else f"sqlite:///{home}/service/jobs.db"
    faults = [*(PostgresFaults(server, chooser) if server else SqliteFaults(url)).faults()]
    store: S3Server | None = None
    nodes: RayNodes | None = None
    with ExitStack() as stack:
        if kind in ("objects", "ray"):
            proxy = stack.enter_context(closing(SwitchedProxy(stack.enter_context(s3_server()).port)))
            store = S3Server(proxy.port)
            faults += StoreFaults(proxy, chooser).faults()
        if kind == "ray":
            # The last variable tells the processes of the cluster from those of the plant.
            own = {"KEYMASK_STORAGE_DIR": str(home / "ray"), "PLANT_CLUSTER": str(home)}
            nodes = stack.enter_context(RayNodes(plant_environment(home, url, store) | own, 2))
            faults += RayFaults(nodes, chooser).faults()
        yield stack.enter_context(Plant(home, url, 1 if nodes else 2, store, nodes)), faults


def break_down(plant: Plant, ledger: Ledger, injector: Injector, number: int, jobs: float) -> float:
    """Inject faults, each after this many more jobs; return when all are over, with the seconds that it took."""
    stop = Event()
    customers = [Customer(plant, ledger, SEED + customer) for customer in range(CUSTOMERS)]
    threads = [Thread(target=customer.work, args=(stop,), daemon=True) for customer in customers]
    threads.append(Thread(target=probe, args=(plant, ledger, stop), daemon=True))
    for thread in threads:
        thread.start()
    pauses = random.Random(SEED)
    began = time.monotonic()
    for injected in range(1, number + 1):
        injector.inject()
        time.sleep(pauses.uniform(0.0, 0.8))
        wait_for(lambda injected=injected: len(ledger.jobs) >= injected * jobs, PATIENCE_SECONDS)
    injector.finish()
    time.sleep(2 * LEASE_SECONDS)
    stop.set()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    return time.monotonic() - began
