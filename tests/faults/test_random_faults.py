"""Random faults of every kind at once, with SQLite and with PostgreSQL: nothing acknowledged is lost.

`make faults` injects a thousand faults into each; KEYMASK_FAULTS sets another number, KEYMASK_FAULT_SEED another order.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from threading import Event, Thread

import pytest

from tests.faults.audit import audit
from tests.faults.clients import PATIENCE_SECONDS, Customer, Ledger, probe
from tests.faults.injection import Injector
from tests.support.fakes import behave
from tests.support.plant import LEASE_SECONDS, Plant
from tests.support.postgres import PostgresServer
from tests.support.waiting import wait_for

FAULTS = int(os.environ.get("KEYMASK_FAULTS", "8"))
SEED = int(os.environ.get("KEYMASK_FAULT_SEED", "20261130"))
CUSTOMERS = 4
JOBS_PER_FAULT = 0.2
"""Least number of acknowledged jobs per fault. On a busy machine faults wait for them, or clients would do nothing."""
ANSWER_SECONDS = 10.0
"""Longest time without an answer of either API process, on a busy machine."""


@pytest.mark.timeout(600 + 10 * FAULTS)
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_random_faults(database: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """After all faults every acknowledged job is there, once and complete, no file is without an owner."""
    server: PostgresServer | None = request.getfixturevalue("postgres") if database == "postgresql" else None
    url = server.url if server else f"sqlite:///{tmp_path}/plant/service/jobs.db"
    behave(tmp_path / "plant", seconds=0.02)
    (tmp_path / "plant" / "service").mkdir()
    with Plant(tmp_path / "plant", url) as plant:
        ledger, injector, seconds = break_down(plant, server)
        outcome = audit(plant, ledger)
        wait_for(lambda: not audit(plant, ledger).ownerless, 90)
    print(f"\n{database}: {FAULTS} faults in {seconds:.0f} s: {dict(sorted(injector.counts.items()))}")
    print(f"{outcome}, slowest answer {ledger.slowest:.1f} s, {dict(ledger.counts)}")
    assert ledger.complaints == []
    assert (outcome.lost, outcome.doubled) == ([], [])
    assert len(ledger.jobs) >= FAULTS * JOBS_PER_FAULT, "the clients hardly worked"
    assert sum(injector.counts.values()) == FAULTS
    assert ledger.slowest < ANSWER_SECONDS


def break_down(plant: Plant, server: PostgresServer | None) -> tuple[Ledger, Injector, float]:
    """Inject faults while clients work; return when all of them are over, with the seconds that it took."""
    ledger, stop = Ledger(), Event()
    customers = [Customer(plant, ledger, SEED + number) for number in range(CUSTOMERS)]
    threads = [Thread(target=customer.work, args=(stop,), daemon=True) for customer in customers]
    threads.append(Thread(target=probe, args=(plant, ledger, stop), daemon=True))
    for thread in threads:
        thread.start()
    injector, pauses = Injector(plant, SEED, server), random.Random(SEED)
    began = time.monotonic()
    for number in range(1, FAULTS + 1):
        injector.inject()
        time.sleep(pauses.uniform(0.0, 0.8))
        wait_for(lambda number=number: len(ledger.jobs) >= number * JOBS_PER_FAULT, PATIENCE_SECONDS)
    injector.finish()
    time.sleep(2 * LEASE_SECONDS)
    stop.set()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    return ledger, injector, time.monotonic() - began
