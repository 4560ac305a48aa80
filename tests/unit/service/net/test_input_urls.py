"""Videos by URL: what is copied, and what is refused."""

from __future__ import annotations

import random
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from service.config import Settings
from service.errors import StorageFullError, UrlNotAllowedError, UrlUnavailableError
from service.net import input_urls
from service.net.address_guard import UrlRules
from service.net.input_urls import copy_ends, copy_url, list_objects
from service.problems import ProblemError
from service.run.resume.fingerprint import SAMPLE_BYTES, digest_of
from service.storage.objects.object_store import ObjectStore
from tests.support.raw_server import raw_server


def answer(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """Return an answer with a body."""
    lines = [f"HTTP/1.1 {status}", *headers, "Connection: close"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def copy(url: str, target: Path, **kwargs: Any) -> None:
    """Copy from a server of this machine."""
    settings = Settings(home=target.parent, max_upload_bytes=1000, url_seconds=10)
    rules = UrlRules(
        ["*:" + url.split(":")[2].partition("/")[0]], "S", ("http",), lambda a: a == ip_address("127.0.0.1")
    )
    copy_url(url, target, settings, rules=rules, **kwargs)


def test_a_file_is_copied(tmp_path: Path) -> None:
    """The bytes of the answer are those of the file, also after a redirect and without an announced size."""
    sizes: list[int] = []
    with raw_server(answer(b"", "302 Found", "Location: /there"), answer(b"x" * 999)) as server:
        copy(f"{server.address}/clip.mp4", tmp_path / "video", charge=sizes.append)
    assert (tmp_path / "video").read_bytes() == b"x" * 999
    assert sum(sizes) == 999


@pytest.mark.parametrize("headers", [(), ("Content-Length: 5000000000",)])
def test_a_file_that_is_too_large_is_refused(tmp_path: Path, headers: tuple[str, ...]) -> None:
    """A file above the limit is refused by its announced size, else when it is reached; no more is written."""
    with raw_server(answer(b"x" * 5000, "200 OK", *headers)) as server, pytest.raises(ProblemError, match="1000 bytes"):
        copy(f"{server.address}/clip.mp4", tmp_path / "video")
    assert (tmp_path / "video").stat().st_size <= 1000


@pytest.mark.parametrize("status", ["404 Not Found", "206 Partial Content", "500 Error", "302 Found"])
def test_another_status_is_an_error(tmp_path: Path, status: str) -> None:
    """Only 200 is a video; the error says which status it was."""
    with raw_server(answer(b"no", status)) as server, pytest.raises(UrlUnavailableError, match=status[:3]):
        copy(f"{server.address}/clip.mp4", tmp_path / "video")


def test_a_file_that_breaks_off_is_an_error(tmp_path: Path) -> None:
    """Fewer bytes than announced are no video."""
    cut = answer(b"x" * 10, "200 OK", "Content-Length: 20")
    with raw_server(cut) as server, pytest.raises(UrlUnavailableError):
        copy(f"{server.address}/clip.mp4", tmp_path / "video")


def test_no_room_ends_the_copy(tmp_path: Path) -> None:
    """An error of the reservation ends the copy before the bytes are written."""

    def full(_size: int) -> None:
        raise StorageFullError("no room")

    with raw_server(answer(b"x" * 10)) as server, pytest.raises(StorageFullError):
        copy(f"{server.address}/clip.mp4", tmp_path / "video", charge=full)
    assert (tmp_path / "video").stat().st_size == 0


@pytest.mark.parametrize(
    ("url", "hosts", "reason"),
    [
        ("https://media.example.com/a.mp4", "", "reads no https"),
        ("https://media.example.com/a.mp4", "s3://media.example.com", "reads no https"),
        ("https://other.org/a.mp4", "media.example.com", "not allowed"),
        ("http://media.example.com/a.mp4", "media.example.com", "https://"),
        ("https://127.0.0.1/a.mp4", "*", "not public"),
        ("s3://videos/a.mp4", "", "not allowed"),
        ("s3://videos/a.mp4", "*,videos", "not allowed"),
        ("s3://videos-private/a.mp4", "s3://videos", "not allowed"),
        ("file:///etc/passwd", "*", "https://"),
        ("/etc/passwd", "*", "https://"),
    ],
)
def test_what_is_not_allowed_is_refused(tmp_path: Path, url: str, hosts: str, reason: str) -> None:
    """Without an entry for its host or bucket, a URL is refused with the reason, and nothing is written."""
    with pytest.raises(UrlNotAllowedError, match=reason):
        copy_url(url, tmp_path / "video", Settings(home=tmp_path, url_hosts=hosts))
    assert not (tmp_path / "video").exists()


def test_an_object_of_an_allowed_bucket_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An s3:// URL of an allowed bucket is read; a missing one is an error."""
    from obstore.store import MemoryStore

    store = ObjectStore(MemoryStore())
    store.put("clips/a.mp4", b"video")
    opened: list[str] = []

    def open_here(url: str, _named: str, *, check: bool) -> ObjectStore:
        opened.append(url)
        return store

    monkeypatch.setattr(input_urls, "open_object_store", open_here)
    settings = Settings(home=tmp_path, url_hosts="media.example.com, s3://videos/")
    copy_url("s3://videos/clips/a.mp4", tmp_path / "video", settings)
    assert (tmp_path / "video").read_bytes() == b"video"
    assert opened == ["s3://videos"]
    with pytest.raises(UrlUnavailableError, match="no object"):
        copy_url("s3://videos/clips/b.mp4", tmp_path / "video", settings)
    own = settings.model_copy(update={"storage": "s3://videos/keymask/"})
    for url in ("s3://videos/keymask/jobs/1/video", "s3://videos//keymask/jobs/1/video", "s3://videos/keymask"):
        with pytest.raises(UrlNotAllowedError, match="itself"):
            copy_url(url, tmp_path / "video", own)
    with pytest.raises(UrlUnavailableError, match="no object"):
        copy_url("s3://videos/keymask-clips/b.mp4", tmp_path / "video", own)


@pytest.mark.parametrize("size", [0, 5, 3_000, 3_000_000])
def test_the_ends_of_an_object_identify_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """The digest of a copy of both ends is that of a whole copy, and what lies between them takes no room."""
    from obstore.store import MemoryStore

    store = ObjectStore(MemoryStore())
    whole, ends = tmp_path / "whole", tmp_path / "ends"
    whole.write_bytes(random.Random(size).randbytes(size))
    store.put_file("a.mp4", whole)
    monkeypatch.setattr(input_urls, "open_object_store", lambda *_arguments, **_options: store)
    copy_ends("s3://videos/a.mp4", ends, Settings(home=tmp_path, url_hosts="s3://videos"), SAMPLE_BYTES)
    assert digest_of([ends]) == digest_of([whole])
    assert ends.stat().st_size == size
    assert ends.stat().st_blocks * 512 < 2 * SAMPLE_BYTES + 65536


def test_a_pattern_matches_objects_as_one_of_paths_matches_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oracle is `glob` on files of the same names, of which none is hidden."""
    from obstore.store import MemoryStore

    names = ["a.mp4", "b.mov", "x/a.mp4", "x/b.mp4", "x/y/a.mp4", "xy/c.mp4", "x1/b.mp4"]
    store = ObjectStore(MemoryStore())
    for name in names:
        store.put(name, b"video")
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(input_urls, "open_object_store", lambda *_arguments, **_options: store)
    settings = Settings(home=tmp_path, url_hosts="s3://videos")
    for pattern in ("*.mp4", "x/*", "*/*.mp4", "x*/b.mp4", "x/?.mp4", "[ax]/[!a].mp4", "x/y/*.mp4", "none/*.mp4"):
        found = [url.removeprefix("s3://videos/") for url in list_objects(f"s3://videos/{pattern}", settings)]
        files = [path for path in tmp_path.glob(pattern) if path.is_file()]
        assert found == sorted(path.relative_to(tmp_path).as_posix() for path in files)
    with pytest.raises(UrlNotAllowedError, match="not allowed"):
        list_objects("s3://others/*.mp4", settings)
