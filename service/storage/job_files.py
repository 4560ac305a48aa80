"""Files of jobs. Each job has a folder named by its id; an upload arrives in a staging folder.

ROOT/jobs/<job id>/{video, mask.png, results/<format>}
ROOT/jobs/<job id>/{prompts.json, parent.json, parent-<n>.ndjson}    see `service.storage.correction_files`
ROOT/jobs/<job id>/{frames-<fence>.ndjson, state-<fence>.npz, report-<fence>.json}   of one attempt each
ROOT/jobs/<job id>/walk-<number>-<fence>.*              see `service.storage.walk_files`
ROOT/incoming/<process>/<upload>/{video, mask.png}
ROOT/uploads/<upload id>/{about.json, offset, video}    an upload in several requests (`service.storage.uploads`)
ROOT/incoming/<process>.reserved                        what the process has reserved (`service.storage.space`)
ROOT/incoming/<process>.alive                           touched at intervals while the process is alive

No name given by a client ever becomes part of a path.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import ClassVar

from service.errors import StorageUnavailableError
from service.jobs.types import LogSegment
from service.storage.change_watch import ChangeWatch
from service.storage.job_sizes import JobSizes, Sizes
from service.storage.pulse import Pulse, latest_touch
from service.storage.result_files import stat_result, store_result
from service.storage.space import Reservation, Space
from service.storage.uploads import StoredUpload, Uploads
from service.storage.walk_files import WalkFiles
from vos.runtime.durable import is_part, make_folder, sync_files, sync_folder

_JOB_ID = re.compile(r"[0-9a-f]{32}")
_PROCESS = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class JobFiles:
    """Paths of the files of one job or upload.

    Attributes:
        folder: Their folder.
        is_copy: Whether it only has copies of what counts, on this machine (`service.storage.objects`). Without that,
            the methods that fetch and publish have nothing to do.
    """

    folder: Path
    is_copy: ClassVar[bool] = False

    @property
    def video(self) -> Path:
        """The uploaded video."""
        return self.folder / "video"

    @property
    def mask(self) -> Path:
        """The uploaded mask of the prompt frame."""
        return self.folder / "mask.png"

    @property
    def pictures(self) -> Path:
        """Pictures of frames on their way into memory."""
        return self.folder / "pictures"

    @property
    def prompts(self) -> Path:
        """The prompts of a job with several of them."""
        return self.folder / "prompts.json"

    @property
    def parent(self) -> Path:
        """What a correction needs to know of the job that it corrects."""
        return self.folder / "parent.json"

    def parent_log(self, number: int) -> Path:
        """Return the path of a segment of the mask log of the job that a correction corrects."""
        return self.folder / f"parent-{number}.ndjson"

    def mask_log(self, fence: int) -> Path:
        """Return the path of the masks that one attempt wrote (see `service.storage.mask_log`)."""
        return self._of_attempt("frames", fence, "ndjson")

    def report(self, fence: int) -> Path:
        """Return the path of the report of the attempt that finished the run."""
        return self._of_attempt("report", fence, "json")

    def state(self, fence: int) -> Path:
        """Return the path of the resume state that one attempt saved."""
        return self._of_attempt("state", fence, "npz")

    @property
    def walks(self) -> WalkFiles:
        """The walks of the job's attempts."""
        return WalkFiles(self.folder)

    def attempts(self, kind: str, before: int) -> list[int]:
        """Return the fences below `before` of the attempts that left a file of this kind, the latest one first.

        Args:
            kind: "frames" or "state".
            before: The lowest fence that is not returned.
        """
        found = (re.match(rf"{kind}-?(\d*)\.", path.name) for path in self.folder.glob(f"{kind}*"))
        fences = {int(match[1] or 0) for match in found if match}
        return sorted((fence for fence in fences if fence < before), reverse=True)

    def _of_attempt(self, kind: str, fence: int, suffix: str) -> Path:
        # A job from before there were fences has files without a number.
        return self.folder / (f"{kind}-{fence}.{suffix}" if fence else f"{kind}.{suffix}")

    def result(self, name: str) -> Path:
        """Return the path of a result file, such as "masks.zip"."""
        return self.folder / "results" / name

    def sync(self) -> None:
        """Wait until all files of an upload are on the disk."""
        sync_files(self.folder.iterdir())

    def fetch(self, on_block: Callable[[], None] = lambda: None, *, parent_masks: bool = False) -> None:
        """Wait until the inputs of the job are in the folder.

        Args:
            on_block: Called from time to time.
            parent_masks: Whether the masks of the job that a correction corrects are needed, too.

        Raises:
            FileNotFoundError: The job was deleted.
            StorageUnavailableError: The inputs cannot be read at the moment.
        """

    def log_size(self, segment: LogSegment) -> int:
        """Return how many bytes of a segment of the mask log count and are in the folder, if need be after a while.

        Raises:
            StorageUnavailableError: The masks cannot be read at the moment.
        """
        try:
            size = self.mask_log(segment.fence).stat().st_size
        except FileNotFoundError:
            size = 0
        return size if segment.bytes is None else min(size, segment.bytes)

    def fetch_states(self, before: int) -> None:
        """Wait until the resume states of the attempts with lower fences are in the folder."""

    def publish_masks(self, fence: int, start: int, end: int) -> None:
        """Store the bytes from `start` to `end` of the masks of an attempt, so that they can be counted.

        Raises:
            LostJobError: Another process writes with this fence.
            StorageUnavailableError: They cannot be stored at the moment.
        """

    def publish_state(self, fence: int) -> None:
        """Store the resume state of an attempt.

        Raises:
            StorageUnavailableError: It cannot be stored at the moment.
        """

    def discard_states(self) -> None:
        """Delete what only attempts need, where other machines see it."""

    def find_result(self, name: str) -> os.stat_result | None:
        """Return the stat of a result file that is whole and in the folder, None if there is none."""
        return stat_result(self.result(name))

    def store_result(self, part: Path, name: str, media_type: str) -> None:  # noqa: ARG002
        """Give a complete result file its name."""
        store_result(part, self.result(name))

    def sign_result(self, name: str) -> str | None:  # noqa: ARG002
        """Return a URL at which anybody can read a result for a few minutes, None if there is none."""
        return None


class Storage:
    """All files of the service.

    Args:
        root: Folder of all files, created if missing.
        uploads: Uploads in several requests, by default in that folder.
        sizes: Sizes of the jobs, by default of their folders.
        quota: Largest total size of all files in bytes; None sets a share of the disk.
        share: Largest share of the quota for one API key.
        reserve: Bytes to keep free on the disk for the database and running jobs.
        owners: Returns the API key of each of the given jobs that exist, "" for a job without a key.
        lease_seconds: Time without a sign of life after which the uploads of another process count as abandoned.
        upload_seconds: Time without a change after which an upload in several requests is deleted.

    Attributes:
        uploads: Uploads in several requests.
    """

    def __init__(
        self,
        root: Path,
        *,
        uploads: Uploads | None = None,
        sizes: Sizes | None = None,
        quota: int | None = None,
        share: float = 1.0,
        reserve: int = 64 << 20,
        owners: Callable[[Collection[str]], Mapping[str, str]] = lambda _: {},
        lease_seconds: float = 15.0,
        upload_seconds: float = 86400.0,
    ) -> None:
        self.root = root.absolute()
        self._lease_seconds = lease_seconds
        self._jobs, self._incoming = (self.root / name for name in ("jobs", "incoming"))
        for folder in (self._jobs, self._incoming):
            make_folder(folder)
        self._own = self._incoming / secrets.token_hex(8)
        self._pulse: Pulse | None = None
        self._starting_pulse = Lock()
        self._orphans: ChangeWatch[str] = ChangeWatch()
        self._uploaders: ChangeWatch[str] = ChangeWatch()
        self._parts: ChangeWatch[Path] = ChangeWatch()
        self._parts_due = 0.0
        published = self._own.with_name(f"{self._own.name}.reserved")
        self.uploads = uploads or Uploads(self.root / "uploads", upload_seconds)
        self.space = Space(
            self.root,
            published,
            sizes or JobSizes(self._jobs, owners),
            quota=quota,
            share=share,
            reserve=reserve,
            promised=self.uploads.promised,
        )

    def close(self) -> None:
        """Delete unfinished uploads of this process."""
        shutil.rmtree(self._own, ignore_errors=True)
        if self._pulse is not None:
            self._pulse.stop()
            self._pulse = None

    def job(self, job_id: str) -> JobFiles:
        """Return the paths of a job, whose files need not exist yet.

        Raises:
            ValueError: This is not an id in the form of `new_job_id`.
        """
        if not _JOB_ID.fullmatch(job_id):
            raise ValueError(f"{job_id!r} is not a job id")
        return JobFiles(self._jobs / job_id)

    @contextmanager
    def upload(self) -> Iterator[JobFiles]:
        """Create a staging folder. It is deleted at the end of the block unless `adopt` has moved it.

        Raises:
            StorageUnavailableError: Somebody else deleted the folder during the block. A process that was stopped for
                long looks dead, and others sweep what it left.
        """
        self._show_alive()
        folder = self._own / secrets.token_hex(8)
        folder.mkdir(parents=True)
        try:
            yield JobFiles(folder)
        except FileNotFoundError as error:
            if folder.exists():
                raise
            raise StorageUnavailableError("the files of this request were deleted while it was handled") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def reserve(self, owner: str | None = None) -> Reservation:
        """Return a reservation of no bytes yet for an upload or a result of this API key."""
        self._show_alive()
        return self.space.reserve(owner)

    def create_upload(self, owner: str | None, length: int, most: int) -> StoredUpload:
        """Add an upload as `Uploads.create` does, if there is room for all of it.

        Raises:
            ProblemError: The owner has as many uploads already.
            StorageFullError: There is no room for it.
        """
        upload = self.uploads.create(owner, length, most)
        try:
            self.space.admit(owner, length)
        except BaseException:
            self.uploads.delete(upload.id)
            raise
        return upload

    def persist(self, upload: JobFiles, job_id: str, *, video_of: str | None = None) -> None:  # noqa: ARG002
        """Wait until the files of an upload are stored for a job, which `adopt` requires. This may take long.

        Args:
            upload: The upload.
            job_id: Id of the job.
            video_of: Id of a job whose video is the same file.
        """
        upload.sync()

    def adopt(self, upload: JobFiles, job_id: str) -> JobFiles:
        """Move an upload to the folder of a job, in one durable rename, before the job is created in the store."""
        files = self.job(job_id)
        upload.folder.rename(files.folder)
        sync_folder(self._jobs)
        return files

    def delete(self, job_id: str) -> None:
        """Delete the files of a job, if there are any."""
        shutil.rmtree(self.job(job_id).folder, ignore_errors=True)
        self.space.forget(job_id)

    def job_ids(self) -> list[str]:
        """Return the ids of all jobs that have files."""
        return self._folders()

    def _folders(self) -> list[str]:
        return [entry.name for entry in os.scandir(self._jobs) if _JOB_ID.fullmatch(entry.name)]

    def sweep(self, owned: Collection[str], candidates: Collection[str]) -> list[str]:
        """Delete orphaned files: folders without a job, uploads of processes without a sign of life, abandoned ones.

        Abandoned are unfinished files that nobody writes to, and uploads that nobody continues.

        A folder is kept for four leases, because its job may be about to be created, and an unfinished file until it
        has not changed for ten. All times are measured from sweep to sweep on the monotonic clock, so clocks that are
        wrong, jump or differ delete nothing.

        Args:
            owned: Ids of jobs that exist.
            candidates: Ids of folders, listed before `owned` was queried.

        Returns:
            Ids of the deleted folders.
        """
        self._sweep_uploads()
        self._sweep_parts()
        self.uploads.sweep()
        ages = self._orphans.observe(dict.fromkeys((i for i in candidates if i not in owned), True))
        orphaned = [job_id for job_id, age in ages.items() if age >= 4 * self._lease_seconds]
        for job_id in orphaned:
            self.delete(job_id)
        return orphaned

    def trim(self) -> None:
        """Delete copies that this process has of files that are kept elsewhere; there are none in a folder."""

    def _sweep_uploads(self) -> None:
        """Delete the uploads of processes whose pulse has stood still for a whole lease."""
        found = {entry.name.partition(".")[0] for entry in os.scandir(self._incoming)}
        names = {name for name in found if _PROCESS.fullmatch(name)} - {self._own.name}
        pulses = {name: latest_touch(_pulse_of(self._incoming / name)) for name in names}
        for name, age in self._uploaders.observe(pulses).items():
            if age >= self._lease_seconds:
                shutil.rmtree(self._incoming / name, ignore_errors=True)
                for path in self._incoming.glob(f"{name}.*"):
                    path.unlink(missing_ok=True)

    def _sweep_parts(self) -> None:
        """Delete what killed writers of results, states and reports left. This looks into every folder, so rarely."""
        if (now := time.monotonic()) < self._parts_due:
            return
        self._parts_due = now + 5 * self._lease_seconds
        parts = {path: change for job_id in self._folders() for path, change in _parts_of(self.job(job_id))}
        for path, age in self._parts.observe(parts).items():
            if age >= 10 * self._lease_seconds:
                path.unlink(missing_ok=True)

    def _show_alive(self) -> None:
        with self._starting_pulse:
            self._pulse = self._pulse or Pulse(_pulse_of(self._own), self._lease_seconds / 3)


def _parts_of(files: JobFiles) -> Iterator[tuple[Path, tuple[int, int]]]:
    """Yield the unfinished files of a job, and what changes when they are written to."""
    for folder in (files.folder, files.result("")):
        with suppress(FileNotFoundError):
            for path in (entry for entry in folder.iterdir() if is_part(entry.name)):
                stat = path.stat()
                yield path, (stat.st_size, stat.st_mtime_ns)


def _pulse_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.alive")
