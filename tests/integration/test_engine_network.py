"""The engine with a real network."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from importlib.resources import as_file, files
from pathlib import Path

import pytest

from service.jobs.types import Job, JobStatus, JobVideo, new_job_id
from service.run.model_loader import ModelChoice
from service.run.options import JobOptions
from tests.support.engine_site import Site
from tests.support.fakes import behave
from vos.keyframes.policy import KEYFRAME_ALLOWANCE


def submit(site: Site, video: Path, mask: Path, options: JobOptions) -> Job:
    """Submit a job on the sample clip."""
    job_id = new_job_id()
    with site.storage.upload() as upload:
        upload.video.write_bytes(video.read_bytes())
        upload.mask.write_bytes(mask.read_bytes())
        site.storage.adopt(upload, job_id)
    about = JobVideo("h264", 0, 0, 25.0, None, None, 0)
    job = Job(job_id, options, about, "0" * 64, datetime.now(UTC))
    site.store.create(job)
    return job


@pytest.mark.parametrize(("weights", "precision"), [("seeded", "float32"), (None, "int8")])
def test_a_killed_worker_changes_no_mask(weights: str | None, precision: str, site: Site) -> None:
    """With a real memory bank and refiner, every line of the mask log equals that of an uninterrupted run."""
    if precision == "int8":
        pytest.importorskip("openvino")
    site.config = replace(
        site.config,
        loader="tests.support.fakes:load_network",
        model=ModelChoice("compact", weights, "cpu", precision),
    )
    site.start()
    options = JobOptions(keyframes="every:3", max_side=160)
    sample = files("service") / "sample"
    with as_file(sample / "clip.mp4") as video, as_file(sample / "mask.png") as mask:
        whole = submit(site, video, mask, options)
        assert site.finished(whole).status is JobStatus.SUCCEEDED
        expected = site.masks(whole)
        count = expected.count(b"\n")
        behave(site.home, fault={"at": count // 2, "kind": "kill"})
        broken = submit(site, video, mask, options)
    done = site.finished(broken)
    assert (done.status, done.deaths) == (JobStatus.SUCCEEDED, 1)
    assert site.masks(broken) == expected
    assert done.report is not None
    assert done.report["resumed"]
    assert done.report["model"]["precision"] == precision
    assert sum(done.report["sources"].values()) == count


def test_options_change_the_number_of_key_frames(site: Site) -> None:
    """`quality` and `max_key_share` reach the key-frame policy."""
    site.config = replace(
        site.config, loader="tests.support.fakes:load_network", model=ModelChoice("compact", "seeded", "cpu", "float32")
    )
    site.start()
    sample = files("service") / "sample"
    keys = {}
    with as_file(sample / "clip.mp4") as video, as_file(sample / "mask.png") as mask:
        for name, options in {
            "bounded": JobOptions(max_side=160, quality="best", max_key_share=0.01),
            "balanced": JobOptions(max_side=160),
            "best": JobOptions(max_side=160, quality="best"),
        }.items():
            done = site.finished(submit(site, video, mask, options))
            assert done.report is not None
            keys[name] = done.report["sources"].get("key", 0)
    assert keys["bounded"] <= KEYFRAME_ALLOWANCE < keys["balanced"] < keys["best"]
