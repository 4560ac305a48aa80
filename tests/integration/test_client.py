"""The client with the real application: over a socket, through ASGITransport, and as README and examples show it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import shutil
import signal
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
from service.writers.png import PngWriter
from tests.support.paths import ROOT
from tests.support.raw_server import cutting_proxy
from tests.support.serving import FRAMES, InlineSandbox, Served, served
from tests.support.thread_engine import ThreadEngine
from vos.types import FrameMask, FrameType, MaskSource

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
        make_sandbox=lambda processes, *_limits: InlineSandbox(processes),
    )

    async def main() -> Any:
        async with (
            app.router.lifespan_context(app),
            AsyncClient("http://localhost", transport=httpx.ASGITransport(app)) as client,
        ):
            track = await client.segment(service.clip, service.mask)
            listed = [job.id async for job in client.jobs()]
            return track, listed

    track, listed = asyncio.run(main())
    assert (track.masks == labels(service)).all()
    assert listed == [track.job.id]


def test_a_cut_download_is_joined_to_the_same_file(client: Client, service: Served, tmp_path: Path) -> None:
    """A download through connections that are cut has the bytes of an uncut one; the first is cut while it grows."""
    job = client.wait(client.submit(service.clip, service.mask), timeout=240)
    with cutting_proxy(str(service.client.base_url), [1200, 0, 1500, 900, 2000]) as address, Client(address) as cut:
        joined = cut.download(job, "png", tmp_path / "joined.zip")
        assert joined.stat().st_size > 2000
    answer = service.client.get(f"/v1/jobs/{job.id}/result?format=png")
    assert joined.read_bytes() == answer.content
    assert answer.headers["etag"].startswith('"')


def test_a_delete_without_an_answer_has_succeeded(client: Client, service: Served) -> None:
    """The connection is cut after the service has deleted the job; another job that never was stays an error."""
    job = client.submit(service.clip, service.mask)
    with cutting_proxy(str(service.client.base_url), [0]) as address, Client(address) as cut:
        cut.delete(job)
        with pytest.raises(keymask.NotFoundError, match=f"{address}/v1/jobs/{job.id}"):
            cut.delete(job)


def test_prefer_wait_may_exceed_the_timeout(service: Served) -> None:
    """The client waits as long as it asked the service to wait, although its time-out is shorter."""
    with Client(str(service.client.base_url), timeout=0.5, retries=0) as client, service.held():
        assert client.submit(service.clip, service.mask, prefer_wait=1).status == "running"


def test_soft_masks_are_downloaded(client: Client, service: Served, tmp_path: Path) -> None:
    """NumPy reads them; a job without the option has none, and says why."""
    track = client.segment(service.clip, service.mask, soft=True)
    (item,) = track.job.prompt
    inside = labels(service) == item.object
    with np.load(client.download(track.job, "npz", tmp_path / "soft.npz")) as arrays:
        assert arrays.files == [f"{item.object}/{frame.index:05d}" for frame in track]
        for frame in track:
            levels = (255, 0) if frame.source == "prompt" else (200, 20)
            assert np.array_equal(arrays[f"{item.object}/{frame.index:05d}"], np.where(inside, *levels))
    with pytest.raises(keymask.ConflictError, match="the option soft"):
        client.download(client.segment(service.clip, service.mask).job, "npz", tmp_path / "none.npz")


def test_a_track_is_saved_as_the_command_line_does(client: Client, service: Served, tmp_path: Path) -> None:
    """The same names, indices, size and palette as the files of `keymask run`."""
    whole = client.segment(service.clip, service.mask)
    track = keymask.Track(whole.job, whole.frames[3:6])
    writer = PngWriter(tmp_path / "run")
    for frame in track:
        kind, source = FrameType(frame.type), MaskSource(frame.source)
        writer.write(FrameMask(frame.index, frame.pts, frame.time, kind, source, frame.mask, {}))
    saved = track.save(tmp_path / "saved" / "dog")
    names = sorted(path.name for path in saved.iterdir())
    assert names == ["00003.png", "00004.png", "00005.png"] == sorted(p.name for p in (tmp_path / "run").iterdir())
    for name in names:
        with Image.open(saved / name) as ours, Image.open(tmp_path / "run" / name) as theirs:
            assert (ours.mode, ours.size, ours.getpalette()) == (theirs.mode, theirs.size, theirs.getpalette())
            assert ours.tobytes() == theirs.tobytes()


INTERRUPTED = {
    "sync": "keymask.Client(url).segment(clip, mask, progress=print)",
    "async": "asyncio.run(keymask.AsyncClient(url).segment(clip, mask, progress=print))",
}


@pytest.mark.parametrize("call", INTERRUPTED.values(), ids=INTERRUPTED)
def test_ctrl_c_in_segment_cancels_the_job(service: Served, call: str) -> None:
    """A real SIGINT ends the program with KeyboardInterrupt, and the job on the service."""
    # A program that a shell has put into the background ignores SIGINT, and so do its children.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    script = f"{heed}; import asyncio, sys, keymask; url, clip, mask = sys.argv[1:]; {call}"
    arguments = [str(service.client.base_url), str(service.clip), str(service.mask)]
    with service.held(2):
        with subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            cwd=ROOT, env={**os.environ, "PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            assert b"segmenting" in process.stdout.readline()
            process.send_signal(signal.SIGINT)
            try:
                _, errors = process.communicate(timeout=60)
            finally:
                process.kill()
        assert errors.rstrip().endswith(b"KeyboardInterrupt")
        (newest,) = service.client.get("/v1/jobs?limit=1").json()["jobs"]
    service.until(newest["id"], "canceled")


def test_a_stream_that_is_left_cancels_its_job(client: Client, service: Served) -> None:
    """After `break`, the service does not compute masks that nobody reads."""
    with service.held(2):
        for frame in client.stream(service.clip, service.mask):
            assert frame.index == 0
            break
        newest = next(client.jobs(limit=1))
    service.until(newest.id, "canceled")

    async def main() -> None:
        async with (
            AsyncClient(str(service.client.base_url)) as opened,
            contextlib.aclosing(opened.stream(service.clip, service.mask)) as frames,
        ):
            async for _ in frames:
                break

    with service.held(2):
        asyncio.run(main())
        newer = next(client.jobs(limit=1))
    assert newer.id != newest.id
    service.until(newer.id, "canceled")


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


def test_a_track_is_corrected_and_undone(client: Client, service: Served) -> None:
    """A correction through the client changes its frame and no other, in a new track; undo leads back."""
    track = client.segment(service.clip, service.mask)
    fixed = np.zeros_like(labels(service))
    fixed[30:40, 5:20] = 1
    corrected = track.correct(frame=5, mask=fixed)
    np.testing.assert_array_equal(corrected[5].mask, fixed)
    np.testing.assert_array_equal(np.delete(corrected.masks, 5, 0), np.delete(track.masks, 5, 0))
    assert corrected.sources[5] == "corrected"
    assert [job.id for job in corrected.job.versions()] == [track.job.id, corrected.job.id]
    assert corrected.job.undo() == client.get(track.job)


def test_the_asynchronous_client_corrects_too(service: Served) -> None:
    """`AsyncClient` has the same methods, awaited."""

    async def corrected() -> list[str]:
        async with AsyncClient(str(service.client.base_url), timeout=240) as client:
            track = await client.segment(service.clip, service.mask)
            job = await client.correct(track.job, frame=5, object=1, absent=True)
            assert not (await client.track(job))[5].objects
            versions = await client.versions(job)
            assert (await client.undo(job)).id == track.job.id
            return [version.id for version in versions if version.id != job.id] + [track.job.id]

    assert len(set(asyncio.run(corrected()))) == 1


def test_a_large_video_goes_in_chunks_and_becomes_a_job(
    client: Client, service: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job is the same as of the file in one piece, and its frames can be read."""
    monkeypatch.setattr("keymask.sending.upload.CHUNK_BYTES", 1000)
    uploaded = client.upload(service.clip)
    job = client.wait(client.submit(uploaded, service.mask))
    assert service.services.storage.job(job.id).video.read_bytes() == service.clip.read_bytes()
    with Image.open(io.BytesIO(client.frame(job, 3, width=32))) as picture:
        assert (picture.format, picture.size) == ("JPEG", (32, 24))
    with pytest.raises(keymask.NotFoundError, match=f"the video has {FRAMES} frames"):
        client.frame(job, FRAMES)
    with pytest.raises(keymask.NotFoundError):
        client.submit(uploaded, service.mask)  # the job has adopted it
