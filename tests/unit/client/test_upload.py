"""Uploads in chunks against a scripted service."""

from __future__ import annotations

import httpx
import keymask
import pytest

from tests.support.scripted_service import Clock, Outage, Run, Script, ok

VIDEO = bytes(range(25))


@pytest.fixture(autouse=True)
def chunks_of_ten_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three chunks for the video."""
    monkeypatch.setattr("keymask.sending.upload.CHUNK_BYTES", 10)


def at(offset: int, status: int = 204) -> httpx.Response:
    """Return an answer after which the upload continues at an offset."""
    return httpx.Response(status, headers={"Upload-Offset": str(offset)})


def refused(status: int, kind: str) -> httpx.Response:
    """Return a problem."""
    return httpx.Response(status, json={"type": f"/problems/{kind}", "title": kind, "status": status, "detail": kind})


def sent(script: Script) -> list[tuple[str, str | None, bytes]]:
    """Return method, offset and body of each request."""
    return [(r.method, r.headers.get("upload-offset"), r.read()) for r in script.requests]


def test_chunks_follow_each_other(run: Run) -> None:
    """Each begins where the service says."""
    script = Script(ok({"id": "u1"}, 201), at(10), at(20), at(25))
    assert run(script, "upload", VIDEO) == keymask.UploadedVideo("u1")
    assert script.requests[0].headers["upload-length"] == "25"
    assert sent(script)[1:] == [("PATCH", "0", VIDEO[:10]), ("PATCH", "10", VIDEO[10:20]), ("PATCH", "20", VIDEO[20:])]
    assert {request.headers["tus-resumable"] for request in script.requests} == {"1.0.0"}


def test_a_lost_connection_costs_one_chunk_at_most(run: Run, clock: Clock) -> None:
    """The service had got a part of the chunk, and was away for most of a minute."""
    lost = httpx.ReadError("connection lost")
    script = Script(
        ok({"id": "u1"}, 201), lost, Outage(clock, 50), refused(423, "upload-locked"),
        refused(409, "upload-offset-mismatch"), at(4, 200), at(14), at(24), at(25),
    )  # fmt: skip
    assert run(script, "upload", VIDEO) == keymask.UploadedVideo("u1")
    assert script.spent
    assert sent(script)[-3:] == [
        ("PATCH", "4", VIDEO[4:14]),
        ("PATCH", "14", VIDEO[14:24]),
        ("PATCH", "24", VIDEO[24:]),
    ]


def test_a_conflict_without_progress_is_an_error(run: Run) -> None:
    """The client does not ask for ever."""
    script = Script(ok({"id": "u1"}, 201), refused(409, "upload-offset-mismatch"), at(0, 200))
    with pytest.raises(keymask.ConflictError):
        run(script, "upload", VIDEO)


def test_a_job_names_the_upload(run: Run) -> None:
    """The form has the id in place of a file."""
    script = Script(ok({"objects": [], "frame": 0, "time": 0.0, "width": 4, "height": 4, "notes": []}))
    run(script, "prompt", keymask.UploadedVideo("u1"), box=(1, 1, 2, 2))
    body = script.requests[0].read()
    assert b'name="upload"\r\n\r\nu1\r\n' in body
    assert b'name="video"' not in body
