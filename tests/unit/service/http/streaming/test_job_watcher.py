"""The watcher: what followers of a job are told, also when the service stops or its database is away."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.http.streaming.job_watch import JobSnapshot, JobWatch
from service.http.streaming.job_watcher import JobWatcher
from service.jobs.store import JobStore
from service.jobs.types import Job, JobStatus, JobVideo, new_job_id
from service.problems import ProblemError
from service.run.options import JobOptions
from service.storage.job_files import Storage
from service.storage.mask_log import read_lines


@pytest.fixture
def store() -> Iterator[JobStore]:
    """An empty store."""
    store = JobStore("sqlite://")
    yield store
    store.close()


@pytest.fixture
def job(store: JobStore) -> Job:
    """A job that waits."""
    video = JobVideo("h264", 64, 48, 25.0, 12, 0.48, 0)
    return store.create(Job(new_job_id(), JobOptions(), video, "0" * 64, datetime.now(UTC)))[0]


@pytest.fixture
def watcher(store: JobStore, tmp_path: Path) -> JobWatcher:
    """A watcher of the store."""
    return JobWatcher(store, Storage(tmp_path), 10)


def test_who_comes_when_all_are_sent_away_is_told_so(watcher: JobWatcher, job: Job) -> None:
    """Once the watcher is closed a stream is refused as not ready, and one that is past that check ends at once."""

    async def main() -> JobSnapshot:
        watcher.check_room()
        watcher.close()
        with pytest.raises(ProblemError) as caught:
            watcher.check_room()
        assert caught.value.kind == "not-ready"
        async with watcher.follow(job) as watch:
            return await asyncio.wait_for(watch.after(watch.news, 3600), 60)

    assert asyncio.run(main()).final


def test_a_look_that_is_under_way_tells_nothing_after_the_end(
    watcher: JobWatcher, store: JobStore, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was seen of a job before the watcher was closed and comes after it changes nothing: they stay sent away."""
    looking, go_on = threading.Event(), threading.Event()
    get = store.get

    def slow_get(job_id: str) -> Job:
        looking.set()
        assert go_on.wait(60)
        return get(job_id)

    monkeypatch.setattr(store, "get", slow_get)

    async def main() -> JobWatch:
        async with watcher.follow(job) as watch:
            await asyncio.to_thread(looking.wait, 60)
            watcher.close()
            (task,) = watcher._tasks.values()
            go_on.set()
            await asyncio.wait_for(task, 60)
            return watch

    assert asyncio.run(main()).news.job is None


def test_a_read_that_failed_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Followers at the same place share a read; one that failed is told to those who waited, and not to the next."""
    (tmp_path / "frames").write_bytes(b"one\ntwo\n")
    answers: list[Exception | None] = [OSError("input/output error"), None]

    def read(path: Path, offset: int) -> tuple[list[bytes], int]:
        if error := answers.pop(0):
            raise error
        return read_lines(path, offset)

    monkeypatch.setattr("service.http.streaming.job_watch.read_lines", read)

    async def main() -> None:
        watch = JobWatch(JobSnapshot(None, 8))
        shared = [watch.read(tmp_path / "frames", 0) for _ in range(3)]
        failed = await asyncio.gather(*shared, return_exceptions=True)
        assert [type(error) for error in failed] == [OSError] * 3
        assert await watch.read(tmp_path / "frames", 0) == ([b"one", b"two"], 8)
        assert await watch.read(tmp_path / "frames", 0) == ([b"one", b"two"], 8)

    asyncio.run(main())
    assert not answers


def test_who_asks_for_a_followed_job_is_told_what_its_followers_know(
    watcher: JobWatcher, store: JobStore, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is asked once a look, however many ask for the job; nobody is told of one that is not followed."""
    asked = 0
    get = store.get

    def counted(job_id: str) -> Job:
        nonlocal asked
        asked += 1
        return get(job_id)

    monkeypatch.setattr(store, "get", counted)
    monkeypatch.setattr("service.http.streaming.job_watcher.PERIOD_SECONDS", 3600.0)

    async def main() -> None:
        assert await watcher.latest(job.id) is None
        async with watcher.follow(job):
            answers = await asyncio.gather(*(watcher.latest(job.id) for _ in range(50)))
            assert answers == [job] * 50
        assert await watcher.latest(job.id) is None

    asyncio.run(main())
    assert asked == 1


def test_nobody_is_told_of_a_state_that_has_passed(
    watcher: JobWatcher, store: JobStore, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a change of the job, a look that began before it is told to no one, and the next one is made at once."""
    looks: list[tuple[threading.Event, threading.Event]] = [(threading.Event(), threading.Event()) for _ in range(2)]
    started = iter(looks)
    get = store.get

    def slow_get(job_id: str) -> Job:
        looking, go_on = next(started)
        seen = get(job_id)
        looking.set()
        assert go_on.wait(60)
        return seen

    monkeypatch.setattr(store, "get", slow_get)
    monkeypatch.setattr("service.http.streaming.job_watcher.PERIOD_SECONDS", 3600.0)

    async def main() -> None:
        async with watcher.follow(job) as watch:
            await asyncio.to_thread(looks[0][0].wait, 60)
            assert store.claim_next("w") is not None
            watcher.changed(job.id)
            asking = asyncio.create_task(watcher.latest(job.id))
            await asyncio.sleep(0)
            looks[0][1].set()
            assert await asking is None, "the store is to be asked"
            looks[1][1].set()
            now = await asyncio.wait_for(watcher.latest(job.id), 60)
            assert now is not None
            assert (now.status, watch.news.job) == (JobStatus.RUNNING, now)

    asyncio.run(main())


def test_a_look_that_fails_keeps_nobody_waiting(
    watcher: JobWatcher, store: JobStore, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the database is away, who asks for a followed job is sent to the store, and the followers wait on."""

    def fail(_: str) -> Job:
        raise RuntimeError("the database is away")

    monkeypatch.setattr(store, "get", fail)

    async def main() -> None:
        async with watcher.follow(job) as watch:
            assert await asyncio.wait_for(watcher.latest(job.id), 60) is None
            assert watch.news.job == job

    asyncio.run(main())


def test_a_change_is_told_at_once(
    watcher: JobWatcher, store: JobStore, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Followers do not wait for the next look when another thread says that the job has changed."""
    monkeypatch.setattr("service.http.streaming.job_watcher.PERIOD_SECONDS", 3600.0)

    async def main() -> JobSnapshot:
        async with watcher.follow(job) as watch:
            await asyncio.wait_for(watch.next_look(), 60)
            store.request_cancel(job.id)
            await asyncio.to_thread(watcher.changed_soon, job.id)
            return await asyncio.wait_for(watch.after(JobSnapshot(job, 0), 3600), 60)

    assert asyncio.run(main()).final
    watcher.changed_soon(job.id)  # a loop that has ended hears no more


def test_followers_are_woken_in_groups(job: Job) -> None:
    """All hear of the news, and in between the loop gets on with what else there is to do."""
    order: list[str] = []

    async def main() -> None:
        watch = JobWatch(JobSnapshot(job, 0))

        async def follow() -> None:
            await watch.after(JobSnapshot(job, 0), 3600)
            order.append("follower")

        tasks = [asyncio.create_task(follow()) for _ in range(100)]
        await asyncio.sleep(0)
        watch.publish(JobSnapshot(job, 1))
        asyncio.get_running_loop().call_soon(order.append, "answer")
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert order.count("follower") == 100
    assert order.index("answer") < 20


def test_who_waits_in_vain_is_not_kept(job: Job) -> None:
    """A follower whose patience ends gets the same news, and leaves nothing behind."""

    async def main() -> None:
        watch = JobWatch(JobSnapshot(job, 0))
        assert await watch.after(watch.news, 0.01) == JobSnapshot(job, 0)
        assert not watch._waiting

    asyncio.run(main())
