"""Every way a service can misbehave is a `KeymaskError` that names the URL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import keymask
import pytest

from tests.support.raw_server import raw_server
from tests.support.scripted_service import JOB, MASK, Broken, Clock, Outage, Run, Script, job, masks, ok


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """Return the bytes of a response."""
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers])
    return head.encode() + b"\r\n\r\n" + body


MISBEHAVIOR: dict[str, tuple[bytes, type[keymask.KeymaskError]]] = {
    "closes": (b"", keymask.ConnectionFailedError),
    "is no HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n", keymask.ConnectionFailedError),
    "ends early": (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", keymask.ConnectionFailedError),
    "sends a page": (answer(b"<html>"), keymask.InvalidResponseError),
    "sends another shape": (answer(b"[1]"), keymask.InvalidResponseError),
    "sends no text": (answer(b'{"id": "\xff\xfe"}'), keymask.InvalidResponseError),
    "sends nested lists": (answer(b"[" * 200_000), keymask.InvalidResponseError),
    "sends no gzip": (answer(b"{}", "Content-Encoding: gzip"), keymask.InvalidResponseError),
    "redirects": (answer(b"", "Location: https://other.example/", status="307 Moved"), keymask.ProblemError),
    "is broken": (answer(b"[" * 200_000, status="500 Broken"), keymask.ServerError),
}


@pytest.mark.parametrize("name", MISBEHAVIOR)
def test_misbehavior_is_an_error_of_the_client(run: Run, tmp_path: Path, name: str) -> None:
    """Each call raises the same kind of error, with the URL, whatever the service does."""
    sent, kind = MISBEHAVIOR[name]
    with raw_server(sent) as server:
        for method, arguments in (("get", ["j1"]), ("models", []), ("jobs", []), ("probe", [b"video"])):
            with pytest.raises(kind) as caught:
                run(None, method, *arguments, url=server.address, retries=0)
            assert server.address in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", '{"index": "x"}', "\ufffd"])
def test_a_line_that_is_no_mask_is_an_error(run: Run, text: str) -> None:
    """A broken line of the mask stream is an error that names the stream."""
    with pytest.raises(keymask.InvalidResponseError, match="http://test/v1/jobs/j1/masks"):
        run(Script(ok(job()), httpx.Response(200, text=text + "\n")), "masks", "j1")


def test_a_redirect_says_where_the_service_is(run: Run) -> None:
    """The error names the address to use."""
    with pytest.raises(keymask.ProblemError, match="at another address: https://a") as caught:
        run(Script(httpx.Response(308, headers={"Location": "https://a.example/"})), "models")
    assert caught.value.url == "http://test/v1/models"


def test_a_password_in_the_url_is_not_shown(run: Run) -> None:
    """Errors name the URL without user name and password."""
    with pytest.raises(keymask.ConnectionFailedError) as caught:
        run(Script(*[httpx.ConnectError("refused")] * 5), "models", url="http://ann:secret@test/base")
    assert "http://test/base/v1/models" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("arguments", [{"idempotency_key": "schlüssel"}, {"idempotency_key": "a\nb"}, {"end": "x"}])
def test_arguments_that_cannot_be_sent_are_errors(run: Run, arguments: dict[str, Any]) -> None:
    """They are errors of the client, and ValueErrors too."""
    with raw_server(b"") as server:
        for kind in (keymask.KeymaskError, ValueError):
            with pytest.raises(kind):
                run(None, "submit", b"video", b"mask", url=server.address, **arguments)
    assert server.requests == []


def test_a_delete_whose_answer_was_lost_has_succeeded(run: Run) -> None:
    """After a lost answer, 404 says that the job is gone."""
    for lost in (httpx.ReadError("lost"), httpx.RemoteProtocolError("closed"), httpx.Response(502)):
        assert run(Script(lost, httpx.Response(404)), "delete", "j1") is None


def test_a_job_that_never_was_cannot_be_deleted(run: Run) -> None:
    """404 is an error if no request can have deleted the job before."""
    for before in ([], [httpx.ConnectError("refused")], [httpx.Response(503)], [httpx.Response(429)]):
        with pytest.raises(keymask.NotFoundError):
            run(Script(*before, httpx.Response(404)), "delete", "j1")


def test_masks_that_a_stopping_service_left_out_are_fetched(run: Run) -> None:
    """A stream that ended early is not taken for complete because the job has ended meanwhile."""
    done = {**JOB["progress"], "done": 4}
    script = Script(ok(job()), masks(0, 1), ok(job("succeeded", progress=done)), masks(2, 3), ok(job("succeeded")))
    assert [frame.index for frame in run(script, "masks", "j1")] == [0, 1, 2, 3]
    failed = job("failed", error={"type": "/problems/x", "detail": "ends after 3 frames"})
    script = Script(ok(job()), masks(0, 1), ok(failed), masks(2), ok(failed))
    with pytest.raises(keymask.JobFailedError):
        run(script, "masks", "j1")
    assert script.spent


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError("from the caller's function")])
def test_an_interrupted_segment_cancels_its_job(run: Run, error: Any) -> None:
    """Whatever ends the call early, the service does not go on for nobody."""

    def interrupt(_job: keymask.Job) -> None:
        raise error

    script = Script(ok(job(), 202), ok(job()), masks(0, 1), ok(job("canceled")))
    with pytest.raises(error if isinstance(error, type) else type(error)):
        run(script, "segment", b"video", MASK, progress=interrupt)
    assert (script.requests[-1].method, script.requests[-1].url.path) == ("POST", "/v1/jobs/j1/cancel")
    assert script.requests[-1].extensions["timeout"]["read"] == 5


def test_a_service_that_is_gone_is_asked_to_cancel_once(run: Run, clock: Clock) -> None:
    """The error of the call is the one that interrupted it."""
    script = Script(ok(job(), 202), ok(job()), httpx.Response(200, stream=Broken()), Outage(clock, 1000))
    with pytest.raises(keymask.ConnectionFailedError, match="/masks"):
        run(script, "segment", b"video", MASK)
    assert script.requests[-1].url.path == "/v1/jobs/j1/cancel"
