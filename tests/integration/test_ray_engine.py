"""Workers as actors of a Ray cluster: they come and go with the queue, and no death in the cluster loses a job."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from service.config import Settings
from service.engine.ray_cluster.engine import RayEngine
from service.jobs.types import Job, JobStatus
from tests.support.engine_site import FRAMES, Site
from tests.support.fakes import behave
from tests.support.ray_nodes import RayNodes
from tests.support.waiting import wait_for

LEASE_SECONDS = 3.0


@contextmanager
def ray_site(site: Site, nodes: int) -> Iterator[tuple[RayNodes, RayEngine]]:
    """Run a site's jobs in a Ray cluster of its own."""
    environment = {
        "KEYMASK_HOME": str(site.home),
        "KEYMASK_DATABASE_URL": f"sqlite:///{site.root}/jobs.db",
        "KEYMASK_STORAGE_DIR": str(site.root / "files"),
        "KEYMASK_LEASE_SECONDS": str(LEASE_SECONDS),
        "KEYMASK_LOG_LEVEL": "warning",
    }
    with RayNodes(environment, nodes) as cluster:
        settings = Settings(
            home=site.home,
            database_url=environment["KEYMASK_DATABASE_URL"],
            engine="ray",
            ray_address=cluster.address,
            ray_max_workers=nodes,
            ray_cpus=1,
        )
        config = replace(site.config, settings=settings, lease_seconds=LEASE_SECONDS)
        engine = RayEngine(config, site.store, site.storage)
        site.engines.append(engine)
        engine.start()
        wait_for(lambda: engine.ready, 600)  # three processes start one after the other
        yield cluster, engine
        engine.stop()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_an_actor_that_is_killed_loses_no_job(site: Site) -> None:
    """Ray restarts it, the job resumes, and its masks are those of an undisturbed run."""
    with ray_site(site, nodes=1) as (cluster, engine):
        expected = site.expected(engine)
        job = _begin(site)
        (actor,) = cluster.actors()
        os.kill(actor, signal.SIGKILL)
        _check_resumed(site, job, expected)
        assert cluster.actors() != [actor]


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_node_and_the_head_that_are_killed_lose_no_job(site: Site) -> None:
    """There are as many workers as jobs; those of a dead node move to another, and a new head gets new actors."""
    with ray_site(site, nodes=2) as (cluster, engine):
        expected = site.expected(engine)
        behave(site.home, seconds=0.5)
        jobs = [site.submit() for _ in range(12)]  # they last for longer than a second actor needs to start
        wait_for(lambda: len({running.worker for running in site.store.running()}) == 2)
        cluster.remove(0)
        wait_for(lambda: len(cluster.actors()) == 1)
        behave(site.home)
        for job in jobs:
            done = site.finished(job)
            assert (done.status, done.deaths) == (JobStatus.SUCCEEDED, 0)
            assert site.masks(job) == expected

        job = _begin(site)
        cluster.stop()
        assert not cluster.processes()
        assert not site.store.get(job.id).status.finished
        cluster.start()
        _check_resumed(site, job, expected)


def _begin(site: Site) -> Job:
    """Submit a slow job and wait until it has masks and a resume state; it is fast from its next attempt on."""
    behave(site.home, seconds=0.5)
    job = site.submit()
    wait_for(lambda: site.lines(job) >= 3 and site.files(job).state(1).exists())
    assert site.lines(job) < FRAMES / 2
    behave(site.home)
    return job


def _check_resumed(site: Site, job: Job, expected: bytes) -> None:
    done = site.finished(job)
    assert (done.status, done.deaths, done.attempts) == (JobStatus.SUCCEEDED, 0, 2)
    assert done.report is not None
    assert done.report["resumed"]
    assert site.masks(job) == expected
    wait_for(site.is_tidy)
