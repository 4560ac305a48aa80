"""A run that was cut off is continued: the same results, and only the missing masks are computed."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from codec import backwards
from codec.decode.decoder import PresentedPicture
from codec.decode.seeking import Timestamps
from codec.demux.source import VideoSource
from codec.errors import BrokenStreamError
from service.cli.main import main
from service.config import Settings
from service.errors import UsageError
from service.run.options import RunOptions
from service.run.report import Report
from service.run.resume.fingerprint import digest_of
from service.run.run_to_files import RunRequest, is_finished, run_to_files
from tests.support import resumable
from tests.support.media import write_broken, write_clip, write_mask
from tests.support.networks import MemoryNetwork
from tests.support.paths import ROOT
from tests.support.resumable import load_memory, request_of
from tests.support.soft_masks import arrays_in
from tests.support.still_engine import load_still
from vos.runtime.process_lock import ProcessLock

FRAMES = 24
BACK = 11
"""Frames of the walk back from the prompt frame to the first frame of the output."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a clip and its mask."""
    write_clip(tmp_path / "in.mp4", range(0, 40 * FRAMES, 40))
    write_mask(tmp_path / "mask.png")
    return tmp_path


@pytest.fixture(autouse=True)
def no_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save a state after every mask, however long that takes."""
    monkeypatch.setattr("service.run.resume.save_schedule._MAX_TIME_SHARE", math.inf)


def run(request: RunRequest, on_progress: Callable[[int, int | None], None] = lambda *_: None) -> Report:
    """Run and save the state as often as possible."""
    return run_to_files(request, Settings(), on_progress=on_progress, load=load_memory, state_seconds=0.0)


def counted(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[str]:
    """Return a list that grows with each call of a function."""
    calls: list[str] = []
    function = getattr(owner, name)

    def call(*given: Any, **named: Any) -> Any:
        calls.append(name)
        return function(*given, **named)

    monkeypatch.setattr(owner, name, call)
    return calls


def interrupt_after(count: int) -> Callable[[int, int | None], None]:
    """Return a callback that raises Ctrl-C after some masks."""

    def on_progress(done: int, _total: int | None) -> None:
        if done == count:
            raise KeyboardInterrupt

    return on_progress


def results(out: Path) -> dict[str, Any]:
    """Return everything that a run wrote, without what differs between two runs."""
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    with av.open(str(out / "overlay.mp4")) as overlay:
        pictures = [(frame.pts, frame.to_ndarray().tobytes()) for frame in overlay.decode(video=0)]
    return {
        "masks": {path.name: path.read_bytes() for path in sorted(out.glob("masks/*"))},
        "lines": (out / "masks.ndjson").read_bytes(),
        "overlay": pictures,
        "soft": {name: array.tobytes() for name, array in arrays_in(out / "soft.npz").items()},
        "report": {k: v for k, v in report.items() if k not in ("fps", "seconds", "resumed", "outputs", "written")},
    }


def kill_after(folder: Path, out: Path, count: int, direction: str = "forward") -> None:
    """Run in a process that is killed after some masks or, both ways, frames."""
    command = [sys.executable, "-m", resumable.__name__, folder, out, str(count), direction]
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    assert code == -signal.SIGKILL


def test_a_killed_run_is_continued_with_the_same_results(folder: Path) -> None:
    """After SIGKILL, masks, lines, overlay and report are those of a run that was never cut off."""
    run(request_of(folder, folder / "whole"))
    kill_after(folder, folder / "cut", 15)
    assert not (folder / "cut" / "report.json").exists()
    report = run(request_of(folder, folder / "cut", resume=True))
    assert report.resumed_at is not None
    assert 14 <= report.resumed_at <= 17
    assert results(folder / "cut") == results(folder / "whole")
    assert sorted(path.name for path in (folder / "cut").iterdir()) == [
        "masks", "masks.ndjson", "overlay.mp4", "report.json", "soft.npz",
    ]  # fmt: skip


@pytest.mark.parametrize("steps", [8, 15, 30], ids=["in the walk back", "before the first mask", "after the prompt"])
def test_a_killed_walk_back_is_not_repeated(folder: Path, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """After SIGKILL anywhere, results are those of a run that was never cut off, and less is segmented."""
    segmented = counted(monkeypatch, MemoryNetwork, "segment")
    read = counted(monkeypatch, backwards, "read_range")
    run(request_of(folder, folder / "whole", direction="both"))
    whole = len(segmented)
    kill_after(folder, folder / "cut", steps, "both")
    segmented.clear()
    read.clear()
    run(request_of(folder, folder / "cut", resume=True, direction="both"))
    assert results(folder / "cut") == results(folder / "whole")
    assert len(segmented) < whole
    assert bool(read) == (steps < BACK)
    assert not (folder / "cut" / ".resume").exists()


def test_a_walk_back_whose_masks_are_lost_is_repeated(folder: Path) -> None:
    """Its state alone is of no use."""
    run(request_of(folder, folder / "whole", direction="both"))
    out = folder / "cut"
    with pytest.raises(KeyboardInterrupt):
        run(request_of(folder, out, direction="both"), interrupt_after(BACK + 4))
    (out / ".resume" / "back.ndjson").write_bytes(b"")
    run(request_of(folder, out, resume=True, direction="both"))
    assert results(out)["masks"] == results(folder / "whole")["masks"]


def test_a_stream_that_breaks_in_the_walk_back_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would break at the same frame again."""
    read_range = backwards.read_range

    def broken(source: VideoSource, first: int, stop: int, timestamps: Timestamps | None) -> list[PresentedPicture]:
        if first < 5:
            raise BrokenStreamError("the stream is damaged", 5)
        return read_range(source, first, stop, timestamps)

    monkeypatch.setattr(backwards, "read_range", broken)
    monkeypatch.setattr(backwards, "_LONGEST_PASS", 4)
    with pytest.raises(BrokenStreamError):
        run(request_of(folder, folder / "out", direction="both"))
    assert not (folder / "out" / ".resume").exists()


@pytest.mark.parametrize("count", [1, 7, FRAMES - 2])
def test_an_interrupted_run_is_continued(folder: Path, count: int) -> None:
    """After Ctrl-C there is a report that says so, and a later run goes on, even if only the end is missing."""
    run(request_of(folder, folder / "whole"))
    out = folder / "cut"
    with pytest.raises(KeyboardInterrupt):
        run(request_of(folder, out), interrupt_after(count))
    assert json.loads((out / "report.json").read_text(encoding="utf-8"))["complete"] is False
    assert not is_finished(request_of(folder, out))
    run(request_of(folder, out, resume=True))
    assert results(out) == results(folder / "whole")
    assert is_finished(request_of(folder, out))


def test_a_lost_mask_is_computed_anew(folder: Path) -> None:
    """A state is only used if all masks before it exist."""
    run(request_of(folder, folder / "whole"))
    out = folder / "cut"
    with pytest.raises(KeyboardInterrupt):
        run(request_of(folder, out), interrupt_after(9))
    (out / "masks" / "00004.png").unlink()
    assert run(request_of(folder, out, resume=True)).resumed_at is None
    assert results(out) == results(folder / "whole")


def test_a_run_without_soft_masks_is_not_continued_with_them(folder: Path) -> None:
    """The masks from before the interruption lack them, so the run starts over; what it writes is complete."""
    run(request_of(folder, folder / "whole"))
    out = folder / "cut"
    request = request_of(folder, out, resume=True)
    without = replace(request, outputs=replace(request.outputs, exports={}), resume=False)
    with pytest.raises(KeyboardInterrupt):
        run(without, interrupt_after(5))
    assert run(request).resumed_at is None
    assert results(out) == results(folder / "whole")


def test_another_request_is_not_continued(folder: Path) -> None:
    """Other options, another mask or another video are refused, with or without a finished run."""
    out = folder / "cut"
    with pytest.raises(KeyboardInterrupt):
        run(request_of(folder, out), interrupt_after(5))
    same = request_of(folder, out, resume=True)
    other = replace(same, options=RunOptions(keyframes="every:4"))
    with pytest.raises(UsageError, match="of another video, mask or other options"):
        run(other)
    with pytest.raises(UsageError, match="that was cut off: continue it with --resume"):
        run(replace(same, resume=False))
    run(same)
    with pytest.raises(UsageError, match="of another video, mask or other options"):
        run(other)
    assert run(replace(other, force=True)).resumed_at is None


def test_two_processes_do_not_write_to_one_folder(folder: Path) -> None:
    """A run that is still running is not continued."""
    out = folder / "cut"
    with pytest.raises(KeyboardInterrupt):
        run(request_of(folder, out), interrupt_after(5))
    lock = ProcessLock(out / ".resume" / "lock")
    with pytest.raises(UsageError, match="another process is writing to"):
        run(request_of(folder, out, resume=True))
    lock.release()
    run(request_of(folder, out, resume=True))


def test_a_broken_video_leaves_nothing_to_continue(folder: Path) -> None:
    """It would break at the same frame again."""
    out = folder / "out"
    video, mask = write_broken(folder / "broken.mp4"), write_mask(folder / "large.png", 160, 96)
    request = replace(request_of(folder, out), video=video, mask=mask)
    with pytest.raises(Exception, match="is damaged"):
        run(request)
    assert not (out / ".resume").exists()
    with pytest.raises(Exception, match="is damaged"):
        run(replace(request, resume=True))


def test_the_command_continues_and_then_has_nothing_to_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`keymask run --resume` may be given from the start; a file that is wanted later is made."""
    monkeypatch.setattr("service.run.run_to_files.run_to_files", partial(run_to_files, load=load_still))
    arguments = ["run", str(folder / "in.mp4"), "--mask", str(folder / "mask.png"), "--out", str(folder / "out")]
    assert main([*arguments, "--resume"]) == 0
    assert f"{FRAMES} frames" in capsys.readouterr().out
    assert main([*arguments, "--resume"]) == 0
    assert capsys.readouterr().out == f"nothing to do: {folder / 'out' / 'report.json'} is complete\n"
    assert main([*arguments, "--resume", "--rle", str(folder / "lines.ndjson")]) == 0
    assert len((folder / "lines.ndjson").read_text(encoding="utf-8").splitlines()) == FRAMES


def test_the_digest_of_inputs_depends_on_their_content(tmp_path: Path) -> None:
    """A copy has the same digest; a changed end, another folder and other options have not."""
    video = tmp_path / "a.mp4"
    content = np.random.default_rng(0).bytes(3 << 20)
    video.write_bytes(content)
    (tmp_path / "copy.mp4").write_bytes(content)
    (tmp_path / "other.mp4").write_bytes(content[:-1] + b"x")
    digest = digest_of((video,), {"end": 3})
    assert digest == digest_of((tmp_path / "copy.mp4",), {"end": 3})
    assert len({digest, digest_of((tmp_path / "other.mp4",), {"end": 3}), digest_of((video,), {"end": 4})}) == 3
