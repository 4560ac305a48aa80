"""Who may call the service: API keys, names and origins of requests, and what the service reveals to browsers."""

from __future__ import annotations

import base64
import hashlib
import html
import html.parser
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.config import Settings, digest_of_key
from service.errors import UsageError
from service.http.access import api_keys
from service.http.access.api_keys import ApiKeys
from service.sandbox.confinement import available_confinement
from tests.support.serving import Served, served

EVIL = "https://evil.example"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service without keys."""
    with served(tmp_path_factory.mktemp("access"), cors_origins="https://app.example") as running:
        yield running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service that requires a key."""
    with served(tmp_path_factory.mktemp("guarded"), api_keys=f"ann:{digest_of_key('k')}") as running:
        yield running


@pytest.mark.parametrize(
    ("settings", "required"),
    [
        ({}, False),
        ({"host": "::1"}, False),
        ({"api_keys": "ann:" + "0" * 64}, True),
        ({"api_keys": "ann:" + "0" * 64, "auth": "off"}, False),
        ({"host": "0.0.0.0", "api_keys": "ann:" + "0" * 64}, True),
        ({"host": "0.0.0.0", "auth": "off"}, None),
        ({"host": "0.0.0.0", "trust_network": True}, None),
        ({"host": "0.0.0.0", "auth": "off", "trust_network": True}, False),
        ({"host": "0.0.0.0", "published": "127.0.0.1:8000"}, False),
        ({"host": "0.0.0.0", "published": "[::1]:8000"}, False),
        ({"host": "0.0.0.0", "published": "8000"}, None),
        ({"host": "0.0.0.0", "published": "0.0.0.0:8000", "auth": "off"}, None),
        ({"host": "0.0.0.0"}, None),
        ({"auth": "required"}, None),
    ],
)
def test_when_api_keys_are_required(settings: dict[str, Any], required: bool | None) -> None:
    """Keys are required if any are set, unless `auth` is off. Without keys, an open port must be asked for twice."""
    made = Settings.model_validate(settings)
    if required is None:
        with pytest.raises(UsageError, match="without an API key"):
            ApiKeys(made)
    else:
        assert ApiKeys(made).required is required


def test_routes_that_need_no_key(guarded: Served) -> None:
    """With keys, health, documentation and problems stay open; jobs, models and metrics need a key."""
    for path in ("/health/live", "/health/ready", "/openapi.json", "/docs", "/problems/queue-full"):
        assert guarded.client.get(path).status_code == 200, path
    for path in ("/v1/jobs", "/v1/jobs/x", "/v1/jobs/x/events", "/v1/jobs/x/masks", "/v1/models", "/metrics"):
        assert guarded.client.get(path).status_code == 401, path
    for path in ("/v1/jobs", "/v1/probe", "/v1/jobs/x/cancel"):
        assert guarded.client.post(path).status_code == 401, path
    assert guarded.client.get("/v1/models", headers={"Authorization": "Bearer k"}).status_code == 200
    assert guarded.client.get("/v1/models", headers={"Authorization": "Basic k"}).status_code == 401


def test_cors_is_off_by_default(service: Served, guarded: Served) -> None:
    """Only pages of the origins in the settings may read answers."""
    page = {"Origin": "https://app.example"}
    assert "access-control-allow-origin" not in guarded.client.get("/v1/models", headers=page).headers
    allowed = service.client.get("/v1/models", headers=page)
    assert allowed.headers["access-control-allow-origin"] == "https://app.example"
    assert "access-control-allow-origin" not in service.client.get("/v1/models", headers={"Origin": EVIL}).headers


def test_unused_api_keys_are_logged_as_a_warning(service: Served, caplog: pytest.LogCaptureFixture) -> None:
    """The service warns at its start if API keys are set and `auth` is off, and not if only one is true."""
    warning = "API keys are set, but KEYMASK_AUTH is off"
    key = f"ann:{digest_of_key('k')}"
    for number, (settings, warned) in enumerate(
        [({"auth": "off", "api_keys": key}, True), ({"auth": "off"}, False), ({"api_keys": key}, False)]
    ):
        caplog.clear()
        with served(service.clip.parent / f"warned{number}", **settings):
            assert any(warning in record.getMessage() for record in caplog.records) is warned


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost:8000", True),
        ("LOCALHOST.", True),
        ("app.localhost", True),
        ("127.0.0.1:1", True),
        ("[::1]:8000", True),
        ("192.168.1.7:8000", True),
        ("evil.example", False),
        ("evil.example:8000", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example:8000", False),
        ("[::1", False),
    ],
)
def test_a_rebound_name_is_refused(service: Served, host: str, allowed: bool) -> None:
    """Without keys, a page of a name that resolves to this machine can read and change nothing."""
    for method, path in (("GET", "/v1/jobs"), ("GET", "/docs"), ("DELETE", "/v1/jobs/" + "0" * 32)):
        answer = service.client.request(method, path, headers={"Host": host})
        assert (answer.status_code == 403) is not allowed, path
        if not allowed:
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["type"] == "/problems/host-not-allowed"
            assert host[:20] in answer.json()["detail"]


def test_names_can_be_allowed(service: Served, guarded: Served) -> None:
    """KEYMASK_ALLOWED_HOSTS adds names; where keys are required, it is what turns the check on."""
    named = {"Host": "Masks.Example:8000"}
    authorized = {"Authorization": "Bearer k"}
    assert guarded.client.get("/v1/models", headers=named | authorized).status_code == 200
    folder = service.clip.parent
    with served(folder / "named", allowed_hosts="masks.example, other.example") as one:
        assert one.client.get("/v1/models", headers=named).status_code == 200
        assert one.client.get("/v1/models", headers={"Host": "evil.example"}).status_code == 403
    with served(folder / "any", allowed_hosts="*") as one:
        assert one.client.get("/v1/models", headers=named).status_code == 200
    with served(folder / "strict", allowed_hosts="masks.example", api_keys=f"ann:{digest_of_key('k')}") as one:
        assert one.client.get("/v1/models", headers=named | authorized).status_code == 200
        assert one.client.get("/v1/models", headers={"Host": "evil.example"} | authorized).status_code == 403


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"Origin": EVIL}, False),
        ({"Origin": "null"}, False),
        ({"Origin": EVIL, "Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"}, True),
        ({"Origin": "https://app.example.evil.example"}, False),
        ({"Origin": EVIL, "Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Origin": "http://localhost:8000", "Host": "localhost:8000"}, True),
        ({"Origin": "http://localhost:9000", "Host": "localhost:8000"}, False),
    ],
)
def test_a_form_of_another_site_is_refused(service: Served, headers: dict[str, str], allowed: bool) -> None:
    """What changes something is accepted from programs, pages of the service and allowed origins only."""
    before = len(service.client.get("/v1/jobs?limit=100").json()["jobs"])
    answer = service.post(**headers)
    assert answer.status_code == (202 if allowed else 403), answer.text
    assert len(service.client.get("/v1/jobs?limit=100").json()["jobs"]) == before + allowed
    if not allowed:
        assert answer.json()["type"] == "/problems/origin-not-allowed"
    assert service.client.get("/v1/jobs", headers={**headers, "Host": "localhost"}).status_code == 200


def test_strangers_learn_nothing(guarded: Served) -> None:
    """Where keys are required, metrics and the reason of 503 are for key holders; the log names them and the peer."""
    guarded.engine.ready = False
    try:
        for key, shown in ((None, False), ("wrong", False), ("k", True)):
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            answer = guarded.client.get("/health/ready", headers=headers)
            assert answer.status_code == 503
            assert ("no weights" in answer.text) is shown
            assert guarded.client.get("/metrics", headers=headers).status_code == (200 if shown else 401)
    finally:
        guarded.engine.ready = True
    assert guarded.client.get("/health/ready").json() == {"status": "ok"}
    health = guarded.client.get("/health/ready", headers={"Authorization": "Bearer k"}).json()
    assert health == {"status": "ok", "confinement": available_confinement().as_json()}


def test_the_log_names_key_and_peer(guarded: Served, caplog: pytest.LogCaptureFixture) -> None:
    """Each request has the address of its peer and the name of its key; the key itself is nowhere."""
    caplog.set_level("INFO", "keymask.http")
    guarded.client.get("/v1/models", headers={"Authorization": "Bearer k", "X-Request-ID": "known"})
    guarded.client.get("/v1/models", headers={"Authorization": "Bearer secret-guess"})
    guarded.client.get("/v1/models")
    records = [record.__dict__ for record in caplog.records if record.name == "keymask.http"]
    assert [(each["peer"], each.get("api_key"), each["status"]) for each in records][:2] == [
        ("127.0.0.1", "ann", 200), ("127.0.0.1", None, 401)
    ]  # fmt: skip
    assert "secret-guess" not in json.dumps(records, default=str)


def test_a_key_is_revoked_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The file of keys counts as it is; one that cannot be read changes nothing, and an empty one lets nobody in."""
    monkeypatch.setattr(api_keys, "_CHECK_SECONDS", 0.0)
    file = tmp_path / "keys"
    entries = {name: f"{name}:{digest_of_key(name)}\n" for name in ("ann", "bob", "cyd")}
    file.write_text(entries["ann"] + entries["bob"])
    with served(tmp_path / "service", api_keys_file=file) as one:

        def allowed() -> str:
            return " ".join(
                name
                for name in entries
                if one.client.get("/v1/models", headers={"Authorization": f"Bearer {name}"}).status_code == 200
            )

        assert allowed() == "ann bob"
        file.write_text(entries["bob"] + entries["cyd"])
        assert allowed() == "bob cyd"
        for broken in ("no entry", "\xff"):
            file.write_text(broken, encoding="latin-1")
            assert allowed() == "bob cyd"
        file.unlink()
        assert allowed() == "bob cyd"
        assert caplog.text.count("the API keys stay as they were") == 3
        file.write_text("# nobody\n")
        assert allowed() == ""
        file.write_text(entries["ann"])
        assert allowed() == "ann"


def test_the_file_of_keys_is_looked_at_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many requests cost one look at the file."""
    file = tmp_path / "keys"
    file.write_text(f"ann:{digest_of_key('k')}\n")
    with served(tmp_path / "service", api_keys_file=file) as one:
        looks: list[None] = []
        monkeypatch.setattr(ApiKeys, "_read_again", lambda _self: looks.append(None))
        started = time.monotonic()
        for _ in range(30):
            assert one.client.get("/v1/models", headers={"Authorization": "Bearer k"}).status_code == 200
        assert len(looks) <= 1 + (time.monotonic() - started)


def test_every_answer_tells_browsers_to_run_nothing(service: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results, errors, refusals and defects alike: no scripts, no frames, no guessed types."""
    monkeypatch.setattr(service.services.store, "page", lambda *_: 1 / 0)
    for path, headers, status in (
        ("/health/live", {}, 200),
        ("/nothing", {}, 404),
        ("/v1/models", {"Host": "evil.example"}, 403),
        ("/v1/jobs", {}, 500),
        ("/docs", {}, 200),
    ):
        answer = service.client.get(path, headers=headers)
        assert answer.status_code == status
        assert answer.headers["x-content-type-options"] == "nosniff"
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "frame-ancestors 'none'" in policy
        assert "script" not in policy
        assert "unsafe" not in policy


class Page(html.parser.HTMLParser):
    """The addresses and the inline code of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect."""
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action", "data")]
        assert not [name for name, _ in attrs if name == "style" or name.startswith("on")]


def test_the_documentation_needs_no_network(service: Served) -> None:
    """The page has every operation, loads nothing, runs nothing, and its policy admits its one style sheet."""
    answer = service.client.get("/docs")
    page = Page()
    page.feed(answer.text)
    assert page.addresses == ["openapi.json"]
    assert not page.tags & {"script", "link", "iframe", "img", "form", "object"}
    (style,) = re.findall("<style>(.*?)</style>", answer.text, flags=re.DOTALL)
    digest = re.search("style-src 'sha256-([^']+)'", answer.headers["content-security-policy"])
    assert digest is not None
    assert digest[1] == base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    document = service.client.get("/openapi.json").json()
    for path, item in document["paths"].items():
        assert f"<code>{path}</code>" in answer.text
        for operation in item.values():
            assert operation["summary"] in html.unescape(answer.text)
            for parameter in operation.get("parameters", ()):
                assert f"<code>{parameter['name']}</code>" in answer.text
    assert "`" not in answer.text
    assert len(answer.content) < 100_000


def test_files_are_for_the_service_alone(tmp_path: Path) -> None:
    """The folder of an earlier version is closed to other users when the service opens it."""
    from service.engine.open import open_store

    (tmp_path / "service").mkdir(mode=0o755)
    store, storage = open_store(Settings(home=tmp_path))
    storage.close()
    store.close()
    assert (tmp_path / "service").stat().st_mode & 0o777 == 0o700
