"""Following masks: each frame once and in order, whatever happens to the mask log meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from service.http.job_watcher import JobSnapshot, JobWatch
from service.http.streaming import mask_stream
from service.jobs.types import Job, JobStatus, JobVideo, LogSegment
from service.run.options import JobOptions
from service.storage.job_files import Storage
from service.storage.mask_log_view import MaskLogView, frame_of

VIDEO = JobVideo("h264", 64, 48, 25.0, 9, 0.36, 0)
JOB = Job("0" * 32, JobOptions(), VIDEO, "0" * 64, datetime.now(UTC), segments=(LogSegment(1),))
DONE = replace(JOB, status=JobStatus.SUCCEEDED)


def lines(*indices: int) -> bytes:
    """Lines of these frames, all of the same length."""
    return b"".join(b'{"index":%d}\n' % index for index in indices)


def follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moments: Sequence[tuple[bytes, int, Job]]
) -> tuple[list[int], int]:
    """Follow a job whose latest segment, its mask log's size and snapshots are as given, one moment after the other.

    Returns:
        The frames that were streamed, and how often the offset of a frame was searched.
    """
    storage = Storage(tmp_path)
    files = storage.job(JOB.id)
    files.folder.mkdir(parents=True)
    searches = 0
    offset_of = MaskLogView.offset_of

    def search(log: MaskLogView, index: int) -> int:
        nonlocal searches
        searches += 1
        return offset_of(log, index)

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
                    files.mask_log(job.segments[-1].fence).write_bytes(content)
                    watch.publish(JobSnapshot(job, size))
        return streamed

    monkeypatch.setattr(MaskLogView, "offset_of", search)
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


def test_another_attempt_continues_the_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The masks of the next attempt follow those of the earlier one that count."""
    one = len(lines(0))
    second = replace(JOB, segments=(LogSegment(1, 2 * one), LogSegment(2)))
    moments = [
        (lines(0, 1), 2 * one, JOB),
        (lines(2), 3 * one, second),
        (lines(2, 3), 4 * one, replace(second, status=JobStatus.SUCCEEDED)),
    ]
    assert follow(tmp_path, monkeypatch, moments)[0] == [0, 1, 2, 3]


def test_a_log_with_other_segments_is_searched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that was started over in a new segment is followed from the frame not yet streamed, whatever the sizes."""
    one = len(lines(0))
    over = replace(JOB, segments=(LogSegment(2),))
    moments = [
        (lines(0, 1, 2), 3 * one, JOB),
        (lines(0, 1, 2, 3), 4 * one, over),
        (lines(0, 1, 2, 3, 4), 5 * one, replace(over, status=JobStatus.SUCCEEDED)),
    ]
    assert follow(tmp_path, monkeypatch, moments) == ([0, 1, 2, 3, 4], 2)
