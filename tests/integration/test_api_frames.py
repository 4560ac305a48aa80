"""Frames of a job's video as pictures."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from codec.displayed_frame import read_displayed_frame
from codec.types import UInt8Array
from service.http.routes.frames import format_of
from tests.support.media import write_broken, write_clip
from tests.support.serving import FRAMES, Served, served


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One service for all tests of the module."""
    with served(tmp_path_factory.mktemp("frames")) as running:
        yield running


@pytest.fixture(scope="module")
def job_id(service: Served) -> str:
    """A job that has succeeded."""
    return service.run()


def get(service: Served, job_id: str, index: Any, *, params: Any = None, **headers: str) -> httpx.Response:
    """Ask for a frame. Header names have underscores for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return service.client.get(f"/v1/jobs/{job_id}/frames/{index}", params=params, headers=named)


def pixels(content: bytes) -> UInt8Array:
    """The RGB pixels of a picture."""
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture.convert("RGB"))


def difference(left: UInt8Array, right: UInt8Array) -> float:
    """Mean absolute difference of the grey values of two pictures, in levels."""
    assert left.shape == right.shape
    return float(np.abs(left.mean(axis=2) - right.mean(axis=2)).mean())


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_each_frame_is_that_of_a_whole_decode(service: Served, job_id: str, kind: str) -> None:
    """Each picture is nearest to its own frame, whichever is asked for first."""
    truth = [read_displayed_frame(service.clip, index).rgb for index in range(FRAMES)]
    for index in (7, 0, FRAMES - 1):
        answer = get(service, job_id, index, accept=f"image/{kind}")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == f"image/{kind}"
        found = pixels(answer.content)
        assert int(np.argmin([difference(found, frame) for frame in truth])) == index
        assert difference(found, truth[index]) < 4


def test_neighbors_are_made_in_one_call(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One decode answers a group of frames, also to simultaneous requests."""
    with served(tmp_path_factory.mktemp("neighbors")) as service:
        job_id = service.run()
        calls: list[str] = []
        pool = service.services.frame_pool
        run = pool._run

        async def counted(function: Any, *args: Any, **kwargs: Any) -> Any:
            calls.append(function.__name__)
            return await run(function, *args, **kwargs)

        object.__setattr__(pool, "_run", counted)
        with ThreadPoolExecutor(6) as threads:
            answers = list(threads.map(lambda index: get(service, job_id, index), range(FRAMES)))
        assert all(answer.status_code == 200 for answer in answers)
        assert calls == ["list_frames", "encode_frames"]
        assert not list(service.services.storage.root.glob("incoming/*/*/*"))


def test_a_rotated_video_is_upright_and_narrower(service: Served, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Pictures have the display orientation; a width scales them down and never up."""
    clip = write_clip(tmp_path_factory.mktemp("turned") / "turned.mp4", rotation=90)
    posted = service.post(video=clip.read_bytes(), prompt='[{"object":1,"box":[4,4,30,30]}]')
    assert posted.status_code == 202, posted.text
    turned = posted.json()["id"]
    truth = read_displayed_frame(clip, 2).rgb
    assert truth.shape == (64, 48, 3)
    assert difference(pixels(get(service, turned, 2).content), truth) < 4
    narrow = pixels(get(service, turned, 2, params={"width": 24}).content)
    assert difference(narrow, np.asarray(Image.fromarray(truth).resize((24, 32), Image.Resampling.BOX))) < 6
    assert pixels(get(service, turned, 2, params={"width": 1000}).content).shape == truth.shape


def test_a_picture_is_immutable(service: Served, job_id: str) -> None:
    """The tag names picture, width and format; who has it gets 304."""
    answers = [
        get(service, job_id, 3),
        get(service, job_id, 4),
        get(service, job_id, 3, params={"width": 32}),
        get(service, job_id, 3, accept="image/webp"),
    ]
    assert len({answer.headers["etag"] for answer in answers}) == 4
    assert all(not answer.headers["etag"].startswith("W/") for answer in answers)
    assert answers[0].headers["cache-control"] == "private, max-age=31536000, immutable"
    again = get(service, job_id, 3, if_none_match=answers[0].headers["etag"])
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", answers[0].headers["etag"])


def test_a_frame_beyond_the_end(service: Served, job_id: str) -> None:
    """The problem has the number of frames."""
    answer = get(service, job_id, FRAMES)
    assert answer.status_code == 404
    problem = answer.json()
    assert (problem["type"], problem["frames"]) == ("/problems/frame-not-found", FRAMES)
    assert f"the video has {FRAMES} frames" in problem["detail"]
    assert get(service, job_id, 0, params={"width": 15}).status_code == 422
    assert get(service, "0" * 32, 0).status_code == 404


def test_a_damaged_video_shows_what_can_be_decoded(service: Served, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Frames before the damage are there, those behind it are a problem of their own."""
    clip = write_broken(tmp_path_factory.mktemp("damaged") / "broken.mkv")
    job_id = service.post(video=clip.read_bytes(), prompt='[{"object":1,"box":[4,4,30,30]}]').json()["id"]
    assert difference(pixels(get(service, job_id, 11).content), read_displayed_frame(clip, 11).rgb) < 4
    answer = get(service, job_id, 13)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/video-truncated")


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "jpeg"),
        ("*/*", "jpeg"),
        ("image/jpeg", "jpeg"),
        ("image/webp", "webp"),
        ("image/webp, image/jpeg", "jpeg"),
        ("image/avif,image/webp,image/png,*/*;q=0.8", "webp"),
        ("image/*;q=0.5, image/webp;q=0.4", "jpeg"),
        ("image/webp;q=nonsense", "jpeg"),
    ],
)
def test_the_format_follows_accept(accept: str | None, expected: str) -> None:
    """WebP only where it is preferred."""
    assert format_of(accept) == expected
