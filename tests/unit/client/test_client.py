"""Both clients against a scripted service."""

from __future__ import annotations

import inspect
import io
from pathlib import Path

import httpx
import keymask
import numpy as np
import pytest
from keymask import AsyncClient, Client
from keymask.sending.retry import Retry

from tests.support.scripted_service import MASK, Broken, Clock, Outage, Quiet, Run, Script, job, line, masks, ok


def test_segment_uploads_streams_and_decodes(run: Run, tmp_path: Path) -> None:
    """One call sends both files and the options, and returns one decoded mask per frame."""
    (tmp_path / "dog.mp4").write_bytes(b"video bytes")
    seen: list[tuple[int, int | None]] = []
    script = Script(ok(job(), 202), ok(job()), masks(0, 1, 2, 3), ok(job("succeeded")), ok(job("succeeded")))
    track = run(
        script,
        "segment",
        tmp_path / "dog.mp4",
        MASK,
        keyframes="adaptive",
        max_key_share=0.2,
        progress=lambda j: seen.append((j.progress.done, j.progress.total)),
    )
    posted = script.requests[0]
    assert (posted.method, posted.url.path) == ("POST", "/v1/jobs")
    assert b"video bytes" in posted.content
    assert b'filename="dog.mp4"' in posted.content
    assert b'{"keyframes": "adaptive", "max_key_share": 0.2}' in posted.content
    assert posted.content.index(b'name="mask"') < posted.content.index(b'name="video"')
    assert len(track) == 4
    np.testing.assert_array_equal(track.masks, [np.roll(MASK, i, axis=1) for i in range(4)])
    assert seen[:4] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert script.spent


@pytest.mark.parametrize(
    ("webhook", "sent"),
    [
        ("https://a.example/hook", b'{"url": "https://a.example/hook"}'),
        (
            {"url": "https://a.example/hook", "events": ["job.failed"]},
            b'{"url": "https://a.example/hook", "events": ["job.failed"]}',
        ),
    ],
)
def test_submit_names_the_webhook_of_a_job(run: Run, webhook: object, sent: bytes) -> None:
    """A URL alone leaves the events to the service; the job says what it took."""
    answer = ok(job(webhook={"url": "https://a.example/hook", "events": ["job.failed"]}), 202)
    script = Script(answer)
    submitted = run(script, "submit", b"video bytes", MASK, webhook=webhook)
    part = script.requests[0].content.split(b'name="webhook"')[1]
    assert part.split(b"\r\n\r\n")[1].split(b"\r\n")[0] == sent
    assert submitted.webhook["events"] == ["job.failed"]


def test_a_lost_mask_stream_is_resumed_where_it_broke(run: Run) -> None:
    """After a lost connection the next request starts after the last frame received."""
    script = Script(
        ok(job()),
        httpx.Response(200, stream=Broken(line(0), line(1))),
        httpx.ConnectError("refused"),
        masks(2, 3),
        ok(job("succeeded")),
    )
    assert [frame.index for frame in run(script, "masks", "j1")] == [0, 1, 2, 3]
    asked = [dict(r.url.params) for r in script.requests if r.url.path.endswith("/masks")]
    assert asked == [{}, {"from": "2"}, {"from": "2"}]


def test_any_number_of_breaks_is_survived_if_masks_arrive_in_between(run: Run) -> None:
    """Each mask that arrives restores all retries."""
    script = Script(
        ok(job()),
        *(httpx.Response(200, stream=Broken(line(index))) for index in range(12)),
        httpx.Response(200, text=""),
        ok(job("succeeded")),
    )
    assert [frame.index for frame in run(script, "masks", "j1")] == list(range(12))


def test_breaks_without_any_mask_end_in_an_error(run: Run, clock: Clock) -> None:
    """The client gives up after a minute if the stream always breaks before its first line."""
    script = Script(ok(job()), *(httpx.Response(200, stream=Broken()) for _ in range(2000)))
    with pytest.raises(keymask.ConnectionFailedError, match="connection lost"):
        run(script, "masks", "j1")
    assert 60 <= clock.now < 66


def test_a_restart_of_the_service_is_survived(run: Run, clock: Clock) -> None:
    """While masks are followed, the service may be unreachable for most of a minute, and again after the next mask."""
    script = Script(
        ok(job()),
        httpx.Response(200, stream=Broken(line(0))),
        Outage(clock, 50),
        httpx.Response(503, headers={"Retry-After": "2"}),
        httpx.Response(200, stream=Broken(line(1))),
        Outage(clock, 50),
        masks(2, 3),
        Outage(clock, 50),
        ok(job("succeeded")),
    )
    assert [frame.index for frame in run(script, "masks", "j1")] == [0, 1, 2, 3]
    assert max(clock.pauses) <= 5 + 2


def test_waiting_survives_a_restart(run: Run, clock: Clock) -> None:
    """Waiting for the end of a job survives a restart too."""
    script = Script(ok(job("queued")), Outage(clock, 50), ok(job()), Outage(clock, 50), ok(job("succeeded")))
    assert run(script, "wait", "j1").status == "succeeded"


def test_waiting_does_not_outlast_its_timeout_by_much(run: Run, clock: Clock) -> None:
    """If the service is unreachable for longer than the timeout, the error comes soon after the timeout."""
    with pytest.raises(keymask.ConnectionFailedError):
        run(Script(ok(job()), Outage(clock, 50)), "wait", "j1", timeout=10)
    assert 10 <= clock.now < 16


def test_a_service_that_stays_unreachable_is_an_error(run: Run, clock: Clock) -> None:
    """Following a job gives up after a minute, a single call after four retries."""
    with pytest.raises(keymask.ConnectionFailedError, match="refused"):
        run(Script(ok(job()), Outage(clock, 1000)), "masks", "j1")
    assert 60 <= clock.now < 66
    script = Script(Outage(clock, 1000))
    with pytest.raises(keymask.ConnectionFailedError, match="refused"):
        run(script, "get", "j1")
    assert len(script.requests) == 5


def test_a_long_queued_job_is_waited_for(run: Run, clock: Clock) -> None:
    """A stream without data is opened again after each read timeout, however often."""
    quiet = [httpx.Response(200, stream=Quiet(clock)) for _ in range(10)]
    script = Script(ok(job("queued")), *quiet, masks(0, 1), ok(job("succeeded")))
    assert [frame.index for frame in run(script, "masks", "j1")] == [0, 1]


def test_zero_retries_means_none() -> None:
    """With 0 retries the first failure is an error, also while a job is followed."""
    for seconds in (0.0, 60.0):
        with pytest.raises(keymask.ConnectionFailedError):
            Retry(0, seconds).after_failure(httpx.ConnectError("refused"))


def test_a_stream_that_ends_before_the_job_is_opened_again(run: Run) -> None:
    """A restarting service ends its streams properly; the client continues until the job has ended."""
    script = Script(ok(job()), masks(0, 1), ok(job()), masks(2), ok(job("succeeded")))
    assert [frame.index for frame in run(script, "masks", "j1")] == [0, 1, 2]


def test_busy_responses_are_retried_after_the_time_they_name(run: Run, clock: Clock) -> None:
    """429 and 503 are retried after at least Retry-After, with the same idempotency key and the whole file."""
    script = Script(
        httpx.Response(429, headers={"Retry-After": "7"}), httpx.Response(503), httpx.ConnectError("x"), ok(job(), 202)
    )
    run(script, "submit", io.BytesIO(b"video bytes"), MASK)
    assert script.spent
    assert len({r.headers["Idempotency-Key"] for r in script.requests}) == 1
    assert all(b"video bytes" in r.content for r in script.requests)
    assert clock.pauses[0] >= 7


def test_after_the_last_retry_the_error_names_the_cause(run: Run) -> None:
    """An unreachable service is an error of the client, not of httpx."""
    script = Script(*[httpx.ConnectError("connection refused")] * 5)
    with pytest.raises(keymask.ConnectionFailedError, match="connection refused"):
        run(script, "models")
    assert script.spent


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, keymask.InputRefusedError),
        (401, keymask.UnauthorizedError),
        (404, keymask.NotFoundError),
        (409, keymask.ConflictError),
        (413, keymask.InputRefusedError),
        (422, keymask.InputRefusedError),
        (500, keymask.ServerError),
    ],
)
def test_each_problem_is_an_error_of_its_kind(run: Run, status: int, kind: type[keymask.ProblemError]) -> None:
    """A problem keeps its type, title and detail, and is raised without a retry."""
    body = {"type": "/problems/x", "title": "Title", "status": status, "detail": "given 1, allowed 2", "extra": 5}
    script = Script(httpx.Response(status, json=body))
    with pytest.raises(kind, match="given 1, allowed 2") as caught:
        run(script, "get", "j1")
    assert (caught.value.status, caught.value.type, caught.value.title) == (status, "/problems/x", "Title")
    assert caught.value.members["extra"] == 5


def test_an_error_without_a_problem_document_is_an_error(run: Run) -> None:
    """A proxy's HTML page becomes an error with the status."""
    script = Script(*[httpx.Response(502, text="<html>bad gateway</html>")] * 5)
    with pytest.raises(keymask.ServerError, match="HTTP 502"):
        run(script, "get", "j1")


def test_wait_ends_with_the_job(run: Run) -> None:
    """Waiting returns a job that succeeded, and raises the reason of one that did not."""
    assert run(Script(ok(job("queued")), ok(job()), ok(job("succeeded"))), "wait", "j1").status == "succeeded"
    failed = job("failed", error={"type": "/problems/video-truncated", "detail": "ends after 12 frames"})
    with pytest.raises(keymask.JobFailedError, match="ends after 12 frames"):
        run(Script(ok(failed)), "wait", "j1")
    with pytest.raises(keymask.JobCanceledError, match="j1 was canceled"):
        run(Script(ok(job("canceled"))), "wait", "j1")
    with pytest.raises(keymask.WaitTimeoutError, match="still running after 0 s"):
        run(Script(ok(job())), "wait", "j1", timeout=0)


def test_jobs_are_listed_over_all_pages(run: Run) -> None:
    """Pages are fetched until one has no cursor."""
    script = Script(
        ok({"jobs": [job(id="a"), job(id="b")], "cursor": "next"}), ok({"jobs": [job(id="c")], "cursor": None})
    )
    assert [j.id for j in run(script, "jobs", status="running", limit=2)] == ["a", "b", "c"]
    assert dict(script.requests[1].url.params) == {"status": "running", "limit": "2", "cursor": "next"}


def test_download_leaves_no_partial_file(run: Run, tmp_path: Path) -> None:
    """A result appears once it is complete; a lost connection is retried and finally leaves no file."""
    target = tmp_path / "masks.zip"
    broken = [httpx.Response(200, stream=Broken("half")) for _ in range(5)]
    with pytest.raises(keymask.ConnectionFailedError, match="connection lost"):
        run(Script(*broken), "download", "j1", "png", target)
    assert list(tmp_path.iterdir()) == []
    script = Script(httpx.Response(200, stream=Broken("half")), httpx.Response(200, content=b"zip bytes"))
    assert run(script, "download", "j1", "png", target) == target
    assert target.read_bytes() == b"zip bytes"
    assert list(tmp_path.iterdir()) == [target]


def test_notes_of_a_result_and_of_a_track(run: Run) -> None:
    """Notes on a result come from a call of their own; those of a track are on the uploads and the run, once each."""
    script = Script(ok({"notes": ["the overlay has no sound"]}))
    assert run(script, "result_notes", "j1", "overlay") == ("the overlay has no sound",)
    assert str(script.requests[0].url) == "http://test/v1/jobs/j1/result/notes?format=overlay"
    ended = job("succeeded", notes=["a", "b"], report={"notes": ["b", "c"]})
    track = run(Script(ok(job()), ok(job()), masks(0, 1, 2, 3), ok(ended), ok(ended)), "track", "j1")
    assert track.notes == ("a", "b", "c")


def test_unknown_options_are_refused_before_anything_is_sent(run: Run) -> None:
    """A misspelled option is an error of the client."""
    with pytest.raises(ValueError, match="keyframe"):
        run(Script(), "submit", b"video", MASK, keyframe="codec")


def test_both_clients_have_the_same_methods() -> None:
    """The asyncio client has every public method, with the same parameters."""

    def methods(kind: type) -> dict[str, list[str]]:
        public = {n: f for n, f in inspect.getmembers(kind, inspect.isfunction) if not n.startswith("_")}
        return {n: list(inspect.signature(f).parameters) for n, f in public.items() if n not in ("close", "aclose")}

    assert methods(Client) == methods(AsyncClient)
    assert list(inspect.signature(Client).parameters) == list(inspect.signature(AsyncClient).parameters)
