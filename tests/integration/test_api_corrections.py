"""Corrections over HTTP: new versions of a job, their masks, and undoing them. Computing them is scripted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from pycocotools import mask as coco

from service.config import digest_of_key
from service.jobs.types import JobStatus
from tests.support.serving import FRAMES, Served, served
from tests.support.waiting import wait_for

SIZE = (48, 64)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One service for all tests of the module."""
    with served(tmp_path_factory.mktemp("corrections")) as running:
        yield running


@pytest.fixture(scope="module")
def parent(service: Served) -> str:
    """A job that has succeeded, which no test deletes."""
    return service.run()


def block(top: int, left: int, height: int = 10, width: int = 12) -> np.ndarray:
    """Return a mask bool [48, 64] with one rectangle."""
    mask = np.zeros(SIZE, bool)
    mask[top : top + height, left : left + width] = True
    return mask


def given(frame: int, number: int, mask: np.ndarray) -> dict[str, Any]:
    """Return an entry of a prompt."""
    counts = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    return {"frame": frame, "object": number, "rle": {"size": list(mask.shape), "counts": counts}}


def correct(service: Served, job_id: str, *entries: dict[str, Any], **headers: str) -> httpx.Response:
    """Post a correction."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return service.client.post(f"/v1/jobs/{job_id}/corrections", json={"prompt": list(entries)}, headers=named)


def corrected(service: Served, job_id: str, *entries: dict[str, Any]) -> dict[str, Any]:
    """Post a correction and wait for its success; return the job."""
    answer = correct(service, job_id, *entries)
    assert answer.status_code == 202, answer.text
    return service.until(answer.json()["id"], "succeeded", "failed")


def lines(service: Served, job_id: str, **query: int) -> list[bytes]:
    """Return the mask lines of a job."""
    return service.client.get(f"/v1/jobs/{job_id}/masks", params=query).content.splitlines()


def labels(line: bytes) -> np.ndarray:
    """Return the labels of a line, decoded by pycocotools."""
    found = np.zeros(SIZE, np.uint8)
    for item in json.loads(line)["objects"]:
        found[coco.decode({**item["rle"], "counts": item["rle"]["counts"].encode()}) > 0] = item["id"]
    return found


def test_a_correction_is_a_new_job_with_the_other_masks_unchanged(service: Served, parent: str) -> None:
    """Only lines of frames that change differ, byte by byte; the job before stays as it was."""
    before = lines(service, parent)
    mask = block(20, 30)
    answer = correct(service, parent, given(5, 1, mask))
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == job["links"]["self"] == f"/v1/jobs/{job['id']}"
    assert (job["corrects"], job["origin"], job["id"] != parent) == (parent, parent, True)
    done = service.until(job["id"], "succeeded", "failed")
    after = lines(service, job["id"])
    assert [i for i, (old, new) in enumerate(zip(before, after, strict=True)) if old != new] == [5]
    assert json.loads(after[5])["source"] == "corrected"
    np.testing.assert_array_equal(labels(after[5]), mask)
    assert lines(service, parent) == before
    assert lines(service, job["id"], **{"from": 4, "to": 6}) == after[4:6]
    report = done["report"]
    assert report["correction"] == {"corrects": parent, "frames": [5], "changed": [[5, 6]], "frames_changed": 1}
    assert report["sources"] == {"prompt": 1, "propagated": FRAMES - 2, "corrected": 1, "key": 0, "fallback": 0}
    assert "secret" not in json.dumps(report)
    assert (done["progress"]["done"], done["progress"]["total"]) == (FRAMES, FRAMES)
    assert not any(found["from"] <= 5 < found["to"] for found in report["needs_review"])


def test_the_job_says_back_all_prompts(service: Served, parent: str) -> None:
    """A correction lists the prompts before it, except those that it replaces, and its own."""
    first = corrected(service, parent, given(5, 1, block(0, 0)), {**given(7, 2, block(20, 20)), "label": "dog"})
    second = corrected(service, first["id"], given(5, 1, block(1, 1)), {"frame": 9, "object": 2, "absent": True})
    found = [(item["frame"], item["object"], item["label"], item["bbox"]) for item in second["prompt"]]
    assert found == [
        (0, 1, None, [16, 12, 16, 12]),
        (7, 2, "dog", [20, 20, 12, 10]),
        (5, 1, None, [1, 1, 12, 10]),
        (9, 2, "dog", [0, 0, 0, 0]),
    ]
    assert (second["corrects"], second["origin"]) == (first["id"], parent)
    stored = json.loads(service.services.storage.job(second["id"]).prompts.read_bytes())
    assert [(item["frame"], item["object"]) for item in stored["earlier"]] == [(0, 1), (5, 1), (7, 2)]
    after = lines(service, second["id"])
    assert [json.loads(line)["source"] for line in after].count("corrected") == 3
    assert np.unique(labels(after[9])).tolist() == [0, 1]


def test_a_box_becomes_a_mask(service: Served, parent: str) -> None:
    """Boxes and points are drawn on the picture of their frame, as for a new job."""
    job = corrected(service, parent, {"frame": 3, "object": 4, "box": [10, 8, 30, 30]})
    assert job["status"] == "succeeded", job["error"]
    entry = next(item for item in job["prompt"] if item["object"] == 4)
    assert entry["area"] == np.count_nonzero(labels(lines(service, job["id"])[3]) == 4) > 0


def test_events_of_a_correction_have_all_frames(service: Served, parent: str) -> None:
    """A follower of a correction gets one event per frame, in order, and the end."""
    job = correct(service, parent, given(2, 1, block(3, 3))).json()
    text = service.client.get(f"/v1/jobs/{job['id']}/events").text
    events = [line.removeprefix("event: ") for line in text.splitlines() if line.startswith("event: ")]
    assert [name for name in events if name != "progress"] == ["frame"] * FRAMES + ["done"]


def test_versions_and_undo(service: Served) -> None:
    """Versions are listed the oldest first; undo deletes the latest one and answers with the one before."""
    root = service.run()
    first = corrected(service, root, given(5, 1, block(0, 0)))["id"]
    second = corrected(service, first, given(6, 1, block(0, 0)))["id"]

    def versions(job_id: str) -> list[str]:
        found = service.client.get(f"/v1/jobs/{job_id}/versions").json()["versions"]
        return [job["id"] for job in found]

    assert versions(root) == versions(first) == versions(second) == [root, first, second]
    answer = service.client.post(f"/v1/jobs/{second}/undo")
    assert (answer.status_code, answer.json()["id"]) == (200, first)
    assert service.client.get(f"/v1/jobs/{second}").status_code == 404
    assert versions(root) == [root, first]
    refused = service.client.post(f"/v1/jobs/{root}/undo")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/nothing-to-undo")


def test_undo_stops_a_correction_that_runs(service: Served, parent: str) -> None:
    """A running correction is canceled and deleted."""
    with service.held(at=2):
        job = correct(service, parent, given(5, 1, block(0, 0))).json()
        service.until(job["id"], "running")
        assert service.client.post(f"/v1/jobs/{job['id']}/undo").json()["id"] == parent
    wait_for(lambda: not service.services.storage.job(job["id"]).folder.exists())


def test_a_correction_outlives_its_parent(service: Served) -> None:
    """When the parent is deleted, its correction keeps video and masks and can be corrected, but not undone."""
    root = service.run()
    job = corrected(service, root, given(5, 1, block(0, 0)))["id"]
    before = lines(service, job)
    service.engine.paused.set()  # the parent goes before the worker has read anything
    third = correct(service, job, given(6, 1, block(20, 20))).json()["id"]
    for gone in (root, job):
        assert service.client.delete(f"/v1/jobs/{gone}").status_code == 204
        wait_for(lambda gone=gone: not service.services.storage.job(gone).folder.exists())
    service.engine.paused.clear()
    service.engine.wake()
    assert service.until(third, "succeeded", "failed")["status"] == "succeeded"
    after = lines(service, third)
    assert [i for i, (old, new) in enumerate(zip(before, after, strict=True)) if old != new] == [6]
    refused = service.client.post(f"/v1/jobs/{third}/undo")
    assert (refused.status_code, "has expired; the correction stays" in refused.text) == (409, True)
    assert service.client.get(f"/v1/jobs/{third}/versions").json()["versions"][0]["id"] == third
    assert corrected(service, third, given(7, 1, block(20, 20)))["status"] == "succeeded"
    assert service.client.post(f"/v1/jobs/{root}/corrections", json={"prompt": []}).status_code == 404


def test_shared_files_count_once(service: Served) -> None:
    """A correction shares the video of its parent, on the disk and in the quota."""
    root = service.run()
    job = corrected(service, root, given(5, 1, block(0, 0)))["id"]
    files = [service.services.storage.job(name) for name in (root, job)]
    assert files[0].video.samefile(files[1].video)
    assert not list(files[1].folder.glob("parent-*.ndjson"))
    sizes = service.services.storage.space._sizes
    alone = sum(path.stat().st_size for file in files for path in file.folder.rglob("*") if path.is_file())
    measured = sum(sizes._measure(name).size for name in (root, job))
    assert measured == alone - files[0].video.stat().st_size


@pytest.mark.parametrize(
    ("entries", "kind", "said"),
    [
        ([{"object": 1, "absent": True}], "invalid-options", "object 1 has no frame"),
        ([{"frame": FRAMES, "object": 1, "absent": True}], "invalid-options", f"frames 0 to {FRAMES - 1}"),
        ([given(1, 1, np.ones((64, 48), bool))], "mask-unusable", "size"),
        ([given(1, 1, np.zeros(SIZE, bool))], "mask-unusable", "no pixel"),
        ([{"frame": 1, "object": 1}], "invalid-request", "needs a box"),
        ([given(1, 1, block(0, 0)), given(1, 1, block(0, 0))], "invalid-request", "marks object 1 twice"),
        ([], "invalid-request", "at least 1 item"),
        ([{"frame": 1, "object": 9, "absent": True}], "mask-unusable", "object 9 is absent in frame 1, but no prompt"),
        (
            [{"frame": 1, "object": 1, "rle": {"size": [48, 64], "counts": "oooooo0"}}],
            "mask-unusable",
            "do not cover",
        ),
        ([given(1, 1 + i, block(i // 3, 0, 1, 1 + i % 60)) for i in range(60)], "too-many-objects", "allowed: 50"),
    ],
)
def test_a_bad_correction_is_refused(
    service: Served, parent: str, entries: list[dict[str, Any]], kind: str, said: str
) -> None:
    """The problem says what was given and what is allowed, and no job and no file is left."""
    before = set(service.services.storage.job_ids())
    answer = correct(service, parent, *entries)
    assert answer.status_code == 422, answer.text
    assert answer.json()["type"] == f"/problems/{kind}"
    assert said in answer.json()["detail"]
    assert set(service.services.storage.job_ids()) == before


def test_a_body_that_is_no_correction_is_refused(service: Served, parent: str) -> None:
    """Other content types, other members and large bodies are refused before they are read to their end."""
    path = f"/v1/jobs/{parent}/corrections"
    assert service.client.post(path, content=b"{}", headers={"content-type": "text/plain"}).status_code == 415
    headers = {"content-type": "application/json"}
    for content in (b"nonsense", b"[]", b"{}", b'{"prompt":[{}],"more":1}'):
        answer = service.client.post(path, content=content, headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request"), answer.text
    assert service.client.post(path, content=b" " * (1 << 21), headers=headers).status_code == 413


def test_a_job_without_a_mask_is_not_corrected(service: Served) -> None:
    """A job that waits is refused with 409."""
    service.engine.paused.set()
    waiting = service.post().json()["id"]
    answer = correct(service, waiting, given(1, 1, block(0, 0)))
    service.engine.paused.clear()
    service.engine.wake()
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/job-not-succeeded")
    assert "queued and has no mask" in answer.json()["detail"]
    service.until(waiting, "succeeded")


def test_a_job_that_runs_is_corrected(service: Served) -> None:
    """The correction has the masks that existed when it was posted, and computes the others; the job goes on."""
    with service.held(at=6):
        running = service.post().json()["id"]
        wait_for(lambda: service.client.get(f"/v1/jobs/{running}").json()["progress"]["done"] == 6)
        late = correct(service, running, given(6, 1, block(0, 0)))
        assert (late.status_code, "frames 0 to 5" in late.json()["detail"]) == (422, True)
        answer = correct(service, running, given(2, 1, block(3, 3)))
        job = answer.json()
        assert answer.status_code == 202, job
        assert (job["corrects"], job["status"], job["progress"]["total"]) == (running, "queued", FRAMES)
    service.until(running, "succeeded")
    done = service.until(job["id"], "succeeded", "failed")
    assert done["status"] == "succeeded", done["error"]
    before, after = lines(service, running), lines(service, job["id"])
    assert after[:2] + after[3:6] == before[:2] + before[3:6]
    np.testing.assert_array_equal(labels(after[2]), block(3, 3))
    assert [json.loads(line)["index"] for line in after] == list(range(FRAMES))
    assert done["report"]["correction"]["changed"] == [[2, 3], [6, FRAMES]]
    assert done["report"]["codec"]["codec"] == "h264"
    assert "secret" not in json.dumps(done["report"])
    assert service.client.get(f"/v1/jobs/{job['id']}/versions").json()["versions"][0]["id"] == running


@pytest.mark.parametrize("status", ["failed", "canceled"])
def test_a_job_that_ended_early_is_corrected(service: Served, status: str) -> None:
    """Its masks are used and those after them are computed; it stays as it is, and undo goes back to it."""
    service.engine.failing = status == "failed"
    try:
        with service.held(at=0 if status == "failed" else 3) as gate:
            ended = service.post().json()["id"]
            if status == "failed":
                gate.set()
            else:
                wait_for(lambda: service.client.get(f"/v1/jobs/{ended}").json()["progress"]["done"] == 3)
                service.client.post(f"/v1/jobs/{ended}/cancel")
            service.until(ended, status)
    finally:
        service.engine.failing = False
    count = len(lines(service, ended))
    assert 0 < count < FRAMES
    done = corrected(service, ended, given(0, 1, block(3, 3)))
    assert done["status"] == "succeeded", done["error"]
    assert done["report"]["correction"]["changed"] == [[0, 1], [count, FRAMES]]
    assert done["progress"]["done"] == len(lines(service, done["id"])) == FRAMES
    assert service.client.post(f"/v1/jobs/{done['id']}/undo").json()["id"] == ended
    assert len(lines(service, ended)) == count


def test_the_same_key_gives_the_same_correction(service: Served, parent: str) -> None:
    """An Idempotency-Key works as for new jobs."""
    entry = given(5, 1, block(0, 0))
    first, again = (correct(service, parent, entry, idempotency_key="once") for _ in range(2))
    assert first.json()["id"] == again.json()["id"]
    assert again.headers["idempotent-replayed"] == "true"
    other = correct(service, parent, given(6, 1, block(0, 0)), idempotency_key="once")
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-conflict")


def test_a_new_job_takes_prompts_on_several_frames(service: Served) -> None:
    """The job lists all objects of all frames, with their names, and stores their masks."""
    entries = [
        {**given(4, 2, block(20, 20)), "label": "cat"},
        {"frame": 2, "object": 1, "box": [10, 8, 30, 30], "label": "dog"},
        {"frame": 6, "object": 1, "absent": True},
    ]
    answer = service.post(prompt=json.dumps(entries), options='{"direction": "both"}')
    job = answer.json()
    assert answer.status_code == 202, job
    found = [(item["frame"], item["object"], item["label"], item["area"] > 0) for item in job["prompt"]]
    assert found == [(2, 1, "dog", True), (4, 2, "cat", True), (6, 1, "dog", False)]
    assert (job["options"]["prompt_frame"], job["progress"]["total"]) == (2, FRAMES)
    stored = json.loads(service.services.storage.job(job["id"]).prompts.read_bytes())["new"]
    assert [(item["frame"], item["object"], "rle" in item) for item in stored] == [
        (2, 1, True),
        (4, 2, True),
        (6, 1, False),
    ]
    late = service.post(prompt=json.dumps([*entries, {"frame": 99, "object": 1, "box": [1, 1, 9, 9]}]))
    assert (late.status_code, late.json()["type"]) == (422, "/problems/invalid-options")


def test_keys_see_only_their_own_versions(tmp_path: Path) -> None:
    """Another key can neither correct a job, nor list its versions, nor undo a correction."""
    keys = ",".join(f"{name}:{digest_of_key(f'km-{name}')}" for name in ("ann", "bob"))
    with served(tmp_path, api_keys=keys) as service:
        service.client.headers["authorization"] = "Bearer km-ann"
        root = service.run()
        job = corrected(service, root, given(5, 1, block(0, 0)))["id"]
        assert service.services.store.get(job).api_key_id == "ann"
        assert service.services.store.get(job).status is JobStatus.SUCCEEDED
        service.client.headers["authorization"] = "Bearer km-bob"
        assert correct(service, root, given(5, 1, block(0, 0))).status_code == 404
        assert service.client.get(f"/v1/jobs/{root}/versions").status_code == 404
        assert service.client.post(f"/v1/jobs/{job}/undo").status_code == 404
