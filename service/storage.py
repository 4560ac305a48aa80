"""Files of jobs: one folder a job, named by the service's own id; uploads come in through a staging folder.

ROOT/jobs/<job id>/{video, mask.png, frames.ndjson, report.json, state.npz, results/<format>}
ROOT/incoming/<process>/<upload>/{video, mask.png}     a process's folder is locked for as long as it lives
ROOT/workers/<name>.lock                               locked for as long as the worker lives

No name that a client gives is ever part of a path.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class JobFiles:
    """Where the files of one job (or upload) are."""

    folder: Path

    @property
    def video(self) -> Path:
        """The video, as uploaded."""
        return self.folder / "video"

    @property
    def mask(self) -> Path:
        """The prompt, as uploaded."""
        return self.folder / "mask.png"

    @property
    def frames(self) -> Path:
        """One line of JSON a frame (`service.results.rle.frame_line`), appended while the job runs.

        Only what ends in a newline counts. The file may become shorter once, when a job is started over.
        """
        return self.folder / "frames.ndjson"

    @property
    def report(self) -> Path:
        """Summary of the finished run."""
        return self.folder / "report.json"

    @property
    def state(self) -> Path:
        """Where the run stands, to go on after an interruption; gone when the job is finished."""
        return self.folder / "state.npz"

    def result(self, name: str) -> Path:
        """A result file, such as "masks.zip"; write it as `.part` beside and rename it."""
        return self.folder / "results" / name


class Storage:
    """All files below `root`.

    Args:
        root: Folder, made if needed.
        quota: Most bytes of all jobs together; None: the disk's size.
        reserve: Bytes that stay free on the disk for the database and running jobs.
    """

    def __init__(self, root: Path, *, quota: int | None = None, reserve: int = 64 << 20) -> None:
        raise NotImplementedError

    def job(self, job_id: str) -> JobFiles:
        """Files of a job, which need not exist yet.

        Raises:
            ValueError: The id is not one that `new_job_id` makes.
        """
        raise NotImplementedError

    @contextmanager
    def upload(self) -> Iterator[JobFiles]:
        """An empty staging folder, removed at the end of the block unless `adopt` has moved it."""
        raise NotImplementedError
        yield

    def adopt(self, upload: JobFiles, job_id: str) -> JobFiles:
        """Move an upload to a job, in one step. Do so before the job is created: a folder without a job is swept."""
        raise NotImplementedError

    def check_room(self, wanted: int = 0) -> None:
        """Refuse when `wanted` bytes more would exceed the quota or the disk.

        Raises:
            StorageFullError: Naming what is used and allowed.
        """
        raise NotImplementedError

    def usage(self) -> int:
        """Bytes of all jobs and uploads; measured at most every few seconds."""
        raise NotImplementedError

    def delete(self, job_id: str) -> None:
        """Remove a job's files; nothing happens if there are none."""
        raise NotImplementedError

    def job_ids(self) -> list[str]:
        """Ids of the jobs that have a folder."""
        raise NotImplementedError

    def sweep(self, owned: Collection[str], *, min_age: float = 60.0) -> list[str]:
        """Remove the uploads of dead processes and job folders not in `owned` that are older than `min_age` seconds."""
        raise NotImplementedError
