"""Several API processes and a worker elsewhere, on one database and one folder, or on an object store."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.expected_masks import expected_lines
from tests.support.fakes import behave
from tests.support.object_stores import s3_server
from tests.support.plant import FRAMES, LEASE_SECONDS, Member, Plant
from tests.support.postgres import PostgresServer
from tests.support.waiting import wait_for


@pytest.fixture
def plant(tmp_path: Path, postgres: PostgresServer) -> Iterator[Plant]:
    """Two API processes without workers, and a host with one."""
    behave(tmp_path / "plant", seconds=0.1)
    with Plant(tmp_path / "plant", postgres.url, hosts=1) as plant:
        yield plant


def test_any_api_process_follows_and_stops_jobs_of_a_worker_elsewhere(plant: Plant) -> None:
    """Masks and events arrive on both while the worker writes them; metrics of both show it; each can cancel."""
    here, there = plant.apis
    job = _post(plant, here)
    with ThreadPoolExecutor() as pool:
        followed = [pool.submit(_follow, api, job) for api in (here, there)]
        events = pool.submit(_events, there, job)
        values = wait_for(lambda: (now := _metrics(there)).get("keymask_worker_fps") and now)
        seen = [future.result() for future in followed]
    assert [index for index, _ in seen[0]] == list(range(FRAMES))
    assert seen[0] == seen[1], "each process shows the same masks, and each frame as its own piece of the stream"
    assert sum(kind == "frame" for kind in events.result()) == FRAMES
    assert events.result()[-1] == "done"
    assert 0 < values["keymask_worker_fps"] < 20  # a frame takes 0.1 s; the rate over the first few is rough
    assert 0 <= values["keymask_worker_lease_age_seconds"] < LEASE_SECONDS
    wait_for(lambda: _metrics(here)["keymask_remote_worker_processes"] == 1, 30)

    running, waiting = _post(plant, here), _post(plant, there)
    wait_for(lambda: _get(there, running)["progress"]["done"])
    assert _metrics(here)["keymask_queue_age_seconds"] > 0
    for job in (waiting, running):
        httpx.post(f"{there.url}/v1/jobs/{job}/cancel", timeout=60).raise_for_status()
    wait_for(lambda: _get(here, running)["status"] == "canceled", 30)
    assert _get(here, waiting)["status"] == "canceled"


@pytest.mark.long
def test_one_api_process_makes_a_job_and_another_serves_it_without_a_shared_folder(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    """PostgreSQL and an object store are all that the processes share, from the post to the deletion."""
    home = tmp_path / "plant"
    behave(home, seconds=0.1)
    with s3_server() as store, Plant(home, postgres.url, hosts=1, store=store) as plant:
        here, there = plant.apis
        job = _post(plant, here)
        followed = [line.encode() for _, line in _follow(there, job)]
        (home / "clip.mp4").write_bytes(plant.clip)
        assert followed == expected_lines(home / "clip.mp4", home / "mask.png", tmp_path)
        assert _get(there, job)["status"] == "succeeded"
        for api in (there, here):  # the second one reads what the first one has made
            result = httpx.get(f"{api.url}/v1/jobs/{job}/result?format=png", timeout=60).raise_for_status().content
            with zipfile.ZipFile(io.BytesIO(result)) as archive:
                assert len([name for name in archive.namelist() if name.endswith(".png")]) == FRAMES
        assert plant.job_folders() == {job}
        httpx.delete(f"{there.url}/v1/jobs/{job}", timeout=60).raise_for_status()
        assert httpx.get(f"{here.url}/v1/jobs/{job}", timeout=60).status_code == 404
        wait_for(lambda: not plant.job_folders(), 60)


def _post(plant: Plant, api: Member) -> str:
    files = {"video": plant.clip, "mask": plant.mask}
    return str(httpx.post(f"{api.url}/v1/jobs", files=files, timeout=60).raise_for_status().json()["id"])


def _get(api: Member, job: str) -> dict[str, Any]:
    return dict(httpx.get(f"{api.url}/v1/jobs/{job}", timeout=60).raise_for_status().json())


def _follow(api: Member, job: str) -> list[tuple[int, str]]:
    """Return index and line of each mask as they arrive, which must be before the job ends."""
    seen: list[tuple[int, str]] = []
    with httpx.stream("GET", f"{api.url}/v1/jobs/{job}/masks", timeout=60) as answer:
        for line in answer.iter_lines():
            if not seen:
                assert _get(api, job)["status"] == "running"
            seen.append((int(line.split('"index":')[1].split(",")[0]), line))
    return seen


def _events(api: Member, job: str) -> list[str]:
    with httpx.stream("GET", f"{api.url}/v1/jobs/{job}/events", timeout=60) as answer:
        return [line.removeprefix("event: ") for line in answer.iter_lines() if line.startswith("event: ")]


def _metrics(api: Member) -> dict[str, float]:
    """Return the metrics that have one sample."""
    text = httpx.get(f"{api.url}/metrics", timeout=60).raise_for_status().text
    return {f.name: f.samples[0].value for f in text_string_to_metric_families(text) if len(f.samples) == 1}
