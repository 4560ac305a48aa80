"""The service against inputs that nobody means well: real sandboxes, real workers, only the network is light."""

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
from tests.support.hostile import HEIGHT, SECRET, WIDTH, Hostile, corpus, good_clips, good_mask
from tests.support.serving import listening

SEED = 20_260_101
GROWTH_BYTES = 150 << 20
"""How much the service's own process may grow over the whole corpus."""
EXPECTED = (
    "video-unreadable", "video-truncated", "no-video-stream", "mask-unreadable", "mask-size-mismatch", "mask-unusable",
    "too-many-objects", "too-many-pixels", "invalid-options",
)  # fmt: skip
"""Refusals that the corpus must meet, or it would not try much."""
REFUSALS = {type_of(kind) for kind, problem in PROBLEMS.items() if 400 <= problem.status < 500}


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that no input may make the service read."""
    path = tmp_path_factory.mktemp("secret") / "secret.txt"
    path.write_text(f"{SECRET}\n" * 100)
    return path


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a service whose worker is a process of its own."""
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
    """Memory of this process, in which the service runs."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def post(client: httpx.Client, hostile: Hostile) -> httpx.Response:
    """Post an input and wait for the end of its job, if it becomes one."""
    files: dict[str, Any] = {"video": (hostile.filename, hostile.video), "mask": ("mask.png", hostile.mask)}
    data = {} if hostile.options is None else {"options": hostile.options}
    return client.post("/v1/jobs", files=files, data=data, headers={"Prefer": "wait=60"})


def verdict(client: httpx.Client, hostile: Hostile) -> str:
    """What became of an input: its problem's type or "succeeded"; raises where that is neither right."""
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
    """Masks of a finished job: consecutive frames, all of the display size, each object's area that of its mask."""
    lines = [json.loads(line) for line in client.get(f"/v1/jobs/{job['id']}/masks").text.splitlines()]
    first = job["options"]["prompt_frame"] if job["options"]["start"] is None else job["options"]["start"]
    assert [line["index"] for line in lines] == list(range(first, first + len(lines)))
    assert len(lines) == job["progress"]["done"] >= 1
    for entry in (entry for line in lines for entry in line["objects"]):
        rle = {**entry["rle"], "counts": entry["rle"]["counts"].encode()}
        assert rle["size"] == [job["video"]["height"], job["video"]["width"]]
        assert np.asarray(coco.decode(rle)).sum() == entry["area"] > 0


def test_every_hostile_input_is_refused_or_done_right(client: httpx.Client, secret: Path) -> None:
    """Each of at least 200 inputs ends as a 4xx problem or a correct result; the service grows little and lives on."""
    inputs = list(corpus(SEED, secret))
    assert len(inputs) >= 200
    assert verdict(client, Hostile("a good one", good_clips()["mp4"], good_mask())) == "succeeded"
    before = resident_bytes()
    with ThreadPoolExecutor(2) as pool:
        ends = list(pool.map(lambda hostile: attempt(client, hostile), inputs))
    wrong = {hostile.name: end for hostile, end in zip(inputs, ends, strict=True) if isinstance(end, AssertionError)}
    assert not wrong
    grown = resident_bytes() - before
    assert grown < GROWTH_BYTES
    assert verdict(client, Hostile("a good one", good_clips()["mkv"], good_mask())) == "succeeded"
    assert client.get("/health/ready").status_code == 200
    kinds = {str(end) for end in ends}
    assert {"succeeded", *map(type_of, EXPECTED)} <= kinds


def attempt(client: httpx.Client, hostile: Hostile) -> str | AssertionError:
    """The verdict, or what is wrong with it."""
    try:
        return verdict(client, hostile)
    except AssertionError as error:
        return error


def test_nothing_is_fetched(client: httpx.Client, tmp_path: Path) -> None:
    """A playlist that names an address makes the service connect to nothing."""
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
            assert verdict(client, Hostile("playlist", playlist, good_mask())) == type_of("video-unreadable")
        stop.set()
        thread.join()
    assert not calls


def test_a_playlist_reads_no_file(client: httpx.Client, tmp_path: Path) -> None:
    """A playlist that names a good video on this machine is refused: only the uploaded file itself is read."""
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
        assert verdict(client, hostile) == type_of("video-unreadable")


def test_the_good_clips_are_good(client: httpx.Client) -> None:
    """What the corpus is made from passes, so that its refusals mean something."""
    for kind, clip in good_clips().items():
        assert verdict(client, Hostile(kind, clip, good_mask())) == "succeeded", (kind, WIDTH, HEIGHT)
