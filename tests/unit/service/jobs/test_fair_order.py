"""API keys take turns at the claims."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.jobs.fair_order import take_turn
from service.jobs.store import JobStore
from service.jobs.types import Job, JobStatus
from tests.support.postgres import PostgresServer

NewJob = Callable[..., Job]


def _claimed_keys(store: JobStore) -> str:
    """Claim all jobs; return their keys in order, "-" for no key."""
    return "".join(job.api_key_id or "-" for job in iter(lambda: store.claim_next("w"), None))


def test_keys_take_turns(store: JobStore, new_job: NewJob) -> None:
    """A key with many jobs delays another key by one job, and each key gets its oldest job first."""
    ids = [store.create(new_job(api_key_id=key))[0].id for key in "aaaabbc"]
    order = list(iter(lambda: store.claim_next("w"), None))
    assert "".join(job.api_key_id or "" for job in order) == "abcabaa"
    assert [job.id for job in order if job.api_key_id == "a"] == ids[:4]


@pytest.mark.parametrize("seed", range(5))
def test_the_order_is_that_of_sorting_all_jobs(store: JobStore, new_job: NewJob, seed: int) -> None:
    """Random queues are emptied as if each claim sorted them by the turn of the key, then by age."""
    chance = random.Random(seed)
    queued: list[Job] = []
    turns: dict[str | None, int] = {}
    for number in range(1, 31):
        keys = [chance.choice([None, "a", "b", "cc", "z" * 64]) for _ in range(chance.randrange(4))]
        queued += [store.create(new_job(api_key_id=key))[0] for key in keys]
        claimed = store.claim_next("w")
        expected = min(queued, key=lambda job: (turns.get(job.api_key_id, 0), job.id), default=None)
        assert (claimed and claimed.id) == (expected and expected.id)
        if expected is not None:
            queued.remove(expected)
            turns[expected.api_key_id] = number


def test_claims_for_one_key_do_not_wait_for_each_other(postgres: PostgresServer, new_job: NewJob) -> None:
    """A claim that is not committed yet delays no other one, so hundreds of workers may claim at once."""
    store = JobStore(postgres.url)
    for _ in range(2):
        store.create(new_job(api_key_id="a"))
    assert store.claim_next("first") is not None
    with store._engine.begin() as connection:
        take_turn(connection, "a")
        assert store.claim_next("second") is not None  # else the database gives up its wait for the lock
    store.close()


def test_turns_outlast_jobs(store: JobStore, new_job: NewJob) -> None:
    """A key that deletes its jobs as soon as they end does not thereby get the next turn."""
    for _ in range(3):
        store.create(new_job(api_key_id="a"))
    store.create(new_job(api_key_id="b"))
    first = store.claim_next("w")
    assert first is not None
    store.move(first.id, JobStatus.RUNNING, JobStatus.SUCCEEDED)
    store.request_delete(first.id)
    store.remove(first.id)
    assert _claimed_keys(store) == "baa"


def test_a_new_key_goes_first(store: JobStore, new_job: NewJob) -> None:
    """A key that never had a turn does not wait behind those that had; jobs without a key are one key."""
    for key in ("a", "a", None, None):
        store.create(new_job(api_key_id=key))
    assert [store.claim_next("w") is not None for _ in range(2)] == [True, True]
    store.create(new_job(api_key_id="b"))
    assert _claimed_keys(store) == "ba-"


def test_workers_that_claim_at_once_share_all_jobs(store: JobStore, new_job: NewJob) -> None:
    """However the claims overlap, each job is claimed once, and no key waits for all jobs of another."""
    for key in "aaaaaaaabbbbbbbb":
        store.create(new_job(api_key_id=key))
    with ThreadPoolExecutor(4) as pool:
        claimed = [job for job in pool.map(store.claim_next, [f"w{i}" for i in range(16)]) if job]
    assert len({job.id for job in claimed}) == 16
    assert store.claim_next("w") is None
