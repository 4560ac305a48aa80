"""A worker that a hostile video has taken over reaches its own files, and little else."""

from __future__ import annotations

import json
import socket

import pytest

from service.jobs.types import JobStatus
from service.sandbox.confinement import available_confinement
from tests.support.engine_site import Site
from tests.support.odd_streams import pictures
from tests.support.paths import ROOT
from tests.support.synthetic import encode


def test_a_worker_can_do_little_but_its_jobs(site: Site, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No file of others, no connection, no program; jobs run all the same."""
    if not available_confinement().is_complete:
        pytest.skip("this kernel has no Landlock or no seccomp filters")
    other = tmp_path_factory.mktemp("others") / "file"
    other.write_text("another service's")
    module = ROOT / "codec" / "planted.py"
    with socket.create_server(("127.0.0.1", 0)) as server:
        site.home.mkdir(parents=True, exist_ok=True)
        targets = {"file": str(other), "module": str(module), "port": server.getsockname()[1]}
        (site.home / "attempts.json").write_text(json.dumps(targets))
        engine = site.start(loader="tests.support.hostile_worker:load")
        found = json.loads((site.home / "found.json").read_text())
    assert {name: what for name, what in found.items() if what not in ("EACCES", "EPERM")} == {}
    assert other.read_text() == "another service's"
    assert not module.exists()
    assert site.finished(site.submit(engine)).status is JobStatus.SUCCEEDED


def test_a_worker_reads_only_what_people_upload(site: Site) -> None:
    """A container outside the list fails the job with what is allowed."""
    engine = site.start()
    job = site.finished(site.submit(engine, video=encode(pictures(4, 64, 48), "mpeg4", container="nut")))
    assert job.error is not None
    assert job.error.type == "video-unreadable"
    assert "in a format that is not read here; allowed: " in job.error.detail
