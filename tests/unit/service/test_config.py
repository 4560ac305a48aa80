"""Settings from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.config import load_settings


@pytest.mark.parametrize(
    ("environ", "home"),
    [
        ({"KEYMASK_HOME": "/a", "XDG_DATA_HOME": "/b"}, "/a"),
        ({"XDG_DATA_HOME": "/b"}, "/b/keymask"),
        ({}, str(Path.home() / ".local/share/keymask")),
    ],
)
def test_home_is_the_most_special_one(environ: dict[str, str], home: str) -> None:
    """KEYMASK_HOME wins over XDG_DATA_HOME, which wins over the home folder; weights lie below it."""
    settings = load_settings(environ)
    assert str(settings.home) == home
    assert settings.weights_dir == Path(home) / "weights"


@pytest.mark.parametrize(("value", "debug"), [("1", True), ("yes", True), ("0", False), ("", False)])
def test_debug_is_off_when_empty_or_zero(value: str, debug: bool) -> None:
    """KEYMASK_DEBUG is on for anything but empty and 0."""
    assert load_settings({"KEYMASK_DEBUG": value}).debug is debug


def test_no_other_file_reads_the_environment() -> None:
    """Only service/config.py asks for environment variables."""
    root = Path(__file__).resolve().parents[3]
    readers = [
        path.relative_to(root).as_posix()
        for package in ("codec", "vos", "service")
        for path in (root / package).rglob("*.py")
        if "os.environ" in path.read_text(encoding="utf-8") or "getenv(" in path.read_text(encoding="utf-8")
    ]
    assert readers == ["service/config.py"]
