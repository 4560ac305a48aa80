"""Commits whose answer is lost, and files that several processes make or a killed one leaves."""

from __future__ import annotations

import io
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from codec.types import UInt8Array
from service.http.routes import results
from service.jobs.requests import QueueLimits
from service.jobs.types import Job
from service.storage.result_files import stat_result
from service.writers import png
from service.writers.png import encode_mask
from tests.support.serving import FRAMES, Served, served
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One service for all tests of the module."""
    with served(tmp_path_factory.mktemp("lost")) as running:
        yield running


def lose_answer(service: Served, patched: pytest.MonkeyPatch) -> None:
    """Let the connection break after the database has committed a job and before it says so."""
    create = service.services.store.create

    def commit_and_fail(job: Job, limits: QueueLimits) -> tuple[Job, bool]:
        create(job, limits)
        raise OperationalError("COMMIT", None, ConnectionResetError("connection reset by peer"))

    patched.setattr(service.services.store, "create", commit_and_fail)


def fail(*_: Any, **__: Any) -> Any:
    """Fail as a database does that cannot be reached."""
    raise OperationalError("SELECT", None, ConnectionRefusedError("connection refused"))


def test_a_commit_whose_answer_is_lost_is_found(service: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job exists, so the client gets its id, and it runs from its files."""
    with monkeypatch.context() as patched:
        lose_answer(service, patched)
        answer = service.post()
    assert answer.status_code == 202
    assert service.until(answer.json()["id"], "succeeded")


def test_files_stay_while_the_database_cannot_be_asked(service: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client gets an error, and the job that exists all the same runs; a retry with its key finds it."""
    before = set(service.services.storage.job_ids())
    with monkeypatch.context() as patched:
        lose_answer(service, patched)
        patched.setattr(service.services.store, "known", fail)
        assert service.post(idempotency_key="lost").status_code >= 500
    (job_id,) = set(service.services.storage.job_ids()) - before
    assert service.until(job_id, "succeeded")
    again = service.post(idempotency_key="lost")
    assert (again.json()["id"], again.headers["idempotent-replayed"]) == (job_id, "true")


def test_files_without_a_row_are_left_to_the_sweep(service: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that has not happened yet may still happen, so nothing is deleted at once."""
    before = set(service.services.storage.job_ids())
    with monkeypatch.context() as patched:
        patched.setattr(service.services.store, "create", fail)
        assert service.post().status_code >= 500
    (orphan,) = set(service.services.storage.job_ids()) - before
    assert service.services.store.known([orphan]) == set()
    service.services.storage.delete(orphan)


def test_two_processes_that_make_one_result(service: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both write at the same time, both clients get the same whole file, and nothing else is left."""
    job_id = service.run()
    both = threading.Barrier(2)
    drawn = threading.local()

    def draw(labels: UInt8Array) -> bytes:
        drawn.count = getattr(drawn, "count", 0) + 1
        if drawn.count in (2, FRAMES):
            both.wait(20)
        return encode_mask(labels) + bytes(50_000)

    with served(service.clip.parent) as other, monkeypatch.context() as patched, ThreadPoolExecutor(2) as pool:
        patched.setattr(png, "encode_mask", draw)
        patched.setattr(results, "has_content", lambda _build: _false())  # answer once the file is complete
        address = f"/v1/jobs/{job_id}/result"
        answers = list(pool.map(lambda side: side.client.get(address), (service, other)))
        assert [answer.status_code for answer in answers] == [200, 200]
        assert answers[0].content == answers[1].content
        assert zipfile.ZipFile(io.BytesIO(answers[0].content)).testzip() is None
        wait_for(lambda: not service.services.result_builds and not other.services.result_builds)
        folder = service.services.storage.job(job_id).result("")
        assert {path.name for path in folder.iterdir()} == {"masks.zip", "masks.zip.bytes"}


async def _false() -> bool:
    return False


@pytest.mark.parametrize("left", [0, 100, None], ids=["empty", "cut off", "no record of its size"])
def test_a_result_that_a_power_cut_left_incomplete_is_made_again(service: Served, left: int | None) -> None:
    """It is never served, whatever its name says: the answer has all bytes under the same ETag."""
    job_id = service.run()
    address = f"/v1/jobs/{job_id}/result"
    whole = service.client.get(address)
    path = service.services.storage.job(job_id).result("masks.zip")
    if left is None:
        path.with_name("masks.zip.bytes").unlink()
    else:
        path.write_bytes(whole.content[:left])
    assert stat_result(path) is None
    again = service.client.get(address)
    assert (again.status_code, again.content) == (200, whole.content)
    assert again.headers["etag"] == whole.headers["etag"]
    assert path.read_bytes() == whole.content


def test_a_deleted_job_stops_its_build(service: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The build ends at its next frame, and leaves no file."""
    job_id = service.run()
    begun, gate, drawn = threading.Event(), threading.Event(), 0

    def draw(labels: UInt8Array) -> bytes:
        nonlocal drawn
        drawn += 1
        begun.set()
        assert gate.wait(60)
        return encode_mask(labels)

    with monkeypatch.context() as patched, ThreadPoolExecutor(1) as pool:
        patched.setattr(png, "encode_mask", draw)
        answer = pool.submit(service.client.get, f"/v1/jobs/{job_id}/result")
        assert begun.wait(60)
        service.client.delete(f"/v1/jobs/{job_id}")
        wait_for(lambda: job_id not in service.services.storage.job_ids())
        gate.set()
        assert answer.result().status_code == 404
    assert drawn == 1
    assert job_id not in service.services.storage.job_ids()
