"""Uploads in several requests, by tus 1.0."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.config import digest_of_key
from service.errors import StorageFullError
from service.problems import ProblemError
from service.storage import uploads
from service.storage.job_files import Storage
from tests.support.serving import FRAMES, Served, served
from tests.support.waiting import wait_for

TUS = {"Tus-Resumable": "1.0.0"}
BODY = TUS | {"Content-Type": "application/offset+octet-stream"}
BOX = '[{"object":1,"box":[4,4,30,30]}]'


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One service for all tests of the module."""
    with served(tmp_path_factory.mktemp("uploads"), max_upload_bytes=1 << 20, max_kept_uploads=3) as running:
        yield running


def create(service: Served, length: int, **options: Any) -> httpx.Response:
    """Begin an upload."""
    headers = TUS | {"Upload-Length": str(length)} | options.pop("headers", {})
    return service.client.post("/v1/uploads", headers=headers, **options)


def patch(service: Served, address: str, offset: int, content: Any) -> httpx.Response:
    """Continue an upload."""
    return service.client.patch(address, headers=BODY | {"Upload-Offset": str(offset)}, content=content)


def upload(service: Served) -> str:
    """Upload the clip; return the address."""
    content = service.clip.read_bytes()
    answer = create(service, len(content), headers=BODY, content=content)
    assert answer.status_code == 201, answer.text
    return answer.headers["location"]


@pytest.fixture
def address(service: Served) -> Iterator[str]:
    """A complete upload of the clip."""
    there = upload(service)
    yield there
    service.client.delete(there, headers=TUS)


def kind_of(answer: httpx.Response) -> str:
    """The type of a problem."""
    return str(answer.json()["type"]).removeprefix("/problems/")


def test_a_video_in_three_requests_becomes_a_job(service: Served) -> None:
    """The job has the bytes that were sent, without a copy, and the upload is gone."""
    content = service.clip.read_bytes()
    begun = create(service, len(content))
    assert (begun.status_code, begun.headers["upload-offset"]) == (201, "0")
    there = begun.headers["location"]
    for start, end in ((0, 1000), (1000, 1001), (1001, len(content))):
        sent = patch(service, there, start, content[start:end])
        assert (sent.status_code, sent.headers["upload-offset"], sent.headers["tus-resumable"]) == (
            204,
            str(end),
            "1.0.0",
        )
    state = service.client.head(there)
    assert (state.headers["upload-offset"], state.headers["upload-length"]) == (str(len(content)),) * 2
    assert state.headers["cache-control"] == "no-store"
    inode = next(service.services.storage.root.glob("uploads/*/video")).stat().st_ino
    form = {"upload": (None, there.rpartition("/")[2]), "prompt": (None, BOX)}
    posted = service.client.post("/v1/jobs", files=form, headers={"Prefer": "wait=60"})
    assert posted.status_code == 200, posted.text
    assert posted.json()["video"]["frames"] == FRAMES
    video = service.services.storage.job(posted.json()["id"]).video
    assert (video.read_bytes(), video.stat().st_ino) == (content, inode)
    assert service.client.head(there).status_code == 404


def test_a_repeated_post_finds_its_job_although_the_upload_is_gone(service: Served) -> None:
    """The answer to the first post was lost."""
    form = {"upload": (None, upload(service).rpartition("/")[2]), "prompt": (None, BOX)}
    first, again = (service.client.post("/v1/jobs", files=form, headers={"Idempotency-Key": "one"}) for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 202), again.text
    assert again.json()["id"] == first.json()["id"]
    other = service.client.post(
        "/v1/jobs", files=form | {"upload": (None, "0" * 32)}, headers={"Idempotency-Key": "one"}
    )
    assert kind_of(other) == "idempotency-conflict"


def test_an_upload_survives_a_lost_connection(service: Served) -> None:
    """What arrived before counts, and the upload continues there."""
    content = os.urandom(300_000)
    there = create(service, len(content)).headers["location"]

    def broken() -> Iterator[bytes]:
        yield content[:100_000]
        time.sleep(0.2)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        patch(service, there, 0, broken())
    offset = wait_for(lambda: int(service.client.head(there).headers["upload-offset"]))
    assert offset == 100_000
    assert kind_of(patch(service, there, 0, content)) == "upload-offset-mismatch"
    assert patch(service, there, offset, content[offset:]).status_code == 204
    (stored,) = service.services.storage.root.glob("uploads/*/video")
    assert stored.read_bytes() == content
    assert service.client.delete(there, headers=TUS).status_code == 204
    assert not list(service.services.storage.root.glob("uploads/*"))


def test_what_was_not_acknowledged_is_written_again(service: Served) -> None:
    """Bytes behind the stored offset, as a power cut leaves them, are cut off."""
    there = create(service, 20).headers["location"]
    assert patch(service, there, 0, b"0123456789").status_code == 204
    (video,) = service.services.storage.root.glob("uploads/*/video")
    with video.open("ab") as file:
        file.write(b"\0" * 15)
    assert service.client.head(there).headers["upload-offset"] == "10"
    assert patch(service, there, 10, b"abcdefghij").status_code == 204
    assert video.read_bytes() == b"0123456789abcdefghij"
    service.client.delete(there, headers=TUS)


def test_an_offset_is_acknowledged_after_its_bytes_are_on_the_disk(
    service: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First the bytes are synced, then their number is."""
    steps: list[str] = []
    write = uploads.write_durably

    def recorded(path: Path, content: bytes) -> None:
        steps.append(f"{path.name} {content.decode().strip()}")
        write(path, content)

    sync = os.fsync
    there = create(service, 10).headers["location"]
    monkeypatch.setattr(uploads, "write_durably", recorded)
    monkeypatch.setattr(uploads.os, "fsync", lambda file: (steps.append("sync"), sync(file)))
    assert patch(service, there, 0, b"0123456789").status_code == 204
    assert steps[:2] == ["sync", "offset 10"]
    monkeypatch.undo()
    service.client.delete(there, headers=TUS)


def test_an_upload_is_looked_at_before_it_is_a_job(service: Served, address: str) -> None:
    """Properties, frames, a probe and a mask."""
    described = service.client.get(f"{address}/video").json()
    assert {name: described[name] for name in ("codec", "width", "height", "frames")} == {
        "codec": "h264",
        "width": 64,
        "height": 48,
        "frames": FRAMES,
    }
    picture = service.client.get(f"{address}/frames/3")
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/jpeg")
    assert kind_of(service.client.get(f"{address}/frames/{FRAMES}")) == "frame-not-found"
    assert service.client.get(f"{address}/probe").json()["frames"] == FRAMES
    job_id = service.run()
    masks = []
    for form in ({"upload": address.rpartition("/")[2]}, {"job": job_id}):
        parts = {name: (None, value) for name, value in (form | {"prompt": BOX}).items()}
        answer = service.client.post("/v1/prompts", files=parts, params={"format": "rle"})
        assert answer.status_code == 200, answer.text
        masks.append(answer.json())
    assert masks[0] == masks[1]


def test_an_incomplete_upload_is_no_video(service: Served) -> None:
    """Reading it, or a job of it, is refused, and the upload stays."""
    there = create(service, 10).headers["location"]
    name = there.rpartition("/")[2]
    for path in ("video", "probe", "frames/0"):
        assert kind_of(service.client.get(f"{there}/{path}")) == "upload-incomplete"
    form = {"upload": (None, name), "prompt": (None, BOX)}
    assert kind_of(service.client.post("/v1/jobs", files=form)) == "upload-incomplete"
    assert kind_of(service.client.post("/v1/jobs", files=form | {"video": ("v", b"x")})) == "invalid-parts"
    assert kind_of(service.client.post("/v1/jobs", files={"prompt": (None, BOX)})) == "invalid-parts"
    assert service.client.get(there).json()["complete"] is False
    service.client.delete(there, headers=TUS)


def test_a_refused_job_leaves_the_upload(service: Served, address: str) -> None:
    """The prompt was wrong, the upload is as it was."""
    form = {"upload": (None, address.rpartition("/")[2]), "prompt": (None, '[{"object":1,"box":[500,4,30,30]}]')}
    assert service.client.post("/v1/jobs", files=form).status_code == 422
    assert service.client.get(address).json()["complete"] is True


def test_one_request_writes_at_a_time(service: Served) -> None:
    """A second one is refused at once, and may be tried again."""
    there = create(service, 10).headers["location"]
    stored = service.services.storage.uploads
    with stored.writing(stored.get(there.rpartition("/")[2], None), 0):
        answer = patch(service, there, 0, b"0123456789")
    assert (answer.status_code, kind_of(answer), answer.headers["retry-after"]) == (423, "upload-locked", "1")
    assert patch(service, there, 0, b"0123456789").status_code == 204
    service.client.delete(there, headers=TUS)


def test_bounds_and_the_protocol(service: Served) -> None:
    """Size, number, version, type and length of the body."""
    offered = service.client.options("/v1/uploads")
    assert (offered.status_code, offered.headers["tus-version"], offered.headers["tus-max-size"]) == (
        204,
        "1.0.0",
        str(1 << 20),
    )
    assert kind_of(create(service, (1 << 20) + 1)) == "upload-too-large"
    addresses = [create(service, 10).headers["location"] for _ in range(3)]
    assert kind_of(create(service, 10)) == "too-many-uploads"
    there = addresses[0]
    assert kind_of(patch(service, there, 0, b"0" * 11)) == "upload-too-large"
    assert kind_of(patch(service, there, 0, iter([b"0" * 11]))) == "upload-too-large"
    wrong = service.client.patch(there, headers=TUS | {"Upload-Offset": "0"}, content=b"0")
    assert (wrong.status_code, kind_of(wrong)) == (415, "unsupported-media-type")
    old = service.client.patch(there, headers=BODY | {"Tus-Resumable": "0.2.2", "Upload-Offset": "0"}, content=b"0")
    assert (old.status_code, old.headers["tus-version"]) == (412, "1.0.0")
    foreign = service.client.patch(there, headers=BODY | {"Upload-Offset": "0", "Origin": "http://evil"}, content=b"0")
    assert kind_of(foreign) == "origin-not-allowed"
    for address in addresses:
        assert service.client.delete(address, headers=TUS).status_code == 204
    assert kind_of(patch(service, there, 0, b"0")) == "upload-not-found"


def test_an_upload_belongs_to_its_key(tmp_path: Path) -> None:
    """Another key does not see it, and has uploads of its own."""
    keys = f"a:{digest_of_key('one')},b:{digest_of_key('two')}"
    with served(tmp_path, api_keys=keys, max_kept_uploads=1) as service:
        one, two = ({"Authorization": f"Bearer {key}"} for key in ("one", "two"))
        assert create(service, 10).status_code == 401
        there = create(service, 10, headers=one).headers["location"]
        assert service.client.head(there, headers=one).status_code == 200
        assert service.client.head(there, headers=two).status_code == 404
        form = {"upload": (None, there.rpartition("/")[2]), "prompt": (None, BOX)}
        assert kind_of(service.client.post("/v1/jobs", files=form, headers=two)) == "upload-not-found"
        assert create(service, 10, headers=two).status_code == 201


def test_the_whole_length_is_reserved_for_all_processes(tmp_path: Path) -> None:
    """An upload counts from its first byte on, also in another process and after a restart."""
    first = Storage(tmp_path, quota=1000, reserve=0)
    upload = first.create_upload(None, 900, 10)
    second = Storage(tmp_path, quota=1000, reserve=0)
    with pytest.raises(StorageFullError):
        second.create_upload(None, 101, 10)
    with second.reserve() as space, pytest.raises(StorageFullError):
        space.cover(101)
    assert len(list(tmp_path.glob("uploads/*"))) == 1
    second.uploads.delete(upload.id)
    assert first.create_upload(None, 1000, 10).length == 1000


def test_an_upload_that_nobody_continues_is_deleted(tmp_path: Path) -> None:
    """It is kept for its time from the latest change that was seen."""
    now = 0.0
    kept = uploads.Uploads(tmp_path, 100.0)
    kept._watch._clock = lambda: now
    one, two = kept.create(None, 10, 5), kept.create(None, 10, 5)
    kept.sweep()
    now = 60.0
    with kept.writing(two, 0) as writer:
        writer.write([b"123"])
        writer.commit()
    kept.sweep()
    now = 110.0
    kept.sweep()
    with pytest.raises(ProblemError):
        kept.get(one.id, None)
    assert kept.get(two.id, None).offset == 3
