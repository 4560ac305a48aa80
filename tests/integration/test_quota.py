"""The quota holds while many clients upload and download at once; judged by the sizes of the files on the disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from codec.types import UInt8Array
from service.config import digest_of_key
from service.writers import png
from service.writers.png import encode_mask
from tests.support.serving import FRAMES, served
from tests.support.stored_jobs import MIB
from tests.support.waiting import files_below, wait_for

HEAD = b'--b\r\nContent-Disposition: form-data; name="video"\r\n\r\n'
FORM = {"Content-Type": "multipart/form-data; boundary=b"}


@contextmanager
def peak_of(folder: Path) -> Iterator[list[int]]:
    """Measure the largest size of a folder while the block runs; it is the last of the yielded numbers afterwards."""
    ended, peak = threading.Event(), [0]

    def measure() -> None:
        while not ended.is_set():
            size = 0
            for path in files_below(folder):
                try:
                    size += path.stat().st_size
                except FileNotFoundError:
                    continue
            peak[0] = max(peak[0], size)
            time.sleep(0.005)

    thread = threading.Thread(target=measure)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("announced", [True, False], ids=["with a length", "without a length"])
def test_simultaneous_uploads_keep_to_the_quota(tmp_path: Path, announced: bool) -> None:
    """Of 16 simultaneous uploads of 3 MiB, no more are on the disk than fit into 20 MiB; the others get 507."""
    with served(tmp_path / "home", storage_quota=20 * MIB) as service:
        files, start = service.services.settings.files_dir, threading.Barrier(16)
        body = HEAD + bytes(3 * MIB) + b"\r\n--b--\r\n"

        def pieces() -> Iterator[bytes]:
            for begin in range(0, len(body), 1 << 18):
                time.sleep(0.01)
                yield body[begin : begin + (1 << 18)]

        def post(_: int) -> httpx.Response:
            length = {"Content-Length": str(len(body))} if announced else {}
            with httpx.Client(base_url=service.client.base_url, timeout=60) as client:
                start.wait()
                return client.post("/v1/jobs", content=pieces(), headers=FORM | length)

        with peak_of(files) as peak, ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(post, range(16)))
        assert {answer.status_code for answer in answers} == {507, 422}
        assert 3 * MIB < peak[0] <= 20 * MIB
        refused = next(answer for answer in answers if answer.status_code == 507).json()
        assert "of 20,971,520 bytes are in use" in refused["detail"]
        assert not files_below(files)
        assert service.post().status_code == 202


def test_one_key_leaves_room_for_others(tmp_path: Path) -> None:
    """A key that has used its share is refused, and another key's job is accepted."""
    keys = ",".join(f"{name}:{digest_of_key(f'km-{name}')}" for name in ("ann", "bob"))
    with served(tmp_path / "home", api_keys=keys, storage_quota=40_000, storage_share=0.5) as service:
        answers = [service.post(authorization="Bearer km-ann") for _ in range(8)]
        assert answers[0].status_code == 202
        assert answers[-1].status_code == 507
        assert "of the 20,000 bytes that one API key may use" in answers[-1].json()["detail"]
        assert service.post(authorization="Bearer km-bob").status_code == 202


def test_a_result_that_outgrows_the_quota_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its client gets no complete answer, most of it is never made, and its bytes are free again."""
    drawn = 0

    def draw(labels: UInt8Array) -> bytes:
        nonlocal drawn
        drawn += 1
        time.sleep(0.2)
        return encode_mask(labels) + bytes(MIB)

    with served(tmp_path / "home", storage_quota=4 * MIB) as service:
        address = f"/v1/jobs/{service.run()}/result"
        files = service.services.settings.files_dir
        with monkeypatch.context() as patched, peak_of(files) as peak:
            patched.setattr(png, "encode_mask", draw)
            with pytest.raises(httpx.TransportError):
                service.client.get(address)
        wait_for(lambda: not service.services.result_builds)
        assert 3 * MIB < peak[0] <= 6 * MIB
        assert drawn <= FRAMES / 2
        assert not [path for path in files_below(files) if path.parent.name == "results"]
        assert service.client.get(address).status_code == 200
