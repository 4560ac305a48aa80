"""The service against hostile inputs, with real sandboxes and workers; only the base network is replaced."""

from __future__ import annotations

import json
import resource
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from pycocotools import mask as coco

from service.config import Settings
from service.engine.supervisor import Supervisor
from service.http.app import create_app
from service.problems import MEDIA_TYPE, PROBLEMS, type_of
from tests.support.hostile import Hostile, corpus
from tests.support.hostile_masks import HEIGHT, WIDTH, good_mask
from tests.support.hostile_videos import SECRET, good_clips
from tests.support.serving import listening

SEED = 20_260_101
GROWTH_BYTES = 150 << 20
"""Largest growth of the service's process over the whole corpus."""
EXPECTED = (
    "video-unreadable", "video-truncated", "no-video-stream", "mask-unreadable", "mask-size-mismatch", "mask-unusable",
    "mask-ambiguous", "too-many-objects", "too-many-pixels", "invalid-options",
)  # fmt: skip
"""Problem types that the corpus must provoke; otherwise it would test little."""
REFUSALS = {type_of(kind) for kind, problem in PROBLEMS.items() if 400 <= problem.status < 500}


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that no input may make the service read."""
    path = tmp_path_factory.mktemp("secret") / "secret.txt"
    path.write_text(f"{SECRET}\n" * 100)
    return path


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a service with a real worker process."""
    settings = Settings(
        home=tmp_path_factory.mktemp("home"), devices="cpu", max_queued_jobs=1000, max_jobs_per_key=1000
    )
    app = create_app(
        settings,
        make_engine=lambda config, store, storage: Supervisor(
            replace(config, loader="tests.support.still_engine:load_still"), store, storage
        ),
    )
    with listening(app) as address, httpx.Client(base_url=address, timeout=180) as client:
        yield client


def resident_bytes() -> int:
    """Return the resident memory of this process, in which the service runs."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def post(client: httpx.Client, hostile: Hostile) -> httpx.Response:
    """Post an input and wait for the end of its job, if there is one."""
    files: dict[str, Any] = {"video": (hostile.filename, hostile.video), "mask": ("mask.png", hostile.mask)}
    data = {} if hostile.options is None else {"options": hostile.options}
    return client.post("/v1/jobs", files=files, data=data, headers={"Prefer": "wait=60"})


def outcome(client: httpx.Client, hostile: Hostile) -> str:
    """Return the problem type of an input's refusal, or "succeeded"; fail if the service handles it wrongly."""
    answer = post(client, hostile)
    if answer.status_code >= 400:
        problem = answer.json()
        assert answer.status_code < 500, answer.text
        assert answer.headers["content-type"] == MEDIA_TYPE
        assert problem["type"] in REFUSALS
        assert problem["detail"]
        assert SECRET not in answer.text
        assert "Traceback" not in answer.text
        return str(problem["type"])
    job = answer.json()
    if job["status"] == "failed":
        assert job["error"]["type"] in REFUSALS, job["error"]
        assert job["report"] is None or job["report"].get("complete") is not True
        return str(job["error"]["type"])
    assert job["status"] == "succeeded", job
    check_masks(client, job)
    return "succeeded"


def check_masks(client: httpx.Client, job: dict[str, Any]) -> None:
    """Check the masks of a finished job: consecutive frames, display size, and areas that match the masks."""
    lines = [json.loads(line) for line in client.get(f"/v1/jobs/{job['id']}/masks").text.splitlines()]
    first = job["options"]["prompt_frame"] if job["options"]["start"] is None else job["options"]["start"]
    assert [line["index"] for line in lines] == list(range(first, first + len(lines)))
    assert len(lines) == job["progress"]["done"] >= 1
    for entry in (entry for line in lines for entry in line["objects"]):
        rle = {**entry["rle"], "counts": entry["rle"]["counts"].encode()}
        assert rle["size"] == [job["video"]["height"], job["video"]["width"]]
        assert np.asarray(coco.decode(rle)).sum() == entry["area"] > 0


def test_every_hostile_input_is_refused_or_segmented_correctly(client: httpx.Client, secret: Path) -> None:
    """Each of at least 300 inputs ends as a 4xx problem or a correct result; the service survives and grows little."""
    inputs = list(corpus(SEED, secret))
    assert len(inputs) >= 300
    assert outcome(client, Hostile("a good one", good_clips()["mp4"], good_mask())) == "succeeded"
    before = resident_bytes()
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(lambda hostile: attempt(client, hostile), inputs))
    wrong = {
        hostile.name: found
        for hostile, found in zip(inputs, outcomes, strict=True)
        if isinstance(found, AssertionError)
    }
    assert not wrong
    grown = resident_bytes() - before
    assert grown < GROWTH_BYTES
    assert outcome(client, Hostile("a good one", good_clips()["mkv"], good_mask())) == "succeeded"
    assert client.get("/health/ready").status_code == 200
    growing = {str(outcome) for hostile, outcome in zip(inputs, outcomes, strict=True) if "growing" in hostile.name}
    assert growing == {type_of("too-many-pixels")}
    kinds = {str(found) for found in outcomes}
    assert {"succeeded", *map(type_of, EXPECTED)} <= kinds


def attempt(client: httpx.Client, hostile: Hostile) -> str | AssertionError:
    """Return the outcome, or the failed assertion."""
    try:
        return outcome(client, hostile)
    except AssertionError as error:
        return error


def test_nothing_is_fetched(client: httpx.Client, tmp_path: Path) -> None:
    """The service opens no connection for a playlist that names an address."""
    calls: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        stop = threading.Event()

        def listen() -> None:
            while not stop.is_set():
                try:
                    connection, peer = server.accept()
                    connection.close()
                    calls.append(peer)
                except TimeoutError:
                    continue

        thread = threading.Thread(target=listen)
        thread.start()
        for line in (f"http://127.0.0.1:{port}/a.ts", f"tcp://127.0.0.1:{port}"):
            playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{line}\n#EXT-X-ENDLIST\n".encode()
            assert outcome(client, Hostile("playlist", playlist, good_mask())) == type_of("video-unreadable")
        stop.set()
        thread.join()
    assert not calls


def test_a_playlist_reads_no_file(client: httpx.Client, tmp_path: Path) -> None:
    """A playlist that names a valid video on this machine is refused: only the uploaded file is read."""
    video = tmp_path / "other.ts"
    video.write_bytes(good_clips()["ts"])
    for text in (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{video}\n#EXT-X-ENDLIST\n",
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{video}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile '{video}'\n",
        f"concat:{video}",
        f"subfile,,start,0,end,0,,:{video}",
    ):
        hostile = Hostile("playlist", text.encode(), good_mask(), filename="a.m3u8")
        assert outcome(client, hostile) == type_of("video-unreadable")


def test_the_undamaged_clips_succeed(client: httpx.Client) -> None:
    """The clips that the corpus damages succeed undamaged, so that its refusals mean something."""
    for kind, clip in good_clips().items():
        assert outcome(client, Hostile(kind, clip, good_mask())) == "succeeded", (kind, WIDTH, HEIGHT)
