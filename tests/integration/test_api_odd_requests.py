"""Requests that no client should send, and requests through proxies: each is answered as documented."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.serving import Served, served
from tests.support.waiting import wait_for

DIGITS = "9" * 4301
"""More digits than Python converts to a number."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One service for all tests of the module."""
    with served(tmp_path_factory.mktemp("odd"), trusted_proxies="127.0.0.0/8") as running:
        yield running


@pytest.fixture(scope="module")
def job(service: Served) -> str:
    """Path of a job that has succeeded, and whose result is made."""
    path = f"/v1/jobs/{service.run()}"
    assert service.client.get(f"{path}/result").status_code == 200
    return path


@pytest.mark.parametrize(
    ("query", "status"),
    [
        (f"/v1/jobs?limit={DIGITS}", 422),
        (f"/v1/jobs?cursor={DIGITS}", 422),
        ("/v1/jobs?cursor=%00", 422),
        ("/v1/jobs?status=%00", 422),
        ("/v1/jobs?other=%00%0a%ff", 200),
        (f"JOB/masks?from={DIGITS}", 422),
        (f"JOB/masks?to=-{DIGITS}", 422),
        (f"JOB/masks/{DIGITS}.png", 422),
        ("JOB/masks/%00.png", 422),
        ("JOB/result?format=%00", 422),
        ("/v1/jobs/%00", 404),
        ("/v1/jobs/%00/events", 404),
        ("/v1/jobs/%0a%1b[31m/masks", 404),
        ("/v1/jobs/%ff%fe/result", 404),
        (f"/v1/jobs/{DIGITS}", 404),
        ("/problems/%00", 404),
        ("/%00", 404),
    ],
)
def test_odd_values_are_answered_with_a_problem(service: Served, job: str, query: str, status: int) -> None:
    """Control characters and numbers of thousands of digits are wrong values like any other."""
    answer = service.client.get(query.replace("JOB", job))
    assert answer.status_code == status, answer.text[:300]
    if status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"] in ("/problems/invalid-request", "/problems/job-not-found", "/problems/not-found")


@pytest.mark.parametrize("name", ["DELETE", "POST"])
def test_odd_ids_are_not_found_by_changes_either(service: Served, name: str) -> None:
    """Deleting and canceling look for the job in the same way."""
    path = "/v1/jobs/%00" + ("/cancel" if name == "POST" else "")
    assert service.client.request(name, path).json()["type"] == "/problems/job-not-found"


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [
        ("Range", f"bytes={DIGITS}-", 416),
        ("Range", f"bytes=0-{DIGITS}", 206),
        ("Range", f"bytes=-{DIGITS}", 206),
        ("Range", f"bytes={'0' * 5000}1-2", 206),
        ("Range", f"bytes={DIGITS}-0", 200),
        ("Range", "bytes=" + ",".join(f"{i}-{i}" for i in range(200)), 200),
        ("If-None-Match", DIGITS, 200),
    ],
)
def test_odd_headers_of_a_download(service: Served, job: str, header: str, value: str, status: int) -> None:
    """A range of huge numbers means what it says: beyond the file, or up to its end."""
    whole = service.client.get(f"{job}/result").content
    answer = service.client.get(f"{job}/result", headers={header: value})
    assert answer.status_code == status
    if status == 416:
        assert answer.headers["content-range"] == f"bytes */{len(whole)}"
        assert answer.json()["type"] == "/problems/range-not-satisfiable"
    elif value in (f"bytes=0-{DIGITS}", f"bytes=-{DIGITS}"):
        assert answer.content == whole
    elif value.startswith("bytes=00"):
        assert answer.content == whole[1:3]


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("options", f'{{"start": {DIGITS}}}'),
        ("options", f'{{"max_key_share": {DIGITS}}}'),
        ("options", '{"model": "\\u0000"}'),
        ("options", "[" * 5000),
        ("prompt", f'[{{"object": {DIGITS}, "box": [1, 1, 9, 9]}}]'),
        ("prompt", f'[{{"object": 1, "box": [{DIGITS}, 1, 9, 9]}}]'),
    ],
)
def test_odd_values_in_a_form(service: Served, part: str, value: str) -> None:
    """Parts of a form are refused with what is wrong with them."""
    answer = service.post(**{part: value})  # type: ignore[arg-type]
    assert answer.status_code == 422, answer.text[:300]
    assert len(answer.json()["detail"]) < 500


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Last-Event-ID": DIGITS}, 200),
        ({"X-Request-ID": DIGITS}, 200),
        ({"Prefer": f"wait={DIGITS}"}, 422),
        ({"Idempotency-Key": DIGITS}, 422),
    ],
)
def test_odd_headers_of_other_calls(service: Served, job: str, headers: dict[str, str], status: int) -> None:
    """A header is ignored or refused, as its documentation says."""
    path = f"{job}/events" if status == 200 else "/v1/jobs"
    answer = service.client.request("GET" if status == 200 else "POST", path, headers=headers)
    assert answer.status_code == status


def begin_upload(service: Served, content: bytes) -> str:
    """Upload a video resumably; return its address."""
    own = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}
    headers = own | {"Upload-Length": str(len(content))}
    return str(service.client.post("/v1/uploads", headers=headers, content=content).headers["location"])


def test_head_is_get_without_the_body(service: Served, job: str) -> None:
    """HEAD works for every GET of the document, with the same status and headers, and an empty body."""
    document: dict[str, Any] = service.client.get("/openapi.json").json()
    paths = [path for path, item in document["paths"].items() if "get" in item]
    assert len(paths) == 24
    upload = begin_upload(service, service.clip.read_bytes())
    varying = ("date", "x-request-id")
    for path in (*paths, "/openapi.json", "/docs"):
        address = path.replace("/v1/jobs/{job_id}", job).replace("/v1/uploads/{upload_id}", upload)
        address = address.replace("{index}", "3").replace("{kind}", "busy")
        address += "?format=overlay" if path.endswith("/notes") else ""
        head, get = service.client.head(address), service.client.get(address)
        status = 404 if path == "/v1/webhook-secret" else 200  # webhooks are off here
        assert (head.status_code, head.content) == (status, b""), address
        found, expected = ({k: v for k, v in a.headers.items() if k not in varying} for a in (head, get))
        if path == "/metrics":
            del found["content-length"], expected["content-length"]
        assert found == expected, address


def test_head_of_a_stream_ends_at_once(service: Served) -> None:
    """HEAD of a stream does not follow the job: it takes a place only for a moment, and the connection stays usable."""
    with service.held():
        job_id = service.post().json()["id"]
        for kind in ("masks", "events"):
            assert service.client.head(f"/v1/jobs/{job_id}/{kind}").status_code == 200
        wait_for(lambda: service.services.streams.taken == 0 and service.services.watcher.followers == 0)


def test_methods_that_an_address_has(service: Served) -> None:
    """HEAD where there is no GET is refused like other methods; `Allow` lists all that the address has."""
    assert service.client.head("/v1/probe").status_code == 405
    allowed = {
        "/v1/probe": "POST",
        "/v1/jobs": "GET, HEAD, POST",
        f"/v1/jobs/{'0' * 32}": "DELETE, GET, HEAD",
    }
    for path, methods in allowed.items():
        answer = service.client.put(path)
        assert (answer.status_code, answer.headers["allow"]) == (405, methods)


def test_a_trusted_proxy_names_client_and_prefix(service: Served, tmp_path: Path) -> None:
    """From a trusted proxy, the prefix begins `Location` and links, and the address is that of the client."""
    headers = {"X-Forwarded-Prefix": "/keymask/", "X-Forwarded-For": "192.0.2.9, 127.0.0.1"}
    posted = service.post(**headers)
    location = posted.headers["location"]
    assert location == f"/keymask/v1/jobs/{posted.json()['id']}" == posted.json()["links"]["self"]
    for path in (location, location.removeprefix("/keymask")):  # with the prefix, and after the proxy has removed it
        job = service.client.get(path, headers=headers).json()
        assert all(link.startswith(location) for link in job["links"].values())
    listed = service.client.get("/v1/jobs?limit=1", headers=headers).json()["jobs"][0]
    assert listed["links"] == posted.json()["links"]
    events = service.client.get(f"{location}/events", headers=headers).text
    assert json.loads(events.rpartition("data: ")[2])["links"] == posted.json()["links"]
    for odd in ("//evil.example", "/a b", "https://evil.example", "/" + "x" * 9999):
        assert service.client.get(location, headers={"X-Forwarded-Prefix": odd}).status_code == 404
        plain = service.client.get(location.removeprefix("/keymask"), headers={"X-Forwarded-Prefix": odd})
        assert plain.json()["links"]["self"] == location.removeprefix("/keymask")


def test_other_clients_name_nothing(tmp_path: Path) -> None:
    """Without trusted proxies, forwarded headers change neither links nor the address that limits count."""
    with served(tmp_path / "home", max_followers_per_key=1) as service, service.held():
        headers = {"X-Forwarded-Prefix": "/keymask", "X-Forwarded-For": "192.0.2.9", "X-Forwarded-Host": "evil"}
        posted = service.post(**headers)
        path = posted.headers["location"]
        assert path == f"/v1/jobs/{posted.json()['id']}"
        with service.client.stream("GET", f"{path}/masks"):
            wait_for(lambda: service.services.streams.taken == 1)
            other = httpx.get(f"{service.client.base_url}{path}/masks", headers=headers, timeout=60)
            assert other.status_code == 429


def test_a_trusted_proxy_gives_each_client_its_own_limits(tmp_path: Path) -> None:
    """Behind a trusted proxy, limits without keys hold per client and not for all of them."""
    with served(tmp_path / "home", max_followers_per_key=1, trusted_proxies="127.0.0.1") as service, service.held():
        path = f"/v1/jobs/{service.post().json()['id']}/masks"
        with service.client.stream("GET", path, headers={"X-Forwarded-For": "192.0.2.1"}):
            wait_for(lambda: service.services.streams.taken == 1)
            statuses = []
            for client in ("192.0.2.1", "192.0.2.2"):
                address = f"{service.client.base_url}{path}"
                with httpx.stream("GET", address, headers={"X-Forwarded-For": client}, timeout=60) as stream:
                    statuses.append(stream.status_code)
            assert statuses == [429, 200]


def test_the_prefix_can_be_a_setting(tmp_path: Path) -> None:
    """`KEYMASK_ROOT_PATH` begins `Location`, links and the addresses of the documentation."""
    with served(tmp_path / "home", root_path="/keymask/") as service:
        location = service.post().headers["location"]
        assert location.startswith("/keymask/v1/jobs/")
        assert service.client.get(location).json()["links"]["self"] == location
        assert service.client.get(location.removeprefix("/keymask")).status_code == 200
        assert service.client.get("/openapi.json").json()["servers"] == [{"url": "/keymask"}]


def test_an_upgrade_is_ignored(service: Served) -> None:
    """A request to change the protocol is answered as without it."""
    url = service.client.base_url
    with socket.create_connection((url.host, url.port), timeout=60) as connection:
        connection.sendall(
            b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\n\r\n"
        )
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
