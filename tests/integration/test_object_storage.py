"""A service whose API and workers share a database and an object store, and no folder."""

from __future__ import annotations

import io
import json
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.support.expected_masks import expected_lines
from tests.support.machines import Machine
from tests.support.media import write_mask
from tests.support.object_stores import S3Server, SwitchedProxy, s3_server
from tests.support.synthetic import encode, pan, x264
from tests.support.waiting import wait_for

FRAMES = 40


@dataclass
class Cluster:
    """A service of several machines.

    Attributes:
        folder: Folder of the database and the machines.
        proxy: What stands between the machines and the object store.
        store: The object store, seen from here.
        api: The API process.
        worker: The host of a worker.
        client: A client of the API.
    """

    folder: Path
    proxy: SwitchedProxy
    store: S3Server
    api: Machine
    worker: Machine
    client: httpx.Client
    clip: Path
    mask: Path

    def start_worker(self, name: str) -> Machine:
        """Start a host with an empty folder."""
        return Machine("worker", self.folder / name, f"sqlite:///{self.folder}/jobs.db", S3Server(self.proxy.port))

    def post(self) -> httpx.Response:
        """Post a job."""
        files = {"video": self.clip.read_bytes(), "mask": ("mask.png", self.mask.read_bytes())}
        return self.client.post("/v1/jobs", files=files)

    def until(self, job_id: str, *statuses: str) -> dict[str, Any]:
        """Wait until a job has one of the statuses; return it."""
        found: dict[str, Any] = wait_for(
            lambda: (job := self.client.get(f"/v1/jobs/{job_id}").json()).get("status") in statuses and job
        )
        return found

    def objects(self, job_id: str) -> list[str]:
        """Return the names of the objects of a job."""
        prefix = f"jobs/{job_id}/"
        return [entry.key.removeprefix(prefix) for entry in self.store.open("keymask").entries(prefix)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Run an API process and a host with a worker."""
    folder = tmp_path_factory.mktemp("cluster")
    clip, mask = folder / "clip.mp4", write_mask(folder / "mask.png")
    moving = pan(FRAMES, (64, 48), velocity=(1.0, 0.5)).frames
    clip.write_bytes(encode(moving, options=x264(bframes=0), container="mp4"))  # as the segmenter of `fakes` needs it
    with ExitStack() as stack:
        store = stack.enter_context(s3_server())
        proxy = stack.enter_context(closing(SwitchedProxy(store.port)))
        database, seen = f"sqlite:///{folder}/jobs.db", S3Server(proxy.port)
        api = stack.enter_context(Machine("api", folder / "api", database, seen))
        client = stack.enter_context(httpx.Client(base_url=api.address, timeout=120))
        worker = Machine("worker", folder / "worker-1", database, seen)
        running = Cluster(folder, proxy, store, api, worker, client, clip, mask)
        stack.callback(lambda: running.worker.kill())  # noqa: PLW0108 - tests replace the worker
        yield running


@pytest.fixture(scope="module")
def expected(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The lines of the masks of the clip, computed here."""
    return expected_lines(cluster.clip, cluster.mask, tmp_path_factory.mktemp("home"))


def test_a_job_of_machines_without_a_shared_folder(cluster: Cluster, expected: list[bytes]) -> None:
    """A job is posted, followed, read as frames and results, corrected, undone and deleted; its objects go with it."""
    cluster.worker.behave(seconds=0.03)
    job_id = cluster.post().json()["id"]
    with cluster.client.stream("GET", f"/v1/jobs/{job_id}/masks") as stream:
        first_at, lines = 0.0, []
        for line in stream.iter_lines():
            first_at = first_at or time.monotonic()
            lines.append(line.encode())
    assert lines == expected
    assert time.monotonic() - first_at > 0.3  # they came while the job ran
    job = cluster.until(job_id, "succeeded")
    assert job["report"]["frames"] == FRAMES
    names = cluster.objects(job_id)
    assert {"inputs.json", "mask.png", "video", "1/000000000000.ndjson"} <= set(names)
    wait_for(lambda: not [name for name in cluster.objects(job_id) if name.endswith(".npz")])  # soon after the end

    picture = cluster.client.get(f"/v1/jobs/{job_id}/frames/3")
    assert Image.open(io.BytesIO(picture.content)).size == (64, 48)
    result = cluster.client.get(f"/v1/jobs/{job_id}/result", params={"format": "png"})
    with zipfile.ZipFile(io.BytesIO(result.content)) as archive:
        assert len([name for name in archive.namelist() if name.endswith(".png")]) == FRAMES
    assert "results/masks.zip" in cluster.objects(job_id)
    notes = cluster.client.get(f"/v1/jobs/{job_id}/result/notes", params={"format": "matte"})
    assert notes.json() == {"notes": []}
    assert {"results/matte.mp4", "results/matte.mp4.notes.json"} <= set(cluster.objects(job_id))
    events = cluster.client.get(f"/v1/jobs/{job_id}/events").text
    assert events.count("event: frame") == FRAMES

    correction = {"prompt": [{"frame": 20, "object": 1, "box": [4, 4, 20, 20]}]}
    corrected = cluster.client.post(f"/v1/jobs/{job_id}/corrections", json=correction)
    assert corrected.status_code == 202, corrected.text
    corrected_id = corrected.json()["id"]
    assert cluster.until(corrected_id, "succeeded", "failed")["status"] == "succeeded"
    masks = cluster.client.get(f"/v1/jobs/{corrected_id}/masks").content.splitlines()
    assert len(masks) == FRAMES
    assert masks != expected
    assert not [name for name in cluster.objects(corrected_id) if name.startswith("parent-")]
    undone = cluster.client.post(f"/v1/jobs/{corrected_id}/undo")
    assert undone.json()["id"] == job_id
    for deleted in (corrected_id, job_id):
        cluster.client.delete(f"/v1/jobs/{deleted}")
        wait_for(lambda deleted=deleted: not cluster.objects(deleted))  # type: ignore[misc]


def test_a_job_resumes_on_another_machine(cluster: Cluster, expected: list[bytes]) -> None:
    """When a host dies, another one with an empty folder resumes its job from the stored masks and state."""
    cluster.worker.behave(seconds=0.15)
    job_id = cluster.post().json()["id"]
    wait_for(lambda: "1/state.npz" in cluster.objects(job_id))
    cluster.worker.kill()
    cluster.worker = cluster.start_worker("worker-2")
    job = cluster.until(job_id, "succeeded", "failed")
    assert job["report"]["resumed"] is True
    assert job["report"]["frames"] < FRAMES + 1
    assert cluster.client.get(f"/v1/jobs/{job_id}/masks").content.splitlines() == expected
    assert [name for name in cluster.objects(job_id) if name.startswith("2/") and name.endswith(".ndjson")]


def test_a_walk_back_goes_on_on_another_machine(cluster: Cluster) -> None:
    """When a host dies in a walk back, another one with an empty folder goes on with it; its objects go at the end."""
    last = FRAMES - 10

    def post() -> str:
        files = {"video": cluster.clip.read_bytes(), "mask": ("mask.png", cluster.mask.read_bytes())}
        form = {"options": json.dumps({"prompt_frame": last, "direction": "both"})}
        return str(cluster.client.post("/v1/jobs", files=files, data=form).raise_for_status().json()["id"])

    def masks(job_id: str) -> bytes:
        assert cluster.until(job_id, "succeeded", "failed")["status"] == "succeeded"
        return cluster.client.get(f"/v1/jobs/{job_id}/masks").content

    cluster.worker.behave()
    whole = post()
    expected_masks = masks(whole)
    cluster.worker.behave(seconds=0.1, fault={"at": last - 8, "kind": "wait"})
    (cluster.worker.home / "wait").touch()
    job_id = post()
    wait_for(lambda: "walks/0-1/state.npz" in cluster.objects(job_id))
    cluster.worker.kill()
    cluster.worker = cluster.start_worker("worker-3")
    # Taken over, it stops in a walk that has begun with the masks of the first attempt.
    cluster.worker.behave(fault={"at": last - 2, "kind": "wait"})
    (cluster.worker.home / "wait").touch()
    wait_for(lambda: "walks/0-2/state.npz" in cluster.objects(job_id))
    wait_for(lambda: "walks/0-1/state.npz" not in cluster.objects(job_id))
    (cluster.worker.home / "wait").unlink()
    assert masks(job_id) == expected_masks
    wait_for(lambda: not [name for name in cluster.objects(job_id) if name.startswith("walks/")])


@pytest.mark.long
def test_an_upload_goes_through_several_api_processes(cluster: Cluster, expected: list[bytes]) -> None:
    """Each chunk may reach another one; what the first has acknowledged survives it, and any of them makes the job."""
    cluster.worker.behave()
    content = cluster.clip.read_bytes()
    tus = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}
    half, database = len(content) // 2, f"sqlite:///{cluster.folder}/jobs.db"
    with Machine("api", cluster.folder / "api-2", database, S3Server(cluster.proxy.port)) as second:
        begun = httpx.post(
            f"{second.address}/v1/uploads",
            headers=tus | {"Upload-Length": str(len(content))},
            content=content[:half],
            timeout=120,
        )
        assert (begun.status_code, begun.headers["upload-offset"]) == (201, str(half)), begun.text
    there = begun.headers["location"]
    assert cluster.client.head(there).headers["upload-offset"] == str(half)
    sent = cluster.client.patch(there, headers=tus | {"Upload-Offset": str(half)}, content=content[half:])
    assert (sent.status_code, sent.headers["upload-offset"]) == (204, str(len(content))), sent.text
    with Machine("api", cluster.folder / "api-3", database, S3Server(cluster.proxy.port)) as third:
        address = f"{third.address}{there}"
        assert httpx.get(f"{address}/video", timeout=120).json()["frames"] == FRAMES
        form = {"upload": (None, there.rpartition("/")[2]), "mask": ("mask.png", cluster.mask.read_bytes())}
        posted = httpx.post(f"{third.address}/v1/jobs", files=form, timeout=120)
        assert posted.status_code == 202, posted.text
    job_id = posted.json()["id"]
    cluster.until(job_id, "succeeded")
    assert cluster.client.get(f"/v1/jobs/{job_id}/masks").content.splitlines() == expected
    assert cluster.client.head(there).status_code == 404
    assert not list(cluster.store.open("keymask").entries("uploads/"))


@pytest.mark.long
def test_nothing_is_lost_while_the_store_is_away(cluster: Cluster, expected: list[bytes]) -> None:
    """Clients get 503 with Retry-After, the running job goes on and ends, its follower misses nothing."""
    cluster.worker.behave(seconds=0.1)
    finished = cluster.post().json()["id"]
    cluster.until(finished, "succeeded")
    running = cluster.post().json()["id"]
    followed: list[bytes] = []

    def follow() -> None:
        with httpx.Client(base_url=cluster.api.address, timeout=120) as client:
            followed.extend(client.get(f"/v1/jobs/{running}/masks").content.splitlines())

    follower = threading.Thread(target=follow)
    follower.start()
    wait_for(lambda: cluster.client.get(f"/v1/jobs/{running}").json()["progress"]["done"] > 3)
    cluster.proxy.switch(False)
    try:
        refused = cluster.post()
        unread = cluster.client.get(f"/v1/jobs/{finished}/masks")
        for answer in (refused, unread):
            assert answer.status_code == 503, answer.text
            assert answer.json()["type"] == "/problems/storage-unavailable"
            assert int(answer.headers["Retry-After"]) > 0
        done = cluster.client.get(f"/v1/jobs/{running}").json()["progress"]["done"]
        wait_for(lambda: cluster.client.get(f"/v1/jobs/{running}").json()["progress"]["done"] > done)
        time.sleep(3)
        assert cluster.client.get(f"/v1/jobs/{running}").json()["status"] == "running"
    finally:
        cluster.proxy.switch(True)
    assert cluster.until(running, "succeeded", "failed")["status"] == "succeeded"
    follower.join(60)
    assert followed == expected
    assert cluster.client.get(f"/v1/jobs/{finished}/masks").content.splitlines() == expected
    assert cluster.post().status_code == 202
