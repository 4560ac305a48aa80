"""Watching jobs: what followers see, also during shutdown and while the database is away."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from service.http.job_watcher import JobSnapshot, JobWatch, JobWatcher
from service.jobs.store import JobStore
from service.jobs.types import Job, JobStatus, JobVideo, LogSegment, new_job_id
from service.problems import ProblemError
from service.run.options import JobOptions
from service.storage.job_files import JobFiles, Storage
from service.storage.mask_log_view import MaskLogView


@pytest.fixture
def store() -> Iterator[JobStore]:
    """An empty store."""
    store = JobStore("sqlite://")
    yield store
    store.close()


@pytest.fixture
def job(store: JobStore) -> Job:
    """A queued job."""
    video = JobVideo("h264", 64, 48, 25.0, 12, 0.48, 0)
    return store.create(Job(new_job_id(), JobOptions(), video, "0" * 64, datetime.now(UTC)))[0]


@pytest.fixture
def watcher(store: JobStore, tmp_path: Path) -> JobWatcher:
    """A watcher of the store."""
    return JobWatcher(store, Storage(tmp_path))


@pytest.fixture
def slow_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next poll comes only when a change is announced."""
    monkeypatch.setattr("service.http.job_watcher.PERIOD_SECONDS", 3600.0)


def test_a_closed_watcher_accepts_no_follower(watcher: JobWatcher, job: Job) -> None:
    """After `close` a new stream is refused as not ready, and one that has passed this check ends at once."""

    async def main() -> JobSnapshot:
        watcher.check_open()
        watcher.close()
        with pytest.raises(ProblemError) as caught:
            watcher.check_open()
        assert caught.value.kind == "not-ready"
        async with watcher.follow(job) as watch:
            return await asyncio.wait_for(watch.next_after(watch.snapshot, 3600), 60)

    assert asyncio.run(main()).final


def test_a_poll_in_progress_changes_nothing_after_the_end(
    watcher: JobWatcher, store: JobStore, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poll that began before `close` and ends after it does not bring the job back."""
    polling, resume = threading.Event(), threading.Event()
    get = store.get

    def slow_get(job_id: str) -> Job:
        polling.set()
        assert resume.wait(60)
        return get(job_id)

    monkeypatch.setattr(store, "get", slow_get)

    async def main() -> JobWatch:
        async with watcher.follow(job) as watch:
            await asyncio.to_thread(polling.wait, 60)
            watcher.close()
            (task,) = watcher._polls.values()
            resume.set()
            await asyncio.wait_for(task, 60)
            return watch

    assert asyncio.run(main()).snapshot.job is None


@pytest.mark.usefixtures("slow_polls")
def test_followers_share_one_poll(
    watcher: JobWatcher, store: JobStore, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is read once per poll, however many clients follow the job."""
    reads = 0
    get = store.get

    def counted(job_id: str) -> Job:
        nonlocal reads
        reads += 1
        return get(job_id)

    monkeypatch.setattr(store, "get", counted)

    async def follow() -> JobSnapshot:
        async with watcher.follow(job) as watch:
            return await asyncio.wait_for(watch.next_after(JobSnapshot(job, 0), 3600), 60)

    async def main() -> list[JobSnapshot]:
        async with watcher.follow(job):
            followers = [asyncio.create_task(follow()) for _ in range(50)]
            while not reads:
                await asyncio.sleep(0.01)
            store.request_cancel(job.id)
            watcher.changed(job.id)
            return await asyncio.gather(*followers)

    snapshots = asyncio.run(main())
    assert len(snapshots) == 50
    assert all(snapshot.final for snapshot in snapshots)
    assert reads == 2


@pytest.mark.usefixtures("slow_polls")
def test_a_change_during_a_poll_is_polled_at_once(
    watcher: JobWatcher, store: JobStore, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a job changes after a poll has read it, the next poll follows at once."""
    polls: list[tuple[threading.Event, threading.Event]] = [(threading.Event(), threading.Event()) for _ in range(2)]
    started = iter(polls)
    get = store.get

    def slow_get(job_id: str) -> Job:
        polling, resume = next(started)
        seen = get(job_id)
        polling.set()
        assert resume.wait(60)
        return seen

    monkeypatch.setattr(store, "get", slow_get)

    async def main() -> None:
        async with watcher.follow(job) as watch:
            await asyncio.to_thread(polls[0][0].wait, 60)
            assert store.claim_next("w") is not None
            watcher.changed(job.id)
            polls[0][1].set()
            polls[1][1].set()
            now = (await asyncio.wait_for(watch.next_after(JobSnapshot(job, 0), 3600), 60)).job
            assert now is not None
            assert (now.status, watch.snapshot.job) == (JobStatus.RUNNING, now)

    asyncio.run(main())


@pytest.mark.usefixtures("slow_polls")
def test_a_failed_poll_ends_no_stream(
    watcher: JobWatcher, store: JobStore, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the database is away, followers keep the last snapshot; afterwards they see changes again."""
    failures = 0

    def fail(_: str) -> Job:
        nonlocal failures
        failures += 1
        raise RuntimeError("the database is away")

    async def main() -> JobSnapshot:
        async with watcher.follow(job) as watch:
            with monkeypatch.context() as patched:
                patched.setattr(store, "get", fail)
                while not failures:
                    await asyncio.sleep(0.01)
            assert watch.snapshot.job == job
            store.request_cancel(job.id)
            watcher.changed(job.id)
            return await asyncio.wait_for(watch.next_after(watch.snapshot, 3600), 60)

    assert asyncio.run(main()).final


@pytest.mark.usefixtures("slow_polls")
def test_a_change_is_seen_at_once(watcher: JobWatcher, store: JobStore, job: Job) -> None:
    """Followers do not wait for the next poll when another thread announces that the job has changed."""

    async def main() -> JobSnapshot:
        async with watcher.follow(job) as watch:
            await asyncio.sleep(0.05)
            store.request_cancel(job.id)
            await asyncio.to_thread(watcher.changed_soon, job.id)
            return await asyncio.wait_for(watch.next_after(JobSnapshot(job, 0), 3600), 60)

    assert asyncio.run(main()).final
    watcher.changed_soon(job.id)  # the loop has ended: nothing happens


def test_all_followers_are_woken(job: Job) -> None:
    """Every follower sees a new snapshot."""

    async def main() -> list[JobSnapshot]:
        watch = JobWatch(JobSnapshot(job, 0))
        tasks = [asyncio.create_task(watch.next_after(JobSnapshot(job, 0), 3600)) for _ in range(100)]
        await asyncio.sleep(0)
        watch.publish(JobSnapshot(job, 1))
        return await asyncio.gather(*tasks)

    assert asyncio.run(main()) == [JobSnapshot(job, 1)] * 100


def test_followers_are_woken_a_few_at_a_time(job: Job) -> None:
    """Between two groups the event loop serves others; who is back before the last group is not woken again."""

    async def main() -> tuple[list[int], list[list[int]]]:
        watch, seen = JobWatch(JobSnapshot(job, 0)), []
        rounds: list[list[int]] = []

        async def follow(number: int) -> None:
            snapshot = watch.snapshot
            while snapshot.mask_bytes < 2:
                snapshot = await watch.next_after(snapshot, 3600)
                seen.append(number)

        tasks = [asyncio.create_task(follow(number)) for number in range(10)]
        await asyncio.sleep(0)
        for size in (1, 2):
            watch.publish(JobSnapshot(job, size))
            while watch._waking is not None and not watch._waking.done():
                before = len(seen)
                await asyncio.sleep(0)
                rounds.append(seen[before:])
        await asyncio.gather(*tasks)
        return seen, rounds

    seen, rounds = asyncio.run(main())
    assert sorted(seen) == sorted([*range(10)] * 2)
    assert max(map(len, rounds)) == 4


def test_a_waiter_that_times_out_leaves_nothing(job: Job) -> None:
    """A follower that waits in vain gets the same snapshot, and no waiter stays behind."""

    async def main() -> None:
        watch = JobWatch(JobSnapshot(job, 0))
        assert await watch.next_after(watch.snapshot, 0.01) == JobSnapshot(job, 0)
        assert not watch._waiting

    asyncio.run(main())


def test_followers_at_the_same_place_share_one_read(
    watcher: JobWatcher, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten followers read a place once; another place, and a place whose read failed, are read again."""
    log = MaskLogView(JobFiles(tmp_path), (LogSegment(1),))
    path = tmp_path / "frames-1.ndjson"
    reads: list[int] = []
    read_lines = MaskLogView.read_lines

    def read(view: MaskLogView, offset: int) -> tuple[list[bytes], int]:
        reads.append(offset)
        if not path.exists():
            raise OSError("no disk")
        return read_lines(view, offset)

    monkeypatch.setattr(MaskLogView, "read_lines", read)

    async def main() -> None:
        async with watcher.follow(job) as watch:
            with pytest.raises(OSError, match="no disk"):
                await watch.read_lines(log, 0)
            path.write_bytes(b'{"index": 0}\n{"index": 1}\n')
            found = await asyncio.gather(*(watch.read_lines(log, 0) for _ in range(10)))
            assert found == [([b'{"index": 0}', b'{"index": 1}'], 26)] * 10
            assert await watch.read_lines(log, 13) == ([b'{"index": 1}'], 26)

    asyncio.run(main())
    assert reads == [0, 0, 13]


@pytest.mark.usefixtures("slow_polls")
def test_many_followers_get_frequent_changes_together(
    watcher: JobWatcher, store: JobStore, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often a job changes, the time between two polls grows with the number of followers."""
    monkeypatch.setattr("service.http.job_watcher.SECONDS_PER_FOLLOWER", 0.01)
    polls: list[float] = []
    get = store.get

    def timed(job_id: str) -> Job:
        polls.append(time.monotonic())
        return get(job_id)

    monkeypatch.setattr(store, "get", timed)

    async def main() -> None:
        async with AsyncExitStack() as followers:
            for _ in range(20):
                await followers.enter_async_context(watcher.follow(job))
            while len(polls) < 4:
                watcher.changed(job.id)
                await asyncio.sleep(0.001)

    asyncio.run(main())
    assert all(later - earlier >= 0.2 for earlier, later in pairwise(polls))
