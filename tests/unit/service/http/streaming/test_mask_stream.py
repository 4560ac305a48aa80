"""Following masks: each frame once and in order, whatever happens to the mask log meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from service.http.job_watcher import JobSnapshot, JobWatch
from service.http.streaming import mask_stream
from service.jobs.types import Job, JobStatus, JobVideo
from service.run.options import JobOptions
from service.storage.job_files import Storage
from service.storage.mask_log import frame_of, offset_of

JOB = Job("0" * 32, JobOptions(), JobVideo("h264", 64, 48, 25.0, 9, 0.36, 0), "0" * 64, datetime.now(UTC))
DONE = Job("0" * 32, JobOptions(), JOB.video, "0" * 64, JOB.created_at, status=JobStatus.SUCCEEDED)


def lines(*indices: int) -> bytes:
    """Lines of these frames, all of the same length."""
    return b"".join(b'{"index":%d}\n' % index for index in indices)


def follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moments: Sequence[tuple[bytes, int, Job]]
) -> tuple[list[int], int]:
    """Follow a job whose mask log and snapshots are as given, one moment after the other.

    Returns:
        The frames that were streamed, and how often the offset of a frame was searched.
    """
    storage = Storage(tmp_path)
    path = storage.job(JOB.id).mask_log
    path.parent.mkdir(parents=True)
    searches = 0

    def search(file: Path, index: int) -> int:
        nonlocal searches
        searches += 1
        return offset_of(file, index)

    async def main() -> list[int]:
        watch = JobWatch(JobSnapshot(JOB, 0))

        @asynccontextmanager
        async def watching(_job: Job) -> AsyncIterator[JobWatch]:
            yield watch

        services: Any = SimpleNamespace(storage=storage, watcher=SimpleNamespace(follow=watching))
        streamed: list[int] = []
        left = list(moments)
        async with aclosing(mask_stream.follow_masks(services, JOB, 0, 3600)) as steps:
            async for step in steps:
                streamed += map(frame_of, step.lines)
                if not step.lines and left:
                    content, size, job = left.pop(0)
                    path.write_bytes(content)
                    watch.publish(JobSnapshot(job, size))
        return streamed

    monkeypatch.setattr(mask_stream, "offset_of", search)
    return asyncio.run(main()), searches


def test_a_log_ahead_of_its_snapshot_is_no_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that grew after it was measured is read to its end once; an offset is searched only at the start."""
    one = len(lines(0))
    moments = [
        (lines(0, 1, 2), one, JOB),
        (lines(0, 1, 2), 2 * one, JOB),
        (lines(0, 1, 2, 3), 4 * one, JOB),
        (lines(0, 1, 2, 3, 4), 5 * one, DONE),
    ]
    assert follow(tmp_path, monkeypatch, moments) == ([0, 1, 2, 3, 4], 1)


def test_a_job_that_is_started_over_is_still_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that shrank is read again from the first frame not yet streamed, even if it has grown since."""
    one = len(lines(0))
    moments = [
        (lines(0, 1, 2), 3 * one, JOB),
        (b"", 0, JOB),
        (lines(0), one, JOB),
        (lines(0, 1, 2, 3), 4 * one, JOB),
        (lines(0, 1), 2 * one, JOB),
        (lines(0, 1, 2, 3, 4), 5 * one, DONE),
    ]
    streamed, searches = follow(tmp_path, monkeypatch, moments)
    assert streamed == [0, 1, 2, 3, 4]
    assert searches <= 4
