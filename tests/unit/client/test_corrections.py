"""Corrections as the client sends them, and run-length encodings that it writes."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from keymask import Client, InvalidArgumentError, Job, rle
from keymask.marks import correction, to_json
from PIL import Image
from pycocotools import mask as coco

from service.prompts.shapes import parse_shapes
from tests.support.scripted_service import Run, Script, job, ok

MASK = np.zeros((48, 64), np.uint8)
MASK[10:20, 30:50], MASK[30:40, 5:9] = 1, 3


def sent(**given: Any) -> list[dict[str, Any]]:
    """Return the prompt that a correction sends, which the service accepts."""
    defaults = {"prompt": None, "frame": None, "object": None, "mask": None}
    prompt: list[dict[str, Any]] = json.loads(correction(**defaults | given))["prompt"]
    parse_shapes(json.dumps(prompt), several=True)
    return prompt


def decoded(entry: dict[str, Any]) -> np.ndarray:
    """Return the mask of an entry as pycocotools decodes it."""
    encoded = {**entry["rle"], "counts": entry["rle"]["counts"].encode()}
    return np.asarray(coco.decode(encoded)) > 0


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("size", [(1, 1), (7, 3), (48, 64)])
def test_pycocotools_reads_what_the_client_encodes(share: float, size: tuple[int, int]) -> None:
    """Text and pixels are those of pycocotools."""
    mask = np.random.default_rng(3).random(size) < share
    expected = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert rle.encode(mask) == expected
    np.testing.assert_array_equal(rle.decode(expected, *size), mask)


def png(picture: Image.Image) -> bytes:
    """Return the bytes of a picture."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def test_object_ids_become_one_entry_per_object() -> None:
    """Without an object, values are ids; with one, all pixels but 0 are its own."""
    first, second = sent(frame=120, mask=MASK, label="dog")
    assert [(e["frame"], e["object"], e["label"]) for e in (first, second)] == [(120, 1, "dog"), (120, 3, "dog")]
    np.testing.assert_array_equal(decoded(first), MASK == 1)
    np.testing.assert_array_equal(decoded(second), MASK == 3)
    (only,) = sent(frame=120, object=7, mask=MASK)
    assert only["object"] == 7
    np.testing.assert_array_equal(decoded(only), MASK > 0)


def test_pictures_of_masks(tmp_path: Path) -> None:
    """Paths, bytes and PIL images of indexed pictures hold ids; a colored one is the mask of one object."""
    indexed = Image.fromarray(MASK)
    indexed.putpalette([i // 3 for i in range(768)])
    (tmp_path / "fix.png").write_bytes(png(indexed))
    for mask in (tmp_path / "fix.png", str(tmp_path / "fix.png"), png(indexed), indexed):
        assert [entry["object"] for entry in sent(frame=0, mask=mask)] == [1, 3]
    colored = Image.fromarray(np.repeat((MASK > 0)[..., None] * np.uint8(200), 3, axis=2))
    np.testing.assert_array_equal(decoded(sent(frame=0, object=2, mask=png(colored))[0]), MASK > 0)
    with pytest.raises(InvalidArgumentError, match="mode RGB"):
        sent(frame=0, mask=colored)


def test_shapes_and_absent_objects() -> None:
    """Boxes, points and absence go as they are; a list of objects replaces all other arguments."""
    assert sent(frame=5, box=(1, 2, 3, 4)) == [{"frame": 5, "object": 1, "box": [1, 2, 3, 4]}]
    both = sent(frame=5, object=2, box=(1, 2, 3, 4), points=[(1, 2, 1), (9, 9, 0)])
    assert both == [{"frame": 5, "object": 2, "box": [1, 2, 3, 4], "points": [[1, 2, 1], [9, 9, 0]]}]
    assert sent(frame=5, object=2, absent=True) == [{"frame": 5, "object": 2, "absent": True}]
    marks = [{"frame": 5, "object": 2, "absent": True}, {"frame": 6, "object": 1, "box": [1, 2, 3, 4]}]
    assert sent(prompt=marks) == marks


def test_prompts_on_several_frames() -> None:
    """`prompts` has masks and lists of objects by frame."""
    found = json.loads(to_json({"prompts": {0: MASK, 9: [{"object": 1, "box": (1, 2, 3, 4)}]}}))
    assert [(entry["frame"], entry["object"], "rle" in entry) for entry in found] == [
        (0, 1, True),
        (0, 3, True),
        (9, 1, False),
    ]
    parse_shapes(json.dumps(found), several=True)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"frame": 1}, "given: none"),
        ({"frame": 1, "mask": MASK, "box": (1, 2, 3, 4)}, "given: mask, box"),
        ({"frame": 1, "absent": True, "points": [(1, 2, 1)]}, "given: points, absent"),
        ({"mask": MASK}, "frame is missing"),
        ({"frame": 1, "mask": np.zeros_like(MASK)}, "no pixel that is not 0"),
        ({"frame": 1, "mask": MASK[None]}, "ids 0 to 255 .height, width."),
        ({"frame": 1, "mask": MASK * 0.5}, "ids 0 to 255 .height, width."),
    ],
)
def test_a_correction_that_is_none_is_refused(given: dict[str, Any], said: str) -> None:
    """Errors say what was given, before anything is sent."""
    with pytest.raises(InvalidArgumentError, match=said):
        sent(**given)


def test_a_correction_is_sent_once(run: Run) -> None:
    """The call carries JSON and an idempotency key, and returns the new job."""
    script = Script(ok(job(), 202))
    assert run(script, "correct", "j1", frame=5, object=2, absent=True).id == "j1"
    (posted,) = script.requests
    assert (posted.method, posted.url.path) == ("POST", "/v1/jobs/j1/corrections")
    assert posted.headers["content-type"] == "application/json"
    assert len(posted.headers["idempotency-key"]) == 32
    assert json.loads(posted.content) == {"prompt": [{"frame": 5, "object": 2, "absent": True}]}


@pytest.mark.parametrize(
    ("webhook", "received"),
    [
        ("https://a.example/hook", {"url": "https://a.example/hook"}),
        ({"url": "https://a.example/hook", "events": ["job.failed"]},) * 2,
        (False, None),
    ],
)
def test_a_correction_may_have_a_webhook_of_its_own_or_none(run: Run, webhook: object, received: object) -> None:
    """Without the argument, nothing is sent, and the service takes that of the job."""
    script = Script(ok(job(), 202))
    run(script, "correct", "j1", frame=5, absent=True, webhook=webhook)
    sent = json.loads(script.requests[0].content)
    assert sent == {"prompt": [{"frame": 5, "object": 1, "absent": True}], "webhook": received}


def test_a_job_calls_its_client() -> None:
    """A job from a client corrects itself; a copy through pickle has no client, and says so."""
    script = Script(ok(job()), ok(job(), 202), ok({"versions": [job(), job()]}), ok(job()))
    with Client(transport=httpx.MockTransport(script)) as client:
        found = client.get("j1")
        found.correct(frame=5, absent=True).versions()[1].undo()
        paths = [(request.method, request.url.path.rpartition("/")[2]) for request in script.requests]
        assert paths == [("GET", "j1"), ("POST", "corrections"), ("GET", "versions"), ("POST", "undo")]
        copy = pickle.loads(pickle.dumps(found))
        assert copy == found
        with pytest.raises(InvalidArgumentError, match="does not come from a Client"):
            copy.undo()
    assert Job.model_validate(job()) == copy
