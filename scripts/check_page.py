"""Checks the page's sources: types, unit tests, and that the committed `service/web/dist` is built from them.

Without Node there is nothing to check with, so it says so and succeeds; with TESTS_SKIP_NOTHING, as in CI, it fails.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from filecmp import dircmp
from pathlib import Path

WEB = Path(__file__).resolve().parent.parent / "service" / "web"
NODE = 20
"""Lowest version of Node that the build tools run on."""


def main() -> None:
    """Run the checks; exit with an error if one fails."""
    if missing := _missing():
        if os.environ.get("TESTS_SKIP_NOTHING"):
            sys.exit(f"the page cannot be checked: {missing}")
        print(f"the page is not checked: {missing}")
        return
    _npm("run", "types")
    _npm("run", "test")
    with tempfile.TemporaryDirectory() as fresh:
        _npm("run", "build", "--", "--outDir", fresh, "--emptyOutDir")
        if differing := _differences(dircmp(WEB / "dist", fresh)):
            sys.exit(f"service/web/dist is not built from its sources: {', '.join(differing)}. Run `make web`.")


def _missing() -> str | None:
    """Return what the checks need and this machine has not; `make` installs the packages."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        return "node and npm are not installed"
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return None if int(version.lstrip("v").split(".")[0]) >= NODE else f"node is {version}; {NODE} or newer is needed"


def _npm(*arguments: str) -> None:
    if subprocess.run(["npm", *arguments], cwd=WEB, check=False).returncode:
        sys.exit(f"npm {' '.join(arguments[:2])} failed in service/web")


def _differences(comparison: dircmp[str]) -> list[str]:
    """Return the names of files that only one side has, or that differ."""
    names = [*comparison.left_only, *comparison.right_only, *comparison.diff_files, *comparison.funny_files]
    return names + [name for below in comparison.subdirs.values() for name in _differences(below)]


if __name__ == "__main__":
    main()
