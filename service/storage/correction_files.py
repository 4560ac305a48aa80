"""What a job stores of its prompts on several frames, and of the job that it corrects.

A correction has hard links to the video and the mask log of the job that it corrects. So it needs that job no more: the
job may expire or be deleted. Lines of a log never change. Those that a job writes after it was corrected do not count.

    prompts.json          the prompts, each object's mask run-length encoded
    parent.json           {"sizes": bytes that count of each parent-<n>.ndjson, "report": the report of the parent,
                           "whole": whether the parent had succeeded}
    parent-<n>.ndjson     the segments of the parent's mask log
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.errors import JobNotFoundError
from service.jobs.types import Job, JobStatus
from service.prompts.stored_prompts import StoredPrompts
from service.storage.job_files import JobFiles
from service.storage.mask_log_view import MaskLogView


@dataclass(frozen=True, slots=True)
class ParentMasks:
    """The result of the job that a correction corrects.

    Attributes:
        lines: The files of its mask log, and how many bytes of each count.
        report: Its report; empty if it has not succeeded.
        is_whole: Whether it has succeeded, so that no frame lacks a mask.
    """

    lines: tuple[tuple[Path, int], ...]
    report: Mapping[str, Any]
    is_whole: bool = True


def link_parent(parent: Job, files: JobFiles, upload: JobFiles) -> None:
    """Link the video and the masks of a job to the files of its correction: the masks that exist now.

    Args:
        parent: The job.
        files: Its files.
        upload: Files of the correction; what is written is not synced.

    Raises:
        JobNotFoundError: The files of the job are gone, because it was deleted or has expired.
    """
    lines = MaskLogView(files, parent.segments).files_and_sizes()
    try:
        os.link(files.video, upload.video)
        for number, (path, _) in enumerate(lines):
            os.link(path, upload.parent_log(number))
    except FileNotFoundError:
        raise JobNotFoundError(f"job {parent.id} was deleted or has expired") from None
    is_whole = parent.status is JobStatus.SUCCEEDED
    about = {"sizes": [size for _, size in lines], "report": dict(parent.report or {}), "whole": is_whole}
    upload.parent.write_text(json.dumps(about), encoding="utf-8")


def read_parent(files: JobFiles) -> ParentMasks:
    """Return the result of the job that a correction corrects."""
    about = json.loads(files.parent.read_text(encoding="utf-8"))
    lines = tuple((files.parent_log(number), size) for number, size in enumerate(about["sizes"]))
    return ParentMasks(lines, about["report"], about.get("whole", True))


def delete_parent_log(files: JobFiles) -> None:
    """Delete what a correction that has ended no longer needs of the job that it corrects."""
    for path in files.folder.glob("parent-*.ndjson"):
        path.unlink(missing_ok=True)


def read_prompts(files: JobFiles) -> StoredPrompts | None:
    """Return the stored prompts; None for a job whose only prompt is the mask of one frame."""
    try:
        return StoredPrompts.model_validate_json(files.prompts.read_bytes())
    except FileNotFoundError:
        return None
