"""Jobs with several prompts, and corrections, in real worker processes."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
from pycocotools import mask as coco

from service.jobs.types import Job, JobStatus, JobVideo, new_job_id
from service.prompts.shapes import ShapePrompt, Shapes
from service.run.options import JobOptions
from service.storage.correction_files import StoredPrompts
from tests.support.engine_site import FRAMES, SIZE, Site


def shape(frame: int, number: int, left: int) -> ShapePrompt:
    """Return a prompt with a square."""
    mask = np.zeros(SIZE[::-1], np.uint8, order="F")
    mask[10:30, left : left + 15] = 1
    counts = coco.encode(mask)["counts"].decode()
    return ShapePrompt.model_validate({"frame": frame, "object": number, "rle": {"size": mask.shape, "counts": counts}})


def submit(site: Site, shapes: Shapes, **options: object) -> Job:
    """Create a job with prompts on several frames, as the API does."""
    job_id = new_job_id()
    with site.storage.upload() as upload:
        upload.video.write_bytes(site.clip)
        upload.prompts.write_bytes(StoredPrompts(new=shapes).to_json())
        site.storage.adopt(upload, job_id)
    about = JobVideo("h264", *SIZE, 25.0, FRAMES, FRAMES / 25, 0)
    job = Job(job_id, JobOptions.model_validate(options), about, "0" * 64, datetime.now(UTC))
    site.store.create(job)
    return job


def test_a_confined_worker_propagates_both_ways(site: Site) -> None:
    """Prompts on several frames cover the whole video; what the walk back keeps on the disk leaves no file."""
    engine = site.start()
    job = submit(site, (shape(10, 1, 5), shape(20, 2, 30)), prompt_frame=10, direction="both")
    engine.wake()
    done = site.finished(job)
    assert done.status is JobStatus.SUCCEEDED, done.error
    lines = [json.loads(line) for line in site.masks(job).splitlines()]
    assert [line["index"] for line in lines] == list(range(FRAMES))
    assert site.is_tidy()
