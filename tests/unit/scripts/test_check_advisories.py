"""Known holes are excluded from what is installed."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

from tests.support.paths import ROOT
from tests.support.scripts import load_script

FILES = ("pyproject.toml", "client/pyproject.toml", "constraints.txt", "requirements.lock", "scripts/advisories.txt")


@pytest.fixture
def script() -> ModuleType:
    """Import scripts/check_advisories.py as a module."""
    return load_script(ROOT / "scripts" / "check_advisories.py")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the files that are checked."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_no_dependency_has_a_known_hole(script: ModuleType) -> None:
    """Floors, lock file and this environment are without the holes that are listed."""
    assert script.main() == 0


@pytest.mark.parametrize(
    ("file", "old", "new", "found"),
    [
        (
            "pyproject.toml",
            "starlette>=1.3.1",
            "starlette>=1.0",
            "pyproject.toml: starlette>=1.0; allowed: >=1.3.1",
        ),
        ("pyproject.toml", "h11>=0.16", "h11", "pyproject.toml: h11; allowed: >=0.16.0"),
        ("client/pyproject.toml", "idna>=3.15", "idna>=3.2", "client/pyproject.toml: idna>=3.2; allowed: >=3.15"),
        ("constraints.txt", "mako>=1.3.12", "", "constraints.txt: mako has no floor; allowed: >=1.3.12"),
        ("constraints.txt", "torch==2.13.0", "torch==2.8.0", "constraints.txt: torch==2.8.0; allowed: >=2.9.0"),
        ("requirements.lock", "\nfastapi==", "\nnothing==", "requirements.lock: fastapi is missing"),
        ("requirements.lock", "\nh11==0.16.0", "\nh11==0.14.0", "requirements.lock: h11==0.14.0; allowed: >=0.16.0"),
    ],
)
def test_each_way_back_to_a_hole_is_found(
    script: ModuleType, checkout: Path, *, file: str, old: str, new: str, found: str
) -> None:
    """A floor or pin that admits a hole is named with what is allowed."""
    path = checkout / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    assert any(line.startswith(found) for line in script.problems(checkout, []))


def test_a_hole_in_the_environment_is_found(script: ModuleType) -> None:
    """What is installed is checked too, also if no file names it."""
    installed = [Requirement("Urllib3==2.6.3"), Requirement("unknown==1")]
    assert [line for line in script.problems(ROOT, installed) if "this environment" in line] == [
        "this environment: Urllib3==2.6.3; allowed: >=2.7.0 (CVE-2026-21441 CVE-2026-44431 CVE-2026-44432)"
    ]
