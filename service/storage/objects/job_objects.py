"""The objects of jobs.

jobs/<job id>/inputs.json                names, sizes and SHA-256 of the inputs; written last
jobs/<job id>/{video, mask.png, ...}     the inputs, as in the folder of a job
jobs/<job id>/<fence>/<first>.ndjson     part of the masks of an attempt: `first` is the offset of its first byte
jobs/<job id>/<fence>/state.npz          the resume state of an attempt
jobs/<job id>/walks/...                  see `service.storage.objects.scratch_walks`
jobs/<job id>/results/<file>             results

The row of a job says how many bytes of each attempt's masks count, and so which of the parts.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from service.errors import LostJobError
from service.storage.objects.object_store import ObjectStore
from service.storage.objects.parts import append_parts, first_of
from vos.runtime.durable import part_of

INPUTS = "inputs.json"


class JobObjects:
    """The objects of all jobs.

    Attributes:
        store: Where they are.
    """

    def __init__(self, store: ObjectStore) -> None:
        self.store = store

    def put_inputs(self, job_id: str, folder: Path, copy_video_of: str | None = None) -> None:
        """Store all files of a folder as the inputs of a job.

        Args:
            job_id: Id of the job.
            folder: The folder.
            copy_video_of: Id of a job whose video is the same file.
        """
        about: dict[str, Any] = {}
        for path in sorted(folder.iterdir()):
            if copy_video_of is not None and path.name == "video":
                about["video"] = self.inputs(copy_video_of)["video"]
                self.store.copy(_key(copy_video_of, "video"), _key(job_id, "video"))
                continue
            stored = self.store.put_file(_key(job_id, path.name), path)
            about[path.name] = {"bytes": stored.size, "sha256": stored.sha256}
        self.store.put(_key(job_id, INPUTS), json.dumps(about).encode())

    def inputs(self, job_id: str) -> dict[str, dict[str, Any]]:
        """Return name -> size and digest of the inputs of a job.

        Raises:
            FileNotFoundError: The job has none, because it was deleted.
        """
        found: dict[str, dict[str, Any]] = json.loads(self.store.read(_key(job_id, INPUTS)))
        return found

    def fetch_input(
        self, job_id: str, name: str, target: Path, sha256: str, on_block: Callable[[], None] = lambda: None
    ) -> None:
        """Copy an input to a file, which is whole when it gets its name."""
        part = part_of(target)
        try:
            self.store.fetch(_key(job_id, name), part, sha256, on_block)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)

    def put_masks(self, job_id: str, fence: int, first: int, lines: bytes) -> None:
        """Store a part of the masks of an attempt.

        Raises:
            LostJobError: There is another one, so another process writes with this fence.
        """
        if not self.store.create(_masks_key(job_id, fence, first), lines):
            raise LostJobError(f"another process has written masks of job {job_id} with fence {fence}")

    def fetch_masks(self, job_id: str, fence: int, target: Path, start: int, end: int) -> None:
        """Append to a file what it lacks of the masks of an attempt.

        Args:
            job_id: Id of the job.
            fence: Fence of the attempt.
            target: The file, which has the first `start` bytes.
            start: Offset of the first byte that is missing, where a part begins.
            end: Offset after the last byte that counts, where a part ends.
        """
        before = _masks_key(job_id, fence, start - 1) if start else None
        listed = self.store.entries(_key(job_id, f"{fence}/"), before)
        keys = [entry.key for entry in listed if entry.key.endswith(".ndjson") and first_of(entry.key) < end]
        with target.open("r+b" if start else "wb") as file:
            file.seek(start)
            append_parts(self.store, keys, file)

    def put_state(self, job_id: str, fence: int, path: Path) -> None:
        """Store the resume state of an attempt in place of the one before."""
        self.store.put_file(_state_key(job_id, fence), path)

    def fetch_states(self, job_id: str, before: int, target: Callable[[int], Path]) -> None:
        """Copy the resume states of earlier attempts.

        Args:
            job_id: Id of the job.
            before: Fence of the attempt.
            target: Returns the file for the state of an attempt.
        """
        for fence in self._fences(job_id):
            if fence < before and self.store.size(_state_key(job_id, fence)) is not None:
                self.store.fetch(_state_key(job_id, fence), target(fence))

    def delete_states(self, job_id: str) -> None:
        """Delete all resume states of a job, and what only its attempts needed."""
        inputs = [name for name in self.inputs(job_id) if is_of_parent(name)]
        self.store.delete(
            [_state_key(job_id, fence) for fence in self._fences(job_id)] + [_key(job_id, name) for name in inputs]
        )

    def put_result(self, job_id: str, name: str, path: Path, media_type: str) -> None:
        """Store a file as a result."""
        attributes = {"Content-Type": media_type, "Content-Disposition": f'attachment; filename="{job_id}-{name}"'}
        self.store.put_file(_key(job_id, f"results/{name}"), path, attributes)

    def fetch_result(self, job_id: str, name: str, path: Path) -> bool:
        """Copy a result to a file; return whether there is one."""
        try:
            self.store.fetch(_key(job_id, f"results/{name}"), path)
        except FileNotFoundError:
            return False
        return True

    def sign_result(self, job_id: str, name: str, seconds: float) -> str | None:
        """Return a URL of a result file that holds for a while; None if there is no file, or no such URL."""
        key = _key(job_id, f"results/{name}")
        return None if self.store.size(key) is None else self.store.sign(key, seconds)

    def delete(self, job_id: str) -> None:
        """Delete all objects of a job."""
        self.store.delete([entry.key for entry in self.store.entries(_key(job_id, ""))])

    def job_ids(self) -> list[str]:
        """Return the ids of all jobs that have objects."""
        return self.store.folders("jobs/")

    def sizes(self, job_id: str | None = None) -> Counter[str]:
        """Return job id -> bytes of its objects, for one job or all."""
        found: Counter[str] = Counter()
        for entry in self.store.entries("jobs/" if job_id is None else _key(job_id, "")):
            found[entry.key.split("/")[1]] += entry.size
        return found

    def _fences(self, job_id: str) -> Iterable[int]:
        return [int(name) for name in self.store.folders(_key(job_id, "")) if name.isdecimal()]


def is_of_parent(name: str) -> bool:
    """Return whether an input is a part of the mask log of the job that a correction corrects."""
    return name.startswith("parent-")


def _key(job_id: str, name: str) -> str:
    return f"jobs/{job_id}/{name}"


def _masks_key(job_id: str, fence: int, first: int) -> str:
    return _key(job_id, f"{fence}/{first:012}.ndjson")


def _state_key(job_id: str, fence: int) -> str:
    return _key(job_id, f"{fence}/state.npz")
