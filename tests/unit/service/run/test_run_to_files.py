"""A run into files, with a segmenter that needs no network."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from codec.errors import BrokenStreamError, UnreadableError
from service.config import Settings
from service.errors import MaskFileError, UsageError
from service.run.options import RunOptions
from service.run.outputs import Outputs
from service.run.run_to_files import RunRequest, run_to_files
from tests.support.media import square, write_broken, write_clip, write_mask
from tests.support.still_engine import load_still
from vos.errors import PromptError

TIMES = [0, 40, 50, 130, 131, 300, 460, 470]


@pytest.fixture
def request_(tmp_path: Path) -> RunRequest:
    """A run on a clip of 8 frames at uneven times, with every output."""
    out = tmp_path / "out"
    video = write_clip(tmp_path / "in.mp4", TIMES, audio="aac")
    mask = write_mask(tmp_path / "mask.png")
    return RunRequest(
        video,
        mask,
        Outputs(
            out,
            out / "overlay.mp4",
            out / "masks.ndjson",
            coco=out / "coco.json",
            ytvis=out / "ytvis.json",
            png=out / "masks.zip",
        ),
    )


def run(request: RunRequest, **options: Any) -> Any:
    """Run without a network."""
    return run_to_files(request, Settings(Path("/nowhere")), load=load_still, **options)


def report_of(request: RunRequest) -> dict[str, Any]:
    """Return the report in the file."""
    report: dict[str, Any] = json.loads(request.outputs.report.read_text(encoding="utf-8"))
    return report


def indices(request: RunRequest) -> list[int]:
    """Return the presentation indices that have a mask."""
    return sorted(int(path.stem) for path in request.outputs.masks.iterdir())


def test_every_writer_gets_every_frame(request_: RunRequest) -> None:
    """PNGs, report and RLE lines have the same frames, in presentation order, at the source's times."""
    run(request_)
    report = report_of(request_)
    lines = (request_.outputs.folder / "masks.ndjson").read_text(encoding="utf-8").splitlines()
    assert indices(request_) == [f["index"] for f in report["frames"]] == list(range(8))
    assert [f["time"] for f in report["frames"]] == pytest.approx([ms / 1000 for ms in TIMES])
    for entry, line in zip(report["frames"], map(json.loads, lines), strict=True):
        assert {k: entry[k] for k in ("index", "pts", "time", "type", "source")} == {
            k: line[k] for k in ("index", "pts", "time", "type", "source")
        }
    with Image.open(request_.outputs.masks / "00004.png") as picture:
        assert np.array_equal(np.asarray(picture), square(64, 48))
    assert request_.outputs.overlay is not None
    assert request_.outputs.overlay.stat().st_size > 1000


def test_annotations_and_zip_hold_the_same_masks(request_: RunRequest) -> None:
    """COCO and YouTube-VIS decode to the prompt's mask in every frame, and the zip has the bytes of the PNGs."""
    named = replace(request_, options=RunOptions(labels={1: "dog"}))
    run(named)
    outputs = request_.outputs
    assert outputs.coco is not None
    assert outputs.ytvis is not None
    assert outputs.png is not None
    data = json.loads(outputs.coco.read_text(encoding="utf-8"))
    videos = json.loads(outputs.ytvis.read_text(encoding="utf-8"))
    assert data["categories"] == videos["categories"] == [{"id": 1, "name": "dog", "supercategory": "object"}]
    assert [image["id"] for image in data["images"]] == list(range(1, 9))
    (track,) = videos["annotations"]
    for rle in [entry["segmentation"] for entry in data["annotations"]] + track["segmentations"]:
        assert np.array_equal(coco_mask.decode(rle), square(64, 48))
    assert len(data["annotations"]) == len(track["segmentations"]) == videos["videos"][0]["length"] == 8
    with zipfile.ZipFile(outputs.png) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == {
            path.name: path.read_bytes() for path in outputs.masks.iterdir()
        }
    report = report_of(request_)
    assert report["outputs"]["coco"] == str(outputs.coco)
    assert {Path(entry["path"]).name for entry in report["written"]} == {
        "overlay.mp4", "masks.ndjson", "coco.json", "ytvis.json", "masks.zip"
    }  # fmt: skip


def test_force_leaves_nothing_of_the_earlier_run(request_: RunRequest) -> None:
    """A second run into the folder, with fewer outputs and frames, removes all files of the first."""
    run(request_)
    fewer = replace(request_, outputs=Outputs(request_.outputs.folder), options=RunOptions(end=3), force=True)
    run(fewer)
    left = sorted(path.relative_to(request_.outputs.folder).as_posix() for path in request_.outputs.folder.rglob("*"))
    assert left == ["masks", "masks/00000.png", "masks/00001.png", "masks/00002.png", "report.json"]


def test_a_name_for_an_object_that_is_not_there_is_refused(request_: RunRequest) -> None:
    """The error names the id and the ids of the prompt; nothing is written."""
    with pytest.raises(UsageError, match=r"^labels names object 4; the prompt has 1$"):
        run(replace(request_, options=RunOptions(labels={1: "dog", 4: "cat"})))
    assert not request_.outputs.folder.exists()


def test_the_report_counts(request_: RunRequest) -> None:
    """The report has what the bitstream offered and how often the base network ran."""
    summary = run(request_)
    report = report_of(request_)
    assert report["complete"] is True
    assert report["error"] is None
    assert report["video"]["codec"] == "h264"
    assert report["video"]["motion_source"] == "bitstream"
    assert "objects: 1 (192 px, 6.2 %, dark red)" in summary.lines()
    entry = {"object": 1, "label": None, "frame": 0, "color": "#800000", "area": 192, "bbox": [16, 12, 16, 12]}
    assert report["prompt"] == [entry]
    assert sum(report["video"]["frame_types"].values()) == report["video"]["frames_read"] == 8
    assert report["video"]["motion_coverage"] + report["video"]["intra_share"] == pytest.approx(1)
    assert report["sources"] == {"prompt": 1, "corrected": 0, "key": 0, "propagated": 7, "fallback": 0}
    assert (report["key_share"], report["network_runs"], report["network_runs_saved"]) == (0.125, 1, 7)
    assert report == summary.to_json() | {"frames": report["frames"]}


def test_the_rate_counts_frames_before_the_start(request_: RunRequest) -> None:
    """Frames before the start are read, and the rate counts them."""
    summary = run(replace(request_, options=RunOptions(start=5)))
    assert summary.frames_read == 8
    busy = summary.seconds["total"] - summary.seconds["load"]
    assert summary.fps == pytest.approx(8 / busy)


def test_progress_is_reported_after_each_frame(request_: RunRequest) -> None:
    """The callback gets the number of masks written and the number expected."""
    reported: list[tuple[int, int | None]] = []
    request = replace(request_, options=RunOptions(end=5, prompt_frame=2))
    run(request, on_progress=lambda done, total: reported.append((done, total)))
    assert reported == [(1, 3), (2, 3), (3, 3)]
    assert indices(request) == [2, 3, 4]


def test_a_broken_stream_keeps_the_frames_before_the_break(request_: RunRequest, tmp_path: Path) -> None:
    """The frames before the break are written in every format; the report is not complete and says why."""
    video = write_broken(tmp_path / "broken.mp4")
    request = replace(request_, video=video, mask=write_mask(tmp_path / "large.png", 160, 96))
    with pytest.raises(BrokenStreamError) as caught:
        run(request)
    report = report_of(request)
    assert report["complete"] is False
    assert report["error"] == str(caught.value)
    assert 0 < caught.value.frames == report["frames_written"] == len(report["frames"]) < 24
    assert indices(request) == list(range(caught.value.frames))


def test_ctrl_c_keeps_what_is_written(request_: RunRequest) -> None:
    """An interruption ends the run, keeps the masks so far, and writes a report that says so."""

    def interrupt(done: int, _total: int | None) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(request_, on_progress=interrupt)
    report = report_of(request_)
    assert (report["complete"], report["error"], len(report["frames"])) == (False, "interrupted", 3)
    assert indices(request_) == [0, 1, 2]
    assert list(request_.outputs.folder.glob("*.part")) == []


def test_bad_input_leaves_no_trace(request_: RunRequest, tmp_path: Path) -> None:
    """Without a first mask, no folder is made."""
    (tmp_path / "text.mp4").write_text("no video at all", encoding="utf-8")
    write_mask(tmp_path / "small.png", 32, 32)
    Image.new("L", (64, 48)).save(tmp_path / "empty.png")
    cases: list[tuple[dict[str, Any], type[Exception]]] = [
        ({"video": tmp_path / "text.mp4"}, UnreadableError),
        ({"mask": tmp_path / "small.png"}, MaskFileError),
        ({"mask": tmp_path / "empty.png"}, PromptError),
        ({"outputs": Outputs(tmp_path / "out", tmp_path / "out" / "o.avi")}, UsageError),
    ]
    for change, error in cases:
        with pytest.raises(error):
            run(replace(request_, **change))
        assert not (tmp_path / "out").exists()


def test_force_leaves_no_old_mask(request_: RunRequest) -> None:
    """A second run is refused; with force, only the new masks remain."""
    run(request_)
    with pytest.raises(UsageError, match="from an earlier run"):
        run(request_)
    run(replace(request_, force=True, options=RunOptions(end=2)))
    assert indices(request_) == [0, 1]
