"""Follows the masks of a job while it runs, for the routes that stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace

from service.http.context import Services
from service.http.job_watcher import JobSnapshot
from service.jobs.types import Job
from service.runtime.threads import in_large_thread
from service.storage.mask_log_view import LongLine, MaskLogView, frame_of


@dataclass(frozen=True, slots=True)
class StreamStep:
    """One step of a stream.

    Attributes:
        snapshot: The job at this moment.
        lines: New lines of the mask log in order, each frame once: at most a block, or one long line. The stream is
            over when the snapshot is final and there are none.
        log: The mask log that the lines are from.
        idle: Whether nothing has changed for the whole time-out.
    """

    snapshot: JobSnapshot
    lines: list[bytes | LongLine]
    log: MaskLogView
    idle: bool = False


async def follow_masks(
    services: Services, job: Job, first: int, idle_seconds: float
) -> AsyncGenerator[StreamStep, None]:
    """Follow a job to its end. To stop earlier, close the generator (`contextlib.aclosing`).

    A client that reads slowly holds one block of lines in memory: the next block is read when this one is sent.

    Args:
        services: The services of the application.
        job: The job.
        first: Index of the first frame to return.
        idle_seconds: Time without a change after which an idle step is returned.
    """
    log = MaskLogView(services.storage.job(job.id), job.segments)
    async with services.watcher.follow(job) as watch:
        snapshot, size, offset = watch.snapshot, 0, await in_large_thread(log.offset_of, first)
        while True:
            lines: list[bytes | LongLine] = []
            earlier = log
            if snapshot.job is not None:
                log = replace(log, segments=snapshot.job.segments)
            # A mask log that shrank or has other segments belongs to a job that was started over. A reader may be ahead
            # of the snapshot's size, because the log grows after it was measured: that alone means nothing.
            if offset < 0 or snapshot.mask_bytes < size or not log.continues(earlier):
                offset = await in_large_thread(log.offset_of, first)
            size = snapshot.mask_bytes
            if offset < size or snapshot.final:
                lines, offset = await watch.read_lines(log, offset)
            wanted = [line for line in lines if frame_of(line) >= first]
            if wanted:
                first = frame_of(wanted[-1]) + 1
            yield StreamStep(snapshot, wanted, log)
            if lines:
                snapshot = watch.snapshot
            elif snapshot.final:
                return
            else:
                seen, snapshot = snapshot, await watch.next_after(snapshot, idle_seconds)
                if snapshot == seen:
                    yield StreamStep(snapshot, [], log, idle=True)
