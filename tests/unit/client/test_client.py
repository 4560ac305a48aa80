"""Both clients against a scripted service."""

from __future__ import annotations

import asyncio
import inspect
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import keymask
import keymask.async_client
import keymask.client
import keymask.retry
import numpy as np
import pytest
from keymask import AsyncClient, Client
from keymask.retry import Retry
from pycocotools import mask as coco

JOB: dict[str, Any] = {
    "id": "j1",
    "status": "running",
    "progress": {"done": 1, "total": 4, "stage": "segmenting", "fps": None},
    "created_at": "2026-11-20T12:00:00.000Z",
    "video": {"codec": "h264", "width": 6, "height": 4, "fps": 25.0, "frames": 4, "duration": 0.16, "rotation": 0},
}
MASK = np.zeros((4, 6), np.uint8)
MASK[1:3, 2:5] = 3


def job(status: str = "running", **change: Any) -> dict[str, Any]:
    """Return a job in a state, as the service writes it."""
    return {**JOB, "status": status, **change}


def line(index: int) -> str:
    """Return a line of the mask stream; the object moves by one column per frame."""
    mask = np.roll(MASK, index, axis=1) == 3
    counts = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    item = {"id": 3, "rle": {"size": [4, 6], "counts": counts}, "bbox": [2, 1, 3, 2], "area": 6, "score": 0.9}
    return json.dumps(
        {"index": index, "pts": index, "time": index / 25, "type": "P", "source": "key", "objects": [item]}
    )


class Broken(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body whose connection is lost after its lines."""

    def __init__(self, *lines: str) -> None:
        self._text = "".join(each + "\n" for each in lines)

    def __iter__(self) -> Iterator[bytes]:
        yield self._text.encode()
        raise httpx.ReadError("connection lost")

    async def __aiter__(self) -> Any:
        for part in self:
            yield part


class Clock:
    """Time that passes only in pauses."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def pause(self, seconds: float) -> None:
        """Advance the clock without waiting."""
        self.pauses.append(seconds)
        self.now += seconds

    async def pause_async(self, seconds: float) -> None:
        """Do the same for asyncio."""
        self.pause(seconds)


@dataclass(frozen=True)
class Outage:
    """A service that is unreachable for some seconds from the first attempt on."""

    clock: Clock
    seconds: float


class Script:
    """Responds to requests in turn and records them."""

    def __init__(self, *answers: httpx.Response | Exception | Outage) -> None:
        self._answers = list(answers)
        self.requests: list[httpx.Request] = []
        self._back_at: float | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Return the next response."""
        self.requests.append(request)
        if isinstance(outage := self._answers[0], Outage):
            if self._back_at is None:
                self._back_at = outage.clock.now + outage.seconds
            if outage.clock.now < self._back_at:
                raise httpx.ConnectError("refused")
            self._back_at = None
            del self._answers[0]
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def spent(self) -> bool:
        """Whether every response was used."""
        return not self._answers


class Quiet(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body without data for a minute."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def __iter__(self) -> Iterator[bytes]:
        self._clock.now += 60
        raise httpx.ReadTimeout("timed out")
        yield b""

    async def __aiter__(self) -> Any:
        for part in self:
            yield part


Run = Callable[..., Any]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time of both clients."""
    clock = Clock()
    monkeypatch.setattr(keymask.client.time, "sleep", clock.pause)
    monkeypatch.setattr(keymask.async_client.asyncio, "sleep", clock.pause_async)
    monkeypatch.setattr(keymask.retry, "monotonic", lambda: clock.now)
    return clock


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest, clock: Clock) -> Run:
    """Call a method of either client against a script; iterators are returned as lists, pauses take no time."""

    def call(script: Script, name: str, *args: Any, **kwargs: Any) -> Any:
        if request.param == "sync":
            with Client("http://test", transport=httpx.MockTransport(script)) as client:
                result = getattr(client, name)(*args, **kwargs)
                return list(result) if inspect.isgenerator(result) else result

        async def main() -> Any:
            async with AsyncClient("http://test", transport=httpx.MockTransport(script)) as client:
                result = getattr(client, name)(*args, **kwargs)
                return [item async for item in result] if inspect.isasyncgen(result) else await result

        return asyncio.run(main())

    return call


def ok(body: Any, status: int = 200) -> httpx.Response:
    """Return a JSON response."""
    return httpx.Response(status, json=body)


def masks(*indices: int) -> httpx.Response:
    """Return a complete mask stream."""
    return httpx.Response(200, text="".join(line(i) + "\n" for i in indices))


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
