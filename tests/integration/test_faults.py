"""Faults of the whole service, which runs in a separate process.

No fault loses an acknowledged job or leaves orphaned files on the disk.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier
from typing import Any

import httpx
import pytest
from keymask import AsyncClient, Client

from service.jobs.store import JobStore
from tests.support.fakes import behave
from tests.support.media import write_mask
from tests.support.paths import ROOT
from tests.support.synthetic import encode, pan, x264
from tests.support.waiting import files_below, wait_for

FRAMES = 30


@dataclass(frozen=True)
class Running:
    """A running service and its files."""

    process: subprocess.Popen[str]
    client: httpx.Client
    home: Path
    files: Path

    def post(self, key: str | None = None, **changes: Any) -> httpx.Response:
        """Post the clip as a job."""
        files = {"video": (self.home / "clip.mp4").read_bytes(), "mask": (self.home / "mask.png").read_bytes()}
        headers = {} if key is None else {"Idempotency-Key": key}
        return self.client.post("/v1/jobs", files=files | changes, headers=headers)

    def job(self, job_id: str) -> dict[str, Any]:
        """Return the job as JSON."""
        found: dict[str, Any] = self.client.get(f"/v1/jobs/{job_id}").raise_for_status().json()
        return found

    def finished(self, job_id: str) -> dict[str, Any]:
        """Wait until the job is finished and return it."""
        ends = ("succeeded", "failed", "canceled")
        found: dict[str, Any] = wait_for(lambda: (job := self.job(job_id))["status"] in ends and job)
        return found

    def indices(self, job_id: str) -> list[int]:
        """Return the presentation indices of the frames that have a mask."""
        return [json.loads(line)["index"] for line in self.client.get(f"/v1/jobs/{job_id}/masks").text.splitlines()]

    def is_tidy(self) -> bool:
        """Return whether the disk holds only the folders of existing jobs, and locks."""
        store = JobStore(f"sqlite:///{self.home}/service/jobs.db", migrate=False)
        try:
            folders = {entry.name for entry in (self.files / "jobs").iterdir()}
            rows = sum(store.counts().values())
            return store.known(folders) == folders and rows == len(folders) and not self.uploads()
        finally:
            store.close()

    def uploads(self) -> list[Path]:
        """Return the files of unfinished uploads."""
        return files_below(self.files / "incoming")


@contextmanager
def running(home: Path, fault: str = "none", **settings: str) -> Iterator[Running]:
    """Start a service, wait until it is ready, and kill it at the end."""
    home.mkdir(exist_ok=True)
    if not (home / "clip.mp4").exists():
        drawn = pan(FRAMES, (64, 48), velocity=(1.0, 0.5)).frames
        (home / "clip.mp4").write_bytes(encode(drawn, options=x264(bframes=0), container="mp4"))
        write_mask(home / "mask.png")
    own = {"HOME": str(home), "PORT": "0", "DEVICES": "cpu", "LOG_LEVEL": "error", "LEASE_SECONDS": "3"} | settings
    environment = {**os.environ, **{f"KEYMASK_{name}": value for name, value in own.items()}, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.integration.fault_child", fault]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        address = json.loads(process.stdout.readline())["address"]
        with httpx.Client(base_url=address, timeout=240) as client:
            wait_for(lambda: _is_ready(client))
            yield Running(process, client, home, Path(settings.get("STORAGE_DIR", home / "service" / "files")))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/health/ready").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service that the tests of this module do not kill."""
    with running(tmp_path_factory.mktemp("service"), MAX_UPLOADS_PER_KEY="64") as started:
        yield started


def test_a_service_killed_while_it_accepts_a_job(tmp_path: Path) -> None:
    """A post without an answer has either created a job, which runs, or left nothing; repeating it shows which."""
    for fault in ("adopt", "create", "created"):
        with running(tmp_path / "home", fault) as service:
            with pytest.raises(httpx.TransportError):
                service.post(key=f"killed at {fault}".replace(" ", "-"))
            service.process.wait()
    with running(tmp_path / "home", LEASE_SECONDS="1") as service:  # orphans are swept after four leases
        wait_for(service.is_tidy)
        (made,) = service.client.get("/v1/jobs").json()["jobs"]
        assert service.finished(made["id"])["status"] == "succeeded"
        assert service.indices(made["id"]) == list(range(FRAMES))
        again = service.post(key="killed-at-created")
        assert (again.json()["id"], again.headers["idempotent-replayed"]) == (made["id"], "true")
        for fault in ("adopt", "create"):
            other = service.post(key=f"killed-at-{fault}")
            assert "idempotent-replayed" not in other.headers
            assert service.finished(other.json()["id"])["status"] == "succeeded"
        wait_for(service.is_tidy)


def test_a_service_killed_during_a_job(tmp_path: Path) -> None:
    """After the restart, the running and the queued job finish with one mask per frame."""
    home = tmp_path / "home"
    behave(home, seconds=0.3)
    with running(home) as service:
        first, second = (service.post().json()["id"] for _ in range(2))
        wait_for(lambda: service.job(first)["progress"]["done"] >= 3)
        service.process.kill()
        service.process.wait()
    behave(home)
    with running(home) as service:
        for job_id in (first, second):
            assert service.finished(job_id)["status"] == "succeeded"
            assert service.indices(job_id) == list(range(FRAMES))
        wait_for(service.is_tidy)


def test_following_clients_survive_a_restart(tmp_path: Path) -> None:
    """A client that follows a job through a restart gets every mask once, and the job's end."""
    home = tmp_path / "home"
    behave(home, seconds=0.3)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    with ThreadPoolExecutor(3) as pool:
        with running(home, PORT=port) as service:
            job_id = service.post().json()["id"]
            url = str(service.client.base_url)
            masks = pool.submit(masks_of, url, job_id)
            masks_async = pool.submit(lambda: asyncio.run(masks_of_async(url, job_id)))
            end = pool.submit(wait_for_end, url, job_id)
            wait_for(lambda: service.job(job_id)["progress"]["done"] >= 3)
            service.process.terminate()
            service.process.wait()
        behave(home)
        with running(home, PORT=port):
            assert masks.result(240) == masks_async.result(240) == list(range(FRAMES))
            assert end.result(240) == "succeeded"


def masks_of(url: str, job_id: str) -> list[int]:
    """Return the indices of the masks that a client receives."""
    with Client(url) as client:
        return [frame.index for frame in client.masks(job_id)]


async def masks_of_async(url: str, job_id: str) -> list[int]:
    """Like `masks_of`, with the asynchronous client."""
    async with AsyncClient(url) as client:
        return [frame.index async for frame in client.masks(job_id)]


def wait_for_end(url: str, job_id: str) -> str:
    """Wait for the end of a job as a client and return its status."""
    with Client(url) as client:
        return client.wait(job_id).status


def test_fifty_simultaneous_posts_with_one_key(service: Running) -> None:
    """All answers name the same job, one of them as new; the files of the other posts are deleted."""
    start = Barrier(50)

    def post(_: int) -> httpx.Response:
        with httpx.Client(base_url=service.client.base_url, timeout=240) as client:
            start.wait()
            return Running(service.process, client, service.home, service.files).post(key="once")

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(post, range(50)))
    assert [answer.status_code for answer in answers] == [202] * 50
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    wait_for(service.is_tidy)


def test_a_client_that_disconnects_during_its_upload(service: Running) -> None:
    """Its files are deleted when the connection breaks, and no job is created."""
    jobs = service.client.get("/v1/jobs").json()["jobs"]
    url = service.client.base_url
    with socket.create_connection((url.host, url.port), timeout=240) as connection:
        # Closing the socket then resets the connection, as the crash of a client's machine does.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(
            b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            b'Content-Length: 50000000\r\n\r\n--b\r\nContent-Disposition: form-data; name="video"\r\n\r\n'
            + bytes(3_000_000)
        )
        wait_for(service.uploads)
    wait_for(service.is_tidy)
    assert [job["id"] for job in service.client.get("/v1/jobs").json()["jobs"]] == [job["id"] for job in jobs]


def test_cancel_and_delete_in_every_state(service: Running) -> None:
    """A queued, a running and a finished job can be canceled and deleted, which leaves nothing behind."""
    behave(service.home, seconds=0.3)
    before = {job["id"] for job in service.client.get("/v1/jobs").json()["jobs"]}
    running_job, waiting = (service.post().json()["id"] for _ in range(2))
    wait_for(lambda: service.job(running_job)["progress"]["done"] >= 2)
    assert service.client.post(f"/v1/jobs/{waiting}/cancel").json()["status"] == "canceled"
    service.client.post(f"/v1/jobs/{running_job}/cancel")
    assert service.finished(running_job)["status"] == "canceled"
    assert 2 <= len(service.indices(running_job)) < FRAMES
    behave(service.home)
    done = service.post().json()["id"]
    assert service.finished(done)["status"] == "succeeded"
    assert service.client.post(f"/v1/jobs/{done}/cancel").json()["status"] == "succeeded"
    wait_for(service.is_tidy)
    for job_id in (running_job, waiting, done):
        assert service.client.delete(f"/v1/jobs/{job_id}").status_code == 204
    wait_for(lambda: {entry.name for entry in (service.files / "jobs").iterdir()} == before)
    wait_for(service.is_tidy)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with 3 MiB more than the service's reserve; skips the test if it cannot be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={64 + 3}m", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small disk is needed: {mounted.stderr.strip() or 'mount failed'} (run as root)")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_becomes_full_during_an_upload(tmp_path: Path, small_disk: Path) -> None:
    """An upload of unknown size that does not fit is refused with 507, and its files are deleted."""
    boundary = b"b"
    head = b'--b\r\nContent-Disposition: form-data; name="video"\r\n\r\n'
    with running(tmp_path / "home", STORAGE_DIR=str(small_disk)) as service:
        done = service.finished(service.post().json()["id"])
        answer = service.client.post(
            "/v1/jobs",
            content=(part for part in (head, *[bytes(1 << 20)] * 80, b"\r\n--b--\r\n")),
            headers={"Content-Type": f"multipart/form-data; boundary={boundary.decode()}"},
        )
        assert (answer.status_code, answer.json()["type"]) == (507, "/problems/storage-full")
        wait_for(service.is_tidy)
        assert service.indices(done["id"]) == list(range(FRAMES))
        assert service.finished(service.post().json()["id"])["status"] == "succeeded"
        wait_for(service.is_tidy)
