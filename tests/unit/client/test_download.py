"""Downloads that break, over real sockets and against a script."""

from __future__ import annotations

from pathlib import Path

import httpx
import keymask
import pytest

from tests.support.raw_server import raw_server
from tests.support.scripted_service import Broken, Run, Script

WHOLE = bytes(range(65, 85))


def chunked(body: bytes, etag: str = '"a"') -> bytes:
    """Return an answer with a first chunk, and without the end."""
    return b"HTTP/1.1 200 OK\r\nETag: %s\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (
        etag.encode(), len(body), body
    )  # fmt: skip


def part(start: int, end: int, etag: str = '"a"', body: bytes = WHOLE) -> bytes:
    """Return an answer that announces all bytes from `start` on and ends before `end`."""
    head = f"HTTP/1.1 206 Partial Content\r\nETag: {etag}\r\nContent-Length: {len(body) - start}\r\n"
    return f"{head}Content-Range: bytes {start}-{len(body) - 1}/{len(body)}\r\n\r\n".encode() + body[start:end]


def test_a_download_resumes_where_it_broke(run: Run, tmp_path: Path) -> None:
    """Any number of breaks is survived; only what is missing is requested, and the name appears at the end."""
    target = tmp_path / "masks.zip"
    seen: list[bool] = []

    def last(_request: bytes) -> bytes:
        seen.append(target.exists())
        return part(16, 20)

    steps = [part(start, start + 2) for start in range(6, 16)]
    with raw_server(chunked(WHOLE[:7]), *steps, last) as server:
        assert run(None, "download", "j1", "png", target, url=server.address) == target
    assert target.read_bytes() == WHOLE
    assert (list(tmp_path.iterdir()), seen) == ([target], [False])
    asked = [dict(row.split(": ", 1) for row in head.split("\r\n")[1:]) for head in server.requests]
    assert "range" not in {name.lower() for name in asked[0]}
    assert [each["Range"] for each in asked[1:]] == [f"bytes={start}-" for start in range(6, 17)]
    assert {each["If-Range"] for each in asked[1:]} == {'"a"'}


def test_a_file_that_changed_is_downloaded_from_its_start(run: Run, tmp_path: Path) -> None:
    """The service sends the whole file if it is no longer the one that was begun."""
    whole = b'HTTP/1.1 200 OK\r\nETag: "b"\r\nContent-Length: 3\r\n\r\nnew'
    with raw_server(chunked(WHOLE[:7]), whole) as server:
        target = run(None, "download", "j1", "png", tmp_path / "masks.zip", url=server.address)
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("etag", ["", 'W/"a"'])
def test_without_a_strong_tag_nothing_is_resumed(run: Run, tmp_path: Path, etag: str) -> None:
    """Parts of files that may differ are not joined."""
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n" + WHOLE
    with raw_server(chunked(b"other", etag), whole) as server:
        target = run(None, "download", "j1", "png", tmp_path / "masks.zip", url=server.address)
    assert target.read_bytes() == WHOLE
    assert "Range" not in server.requests[1]


def test_a_short_body_that_ends_properly_is_not_taken_for_the_file(run: Run, tmp_path: Path) -> None:
    """The length is checked where the transport does not do it."""

    class Short(Broken):
        def __iter__(self):  # type: ignore[no-untyped-def]
            yield WHOLE[:5]

    short = httpx.Response(200, headers={"Content-Length": "20", "ETag": '"a"'}, stream=Short())
    rest = httpx.Response(
        206, headers={"Content-Range": "bytes 4-19/20", "ETag": '"a"'}, stream=httpx.ByteStream(WHOLE[4:])
    )
    target = run(Script(short, rest), "download", "j1", "png", tmp_path / "masks.zip")
    assert target.read_bytes() == WHOLE


@pytest.mark.parametrize("wrong", [part(3, 20), part(6, 20, '"b"'), part(6, 20).replace(b"bytes 6", b"bytes six")])
def test_another_part_than_requested_is_an_error(run: Run, tmp_path: Path, wrong: bytes) -> None:
    """An answer that does not continue the file is an error that names the URL, and leaves no file."""
    with raw_server(chunked(WHOLE[:7]), wrong) as server, pytest.raises(keymask.InvalidResponseError) as caught:
        run(None, "download", "j1", "png", tmp_path / "masks.zip", url=server.address)
    assert f"{server.address}/v1/jobs/j1/result" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_download_leaves_no_file(run: Run, tmp_path: Path) -> None:
    """Neither Ctrl-C nor an error leaves a part behind."""

    class Interrupted(Broken):
        def __iter__(self):  # type: ignore[no-untyped-def]
            yield WHOLE[:5]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Script(httpx.Response(200, stream=Interrupted())), "download", "j1", "png", tmp_path / "masks.zip")
    assert list(tmp_path.iterdir()) == []
