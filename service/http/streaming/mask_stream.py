"""Follows the masks of a job while it runs: what the routes that stream have in common."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from service.http.context import Services
from service.http.streaming.job_watch import JobSnapshot
from service.jobs.types import Job
from service.storage.mask_log import offset_of
from service.threads import in_thread
from service.writers.mask_line import index_of


@dataclass(frozen=True, slots=True)
class Step:
    """What there is to tell.

    Attributes:
        news: The job at this moment.
        lines: Lines of masks that are new, in order, each frame once. Nothing follows where there are none and the
            news is final.
        quiet: Whether nothing has happened for as long as was to be waited.
    """

    news: JobSnapshot
    lines: list[bytes]
    quiet: bool = False


async def follow_masks(services: Services, job: Job, first: int, patience: float) -> AsyncGenerator[Step, None]:
    """Follow a job to its end; close the iterator to stop before (`contextlib.aclosing`).

    Args:
        services: The services.
        job: The job.
        first: First frame wanted.
        patience: Seconds after which quiet is worth telling.
    """
    path = services.storage.job(job.id).mask_log
    async with services.watcher.follow(job) as watch:
        news, size, offset = watch.news, 0, await in_thread(offset_of, path, first)
        while True:
            lines: list[bytes] = []
            # The file became shorter: the job was started over. That more was read than the news know of says nothing.
            if offset < 0 or news.size < size:
                offset = await in_thread(offset_of, path, first)
            size = news.size
            if offset < news.size or news.final:
                lines, offset = await watch.read(path, offset)
            wanted = [line for line in lines if index_of(line) >= first]
            if wanted:
                first = index_of(wanted[-1]) + 1
            yield Step(news, wanted)
            if not lines:
                if news.final:
                    return
                before, news = news, await watch.after(news, patience)
                if news == before:
                    yield Step(news, [], quiet=True)
            else:
                news = watch.news
