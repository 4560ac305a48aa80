"""Boxes and points over HTTP: `POST /v1/prompts`, and jobs without a mask."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from codec.displayed_frame import read_displayed_frame
from codec.types import UInt8Array
from service.prompts.made_mask import MadeMask, make_mask
from service.prompts.shapes import parse_shapes
from service.writers.mask_line import labels_of
from tests.support.serving import Served, served

PROMPT: list[dict[str, Any]] = [
    {"object": 2, "box": [10, 8, 30, 60], "frame": 3},
    {"object": 7, "points": [[50, 10, 1], [60, 40, 0]]},
]
NOTHING: list[dict[str, Any]] = [{"object": 1, "box": [100, 8, 30, 60]}]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One service for all tests of the module."""
    with served(tmp_path_factory.mktemp("prompts"), max_objects=3) as running:
        yield running


def expected(service: Served, prompt: list[dict[str, Any]] = PROMPT, index: int = 3) -> MadeMask:
    """The mask, made in this process."""
    return make_mask(read_displayed_frame(service.clip, index).rgb, parse_shapes(json.dumps(prompt)))


def ask(service: Served, prompt: Any = PROMPT, *, format: str | None = None, video: Any = None) -> httpx.Response:
    """Post to /v1/prompts."""
    text = prompt if isinstance(prompt, str) else json.dumps(prompt)
    files = {"video": ("clip.mp4", service.clip.read_bytes() if video is None else video)}
    params = {} if format is None else {"format": format}
    return service.client.post("/v1/prompts", files=files, data={"prompt": text}, params=params)


def pixels(png: bytes) -> UInt8Array:
    """The palette indices of a PNG."""
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.mode == "P"
        return np.array(picture)


def test_a_prompt_is_answered_with_its_mask(service: Served) -> None:
    """The PNG holds object ids, a header holds what to look at, and no file stays."""
    answer, made = ask(service), expected(service)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert np.array_equal(pixels(answer.content), made.labels)
    assert json.loads(answer.headers["x-keymask-notes"]) == list(made.notes)
    assert not [path for path in service.services.storage.root.rglob("*") if path.is_file() and path.suffix != ".alive"]


def test_json_has_run_lengths(service: Served) -> None:
    """`format=rle` answers as the mask stream does, with the frame and the notes."""
    values, made = ask(service, format="rle").json(), expected(service)
    assert (values["frame"], values["time"], values["width"], values["height"]) == (3, 0.12, 64, 48)
    assert values["notes"] == list(made.notes)
    assert np.array_equal(labels_of(values, 64, 48), made.labels)


@pytest.mark.parametrize(
    ("prompt", "kind", "said"),
    [
        ("nonsense", "invalid-request", "prompt"),
        ([], "invalid-request", "at least 1 item"),
        ([{"object": 1}], "invalid-request", "needs a box"),
        ([{**PROMPT[0], "object": 0}], "invalid-request", "prompt.0.object is 0"),
        ([{**PROMPT[0], "frame": 12}], "invalid-options", "frame 12 does not exist: the video has 12 frames"),
        (NOTHING, "mask-unusable", "covers no pixel of the picture of 64x48"),
        ([{"object": i + 1, "box": [1, 1, 9, 9]} for i in range(4)], "too-many-objects", "4 objects; allowed: 3"),
    ],
)
def test_a_bad_prompt_is_a_problem(service: Served, prompt: Any, kind: str, said: str) -> None:
    """Both calls refuse it with the same problem, which says what is wrong."""
    text = prompt if isinstance(prompt, str) else json.dumps(prompt)
    for answer in (ask(service, text), service.post(prompt=text)):
        assert answer.status_code == 422, answer.text
        assert answer.json()["type"] == f"/problems/{kind}"
        assert said in answer.json()["detail"]
        assert "/" not in answer.json()["detail"]


def test_a_file_that_is_no_video_is_a_problem(service: Served) -> None:
    """A hostile upload is refused as it is elsewhere."""
    answer = ask(service, video=b"not a video" * 100)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/video-unreadable")


def test_a_job_takes_a_prompt_in_place_of_a_mask(service: Served) -> None:
    """The job stores the mask that was made as its mask, and runs from the marked frame."""
    answer = service.post(prompt=json.dumps(PROMPT), prefer="wait=60")
    assert answer.status_code == 200, answer.text
    job = answer.json()
    assert job["options"]["prompt_frame"] == 3
    made = expected(service)
    assert np.array_equal(pixels(service.services.storage.job(job["id"]).mask.read_bytes()), made.labels)
    first = service.client.get(f"/v1/jobs/{job['id']}/masks/3.png")
    assert np.array_equal(pixels(first.content), made.labels)
    assert made.notes
    assert job["notes"][: len(made.notes)] == list(made.notes)
    assert [entry["object"] for entry in job["prompt"]] == [2, 7]
    again = service.client.get(f"/v1/jobs/{job['id']}").json()
    assert again == job


def test_a_mask_and_a_prompt_exclude_each_other(service: Served) -> None:
    """Exactly one of them marks the objects."""
    both = service.post(prompt=json.dumps(PROMPT), mask=service.mask.read_bytes())
    assert (both.status_code, both.json()["type"]) == (422, "/problems/invalid-parts")
    assert "both a part mask and a part prompt" in both.json()["detail"]
    neither = service.client.post("/v1/jobs", files={"video": ("clip.mp4", service.clip.read_bytes())})
    assert (neither.status_code, neither.json()["type"]) == (422, "/problems/invalid-parts")
    assert "no part mask and no part prompt" in neither.json()["detail"]


def test_an_option_for_another_frame_is_refused(service: Served) -> None:
    """`prompt_frame` and the prompt must agree if both name a frame."""
    answer = service.post(prompt=json.dumps(PROMPT), options='{"prompt_frame": 0}')
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")
    assert "the prompt marks frame 3, but prompt_frame is 0" in answer.json()["detail"]


def test_the_prompt_is_part_of_an_idempotent_post(service: Served) -> None:
    """The same key with another prompt is a conflict; with the same prompt it is the same job."""
    first = service.post(prompt=json.dumps(PROMPT), idempotency_key="box")
    same = service.post(prompt=json.dumps(PROMPT), idempotency_key="box")
    other = service.post(prompt=json.dumps(PROMPT[:1]), idempotency_key="box")
    assert first.json()["id"] == same.json()["id"]
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-conflict")
