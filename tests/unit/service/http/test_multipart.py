"""Receiving a multipart form."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from service.errors import StorageFullError
from service.http.multipart import Part, receive_form
from service.problems import ProblemError


def body(parts: Iterable[tuple[str, bytes]], boundary: str = "b") -> bytes:
    """Return a form as a client sends it."""
    text = b""
    for name, value in parts:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="../x"\r\nX-Other: y\r\n\r\n'
        text += head.encode() + value + b"\r\n"
    return text + f"--{boundary}--\r\n".encode()


def receive(
    chunks: Iterable[bytes], parts: dict[str, Part], *, boundary: str = "b", gone: bool = False
) -> tuple[str, int]:
    """Send chunks to `receive_form`; return its digest and the number of chunks it read."""
    source: Iterator[bytes] = iter(chunks)
    taken = 0

    async def next_message() -> dict[str, Any]:
        nonlocal taken
        chunk = next(source, None)
        if chunk is None:
            return {"type": "http.disconnect"} if gone else {"type": "http.request", "body": b"", "more_body": False}
        taken += 1
        return {"type": "http.request", "body": chunk, "more_body": True}

    headers = [(b"content-type", f"multipart/form-data; boundary={boundary}".encode())]
    request = Request({"type": "http", "method": "POST", "headers": headers}, next_message)
    call = receive_form(request, parts, least_rate=1, received=lambda _: None, charge=lambda _: None)
    return asyncio.run(call), taken


@pytest.mark.parametrize("size", [1, 7, 1000, 10**6])
def test_chunks_do_not_matter(tmp_path: Path, size: int) -> None:
    """The parts do not depend on how the body is split into chunks, even if one contains part of a boundary."""
    video = b"\r\n--" * 700 + b"\r\n--c" + bytes(range(256)) * 3
    parts = {"video": Part(10**6, tmp_path / "video"), "options": Part(100)}
    whole = body([("video", video), ("options", b"{}")])
    receive((whole[i : i + size] for i in range(0, len(whole), size)), parts)
    assert (tmp_path / "video").read_bytes() == video
    assert bytes(parts["options"].text) == b"{}"
    assert [path.name for path in tmp_path.iterdir()] == ["video"]


def test_the_digest_depends_only_on_the_parts(tmp_path: Path) -> None:
    """The order of the parts and the boundary do not change the digest; the content or absence of a part does."""

    def digest(*given: tuple[str, bytes], boundary: str = "b") -> str:
        parts = {
            "video": Part(99, tmp_path / "v"),
            "mask": Part(99, tmp_path / "m"),
            "options": Part(99, required=False),
        }
        return receive([body(given, boundary)], parts, boundary=boundary)[0]

    first = digest(("video", b"v"), ("mask", b"m"))
    assert digest(("mask", b"m"), ("video", b"v"), boundary="other") == first
    others = [
        digest(("video", b"m"), ("mask", b"v")),
        digest(("video", b"v"), ("mask", b"n")),
        digest(("video", b"v"), ("mask", b"m"), ("options", b"{}")),
    ]
    assert len({first, *others}) == 4
    assert all(len(value) == hashlib.sha256().digest_size * 2 for value in (first, *others))


def test_a_part_beyond_its_limit_is_not_written(tmp_path: Path) -> None:
    """No byte beyond the limit reaches the disk, and reading stops soon after the limit."""
    endless = (bytes(1 << 20) for _ in range(10_000))
    head = b'--b\r\nContent-Disposition: form-data; name="video"\r\n\r\n'

    def chunks() -> Iterator[bytes]:
        yield head
        yield from endless

    with pytest.raises(ProblemError) as caught:
        receive(chunks(), {"video": Part(5 << 20, tmp_path / "video")})
    assert (caught.value.kind, caught.value.members) == ("upload-too-large", {"part": "video", "limit": 5 << 20})
    assert (tmp_path / "video").stat().st_size <= 5 << 20
    assert sum(1 for _ in endless) > 9_900


def test_a_full_disk_is_an_error_of_its_own(tmp_path: Path) -> None:
    """A full disk ends the upload with `StorageFullError`, even if only the last few bytes do not fit."""
    for size in (10, 3 << 20):
        with pytest.raises(StorageFullError):
            receive([body([("video", bytes(size))])], {"video": Part(10 << 20, Path("/dev/full"))})


def test_a_disconnect_is_a_problem(tmp_path: Path) -> None:
    """An incomplete body is answered as a problem."""
    with pytest.raises(ProblemError, match="closed the connection"):
        receive([body([("video", b"v")])[:60]], {"video": Part(99, tmp_path / "video")}, gone=True)
