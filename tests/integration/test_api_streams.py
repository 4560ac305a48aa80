"""Masks and events while a job runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from service.http import job_watcher
from service.http.routes import events, masks
from tests.support.media import square
from tests.support.serving import FRAMES, Served, served
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One service for all tests of the module."""
    with served(tmp_path_factory.mktemp("streams")) as running:
        yield running


@pytest.fixture(scope="module")
def done(service: Served) -> str:
    """Id of a job that has succeeded."""
    return service.run()


def parse_events(lines: Iterator[str]) -> Iterator[tuple[str, str | None, Any]]:
    """Yield Server-Sent Events as (event, id, data); comments are events without a name."""
    event, number, data = "", None, ""
    for line in lines:
        if not line:
            if data:
                yield event, number, json.loads(data)
            event, number, data = "", None, ""
        elif line.startswith(":"):
            yield "", None, line
        else:
            name, _, value = line.partition(": ")
            event, number, data = (
                value if name == "event" else event,
                value if name == "id" else number,
                value if name == "data" else data,
            )


def test_masks_arrive_while_the_job_runs(service: Served) -> None:
    """A client that follows the masks gets the first ones while the job is held, and all of them by its end."""
    with service.held(3) as gate:
        job_id = service.post().json()["id"]
        with service.client.stream("GET", f"/v1/jobs/{job_id}/masks") as answer:
            assert answer.headers["content-type"] == "application/x-ndjson"
            lines = answer.iter_lines()
            first, *rest = (json.loads(next(lines)) for _ in range(3))
            gate.set()
            rest += [json.loads(line) for line in lines]
    assert [line["index"] for line in (first, *rest)] == list(range(FRAMES))
    assert (first["source"], rest[0]["source"]) == ("prompt", "propagated")
    only = first["objects"][0]
    assert (coco.decode({**only["rle"], "counts": only["rle"]["counts"].encode()}) == square(64, 48)).all()
    assert (only["bbox"], only["area"], only["score"]) == ([16, 12, 16, 12], 192, 0.5)


@pytest.mark.parametrize(
    ("query", "wanted"),
    [("from=10", [10, 11]), ("from=2&to=4", [2, 3]), ("to=1", [0]), ("to=0", []), ("from=50", []), ("from=5&to=3", [])],
)
def test_from_and_to_select_frames(service: Served, done: str, query: str, wanted: list[int]) -> None:
    """`from` is the first frame, `to` the end, exclusive."""
    text = service.client.get(f"/v1/jobs/{done}/masks?{query}").text
    assert [json.loads(line)["index"] for line in text.splitlines()] == wanted


def test_one_mask_as_a_picture(service: Served, done: str) -> None:
    """One mask is an indexed PNG of the display size; with its ETag it is not sent again."""
    answer = service.client.get(f"/v1/jobs/{done}/masks/7.png")
    with Image.open(BytesIO(answer.content)) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "P", (64, 48))
        assert (np.asarray(picture) == square(64, 48)).all()
        assert picture.getpalette()[3:6] == [128, 0, 0]
    again = service.client.get(f"/v1/jobs/{done}/masks/7.png", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    missing = service.client.get(f"/v1/jobs/{done}/masks/12.png")
    assert (missing.status_code, missing.json()["type"]) == (404, "/problems/mask-not-found")


def test_a_large_mask_is_drawn_in_a_sandbox(service: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mask with a long line, or with many pixels and objects, is drawn outside the API process; it looks the same."""
    job_id = service.run()
    log = next(service.services.storage.job(job_id).folder.glob("frames*.ndjson"))
    lines = log.read_bytes().splitlines(keepends=True)
    lines[7] = lines[7].replace(b'"objects":[', b'"objects":[' + b" " * (1 << 20))
    log.write_bytes(b"".join(lines))

    def forbidden(*_arguments: Any) -> bytes:
        raise AssertionError("drawn in the API's process")

    monkeypatch.setattr(masks, "draw_line", forbidden)
    monkeypatch.setattr(masks, "_LIGHT_PIXELS", 64 * 48 - 1)
    for index in (6, 7, 11):
        path = f"/v1/jobs/{job_id}/masks/{index}.png"
        answer = service.client.get(path)
        with Image.open(BytesIO(answer.content)) as picture:
            assert (np.asarray(picture) == square(64, 48)).all()
        again = service.client.get(path, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    streamed = service.client.get(f"/v1/jobs/{job_id}/masks?from=6&to=9").content
    assert streamed == b"".join(lines[6:9])
    assert service.services.builds.taken == 0


def test_events_cover_the_whole_job(service: Served) -> None:
    """There are progress events, one event per frame with its index as id and no mask, and the job at the end."""
    with service.held() as gate:
        job_id = service.post().json()["id"]
        with service.client.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.headers["x-accel-buffering"] == "no"
            found = parse_events(answer.iter_lines())
            kind, _, progress = next(found)
            gate.set()
            rest = list(found)
    assert (kind, progress["done"], progress["total"]) == ("progress", 0, FRAMES)
    frames = [(number, data) for kind, number, data in rest if kind == "frame"]
    assert [number for number, _ in frames] == [str(i) for i in range(FRAMES)]
    assert frames[3][1]["objects"] == [{"id": 1, "bbox": [16, 12, 16, 12], "area": 192, "score": 0.5}]
    assert [data["done"] for kind, _, data in rest if kind == "progress"][-1] == FRAMES
    assert (rest[-1][0], rest[-1][2]["id"], rest[-1][2]["status"]) == ("done", job_id, "succeeded")


@pytest.mark.parametrize(
    ("last", "wanted"), [("8", [9, 10, 11]), ("11", []), ("x", list(range(FRAMES))), ("-3", list(range(FRAMES)))]
)
def test_events_resume(service: Served, done: str, last: str, wanted: list[int]) -> None:
    """The stream resumes after the frame `Last-Event-ID`; a value that is no index starts from the beginning."""
    text = service.client.get(f"/v1/jobs/{done}/events", headers={"Last-Event-ID": last}).text
    found = list(parse_events(iter(text.splitlines())))
    assert [data["index"] for kind, _, data in found if kind == "frame"] == wanted
    assert found[-1][0] == "done"


def test_events_of_a_failed_job_end_with_its_problem(service: Served) -> None:
    """The last event of a failed job is `error`, and its data is a problem."""
    service.engine.failing = True
    try:
        job_id = service.post(prefer="wait=60").json()["id"]
    finally:
        service.engine.failing = False
    found = list(parse_events(iter(service.client.get(f"/v1/jobs/{job_id}/events").text.splitlines())))
    assert [number for kind, number, _ in found if kind == "frame"] == ["0", "1"]
    assert (found[-1][0], found[-1][2]["type"], found[-1][2]["detail"]) == (
        "error", "/problems/internal-error", "broken on command"
    )  # fmt: skip


def test_a_quiet_stream_is_kept_open(service: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing changes, a comment is sent every ping interval, which is 15 seconds."""
    assert events.PING_SECONDS == 15
    monkeypatch.setattr(events, "PING_SECONDS", 0.05)
    with service.held():
        job_id = service.post().json()["id"]
        service.until(job_id, "running")
        with service.client.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
            found = parse_events(answer.iter_lines())
            comments = [next(data for kind, _, data in found if not kind) for _ in range(3)]
            service.client.post(f"/v1/jobs/{job_id}/cancel")
            assert list(found)[-1][2]["status"] == "canceled"
    assert comments == [": ping"] * 3


def test_the_end_is_sent_at_once(service: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine announces the end of a job, so that followers do not wait for the next poll."""
    with service.held() as gate:
        job_id = service.post().json()["id"]
        service.until(job_id, "running")
        monkeypatch.setattr(job_watcher, "PERIOD_SECONDS", 3600.0)
        with service.client.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
            found = parse_events(answer.iter_lines())
            assert next(found)[0] == "progress"
            gate.set()
            kinds = [kind for kind, _, _ in found if kind != "progress"]
    assert kinds == ["frame"] * FRAMES + ["done"]


def test_a_stream_of_a_deleted_job_ends(service: Served) -> None:
    """The stream of a job ends when the job is deleted."""
    with service.held():
        job_id = service.post().json()["id"]
        with service.client.stream("GET", f"/v1/jobs/{job_id}/masks") as answer:
            assert service.client.delete(f"/v1/jobs/{job_id}").status_code == 204
            assert list(answer.iter_lines()) == []


def test_the_number_of_streams_is_limited(service: Served) -> None:
    """A stream or download beyond the limit is refused, and a client that disconnects makes room."""
    with served(service.clip.parent / "few", max_followers=1) as small:
        done = small.run()
        with small.held(), httpx.Client(base_url=small.client.base_url, timeout=240) as other:
            path = f"/v1/jobs/{small.post().json()['id']}/masks"
            with other.stream("GET", path):
                wait_for(lambda: small.services.streams.taken == 1)
                for one in (path, path.replace("/masks", "/events"), f"/v1/jobs/{done}/result"):
                    refused = small.client.get(one)
                    assert (refused.status_code, refused.json()["type"]) == (429, "/problems/too-many-streams")
            wait_for(lambda: small.services.streams.taken == 0)
        assert len(small.client.get(path).text.splitlines()) == FRAMES


def test_a_service_that_stops_opens_no_stream(service: Served) -> None:
    """After the signal to stop, a stream is refused with 503 and Retry-After."""
    with served(service.clip.parent / "stopping") as stopping:
        job = f"/v1/jobs/{stopping.run()}"
        stopping.services.watcher.close_soon()
        for stream in ("masks", "events"):
            refused = stopping.client.get(f"{job}/{stream}")
            assert (refused.status_code, refused.json()["type"]) == (503, "/problems/not-ready")
            assert "retry-after" in refused.headers
