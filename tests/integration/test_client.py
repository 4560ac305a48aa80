"""The client with the real application: over a socket, through ASGITransport, and as README and examples show it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import keymask
import numpy as np
import pytest
from keymask import AsyncClient, Client
from PIL import Image

from service.config import Settings
from service.http.app import create_app
from tests.support.paths import ROOT
from tests.support.serving import FRAMES, InlineSandbox, Served, served
from tests.support.thread_engine import ThreadEngine

SAMPLE = ROOT / "service" / "sample"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service on a socket whose engine returns the prompt mask for every frame."""
    with served(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture
def client(service: Served) -> Iterator[Client]:
    """A client of the service."""
    with Client(str(service.client.base_url), timeout=240) as opened:
        yield opened


def labels(service: Served) -> np.ndarray:
    """Return the prompt mask."""
    with Image.open(service.mask) as image:
        return np.array(image)


def test_segment_returns_one_mask_per_frame(client: Client, service: Served) -> None:
    """The masks of the service arrive pixel for pixel, whether the prompt is a path, an array or a picture."""
    expected = labels(service)
    for mask in (service.mask, expected, Image.open(service.mask)):
        track = client.segment(service.clip, mask)
        assert track.masks.shape == (FRAMES, *expected.shape)
        assert (track.masks == expected).all()
    assert track.sources == ["prompt"] + ["propagated"] * (FRAMES - 1)
    assert (np.diff(track.times) > 0).all()


def test_frames_arrive_while_the_job_runs(client: Client, service: Served) -> None:
    """The first masks arrive before the remaining ones are computed."""
    with service.held(2):
        frames = client.stream(service.clip, service.mask)
        assert [next(frames).index for _ in range(2)] == [0, 1]
    assert [frame.index for frame in frames] == list(range(2, FRAMES))


def test_a_job_from_submission_to_deletion(client: Client, service: Served, tmp_path: Path) -> None:
    """Submit, wait, list, download and delete work on one job; afterwards it is gone."""
    job = client.wait(client.submit(service.clip, service.mask, end=5), timeout=240)
    assert job.status == "succeeded"
    assert job.report is not None
    assert job.id in [listed.id for listed in client.jobs(status="succeeded", limit=1)]
    assert [frame.index for frame in client.masks(job, start=2, end=4)] == [2, 3]
    with zipfile.ZipFile(client.download(job, "png", tmp_path / "masks.zip")) as archive:
        pictures = [name for name in archive.namelist() if name.endswith(".png")]
        assert len(pictures) == 5
        assert (np.array(Image.open(io.BytesIO(archive.read(pictures[0])))) == labels(service)).all()
    client.delete(job)
    with pytest.raises(keymask.NotFoundError):
        client.get(job)


def test_what_was_read_from_the_mask_is_typed(client: Client, service: Served) -> None:
    """Arrays of any kind are read by the service."""
    marked = labels(service) > 0
    job = client.submit(service.clip, marked * 0.75, prompt_frame=2)
    (item,) = job.prompt
    rows, columns = np.nonzero(marked)
    assert (item.object, item.frame, item.color, item.area) == (1, 2, None, marked.sum())
    assert item.bbox == (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
    assert job.notes == ("the mask has probabilities; object 1 is where they are at least 0.5",)
    colors = np.array([(0, 0, 0), (0, 0, 128)], np.uint8)[marked.astype(int)]
    assert [read.object for read in client.submit(service.clip, colors).prompt] == [4]
    assert [read.object for read in client.submit(service.clip, colors, mask_mode="binary").prompt] == [1]
    with pytest.raises(keymask.InputRefusedError, match="mask-unreadable"):
        client.submit(service.clip, marked[..., None].repeat(7, axis=2))


def test_the_same_key_returns_the_same_job(client: Client, service: Served) -> None:
    """A repeated submission creates no second job; another payload with the same key is refused."""
    one = client.submit(service.clip, service.mask, idempotency_key="order-1")
    assert client.submit(service.clip, service.mask, idempotency_key="order-1").id == one.id
    with pytest.raises(keymask.InputRefusedError, match="idempotency-conflict"):
        client.submit(service.clip, service.mask, idempotency_key="order-1", end=3)


def test_waiting_for_a_canceled_job_raises(client: Client, service: Served) -> None:
    """Waiting for a canceled job raises an error of its own class."""
    with service.held():
        job = client.submit(service.clip, service.mask)
        client.cancel(job)
    with pytest.raises(keymask.JobCanceledError, match=job.id):
        client.wait(job, timeout=240)


def test_a_failed_job_raises_after_its_masks(client: Client, service: Served) -> None:
    """The masks before the failure arrive, then the error is raised."""
    service.engine.failing = True
    try:
        frames = client.stream(service.clip, service.mask)
        assert next(frames).index == 0
        with pytest.raises(keymask.JobFailedError):
            list(frames)
    finally:
        service.engine.failing = False


def test_probe_and_models_are_typed(client: Client, service: Served) -> None:
    """Probe reports and models are returned as typed objects."""
    probe = client.probe(service.clip)
    assert (probe.video["codec"], probe.frames, sum(probe.types.values())) == ("h264", FRAMES, FRAMES)
    assert {forecast.policy for forecast in probe.forecasts} >= {"adaptive", "codec"}
    models = client.models()
    assert [model.name for model in models if model.default] == ["compact"]
    assert all(model.license for model in models)


def test_async_client_through_asgi(service: Served, tmp_path: Path) -> None:
    """The asynchronous client calls the application directly, without a socket."""
    app = create_app(
        Settings(home=tmp_path),
        make_engine=ThreadEngine,
        make_sandbox=lambda processes, seconds, size: InlineSandbox(processes, timeout=seconds, memory_bytes=size),
    )

    async def main() -> Any:
        async with (
            app.router.lifespan_context(app),
            AsyncClient("http://service", transport=httpx.ASGITransport(app)) as client,
        ):
            track = await client.segment(service.clip, service.mask)
            listed = [job.id async for job in client.jobs()]
            return track, listed

    track, listed = asyncio.run(main())
    assert (track.masks == labels(service)).all()
    assert listed == [track.job.id]


@pytest.mark.parametrize(("page", "outputs"), [("client/README.md", 2), ("README.md", 0)])
def test_readme_code_prints_what_is_shown(
    service: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str, outputs: int
) -> None:
    """Every Python block of a README runs and prints the text block below it, except for the job's id."""
    shutil.copy(SAMPLE / "clip.mp4", tmp_path / "dog.mp4")
    shutil.copy(SAMPLE / "mask.png", tmp_path / "dog_first.png")
    monkeypatch.chdir(tmp_path)
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```(?:\n+```text\n(.*?)```)?", text, flags=re.DOTALL)
    scope: dict[str, Any] = {}
    for code, shown in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code.replace("http://localhost:8000", str(service.client.base_url)), scope)
        if shown:
            assert without_ids(printed.getvalue()) == without_ids(shown)
    assert sum(bool(shown) for _, shown in blocks) == outputs


def without_ids(text: str) -> str:
    """Replace every job id."""
    return re.sub(r"[0-9a-f]{32}", "ID", text)


@pytest.mark.parametrize(
    ("command", "last_line"),
    [
        (["bash", "examples/curl.sh"], "wrote masks.zip"),
        (
            [sys.executable, "examples/sdk_segment.py"],
            r"wrote 90 masks to masks.npz; the network ran on 1 of the frames",
        ),
        ([sys.executable, "examples/sdk_stream.py"], r"  2.967 s  propagated  \d+x\d+ at \d+,\d+"),
    ],
    ids=["curl", "segment", "stream"],
)
def test_examples_run(service: Served, tmp_path: Path, command: list[str], last_line: str) -> None:
    """Each example runs on the sample clip with a real server."""
    program, script = command
    done = subprocess.run(
        [
            program,
            str(ROOT / script),
            str(SAMPLE / "clip.mp4"),
            str(SAMPLE / "mask.png"),
            str(service.client.base_url).rstrip("/"),
        ],
        cwd=tmp_path,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(last_line, done.stdout.splitlines()[-1])
