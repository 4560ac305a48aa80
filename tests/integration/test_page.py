"""The page and its files, as a browser gets them."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.config import digest_of_key
from service.http.routes import page
from tests.support.paths import ROOT
from tests.support.serving import Served, served

HTML = b'<!doctype html><title>p</title><script type="module" src="/static/assets/index-R0UTgqLq.js"></script>'
SCRIPT = b"export const numbers = [" + b"1, " * 500 + b"];\n"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built page."""
    folder = tmp_path_factory.mktemp("dist")
    (folder / "assets").mkdir()
    (folder / "index.html").write_bytes(HTML)
    (folder / "icon.svg").write_bytes(b"<svg/>")
    (folder / "assets" / "index-R0UTgqLq.js").write_bytes(SCRIPT)
    return folder


@pytest.fixture(scope="module")
def service(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service with keys and the built page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "BUILT", built)
        with served(tmp_path_factory.mktemp("page"), api_keys=f"me:{digest_of_key('secret')}") as running:
            yield running


def get(service: Served, path: str, **headers: str) -> httpx.Response:
    """Ask for a path. Header names have underscores for hyphens."""
    named = {"Accept-Encoding": "identity"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return service.client.get(path, headers=named)


def test_the_page_needs_no_key_and_runs_only_its_own_scripts(service: Served) -> None:
    """The policy allows no script and no style inside the HTML, and nothing from elsewhere."""
    answer = get(service, "/")
    assert (answer.status_code, answer.content) == (200, HTML)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert (policy["object-src"], policy["base-uri"], policy["frame-ancestors"]) == ("'none'",) * 3
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-cache"
    assert get(service, "/", if_none_match=answer.headers["etag"]).status_code == 304


def test_files_whose_names_change_with_their_content_are_kept_for_ever(service: Served) -> None:
    """A script comes compressed to whoever reads gzip; it may run as a worker, so it has the policy, too."""
    plain = get(service, "/static/assets/index-R0UTgqLq.js")
    assert plain.content == SCRIPT
    assert plain.headers["content-type"].startswith("text/javascript")
    assert plain.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert "default-src 'self'" in plain.headers["content-security-policy"]
    with service.client.stream("GET", "/static/assets/index-R0UTgqLq.js", headers={"Accept-Encoding": "gzip"}) as raw:
        body = b"".join(raw.iter_raw())
        assert raw.headers["content-encoding"] == "gzip"
        assert raw.headers["etag"] != plain.headers["etag"]
    assert gzip.decompress(body) == SCRIPT
    assert get(service, "/static/icon.svg").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("name", ["nothing.js", "../app.py", "%2e%2e/%2e%2e/config.py", "assets", ""])
def test_nothing_but_the_files_of_the_page(service: Served, name: str) -> None:
    """Other names are not found, wherever they point."""
    answer = get(service, f"/static/{name}")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found")


def test_the_page_behind_a_proxy_finds_its_files(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The prefix of the proxy stands before the addresses of scripts."""
    monkeypatch.setattr(page, "BUILT", built)
    with served(tmp_path, root_path="/masks") as service:
        assert b'src="/masks/static/assets/index-R0UTgqLq.js"' in get(service, "/").content


def test_a_page_that_is_not_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says how to build it."""
    monkeypatch.setattr(page, "BUILT", tmp_path / "missing")
    with served(tmp_path / "service") as service:
        answer = get(service, "/")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "text/plain; charset=utf-8")
    assert "make web" in answer.text


def test_the_sample_needs_the_key(service: Served) -> None:
    """The clip is that of `keymask demo`."""
    assert get(service, "/v1/sample").status_code == 401
    answer = get(service, "/v1/sample", authorization="Bearer secret")
    expected = (ROOT / "service/sample/clip.mp4").read_bytes()
    assert (answer.headers["content-type"], answer.content) == ("video/mp4", expected)
    assert answer.headers["etag"] == f'"{hashlib.sha256(expected).hexdigest()[:32]}"'
