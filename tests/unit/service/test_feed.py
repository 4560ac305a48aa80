"""The feed: what followers of a job are told, also when the service stops or its database is away."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.feed import Feed, News, Watch
from service.frames import read_lines
from service.jobs.store import JobStore
from service.jobs.types import Job, JobOptions, JobVideo, new_job_id
from service.problems import ProblemError
from service.storage import Storage


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
def feed(store: JobStore, tmp_path: Path) -> Feed:
    """A feed of the store."""
    return Feed(store, Storage(tmp_path), 10)


def test_who_comes_when_all_are_sent_away_is_told_so(feed: Feed, job: Job) -> None:
    """Once the feed is closed a stream is refused as not ready, and one that is past that check ends at once."""

    async def main() -> News:
        feed.check_room()
        feed.close()
        with pytest.raises(ProblemError) as caught:
            feed.check_room()
        assert caught.value.kind == "not-ready"
        async with feed.follow(job) as watch:
            return await asyncio.wait_for(watch.after(watch.news, 3600), 60)

    assert asyncio.run(main()).final


def test_a_look_that_is_under_way_tells_nothing_after_the_end(
    feed: Feed, store: JobStore, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was seen of a job before the feed was closed and comes after it changes nothing: they stay sent away."""
    looking, go_on = threading.Event(), threading.Event()
    get = store.get

    def slow_get(job_id: str) -> Job:
        looking.set()
        assert go_on.wait(60)
        return get(job_id)

    monkeypatch.setattr(store, "get", slow_get)

    async def main() -> Watch:
        async with feed.follow(job) as watch:
            await asyncio.to_thread(looking.wait, 60)
            feed.close()
            (task,) = feed._tasks.values()
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

    monkeypatch.setattr("service.feed.read_lines", read)

    async def main() -> None:
        watch = Watch(News(None, 8))
        shared = [watch.read(tmp_path / "frames", 0) for _ in range(3)]
        failed = await asyncio.gather(*shared, return_exceptions=True)
        assert [type(error) for error in failed] == [OSError] * 3
        assert await watch.read(tmp_path / "frames", 0) == ([b"one", b"two"], 8)
        assert await watch.read(tmp_path / "frames", 0) == ([b"one", b"two"], 8)

    asyncio.run(main())
    assert not answers
