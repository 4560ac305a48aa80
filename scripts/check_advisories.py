"""Checks that no dependency has a known hole: `python scripts/check_advisories.py`. `make lint` calls it; no network.

scripts/advisories.txt lists the holes. They must be excluded by the floors of both distributions, by constraints.txt
for what those install indirectly, and by the lock file; and this environment must have none of them. The lock file must
also fit the dependencies that pyproject.toml states.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
LOCKED_EXTRAS = ("postgres",)
"""Optional dependencies that the image has."""
NOT_LOCKED = frozenset({"torch"})
"""Its builds for CPUs and GPUs are different files under one version, which constraints.txt pins."""


@dataclass(frozen=True)
class Advisory:
    """A package's holes.

    Attributes:
        fixed: The first version without them.
        names: Their names.
    """

    fixed: Version
    names: str


def read_advisories(text: str) -> dict[str, Advisory]:
    """Parse scripts/advisories.txt to package -> its holes."""
    rows = (line.split(maxsplit=2) for line in text.splitlines() if line.strip() and not line.startswith("#"))
    return {canonicalize_name(name): Advisory(Version(fixed), names) for name, fixed, names in rows}


def read_requirements(lines: Iterable[str]) -> list[Requirement]:
    """Parse lines of requirements; comments and hashes are skipped."""
    bare = (re.split(r"\s+(?:#|\\)|^(?:#|--)", line.strip())[0].strip() for line in lines)
    return [Requirement(line) for line in bare if line]


def stated(path: Path, extras: Iterable[str] | None = None) -> list[Requirement]:
    """Return the dependencies of a pyproject.toml, with these extras or all."""
    project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    optional = project.get("optional-dependencies", {})
    chosen = optional if extras is None else extras
    return read_requirements([*project["dependencies"], *(line for extra in chosen for line in optional[extra])])


def names(found: Iterable[Requirement]) -> set[str]:
    """Return the normalized names of requirements."""
    return {canonicalize_name(one.name) for one in found}


def low_floors(where: str, found: Iterable[Requirement], advisories: dict[str, Advisory]) -> Iterator[str]:
    """Yield the requirements that admit a version with a hole."""
    for one in found:
        advisory = advisories.get(canonicalize_name(one.name))
        floors = [Version(part.version) for part in one.specifier if part.operator in (">=", "==", "~=")]
        if advisory and (not floors or max(floors) < advisory.fixed):
            yield f"{where}: {one}; allowed: >={advisory.fixed} ({advisory.names})"


def misfits(lock: Sequence[Requirement], wanted: Iterable[Requirement]) -> Iterator[str]:
    """Yield the dependencies that the lock file has not, or in a version that is not allowed."""
    for one in wanted:
        name = canonicalize_name(one.name)
        pins = [part.version for pin in lock if canonicalize_name(pin.name) == name for part in pin.specifier]
        if name not in NOT_LOCKED and not (pins and all(one.specifier.contains(pin) for pin in pins)):
            yield f"requirements.lock: {name} is {' and '.join(pins) or 'missing'}; allowed: {one}"


def problems(root: Path, installed: Iterable[Requirement]) -> Iterator[str]:
    """Yield everything that is wrong.

    Args:
        root: The checkout.
        installed: The packages of this environment, with their versions.
    """
    texts = {name: (root / name).read_text(encoding="utf-8") for name in ("constraints.txt", "requirements.lock")}
    advisories = read_advisories((root / "scripts" / "advisories.txt").read_text(encoding="utf-8"))
    server, client = root / "pyproject.toml", root / "client" / "pyproject.toml"
    pinned, lock = (read_requirements(text.splitlines()) for text in texts.values())
    for where, found in (
        ("pyproject.toml", stated(server)),
        ("client/pyproject.toml", stated(client)),
        ("constraints.txt", pinned),
        ("requirements.lock", lock),
        ("this environment", installed),
    ):
        yield from low_floors(where, found, advisories)
    yield from misfits(lock, stated(server, LOCKED_EXTRAS))
    for name in sorted((names(lock) & advisories.keys()) - names(stated(server)) - names(pinned)):
        yield f"constraints.txt: {name} has no floor; allowed: >={advisories[name].fixed}"


def main() -> int:
    """Print every problem; return 1 if there is any."""
    found = list(problems(ROOT, [Requirement(f"{one.name}=={one.version}") for one in distributions()]))
    for line in found:
        print(f"check_advisories: {line}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
