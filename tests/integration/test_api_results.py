"""Result files of a finished job."""

from __future__ import annotations

import errno
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import httpx
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from codec.types import UInt8Array
from service.errors import StorageFullError
from service.http.schemas import FrameLine
from service.sandbox.export import render, render_files
from service.storage.job_files import JobFiles
from service.writers import png
from service.writers.formats import FORMATS
from service.writers.png import encode_mask
from tests.support.media import write_clip
from tests.support.serving import FRAMES, Served, served
from tests.support.thread_engine import REVIEW
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One service for all tests of the module."""
    with served(tmp_path_factory.mktemp("results")) as running:
        yield running


def two_objects() -> UInt8Array:
    """Return labels [48, 64] with the objects 2 and 7."""
    labels = np.zeros((48, 64), np.uint8)
    labels[4:20, 8:30] = 2
    labels[25:40, 31:60] = 7
    return labels


@pytest.fixture(scope="module")
def result(service: Served) -> str:
    """Address of the result of a job with two objects, for all frames except the first."""
    answer = service.post(
        mask=encode_mask(two_objects()), options='{"prompt_frame": 1, "soft": true}', prefer="wait=60"
    )
    assert answer.status_code == 200, answer.text
    return f"/v1/jobs/{answer.json()['id']}/result"


def decoded(rle: dict[str, object]) -> UInt8Array:
    """Decode a run-length encoded mask."""
    return np.asarray(coco.decode({"size": rle["size"], "counts": str(rle["counts"]).encode()}))


def test_png(service: Served, result: str) -> None:
    """The zip contains one indexed PNG per frame, named by presentation index."""
    answer = service.client.get(result, params={"format": "png"})
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == [f"{i:05d}.png" for i in range(1, FRAMES)]
        for name in archive.namelist():
            with Image.open(io.BytesIO(archive.read(name))) as picture:
                assert (np.asarray(picture) == two_objects()).all()


def test_a_result_is_sent_while_it_is_built(service: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first frames of a zip arrive before the last one is encoded; a concurrent request gets the same bytes."""
    job_id = service.run()
    address, gate, drawn = f"/v1/jobs/{job_id}/result", threading.Event(), 0

    def draw(labels: UInt8Array) -> bytes:
        nonlocal drawn
        drawn += 1
        if drawn == 6:
            assert gate.wait(240)
        return encode_mask(labels) + bytes(20_000)  # more than the buffer of a file

    monkeypatch.setattr(png, "encode_mask", draw)
    with service.client.stream("GET", address) as first, ThreadPoolExecutor(1) as pool:
        parts = first.iter_raw()
        begun = next(parts)
        assert begun.startswith(b"PK\3\4")
        assert "content-length" not in first.headers
        part = pool.submit(service.client.get, address, headers={"Range": "bytes=0-9"})
        gate.set()
        whole = begun + b"".join(parts)
    assert drawn == FRAMES
    again = service.client.get(address)
    assert again.content == whole
    assert again.headers["etag"] == first.headers["etag"]
    assert (part.result().status_code, part.result().content) == (206, whole[:10])


def test_a_build_that_fails_aborts_its_response(service: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client sees that the response is incomplete, no file is left, and a second request succeeds."""
    job_id = service.run()
    address, drawn = f"/v1/jobs/{job_id}/result", 0

    def draw(labels: UInt8Array) -> bytes:
        nonlocal drawn
        drawn += 1
        if drawn == 6:
            assert read.wait(240)
            raise ValueError("broken on command")
        return encode_mask(labels) + bytes(20_000)

    read = threading.Event()
    with monkeypatch.context() as patched:
        patched.setattr(png, "encode_mask", draw)
        with service.client.stream("GET", address) as answer:
            parts = answer.iter_raw()
            next(parts)
            read.set()
            with pytest.raises(httpx.TransportError):
                list(parts)
    wait_for(lambda: not service.services.result_builds)
    assert list(service.services.storage.job(job_id).result("").iterdir()) == []
    assert zipfile.ZipFile(io.BytesIO(service.client.get(address).content)).testzip() is None


@pytest.mark.parametrize("name", FORMATS)
def test_a_full_disk_is_reported_for_every_format(service: Served, result: str, name: str) -> None:
    """A build without disk space fails with `StorageFullError` and leaves no temporary file."""
    job = service.services.store.get(result.split("/")[3])
    files = service.services.storage.job(job.id)
    full = files.result(f"full-{FORMATS[name].file}")
    full.parent.mkdir(exist_ok=True)
    before = set(full.parent.iterdir())
    full.symlink_to("/dev/full")
    with pytest.raises(StorageFullError, match=f"no room for the {name} result"):
        render(job, name, render_files(job, files, name, full))
    full.unlink()
    assert set(full.parent.iterdir()) == before


def test_a_full_disk_is_answered_507(service: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is answered `storage-full`; once there is space the same request succeeds."""
    address = f"/v1/jobs/{service.run()}/result"

    def fail(_: UInt8Array) -> bytes:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    with monkeypatch.context() as patched:
        patched.setattr(png, "encode_mask", fail)
        refused = service.client.get(address)
    assert (refused.status_code, refused.json()["type"]) == (507, "/problems/storage-full")
    assert service.client.get(address).status_code == 200


def test_coco(service: Served, result: str) -> None:
    """COCO has one image per frame and one annotation per object and frame; the masks decode to the prompt's."""
    data = service.client.get(result, params={"format": "coco"}).json()
    assert [image["frame_index"] for image in data["images"]] == list(range(1, FRAMES))
    assert [category["id"] for category in data["categories"]] == [2, 7]
    assert len(data["annotations"]) == 2 * (FRAMES - 1)
    assert {entry["image_id"] for entry in data["annotations"]} == {image["id"] for image in data["images"]}
    for entry in data["annotations"]:
        expected = two_objects() == entry["category_id"]
        assert (decoded(entry["segmentation"]) == expected).all()
        assert entry["area"] == expected.sum()


def test_labels_name_the_categories(service: Served) -> None:
    """`labels` of a job are the categories of COCO and YouTube-VIS; objects of one name share one."""
    options = json.dumps({"labels": {"2": "dog", "7": "dog"}, "end": 2})
    job = service.post(mask=encode_mask(two_objects()), options=options, prefer="wait=60").json()
    assert job["options"]["labels"] == {"2": "dog", "7": "dog"}
    for name, tracks in (("coco", "track_id"), ("ytvis", "id")):
        data = service.client.get(f"/v1/jobs/{job['id']}/result?format={name}").json()
        assert data["categories"] == [{"id": 2, "name": "dog", "supercategory": "object"}]
        assert {(entry["category_id"], entry[tracks]) for entry in data["annotations"]} == {(2, 2), (2, 7)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": {"3": "dog"}}, "labels names object 3; the prompt has 2, 7"),
        ({"labels": {"0": "dog"}}, "ids are 1 to 255"),
        ({"labels": {"2": ""}}, "allowed: ID=VALUE"),
        ({"labels": ["dog"]}, "allowed: ID=VALUE"),
        ({"labels": {"2": 5}}, "allowed: ID=VALUE"),
        ({"labels": {"2": "a\nb"}}, "printable characters"),
        ({"colors": {"2": "beige-ish"}}, "is no color; allowed: #rrggbb or a CSS name"),
        ({"opacity": 1.5}, "opacity is 1.5"),
    ],
)
def test_labels_and_looks_that_are_not_allowed_are_refused(
    service: Served, options: dict[str, object], message: str
) -> None:
    """Each is answered `invalid-options`, with what was given and what is allowed."""
    answer = service.post(mask=encode_mask(two_objects()), options=json.dumps(options))
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-options")
    assert message in answer.json()["detail"]


def test_the_overlay_has_the_look_of_the_job(service: Served) -> None:
    """`opacity` and `colors` of a job decide how its overlay is drawn."""
    options = json.dumps({"colors": {"2": "blue", "7": "#00f"}, "opacity": 1, "end": 2})
    job = service.post(mask=encode_mask(two_objects()), options=options, prefer="wait=60").json()
    with av.open(io.BytesIO(service.client.get(f"/v1/jobs/{job['id']}/result?format=overlay").content)) as container:
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert np.abs(picture[8:16, 14:24].astype(int) - (0, 0, 255)).max() < 40


def test_ytvis(service: Served, result: str) -> None:
    """YouTube-VIS has one annotation per object with an entry for every frame."""
    data = service.client.get(result, params={"format": "ytvis"}).json()
    (video,) = data["videos"]
    assert video["length"] == len(video["file_names"]) == FRAMES - 1
    assert [entry["category_id"] for entry in data["annotations"]] == [2, 7]
    for entry in data["annotations"]:
        assert len(entry["segmentations"]) == len(entry["bboxes"]) == len(entry["areas"]) == FRAMES - 1
        for rle in entry["segmentations"]:
            assert (decoded(rle) == (two_objects() == entry["category_id"])).all()


def test_ytvis_has_null_where_an_object_is_not_visible(service: Served) -> None:
    """The lists of an object contain null for frames without it, so that all are as long as the video."""
    job_id = service.run()
    frames = service.services.storage.job(job_id).mask_log(1)
    lines = [json.loads(line) for line in frames.read_text(encoding="utf-8").splitlines()]
    for index in (0, 5, 11):
        lines[index]["objects"] = []
    frames.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (only,) = service.client.get(f"/v1/jobs/{job_id}/result?format=ytvis").json()["annotations"]
    assert [i for i, rle in enumerate(only["segmentations"]) if rle is None] == [0, 5, 11]
    assert [i for i, area in enumerate(only["areas"]) if area is None] == [0, 5, 11]


def test_overlay(service: Served, result: str) -> None:
    """The overlay is a video of the display size with one picture per mask."""
    answer = service.client.get(result, params={"format": "overlay"})
    assert answer.headers["content-type"] == "video/mp4"
    with av.open(io.BytesIO(answer.content)) as container:
        pictures = list(container.decode(video=0))
    assert len(pictures) == FRAMES - 1
    assert (pictures[0].width, pictures[0].height) == (64, 48)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_every_frame(service: Served, result: str, name: str) -> None:
    """Archives, annotations and videos hold the frames that have a mask, under the media type of the format."""
    answer = service.client.get(result, params={"format": name})
    assert (answer.status_code, answer.headers["content-type"]) == (200, FORMATS[name].media_type)
    assert frame_count(name, answer.content) == FRAMES - 1


def test_notes_say_what_a_result_has_lost(service: Served, tmp_path: Path) -> None:
    """Notes are those of the result, which is made at most once for both; formats of masks have none."""
    clip = write_clip(tmp_path / "deep.mkv", audio="flac", pixel_format="yuv420p10le")
    job = service.post(video=clip.read_bytes(), prefer="wait=60").json()["id"]
    address, files = f"/v1/jobs/{job}/result", service.services.storage.job(job)
    notes = {
        "overlay": ["the overlay has 8 bits per sample, the video 10"],
        "prores4444": ["the cutout has no sound: flac does not fit into mov"],
        "vp9-alpha": ["the cutout has 8 bits per sample, the video 10"],
        "coco": [],
    }
    for name, expected in notes.items():
        answer = service.client.get(f"{address}/notes", params={"format": name})
        assert (answer.status_code, answer.json()) == (200, {"notes": expected})
    made = files.result("overlay.mp4").stat().st_mtime_ns
    assert service.client.get(address, params={"format": "overlay"}).status_code == 200
    assert service.client.get(f"{address}/notes?format=overlay").json()["notes"] == notes["overlay"]
    files.result(FORMATS["overlay"].notes_file).unlink()  # as if an earlier version had made the result
    assert service.client.get(f"{address}/notes?format=overlay").json() == {"notes": []}
    assert files.result("overlay.mp4").stat().st_mtime_ns == made
    assert not files.result("coco.json").exists()


def test_soft_masks(service: Served, result: str) -> None:
    """NumPy reads an array per object and frame; lines, events and notes are without them."""
    with np.load(io.BytesIO(service.client.get(result, params={"format": "npz"}).content)) as arrays:
        assert sorted(arrays.files) == sorted(f"{number}/{i:05d}" for number in (2, 7) for i in range(1, FRAMES))
        for number in (2, 7):
            inside = two_objects() == number
            assert np.array_equal(arrays[f"{number}/00001"], np.where(inside, 255, 0))
            assert np.array_equal(arrays[f"{number}/{FRAMES - 1:05d}"], np.where(inside, 200, 20))
    job = result.removesuffix("/result")
    lines = service.client.get(f"{job}/masks").text.splitlines()
    assert [json.loads(line)["index"] for line in lines] == list(range(1, FRAMES))
    assert all(json.loads(line).keys() == {*FrameLine.model_fields} for line in lines)
    assert "\t" not in service.client.get(f"{job}/events").text
    with Image.open(io.BytesIO(service.client.get(f"{job}/masks/5.png").content)) as picture:
        assert (np.asarray(picture) == two_objects()).all()
    assert service.client.get(f"{result}/notes", params={"format": "npz"}).json() == {"notes": []}


def test_a_job_without_soft_masks_says_how_to_keep_them(service: Served) -> None:
    """The problem names the option, for the result and for its notes."""
    job_id = service.run()
    for address in ("result", "result/notes"):
        answer = service.client.get(f"/v1/jobs/{job_id}/{address}", params={"format": "npz"})
        assert (answer.status_code, answer.json()["type"]) == (409, "/problems/no-soft-masks")
        assert "the option soft" in answer.json()["detail"]


def frame_count(name: str, content: bytes) -> int:
    """Return the number of frames in a result file."""
    if FORMATS[name].media_type.startswith("video/"):
        with av.open(io.BytesIO(content)) as container:
            return sum(1 for _ in container.decode(video=0))
    if FORMATS[name].media_type == "application/zip":
        names = zipfile.ZipFile(io.BytesIO(content)).namelist()
        return len({entry.rpartition("/")[2] for entry in names})
    data = json.loads(content)
    if name == "ytvis":
        return len(data["videos"][0]["file_names"])
    if name == "labelstudio-brush":
        return len(data)
    if name == "labelstudio":
        return len(data[0]["predictions"][0]["result"][0]["value"]["sequence"])
    return len(data["images"])


def test_an_unfinished_or_canceled_job_has_no_result(service: Served) -> None:
    """The result of a job that waits, runs or was canceled is answered 409."""
    with service.held():
        job_id = service.post().json()["id"]
        early = service.client.get(f"/v1/jobs/{job_id}/result")
        service.client.post(f"/v1/jobs/{job_id}/cancel")
        service.until(job_id, "canceled")
    late = service.client.get(f"/v1/jobs/{job_id}/result")
    assert [answer.status_code for answer in (early, late)] == [409, 409]
    assert late.json()["type"] == "/problems/job-not-succeeded"
    for other in ("review", "result/notes?format=overlay"):
        refused = service.client.get(f"/v1/jobs/{job_id}/{other}")
        assert (refused.status_code, refused.json()["type"]) == (409, "/problems/job-not-succeeded")
    assert service.client.get(f"/v1/jobs/{job_id}/result?format=gif").json()["type"] == "/problems/invalid-request"


def test_the_review_is_that_of_the_report(service: Served, result: str) -> None:
    """A finished job answers the ranges of `needs_review`."""
    job = result.removesuffix("/result")
    review = service.client.get(f"{job}/review")
    assert review.status_code == 200
    assert review.json() == REVIEW
    assert service.client.get(job).json()["report"]["needs_review"] == REVIEW


def test_a_file_that_the_client_has_is_not_sent_again(service: Served, result: str) -> None:
    """A request whose If-None-Match names the file is answered 304; any other ETag gets the file."""
    first = service.client.get(result)
    for asked in (first.headers["etag"], f'"x", W/{first.headers["etag"]}', "*"):
        again = service.client.get(result, headers={"If-None-Match": asked})
        assert (again.status_code, again.content) == (304, b"")
    assert service.client.get(result, headers={"If-None-Match": '"x"'}).status_code == 200


@pytest.mark.parametrize(
    ("asked", "part"),
    [("bytes=0-9", slice(0, 10)), ("bytes=100-", slice(100, None)), ("bytes=-7", slice(-7, None))],
)
def test_a_range_returns_that_part(service: Served, result: str, asked: str, part: slice) -> None:
    """A range is answered 206 with exactly these bytes, so that a download can be resumed."""
    whole = service.client.get(result).content
    answer = service.client.get(result, headers={"Range": asked})
    start, stop, _ = part.indices(len(whole))
    assert (answer.status_code, answer.content) == (206, whole[part])
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(whole)}"


@pytest.mark.parametrize("asked", ["bytes=9-3", "bytes=x-", "lines=0-3", "bytes=", "garbage"])
def test_a_malformed_range_is_ignored(service: Served, result: str, asked: str) -> None:
    """A malformed Range header counts as not sent (RFC 9110, section 14.2)."""
    assert service.client.get(result, headers={"Range": asked}).status_code == 200


def test_a_range_beyond_the_file_is_answered_416(service: Served, result: str) -> None:
    """A range outside the file is answered 416 with the file's length, unless If-Range names another file."""
    size = len(service.client.get(result).content)
    beyond = {"Range": f"bytes={size}-"}
    answer = service.client.get(result, headers=beyond)
    assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{size}")
    assert answer.json()["type"] == "/problems/range-not-satisfiable"
    assert service.client.get(result, headers={**beyond, "If-Range": '"old"'}).status_code == 200


def test_results_with_a_url_are_redirected_to(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the setting, a result that the storage has a URL for is answered with it; one without is sent."""
    monkeypatch.setattr(
        JobFiles,
        "sign_result",
        lambda _files, name: f"https://store.test/{name}?signed" if name == "coco.json" else None,
    )
    with served(tmp_path_factory.mktemp("redirects"), storage_redirects=True) as service:
        address = f"/v1/jobs/{service.run()}/result"
        answer = service.client.get(address, params={"format": "coco"})
        assert (answer.status_code, answer.headers["Location"]) == (307, "https://store.test/coco.json?signed")
        assert answer.headers["Cache-Control"] == "no-store"
        assert service.client.get(address, params={"format": "ytvis"}).status_code == 200
