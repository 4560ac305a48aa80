"""Jobs whose video is named by a URL."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from keymask import Client, InputRefusedError

from service.net.address_guard import UrlRules
from service.net.input_urls import copy_url
from tests.support.paths import ROOT
from tests.support.raw_server import RawServer, raw_server
from tests.support.serving import FRAMES, Served, served

CERTIFICATE = ROOT / "tests/support/localhost.pem"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service that reads URLs of this machine, which its rules do not allow."""
    with served(tmp_path_factory.mktemp("service"), url_hosts="*", url_seconds=20) as running:
        yield running


@pytest.fixture
def videos(service: Served) -> Iterator[RawServer]:
    """A server of the clip, over TLS."""
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(CERTIFICATE)
    clip = service.clip.read_bytes()
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(clip), clip)
    with raw_server(answer, tls=server_side) as server:
        yield server


@pytest.fixture
def allowed(videos: RawServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of the clip, which the service may read."""
    port = videos.address.rpartition(":")[2]
    rules = UrlRules(
        [f"localhost:{port}"],
        "KEYMASK_URL_HOSTS",
        is_allowed=lambda address: address == ip_address("127.0.0.1"),
        tls=ssl.create_default_context(cafile=str(CERTIFICATE)),
    )
    monkeypatch.setattr("service.http.streaming.url_video.copy_url", partial(copy_url, rules=rules))
    return f"https://localhost:{port}/clip.mp4"


def post(service: Served, url: str, **more: object) -> httpx.Response:
    """Post a job with a URL."""
    files = {"mask": ("mask.png", service.mask.read_bytes()), **more}
    return service.client.post("/v1/jobs", files=files, data={"url": url}, headers={"Prefer": "wait=60"})


def test_a_job_by_url_is_that_of_an_upload(service: Served, allowed: str) -> None:
    """The job has the same video and masks, and the video can be looked at."""
    answer = post(service, allowed)
    assert answer.status_code == 200, answer.text
    uploaded = service.client.get(f"/v1/jobs/{service.run()}").json()
    assert answer.json()["video"] == uploaded["video"]
    masks = [service.client.get(f"/v1/jobs/{job['id']}/masks").content for job in (answer.json(), uploaded)]
    assert masks[0] == masks[1]
    assert len(masks[0].splitlines()) == FRAMES
    assert service.client.get(f"/v1/jobs/{answer.json()['id']}/frames/3").status_code == 200


def test_the_client_passes_urls_on(service: Served, allowed: str) -> None:
    """`segment` with a URL lets the service read it."""
    with Client(str(service.client.base_url), timeout=120) as client:
        assert client.segment(allowed, service.mask).masks.shape == (FRAMES, 48, 64)
        with pytest.raises(InputRefusedError, match="not allowed"):
            client.segment("s3://videos/clip.mp4", service.mask)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("https://127.0.0.1/clip.mp4", "url-not-allowed"),
        ("https://localhost/clip.mp4", "url-not-allowed"),
        ("https://[::ffff:127.0.0.1]/clip.mp4", "url-not-allowed"),
        ("https://nothing.invalid/clip.mp4", "url-unavailable"),
        ("http://example.com/clip.mp4", "url-not-allowed"),
        ("file:///etc/passwd", "url-not-allowed"),
        ("", "url-not-allowed"),
        ("https://example.com/" + "a" * 5000, "upload-too-large"),
    ],
)
def test_other_urls_are_refused(service: Served, url: str, kind: str) -> None:
    """An address of this machine, another scheme and a host that does not exist are each one clear problem."""
    answer = post(service, url)
    assert answer.json()["type"] == f"/problems/{kind}", answer.text
    assert 400 <= answer.status_code < 500


def test_a_url_comes_instead_of_a_video(service: Served, allowed: str) -> None:
    """A form with a video and a URL is refused."""
    answer = post(service, allowed, video=("clip.mp4", service.clip.read_bytes()))
    assert answer.json()["type"] == "/problems/invalid-parts"
    assert "url" in answer.json()["detail"]


def test_what_is_no_video_is_refused_as_an_upload_is(service: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page in place of a video is not one that can be read; nothing of it stays."""

    def copy_page(_url: str, target: Path, _settings: object, **_more: object) -> None:
        target.write_bytes(b"<html>")

    monkeypatch.setattr("service.http.streaming.url_video.copy_url", copy_page)
    before = service.services.storage.job_ids()
    assert post(service, "https://example.com/").json()["type"] == "/problems/video-unreadable"
    assert service.services.storage.job_ids() == before


def test_urls_are_off_by_default(tmp_path: Path) -> None:
    """Without `KEYMASK_URL_HOSTS`, no URL is read."""
    with served(tmp_path) as service:
        for url in ("https://example.com/clip.mp4", "s3://videos/clip.mp4"):
            answer = post(service, url)
            assert answer.status_code == http.client.UNPROCESSABLE_ENTITY
            assert answer.json()["type"] == "/problems/url-not-allowed"
            assert "KEYMASK_URL_HOSTS" in answer.json()["detail"]
