"""Settings from the environment."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from service.config import Settings, digest_of_key, load_settings, settings_table, unknown_variables
from service.errors import UsageError
from service.problems import PROBLEMS
from tests.support.paths import ROOT


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("KEYMASK_") or name == "XDG_DATA_HOME":
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("environ", "home"),
    [
        ({"KEYMASK_HOME": "/a", "XDG_DATA_HOME": "/b"}, "/a"),
        ({"KEYMASK_HOME": "~/c"}, str(Path.home() / "c")),
        ({"KEYMASK_HOME": "", "XDG_DATA_HOME": "/b"}, "/b/keymask"),
        ({}, str(Path.home() / ".local/share/keymask")),
    ],
)
def test_keymask_home_takes_precedence(environ: dict[str, str], home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """KEYMASK_HOME wins over XDG_DATA_HOME, which wins over the home folder; all other paths are below it."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert str(settings.home) == home
    assert settings.weights_dir == Path(home) / "weights"
    assert settings.files_dir == Path(home) / "service" / "files"
    assert settings.database == f"sqlite:///{home}/service/jobs.db"


@pytest.mark.parametrize(("value", "debug"), [("1", True), ("yes", True), ("0", False), ("", False)])
def test_debug_is_off_when_empty_or_zero(value: str, debug: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """KEYMASK_DEBUG accepts the usual words for on and off; an empty value means off."""
    monkeypatch.setenv("KEYMASK_DEBUG", value)
    assert load_settings().debug is debug


def test_a_size_may_have_a_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A size may be a plain number of bytes or have a binary or decimal unit."""
    for text, size in (("1000", 1000), ("2KiB", 2048), ("3MB", 3_000_000)):
        monkeypatch.setenv("KEYMASK_MAX_UPLOAD_BYTES", text)
        assert load_settings().max_upload_bytes == size


@pytest.mark.parametrize(
    ("name", "value"), [("PORT", "abc"), ("MAX_FRAMES", "0"), ("AUTH", "maybe"), ("MAX_UPLOAD_BYTES", "-1")]
)
def test_an_invalid_value_is_reported_with_its_variable(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error for an invalid value names the variable and the value."""
    monkeypatch.setenv(f"KEYMASK_{name}", value)
    with pytest.raises(UsageError, match=f"KEYMASK_{name} is '{value}': "):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("TRUSTED_PROXIES", "10.0.0.0/8, proxy", "'proxy' does not appear to be an IPv4 or IPv6 network"),
        ("TRUSTED_PROXIES", "10.0.0.1/8", "has host bits set"),
        ("ROOT_PATH", "keymask", "must be a path"),
        ("ROOT_PATH", "//evil.example", "must be a path"),
        ("MAX_CONNECTIONS", "3", "greater than or equal to 16"),
    ],
)
def test_a_setting_for_proxies_is_checked(name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses of proxies, the prefix and the number of connections are checked at the start."""
    monkeypatch.setenv(f"KEYMASK_{name}", value)
    with pytest.raises(UsageError, match=message):
        load_settings()


def test_a_misspelt_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is no setting is named with the nearest right name, if one is near."""
    assert unknown_variables() == []
    for name in ("KEYMASK_HOEM", "KEYMASK_MAX_UPLOAD_BYTE", "KEYMASK_SERVICE_HOST_XYZ", "KEYMASK_URL", "KEYMASK_PORT"):
        monkeypatch.setenv(name, "1")
    assert unknown_variables() == [
        "KEYMASK_HOEM is not a setting; did you mean KEYMASK_HOME?",
        "KEYMASK_MAX_UPLOAD_BYTE is not a setting; did you mean KEYMASK_MAX_UPLOAD_BYTES?",
        "KEYMASK_SERVICE_HOST_XYZ is not a setting",
    ]


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.3.2.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.2", False),
        ("example.org", False),
    ],
)
def test_only_loopback_is_local(host: str, local: bool) -> None:
    """Only loopback addresses and the name localhost count as local."""
    assert Settings(host=host).only_local is local


def test_keys_are_read_from_variable_and_file(tmp_path: Path) -> None:
    """The digests of both sources are merged; comments and empty lines of the file are ignored."""
    first, second = digest_of_key("one"), digest_of_key("two")
    file = tmp_path / "keys"
    file.write_text(f"# keys\n\n  bob:{second}\n")
    settings = Settings(api_keys=SecretStr(f"alice:{first}"), api_keys_file=file)
    assert settings.key_digests() == {first: "alice", second: "bob"}
    assert first not in repr(settings)


@pytest.mark.parametrize("entry", ["alice", "alice:abc", f":{'0' * 64}", f"alice:{'g' * 64}"])
def test_a_key_that_is_not_a_digest_is_refused(entry: str) -> None:
    """An entry that is not name:sha256 is refused; the message omits it, since it may be a key in plain text."""
    with pytest.raises(UsageError, match="is not name:sha256"):
        Settings(api_keys=SecretStr(entry)).key_digests()


def test_the_reference_lists_every_setting() -> None:
    """docs/reference/settings.md contains the table that the code generates."""
    root = ROOT
    assert settings_table() in (root / "docs/reference/settings.md").read_text(encoding="utf-8")


def test_the_limits_page_matches_settings_and_problems() -> None:
    """Each row of docs/howto/limits.md names a setting with its default, and a problem with its status."""
    root = ROOT
    text = (root / "docs/howto/limits.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .* \| `(\w+)` \| ([^|]+) \| (\d+) `([\w-]+)` \|$", text, flags=re.MULTILINE)
    shown = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", settings_table(), flags=re.MULTILINE)
    defaults = {name: default.strip("`") for name, default in shown}
    assert len(rows) == 19
    for name, default, status, kind in rows:
        assert defaults[f"KEYMASK_{name}"] == default, name
        assert PROBLEMS[kind].status == int(status), kind
    named = re.findall(r"(?:KEYMASK_|`)([A-Z]+_[A-Z_]+)", text)
    assert [name for name in named if name.lower() not in Settings.model_fields] == []


def test_no_other_file_reads_the_environment() -> None:
    """Only service/config.py reads environment variables."""
    root = ROOT
    readers = [
        path.relative_to(root).as_posix()
        for package in ("codec", "vos", "service")
        for path in (root / package).rglob("*.py")
        if "os.environ" in path.read_text(encoding="utf-8") or "getenv(" in path.read_text(encoding="utf-8")
    ]
    assert readers == ["service/config.py"]
