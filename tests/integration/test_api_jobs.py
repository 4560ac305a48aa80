"""Jobs over HTTP: create, read, list, cancel, delete."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import numpy as np
import pytest
from PIL import Image

from service.config import digest_of_key
from service.jobs.types import JobStatus
from service.problems import PROBLEMS
from tests.support.mask_pictures import file_of
from tests.support.media import write_clip, write_mask
from tests.support.serving import FRAMES, Served, served
from tests.support.waiting import files_below, wait_for


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One service for all tests of the module."""
    with served(tmp_path_factory.mktemp("jobs")) as running:
        yield running


@pytest.fixture
def held(service: Served) -> Iterator[Served]:
    """The service; jobs stop before their first frame while the test runs."""
    with service.held():
        yield service


def test_a_new_job_is_answered_202_with_its_address(held: Served) -> None:
    """A post is answered 202 with Location, Retry-After and the job, whose video has its display size."""
    answer = held.post(options='{"keyframes": "every:3", "end": 9}')
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}" == job["links"]["self"]
    assert int(answer.headers["retry-after"]) >= 1
    assert job["status"] in ("queued", "running")
    assert job["progress"]["total"] == 9
    assert (job["options"]["keyframes"], job["options"]["end"], job["options"]["prompt_frame"]) == ("every:3", 9, 0)
    video = job["video"]
    assert (video["codec"], video["width"], video["height"], video["frames"]) == ("h264", 64, 48, FRAMES)
    assert (video["duration"], video["rotation"]) == (pytest.approx(0.48), 0)


def test_times_are_utc_and_in_order(service: Served) -> None:
    """All times of a finished job are RFC 3339 in UTC, and it expires one retention time after its end."""
    job = service.client.get(f"/v1/jobs/{service.run()}").json()
    names = ("created_at", "started_at", "finished_at", "expires_at")
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", job[name]) for name in names)
    times = [datetime.fromisoformat(job[name]) for name in names]
    assert times == sorted(times)
    assert times[3] - times[2] == timedelta(days=1)
    assert job["report"]["frames"]
    assert job["error"] is None


def test_prefer_wait_ends_with_the_job_or_after_its_time(service: Served) -> None:
    """`Prefer: wait=N` is answered 200 with the finished job, or 202 after N seconds, and acknowledged."""
    done = service.post(prefer="respond-async, wait=60")
    assert (done.status_code, done.json()["status"]) == (200, "succeeded")
    assert done.headers["preference-applied"] == "wait=60"
    with service.held():
        late = service.post(prefer="wait=1")
    assert late.status_code == 202
    assert late.json()["status"] in ("queued", "running")


def test_a_list_is_paged_newest_first(service: Served) -> None:
    """The pages together are the whole list, newest first, even if a job is created between two requests."""
    ids = [service.run() for _ in range(4)]
    first = service.client.get("/v1/jobs", params={"limit": 2, "status": "succeeded"}).json()
    service.run()
    second = service.client.get(
        "/v1/jobs", params={"limit": 2, "status": "succeeded", "cursor": first["cursor"]}
    ).json()
    assert [job["id"] for job in first["jobs"] + second["jobs"]] == ids[::-1]
    rest = service.client.get("/v1/jobs", params={"status": "failed"}).json()
    assert rest == {"jobs": [], "cursor": None}


def test_cancel_in_every_status(held: Served) -> None:
    """A running and a waiting job end as canceled; a finished job does not change."""
    running, waiting = held.post().json()["id"], held.post().json()["id"]
    held.until(running, "running")
    assert held.client.post(f"/v1/jobs/{waiting}/cancel").json()["status"] == "canceled"
    assert held.client.post(f"/v1/jobs/{running}/cancel").status_code == 200
    assert held.until(running, "canceled", "succeeded")["status"] == "canceled"
    held.engine.gate.set()
    done = held.run()
    assert held.client.post(f"/v1/jobs/{done}/cancel").json()["status"] == "succeeded"


def test_a_deleted_job_leaves_nothing(held: Served) -> None:
    """A job that is deleted while it runs disappears for clients at once, and from the disk soon after."""
    job_id = held.post().json()["id"]
    held.until(job_id, "running")
    folder = held.services.storage.job(job_id).folder
    assert folder.is_dir()
    assert held.client.delete(f"/v1/jobs/{job_id}").status_code == 204
    for path in ("", "/events", "/masks", "/masks/0.png", "/result"):
        assert held.client.get(f"/v1/jobs/{job_id}{path}").status_code == 404
    assert held.client.delete(f"/v1/jobs/{job_id}").status_code == 404
    held.engine.gate.set()
    wait_for(lambda: job_id not in held.services.storage.job_ids())
    wait_for(lambda: not held.services.store.known([job_id]))


def test_the_same_key_and_payload_return_the_same_job(service: Served) -> None:
    """Simultaneous posts with one Idempotency-Key create one job; another payload is refused; no file is left over."""
    before = set(service.services.storage.job_ids())
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: service.post(idempotency_key="once"), range(8)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    other = service.post(idempotency_key="once", options='{"end": 5}')
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-conflict")
    assert set(service.services.storage.job_ids()) - before == {answers[0].json()["id"]}


def test_a_failed_job_has_its_error(service: Served) -> None:
    """The error of a failed job has a problem type and one line of detail, without a traceback."""
    service.engine.failing = True
    try:
        job_id = service.post(prefer="wait=60").json()["id"]
    finally:
        service.engine.failing = False
    job = service.client.get(f"/v1/jobs/{job_id}").json()
    assert (job["status"], job["error"]) == (
        "failed", {"type": "/problems/internal-error", "detail": "broken on command"}
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "kind", "detail"),
    [
        ("{", "invalid-options", "options: "),
        ('{"kyframes": "codec"}', "invalid-options", "kyframes"),
        ('{"keyframes": "every:0"}', "invalid-options", "keyframes is 'every:0'"),
        ('{"prompt_frame": 12}', "invalid-options", "prompt_frame is 12; it must be less than 12"),
        ('{"prompt_frame": -1}', "invalid-options", "prompt_frame is -1"),
        ('{"start": 3, "end": 3}', "invalid-options", "end is 3; it must be more than"),
        ('{"start": 12}', "invalid-options", "start is 12; it must be from prompt_frame"),
        ('{"prompt_frame": 4, "start": 3}', "invalid-options", "start is 3"),
        ('{"prompt_frame": 4, "end": 4}', "invalid-options", "end is 4"),
        ('{"max_side": 8}', "invalid-options", "max_side is 8"),
        ('{"quality": "good"}', "invalid-options", "quality is 'good': Input should be 'fast', 'balanced' or 'best'"),
        ('{"max_key_share": 0}', "invalid-options", "max_key_share is 0: Input should be greater than 0"),
        ('{"max_key_share": 0.2, "keyframes": "codec"}', "invalid-options", "only adaptive keeps a share"),
        ('{"model": "sam"}', "invalid-options", "it must be one of compact, stm, stcn"),
        ('{"model": "stm"}', "model-unavailable", "keymask models pull stm"),
        ("[1]", "invalid-options", "options: "),
        (" " * 20000, "upload-too-large", "options has more than the 16384 bytes"),
    ],
)
def test_options_are_checked(service: Served, options: str, kind: str, detail: str) -> None:
    """An option that is unknown, out of range or does not fit the video is refused; the detail names it."""
    answer = service.post(options=options)
    assert answer.json()["type"] == f"/problems/{kind}"
    assert detail in answer.json()["detail"]


def test_the_mask_must_have_the_displayed_size(service: Served, tmp_path: object) -> None:
    """A rotated video needs a mask of the rotated size, and the refusal states both sizes."""
    folder = service.clip.parent
    turned = write_clip(folder / "turned.mp4", rotation=90).read_bytes()
    flat, upright = service.mask.read_bytes(), write_mask(folder / "upright.png", 48, 64).read_bytes()
    assert service.post(video=turned, mask=upright).status_code == 202
    problem = service.post(video=turned, mask=flat).json()
    assert problem["type"] == "/problems/mask-size-mismatch"
    assert "64x48" in problem["detail"]
    assert "48x64" in problem["detail"]
    assert problem["mask"] == {"width": 64, "height": 48}
    assert problem["video"] == {"width": 48, "height": 64}
    assert problem["allowed"] == [{"width": 48, "height": 64}]


def test_a_job_says_what_was_read_from_its_mask(service: Served) -> None:
    """Object, frame, color, area and box; a note on a decision; the option `mask_mode` decides otherwise."""
    labels = np.zeros((48, 64), np.uint8)
    labels[8:24, 4:14], labels[30:40, 40:60] = 1, 2
    colors = np.array([(255, 255, 255), (0, 128, 0), (128, 0, 0)], np.uint8)[labels]
    job = service.post(
        mask=file_of(Image.fromarray(colors)), options='{"prompt_frame": 1, "labels": {"2": "dog"}}'
    ).json()
    assert job["prompt"] == [
        {"object": 1, "label": None, "frame": 1, "color": "#800000", "area": 200, "bbox": [40, 30, 20, 10]},
        {"object": 2, "label": "dog", "frame": 1, "color": "#008000", "area": 160, "bbox": [4, 8, 10, 16]},
    ]
    assert job["notes"] == ["no pixel of the mask is black; #ffffff, which fills its border, is the background"]
    assert service.client.get(job["links"]["self"]).json()["prompt"] == job["prompt"]
    grey = file_of(Image.fromarray(labels * 9))
    assert [item["object"] for item in service.post(mask=grey).json()["prompt"]] == [9, 18]
    binary = service.post(mask=grey, options='{"mask_mode": "binary"}').json()
    assert [(item["object"], item["area"]) for item in binary["prompt"]] == [(1, 360)]


def test_a_mask_that_may_mean_several_things_is_refused(service: Served) -> None:
    """The problem says why it is not plain, and names no file of the service."""
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    problem = service.post(mask=file_of(Image.fromarray(noise))).json()
    assert problem["type"] == "/problems/mask-ambiguous"
    assert "more than 256 colors" in problem["detail"]
    problem = service.post(mask=b"no picture").json()
    assert problem["type"] == "/problems/mask-unreadable"
    assert problem["detail"] == (
        "the mask is not a picture that can be read; allowed: PNG, JPEG, BMP, WebP, TIFF or NPY"
    )


@pytest.mark.parametrize(
    ("setting", "value", "kind", "status"),
    [
        ("max_upload_bytes", 1000, "upload-too-large", 413),
        ("max_mask_bytes", 50, "upload-too-large", 413),
        ("max_pixels", 3000, "too-many-pixels", 422),
        ("max_frames", 11, "too-many-frames", 422),
        ("max_duration_seconds", 0.3, "video-too-long", 422),
        ("max_queued_jobs", 0, "queue-full", 429),
        ("storage_quota", 1, "storage-full", 507),
    ],
)
def test_every_limit_has_its_own_problem_type(
    service: Served, setting: str, value: float, kind: str, status: int
) -> None:
    """A post beyond a limit is refused with the limit's own problem type, and leaves neither job nor file."""
    with served(service.clip.parent / setting, **{setting: value}) as limited:
        answer = limited.post()
        assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{kind}")
        assert answer.headers["content-type"] == "application/problem+json"
        assert (answer.headers.get("retry-after") is not None) is (PROBLEMS[kind].retry_after is not None)
        assert limited.client.get("/v1/jobs").json()["jobs"] == []
        files = limited.services.settings.files_dir
        assert not files_below(files)


def test_each_api_key_has_its_own_jobs_and_limits(service: Served) -> None:
    """With API keys a caller sees only its own jobs, and has its own job limit and Idempotency-Keys."""
    keys = ",".join(f"{name}:{digest_of_key(f'km-{name}')}" for name in ("ann", "bob"))
    with served(service.clip.parent / "keys", api_keys=keys, max_jobs_per_key=1) as guarded:
        assert guarded.post().status_code == 401
        assert guarded.post(authorization="Bearer wrong").headers["www-authenticate"].startswith("Bearer")
        with guarded.held():
            ann, bob = ({"authorization": f"Bearer km-{name}"} for name in ("ann", "bob"))
            mine = guarded.post(**ann, idempotency_key="k").json()["id"]
            refused = guarded.post(**ann)
            assert (refused.status_code, refused.json()["type"]) == (429, "/problems/too-many-jobs")
            theirs = guarded.post(**bob, idempotency_key="k").json()["id"]
            assert mine != theirs
            assert guarded.client.get(f"/v1/jobs/{mine}", headers=bob).status_code == 404
            assert [job["id"] for job in guarded.client.get("/v1/jobs", headers=bob).json()["jobs"]] == [theirs]
            assert "km-ann" not in json.dumps(guarded.client.get("/v1/jobs", headers=ann).json())


def test_only_the_owner_reads_a_followed_job(service: Served) -> None:
    """While a job is followed, other callers get 404, and its owner sees a change at once."""
    keys = ",".join(f"{name}:{digest_of_key(f'km-{name}')}" for name in ("ann", "bob"))
    with served(service.clip.parent / "followed", api_keys=keys) as guarded, guarded.held():
        ann, bob = ({"authorization": f"Bearer km-{name}"} for name in ("ann", "bob"))
        job = f"/v1/jobs/{guarded.post(**ann).json()['id']}"
        with guarded.client.stream("GET", f"{job}/events", headers=ann) as events:
            lines = events.iter_lines()
            next(lines)
            for _ in range(3):
                assert guarded.client.get(job, headers=ann).json()["status"] in ("queued", "running")
                assert guarded.client.get(job, headers=bob).json()["type"] == "/problems/job-not-found"
            guarded.client.delete(job, headers=ann)
            assert guarded.client.get(job, headers=ann).status_code == 404
            list(lines)


def test_statuses_are_the_documented_ones(service: Served) -> None:
    """Clients see the five documented statuses and can filter by each."""
    assert {*JobStatus} == {"queued", "running", "succeeded", "failed", "canceled"}
    for status in JobStatus:
        assert service.client.get("/v1/jobs", params={"status": status}).status_code == 200
    assert service.client.get("/v1/jobs", params={"status": "done"}).json()["type"] == "/problems/invalid-request"
