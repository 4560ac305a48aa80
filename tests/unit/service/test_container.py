"""The container's files agree with the code."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from service.config import PREFIX, Settings
from tests.support.paths import ROOT

DOCKER = ROOT / "docker"
SET_ELSEWHERE = {"home", "host", "port", "published"}
"""Settings that the image or compose.yml sets."""


def documented() -> dict[str, str]:
    """Return every KEYMASK_ variable of env.example, set or commented out, with its value."""
    text = (DOCKER / "env.example").read_text(encoding="utf-8")
    return {name.lower(): value for name, value in re.findall(rf"^#?{PREFIX}(\w+)=(.*)$", text, flags=re.MULTILINE)}


def test_the_example_has_every_setting() -> None:
    """docker/env.example names every setting except those that the image or compose.yml sets."""
    assert set(documented()) == set(Settings.model_fields) - SET_ELSEWHERE


def test_the_example_has_valid_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings accept docker/env.example with every # removed."""
    values = documented()
    for name, value in values.items():
        monkeypatch.setenv(f"{PREFIX}{name.upper()}", value)
    assert Settings().auth == "auto"


def test_image_and_compose_agree_on_the_port() -> None:
    """compose.yml publishes the port that the image sets, exposes and checks."""
    image = (DOCKER.parent / "Dockerfile").read_text(encoding="utf-8")
    ports = re.findall(rf"(?:{PREFIX}PORT=|EXPOSE |127\.0\.0\.1:)(\d+)", image)
    published = re.findall(r'"\$\{PUBLISH.*\}:(\d+)"', (DOCKER / "compose.yml").read_text(encoding="utf-8"))
    assert len(ports) == 3
    assert set(ports) == set(published)


def test_compose_tells_the_service_where_its_port_is_published() -> None:
    """The service learns the very address that compose.yml publishes, so that it can refuse to be open without keys."""
    text = (DOCKER / "compose.yml").read_text(encoding="utf-8")
    (told,) = re.findall(r"KEYMASK_PUBLISHED: (\S+)", text)
    (published,) = re.findall(r'"(\S+):8000"', text)
    assert told == published
    default = Settings(host="0.0.0.0", published=told.removeprefix("${PUBLISH:-").removesuffix("}"))
    assert default.only_local


def test_compose_bounds_what_the_container_takes() -> None:
    """Memory, swap, processes, /tmp and log are limited; the container gains no rights and no file of it changes."""
    text = (DOCKER / "compose.yml").read_text(encoding="utf-8")
    for line in (
        r"mem_limit: \S+", r"memswap_limit: \S+", r"pids_limit: \S+", r"- /tmp:size=\S+", r"max-size: \S+",
        r"max-file: \S+", r"read_only: true", r"- no-new-privileges:true", r"cap_drop:\n +- ALL",
    ):  # fmt: skip
        assert re.search(rf"^ +{line}$", text, flags=re.MULTILINE), line


def test_the_image_installs_the_lock_file() -> None:
    """Every package of the image but torch must have a hash that the lock file states."""
    image = (DOCKER.parent / "Dockerfile").read_text(encoding="utf-8")
    lock = (DOCKER.parent / "requirements.lock").read_text(encoding="utf-8")
    assert "pip install --require-hashes -r requirements.lock" in image
    blocks = re.split(r"^(?=[\w-]+==)", lock, flags=re.MULTILINE)[1:]
    assert len(blocks) > 40
    assert all("--hash=sha256:" in block for block in blocks)
    assert not re.search(r"^(torch|nvidia-[\w-]+)==", lock, flags=re.MULTILINE)


def test_the_entry_point_runs_without_a_kernel_folder(tmp_path: Path) -> None:
    """docker/entrypoint runs keymask with its arguments even if compiled kernels cannot be copied."""
    keymask = tmp_path / "keymask"
    keymask.write_text('#!/bin/sh\nprintf "<%s>" "$@"\n')
    keymask.chmod(0o755)
    environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "NUMBA_CACHE_DIR": str(keymask / "kernels")}
    command = [DOCKER / "entrypoint", "keys", "new", "one name"]
    assert subprocess.check_output(command, env=environment, text=True) == "<keys><new><one name>"


def test_dockerignore_admits_what_is_copied() -> None:
    """.dockerignore admits exactly the paths that the Dockerfile copies, and parts of them that it excludes again."""
    image, ignore = ((DOCKER.parent / name).read_text(encoding="utf-8") for name in ("Dockerfile", ".dockerignore"))
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", image, flags=re.MULTILINE)
    copied = sorted(" ".join(copies).split())
    admitted = re.findall(r"^!(.+)$", ignore, flags=re.MULTILINE)
    assert copied == sorted(path for path in admitted if not path.startswith(tuple(f"{part}/" for part in copied)))
