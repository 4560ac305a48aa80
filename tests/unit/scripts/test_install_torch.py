"""Which index torch is installed from."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from time import monotonic
from types import ModuleType

import pytest

from tests.support.paths import ROOT
from tests.support.scripts import load_script


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """Import scripts/install_torch.py as a module, on Linux, with no command on PATH."""
    module = load_script(ROOT / "scripts" / "install_torch.py")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    return module


@pytest.fixture
def index() -> Iterator[str]:
    """Serve a package index that has torch and nothing else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/torch/" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def installed(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """Record the indexes of attempted installs; every attempt fails."""
    tried: list[str | None] = []

    def fail(index: str | None) -> bool:
        tried.append(index)
        return False

    monkeypatch.setattr(script, "install", fail)
    return tried


def test_without_a_gpu_the_cpu_index_comes_first(
    script: ModuleType, index: str, installed: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reachable CPU index is tried first, and pip's own configuration after it."""
    monkeypatch.setattr(script, "CPU_INDEX", index)
    assert script.main([]) == 1
    assert installed == [index, None]


def test_an_unreachable_index_is_skipped(
    script: ModuleType, installed: list[str | None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If the CPU index refuses the connection, pip's own configuration is used, with one line of explanation."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setattr(script, "CPU_INDEX", f"http://127.0.0.1:{unused.getsockname()[1]}")
        script.main([])
    assert installed == [None]
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_silent_index_is_given_up_in_time(script: ModuleType) -> None:
    """An index that accepts the connection and never answers costs no more than the given time."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = monotonic()
        assert not script.answers(f"http://127.0.0.1:{silent.getsockname()[1]}", seconds=0.3)
        assert monotonic() - started < 3


def test_an_index_without_torch_does_not_count(script: ModuleType, index: str) -> None:
    """An index that answers 404 for torch is not used."""
    assert script.answers(index)
    assert not script.answers(f"{index}/other")


def test_a_gpu_takes_the_build_that_pip_finds(
    script: ModuleType, installed: list[str | None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With a GPU the CPU index is not even asked."""
    command = tmp_path / "nvidia-smi"
    command.write_text('#!/bin/sh\n[ "$1" = -L ]\n')
    command.chmod(0o755)
    monkeypatch.setattr(script, "answers", lambda _index: pytest.fail("asked"))
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin{os.pathsep}/usr/bin")
    script.main([])
    assert installed == [None]


def test_a_given_index_is_the_only_one(script: ModuleType, installed: list[str | None]) -> None:
    """TORCH_INDEX is used without a fallback, so a wrong index fails."""
    assert script.main(["https://example.org/whl"]) == 1
    assert installed == ["https://example.org/whl"]


@pytest.mark.parametrize("index", [None, "https://example.org/whl"])
def test_an_index_of_torch_serves_torch_alone(
    script: ModuleType, index: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch is installed without its dependencies only from its own index; the project installs them."""
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    assert script.install(index)
    (command,) = commands
    assert ("--no-deps" in command) is (index is not None)
    assert command[-1] == "torch"
