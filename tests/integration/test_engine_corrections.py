"""Jobs with several prompts, and corrections, in real worker processes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from pycocotools import mask as coco

from codec.types import UInt8Array
from service.config import Settings
from service.engine.supervisor import Supervisor
from service.engine.types import EngineConfig
from service.http.app import create_app
from service.jobs.store import JobStore
from service.jobs.types import Job, JobStatus, JobVideo, new_job_id
from service.prompts.objects import PromptObject
from service.prompts.shapes import ShapePrompt, Shapes
from service.prompts.stored_prompts import StoredPrompts
from service.run.options import JobOptions, RunOptions
from service.run.outputs import Outputs
from service.run.run_to_files import RunRequest, run_to_files
from service.sandbox.export import render, render_files
from service.storage.correction_files import link_parent, read_prompts
from service.storage.job_files import Storage
from tests.support.counted_runs import computed_frames
from tests.support.engine_site import FRAMES, SIZE, Site
from tests.support.fakes import behave
from tests.support.media import write_mask
from tests.support.resumable import load_memory
from tests.support.serving import InlineSandbox, listening
from tests.support.soft_masks import arrays_in, assert_same_arrays
from tests.support.waiting import wait_for


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


def correct(site: Site, parent: Job, *shapes: ShapePrompt) -> Job:
    """Create a correction as the API does; a job without stored prompts has object 7 on frame 0."""
    parent = site.store.get(parent.id)
    stored = read_prompts(site.files(parent))
    earlier = (shape(0, 7, 10),) if stored is None else stored.merged
    job = replace(
        Job(new_job_id(), parent.options, parent.video, "1" * 64, datetime.now(UTC)),
        corrects=parent.id,
        origin=parent.origin or parent.id,
    )
    with site.storage.upload() as upload:
        link_parent(parent, site.files(parent), upload)
        upload.prompts.write_bytes(StoredPrompts(new=shapes, earlier=earlier).to_json())
        site.storage.adopt(upload, job.id)
    site.store.create(job)
    for engine in site.engines:
        engine.wake()
    return job


def changed(site: Site, before: Job, after: Job) -> list[int]:
    """Return the frames whose lines differ."""
    pairs = zip(site.masks(before).splitlines(), site.masks(after).splitlines(), strict=True)
    return [index for index, (old, new) in enumerate(pairs) if old != new]


def test_a_lost_worker_changes_no_correction(site: Site) -> None:
    """A correction that was cut off starts over and has the result of an uninterrupted one; its parent is untouched."""
    engine = site.start()
    parent = site.submit(engine)
    assert site.finished(parent).status is JobStatus.SUCCEEDED
    before = site.masks(parent)
    whole = site.finished(correct(site, parent, shape(12, 7, 30)))
    assert whole.status is JobStatus.SUCCEEDED, whole.error
    behave(site.home, fault={"at": 20, "kind": "kill"})
    broken = site.finished(correct(site, parent, shape(12, 7, 30)))
    assert (broken.status, broken.deaths) == (JobStatus.SUCCEEDED, 1), broken.error
    assert site.masks(broken) == site.masks(whole)
    assert site.masks(parent) == before
    frames = changed(site, parent, whole)
    assert 12 in frames
    assert frames == list(range(frames[0], frames[-1] + 1))
    assert len(frames) < FRAMES
    assert broken.report is not None
    assert broken.report["correction"]["changed"] == [[frames[0], frames[-1] + 1]]
    assert broken.report["sources"]["corrected"] == 1
    wait_for(site.is_tidy)


def test_a_correction_of_a_correction_needs_no_earlier_job(site: Site) -> None:
    """While the worker is away, all earlier versions may go."""
    engine = site.start()
    parent = site.submit(engine)
    site.finished(parent)
    second = site.finished(correct(site, parent, shape(12, 7, 30)))
    engine.stop()
    third = correct(site, second, shape(25, 7, 5))
    for gone in (parent, second):
        site.store.request_delete(gone.id)
        site.storage.delete(gone.id)
        site.store.remove(gone.id)
    site.start()
    done = site.finished(third)
    assert done.status is JobStatus.SUCCEEDED, done.error
    assert done.report is not None
    assert done.report["sources"]["corrected"] == 2
    wait_for(site.is_tidy)


def test_soft_masks_of_a_job_are_those_of_a_run(site: Site, tmp_path: Path) -> None:
    """After a lost worker, too. A correction keeps those of frames that it does not change, and makes the others."""
    engine = site.start(loader="tests.support.fakes:load_memory")
    behave(site.home, fault={"at": 14, "kind": "kill"})
    done = site.finished(site.submit(engine, soft=True, keyframes="every:3", max_side=48))
    assert (done.status, done.deaths) == (JobStatus.SUCCEEDED, 1), done.error
    assert done.report is not None
    assert done.report["resumed"]
    found = soft_masks(site, done)

    video, mask, out = tmp_path / "in.mp4", site.files(done).mask, tmp_path / "out"
    video.write_bytes(site.clip)
    options, outputs = RunOptions(keyframes="every:3", max_side=48), Outputs(out, exports={"npz": out / "soft.npz"})
    run_to_files(RunRequest(video, mask, outputs, options), Settings(), load=load_memory)
    assert_same_arrays(found, arrays_in(out / "soft.npz"))

    fixed = site.finished(correct(site, done, shape(12, 7, 30)))
    assert fixed.status is JobStatus.SUCCEEDED, fixed.error
    after = soft_masks(site, fixed)
    assert after.keys() == found.keys()
    inside = np.zeros(SIZE[::-1], np.bool_)
    inside[10:30, 30:45] = True
    np.testing.assert_array_equal(after["7/00012"], np.where(inside, 255, 0))
    kept = sorted(set(range(FRAMES)) - set(changed(site, done, fixed)))
    assert kept
    for index in kept:
        np.testing.assert_array_equal(after[f"7/{index:05d}"], found[f"7/{index:05d}"])
    assert (after["7/00013"] != found["7/00013"]).any()
    assert ((after["7/00013"] > 127) & inside).sum() > 0.5 * inside.sum()


def soft_masks(site: Site, job: Job) -> dict[str, UInt8Array]:
    """Return the arrays of the job's result in npz, which object 7 is in."""
    part = site.root / f"{job.id}.npz"
    job = replace(job, prompt=(PromptObject(7, 0, 400, (10, 10, 20, 20)),))
    render(job, "npz", render_files(job, site.files(job), "npz", part))
    return arrays_in(part)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[httpx.Client]:
    """The service with two real workers; each runs a job."""

    def make_engine(config: EngineConfig, store: JobStore, storage: Storage) -> Supervisor:
        patient = replace(config, grace_seconds=120.0, cancel_seconds=120.0, stall_seconds=240.0, poll_seconds=0.05)
        workers = replace(patient, devices=("cpu", "cpu"), loader="tests.support.fakes:load")
        return Supervisor(workers, store, storage)

    app = create_app(
        Settings(home=tmp_path),
        make_engine=make_engine,
        make_sandbox=lambda processes, *_limits: InlineSandbox(processes),
    )
    with listening(app) as address, httpx.Client(base_url=address, timeout=240) as client:
        yield client


def test_a_job_that_runs_is_corrected(service: httpx.Client, clip: bytes, tmp_path: Path) -> None:
    """The correction takes the masks there are and computes all frames after them, while the job goes on."""
    held = 8

    def post() -> str:
        files = {"video": clip, "mask": write_mask(tmp_path / "mask.png").read_bytes()}
        return str(service.post("/v1/jobs", files=files).raise_for_status().json()["id"])

    def job(job_id: str) -> dict[str, Any]:
        found: dict[str, Any] = service.get(f"/v1/jobs/{job_id}").raise_for_status().json()
        return found

    def succeeded(job_id: str) -> list[bytes]:
        wait_for(lambda: job(job_id)["status"] not in ("queued", "running"))
        assert job(job_id)["status"] == "succeeded", job(job_id)["error"]
        return service.get(f"/v1/jobs/{job_id}/masks").content.splitlines()

    (tmp_path / "wait").touch()
    behave(tmp_path, seconds=0.06, fault={"at": held, "kind": "wait"})  # slow enough to report every frame
    running = post()
    wait_for(lambda: job(running)["progress"]["done"] == held)
    entry = shape(5, 1, 40)
    answer = service.post(f"/v1/jobs/{running}/corrections", json={"prompt": [entry.model_dump(exclude_none=True)]})
    assert answer.status_code == 202, answer.text
    after = succeeded(answer.json()["id"])
    assert (job(running)["status"], job(running)["progress"]["done"]) == ("running", held)
    (tmp_path / "wait").unlink()
    before = succeeded(running)

    assert before == succeeded(post())
    assert [json.loads(line)["index"] for line in after] == list(range(FRAMES))
    assert json.loads(after[5])["source"] == "corrected"
    assert json.loads(after[5])["objects"][0]["rle"]["counts"] == entry.model_dump()["rle"]["counts"]
    changed = [index for index in range(held) if before[index] != after[index]]
    assert changed == list(range(changed[0], held))
    assert 0 < changed[0] <= 5
    report = job(answer.json()["id"])["report"]
    assert report["correction"]["corrects"] == running
    assert any(f"frames from {held} on were computed" in note for note in report["notes"])


def test_a_confined_worker_propagates_both_ways(site: Site) -> None:
    """Prompts on several frames cover the whole video; what the walk back keeps on the disk leaves no file."""
    engine = site.start()
    job = submit(site, (shape(10, 1, 5), shape(20, 2, 30)), prompt_frame=10, direction="both")
    engine.wake()
    done = site.finished(job)
    assert done.status is JobStatus.SUCCEEDED, done.error
    lines = [json.loads(line) for line in site.masks(job).splitlines()]
    assert [line["index"] for line in lines] == list(range(FRAMES))
    wait_for(site.is_tidy)


def test_a_lost_worker_repeats_no_walk_back(site: Site) -> None:
    """A job in both directions goes on in mid-walk, with the masks of one that was not cut off."""
    behave(site.home)
    engine = site.start(loader="tests.support.counted_runs:load_saving")
    last = 22
    options = {"prompt_frame": last, "direction": "both"}
    whole = submit(site, (shape(last, 1, 5),), **options)
    engine.wake()
    assert site.finished(whole).status is JobStatus.SUCCEEDED
    before, _ = computed_frames(site.home)
    assert before == (last + 1) + (FRAMES - last)
    behave(site.home, fault={"at": 20, "kind": "kill"})  # frames of the walk back are counted from its beginning
    broken = submit(site, (shape(last, 1, 5),), **options)
    engine.wake()
    done = site.finished(broken)
    assert (done.status, done.deaths) == (JobStatus.SUCCEEDED, 1), done.error
    assert site.masks(broken) == site.masks(whole)
    computed, _ = computed_frames(site.home)
    assert computed - 2 * before <= 3
    wait_for(site.is_tidy)


@pytest.mark.long
@pytest.mark.parametrize("at", [8, 16], ids=["in the walk back", "after it"])
def test_a_lost_worker_repeats_no_walk_of_a_correction(site: Site, at: int) -> None:
    """A correction goes on in mid-walk, in either direction, with the masks of one that was not cut off."""
    behave(site.home)
    engine = site.start(loader="tests.support.counted_runs:load_saving")
    parent = site.submit(engine)
    assert site.finished(parent).status is JobStatus.SUCCEEDED
    whole = site.finished(correct(site, parent, shape(12, 7, 30)))
    before, _ = computed_frames(site.home)
    behave(site.home, fault={"at": at, "kind": "kill"})
    broken = site.finished(correct(site, parent, shape(12, 7, 30)))
    assert (broken.status, broken.deaths) == (JobStatus.SUCCEEDED, 1), broken.error
    assert site.masks(broken) == site.masks(whole)
    computed, _ = computed_frames(site.home)
    assert computed - before <= before - FRAMES + 3
    wait_for(site.is_tidy)


def test_a_drained_worker_leaves_its_walk_back(site: Site) -> None:
    """The next worker goes on after the last mask, although no state was due."""
    engine = site.start(loader="tests.support.counted_runs:load", state_seconds=600.0)
    behave(site.home, seconds=0.2)
    job = submit(site, (shape(25, 1, 5),), prompt_frame=25, direction="both")
    engine.wake()
    wait_for(lambda: (site.home / "computed").exists() and computed_frames(site.home)[0] > 5)
    engine.stop()
    behave(site.home)
    site.start(loader="tests.support.counted_runs:load")
    done = site.finished(job)
    assert done.status is JobStatus.SUCCEEDED, done.error
    assert computed_frames(site.home)[0] == 26 + FRAMES - 25
    wait_for(site.is_tidy)


def test_a_walk_back_with_too_many_bytes_ends_its_job(site: Site) -> None:
    """Its masks count for the limit as those of the log do, and go with the job."""
    engine = site.start(settings=site.config.settings.model_copy(update={"max_mask_log_bytes": 2000}))
    job = submit(site, (shape(25, 1, 5),), prompt_frame=25, direction="both")
    engine.wake()
    failed = site.finished(job)
    assert failed.error is not None
    assert failed.error.type == "masks-too-large"
    assert "the masks of the walk back take more than the 2,000 bytes" in failed.error.detail
    wait_for(site.is_tidy)
