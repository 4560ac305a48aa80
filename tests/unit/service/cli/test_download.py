"""Downloads, against a server on the loopback interface."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from service.cli import download as module
from service.cli.download import download
from service.errors import RunError, UsageError

CONTENT = bytes(range(256)) * 10_000
asked: list[str | None] = []
"""Ranges that were asked for."""


class Handler(BaseHTTPRequestHandler):
    """Serves one file, a cut-off one, a web page, and redirects."""

    def do_GET(self) -> None:
        """Answer by path."""
        if self.path == "/missing":
            self.send_error(404, "no such file")
            return
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "ftp://localhost/file")
            self.end_headers()
            return
        if self.path.startswith("/tagged"):
            self.send_tagged()
            return
        self.send_response(200)
        self.send_header(
            "Content-Type", "text/html; charset=utf-8" if self.path == "/page" else "application/octet-stream"
        )
        if self.path != "/unsized":
            self.send_header("Content-Length", str(len(CONTENT) + (1000 if self.path == "/cut" else 0)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(CONTENT)

    def send_tagged(self) -> None:
        """Send the file from where the client asks, if its version is right; at most half of it at a time."""
        asked.append(self.headers.get("Range"))
        version = '"two"' if self.path == "/tagged-new" else '"one"'
        begin = int(asked[-1][6:-1]) if asked[-1] and self.headers.get("If-Range") == version else 0
        if begin >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if begin else 200)
        self.send_header("ETag", version)
        self.send_header("Content-Length", str(len(CONTENT) - begin))
        self.end_headers()
        self.wfile.write(CONTENT[begin : begin + len(CONTENT) // 2])

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Address of the server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


@pytest.mark.parametrize(("path", "total"), [("/file", len(CONTENT)), ("/unsized", None)])
def test_a_file_arrives_whole_with_progress(path: str, total: int | None, server: str, tmp_path: Path) -> None:
    """The target holds every byte, and progress ends at their number, with the total where the server names it."""
    steps: list[tuple[int, int | None]] = []
    download(server + path, tmp_path / "a.pth", lambda done, total: steps.append((done, total)))
    assert (tmp_path / "a.pth").read_bytes() == CONTENT
    assert steps[-1] == (len(CONTENT), total)
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/missing", "cannot be fetched: no such file"),
        ("/cut", f"broke off after {len(CONTENT)} of {len(CONTENT) + 1000} bytes"),
        ("/page", "returns a web page, not a file"),
        ("/away", "leads to ftp://localhost/file, which is not an https address"),
    ],
)
def test_a_failed_download_says_why_and_leaves_nothing(path: str, message: str, server: str, tmp_path: Path) -> None:
    """An error names the address and the reason, and no partial file stays."""
    with pytest.raises(RunError, match=message) as raised:
        download(server + path, tmp_path / "a.pth")
    assert server in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    """No connection is a RunError with the system's reason."""
    with pytest.raises(RunError, match=r"cannot be fetched: .*refused"):
        download("http://127.0.0.1:9/a.pth", tmp_path / "a.pth")


def test_a_download_has_a_largest_size(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file larger than allowed stops the download."""
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    with pytest.raises(RunError, match="larger than 1000 bytes"):
        download(server + "/unsized", tmp_path / "a.pth")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["http://example.org/a.pth", "ftp://localhost/a.pth", "file:///etc/hostname"])
def test_only_secure_addresses_are_fetched(address: str, tmp_path: Path) -> None:
    """Only https, and http on this machine, are fetched."""
    with pytest.raises(UsageError, match="must start with https://"):
        download(address, tmp_path / "a.pth")


def test_a_download_that_broke_off_continues(server: str, tmp_path: Path) -> None:
    """What has come is kept; the next call asks for the rest alone, and the file is whole."""
    asked.clear()
    target = tmp_path / "file.bin"
    with pytest.raises(RunError, match="broke off after 1280000 of 2560000 bytes"):
        download(f"{server}/tagged", target, resume=True)
    assert target.stat().st_size == len(CONTENT) // 2
    download(f"{server}/tagged", target, resume=True)
    assert asked == [None, "bytes=1280000-"]
    assert target.read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["file.bin"]


def test_a_file_that_has_changed_begins_again(server: str, tmp_path: Path) -> None:
    """The beginning of another version is not continued."""
    target = tmp_path / "file.bin"
    with pytest.raises(RunError, match="broke off"):
        download(f"{server}/tagged", target, resume=True)
    with pytest.raises(RunError, match="broke off after 1280000 of"):
        download(f"{server}/tagged-new", target, resume=True)
    download(f"{server}/tagged-new", target, resume=True)
    assert target.read_bytes() == CONTENT


def test_a_whole_file_with_a_tag_is_fetched_again(server: str, tmp_path: Path) -> None:
    """If the process died before it removed the tag, the server refuses the range, and all is fetched again."""
    target = tmp_path / "file.bin"
    target.write_bytes(CONTENT)
    (tmp_path / "file.bin.tag").write_text('"one"')
    with pytest.raises(RunError, match="broke off"):
        download(f"{server}/tagged", target, resume=True)
    download(f"{server}/tagged", target, resume=True)
    assert target.read_bytes() == CONTENT
