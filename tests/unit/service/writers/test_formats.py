"""The formats of `--export` and `?format=`, each read back by another program's reader."""

from __future__ import annotations

import json
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pycocotools import mask as coco

from codec.reader import open_video
from codec.types import FrameType, UInt8Array
from service.cli.exports import EXPORTS
from service.errors import UsageError
from service.writers.annotations.polygons import polygons_of
from service.writers.categories import Categories
from service.writers.formats import FORMATS, Material
from service.writers.video.film import FilmWriter
from tests.support.media import write_clip
from vos.types import FrameMask, MaskSource

FRAMES = 12
WIDTH, HEIGHT = 63, 48


def labels_at(index: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> UInt8Array:
    """Return object 1, which moves, and object 3, which is there in frames 4 to 7 only; uint8 [height, width]."""
    labels = np.zeros(size[::-1], np.uint8)
    labels[8:24, 6 + index : 26 + index] = 1
    if 4 <= index < 8:
        labels[30:42, 30:40] = 3
    return labels


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A clip of an odd width, with sound."""
    return write_clip(tmp_path / "dog.mkv", size=(WIDTH, HEIGHT), audio="aac", pixel_format="yuv444p")


def write(name: str, source: Path, target: Path) -> list[str]:
    """Write a format from the masks of all frames; return the notes."""
    with open_video(source) as reader:
        info, frames = reader.info, sorted(reader, key=lambda frame: frame.index)
    size = info.display_width, info.display_height
    material = Material(
        source=source,
        name=source.name,
        size=size,
        read_info=lambda: info,
        objects=(1, 3),
        categories=Categories({1: "dog"}),
    )
    writer = FORMATS[name].open(target, material)
    for frame in frames:
        labels = labels_at(frame.index, size)
        mask = FrameMask(frame.index, frame.pts, frame.time, FrameType.P, MaskSource.KEY, labels, {1: 1.0, 3: 0.5})
        writer.write(mask)
    writer.close()
    writer.close()
    return writer.notes if isinstance(writer, FilmWriter) else []


def decoded(path: Path, decoder: str | None = None) -> list[av.VideoFrame]:
    """Decode a video, if need be with a decoder other than the usual one."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        if decoder is None:
            return list(container.decode(stream))
        context = av.CodecContext.create(decoder, "r")
        return [frame for packet in container.demux(stream) for frame in context.decode(packet)]  # type: ignore[misc]


def alpha_of(frame: av.VideoFrame) -> npt.NDArray[np.float64]:
    """Return the alpha plane, 0 to 1."""
    plane = frame.planes[3]
    deep = "12le" in frame.format.name
    rows = np.frombuffer(bytes(plane), np.uint16 if deep else np.uint8).reshape(plane.height, -1)
    return rows[:, : plane.width] / (4095 if deep else 255)


def seconds(path: Path, **streams: int) -> list[float]:
    """Return the presentation times of a stream's packets."""
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(**streams) if p.pts is not None]
        return sorted(float(p.pts * p.time_base) for p in packets)  # type: ignore[operator]


def sound_of(path: Path) -> tuple[float, float, str]:
    """Return when the decoded sound begins and ends, in seconds, and its codec."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
        name = container.streams.audio[0].codec_context.name
    assert frames[0].time is not None
    assert frames[-1].time is not None
    return frames[0].time, frames[-1].time + frames[-1].samples / frames[-1].sample_rate, name


def test_the_command_line_lists_all_formats() -> None:
    """Help names the formats without importing them, and each usual file name has an allowed ending."""
    assert list(EXPORTS) == list(FORMATS)
    for form in FORMATS.values():
        assert Path(form.file).suffix in form.suffixes


@pytest.mark.parametrize(("name", "decoder"), [("prores4444", None), ("vp9-alpha", "libvpx-vp9")])
def test_a_cutout_has_the_masks_as_alpha(clip: Path, tmp_path: Path, name: str, decoder: str | None) -> None:
    """Alpha is opaque inside the masks and 0 outside; the picture and the times are the source's."""
    target = tmp_path / FORMATS[name].file
    notes = write(name, clip, target)
    frames, source = decoded(target, decoder), decoded(clip)
    assert len(frames) == FRAMES
    for index, (frame, original) in enumerate(zip(frames, source, strict=True)):
        alpha = alpha_of(frame)[:HEIGHT, :WIDTH]
        wrong = np.abs(alpha - (labels_at(index) > 0))
        assert wrong.max() == 0 if name == "prores4444" else wrong.mean() < 0.02
        picture, before = (f.to_ndarray(format="rgb24").astype(float) for f in (frame, original))
        assert np.abs(picture[:HEIGHT, :WIDTH] - before).mean() < (5 if name == "prores4444" else 8)
    assert seconds(target, video=0) == pytest.approx(seconds(clip, video=0), abs=2e-3)
    assert notes == []
    sound, before = sound_of(target), sound_of(clip)
    assert sound[0] == pytest.approx(before[0], abs=0.03)
    assert sound[1] == pytest.approx(before[1], abs=0.03)
    assert sound[2] == ("aac" if name == "prores4444" else "opus")


def test_a_cutout_of_a_rotated_video_is_upright(tmp_path: Path) -> None:
    """Picture and alpha have the display size."""
    source = write_clip(tmp_path / "turned.mp4", size=(64, 48), rotation=90)
    write("prores4444", source, tmp_path / "cutout.mov")
    (frame, *_) = decoded(tmp_path / "cutout.mov")
    assert (frame.width, frame.height) == (48, 64)
    assert np.array_equal(alpha_of(frame) > 0.5, labels_at(0, (48, 64)) > 0)


def test_a_matte_is_white_where_objects_are(clip: Path, tmp_path: Path) -> None:
    """Away from outlines, where the encoder may blur, luma is white inside and black outside."""
    target = tmp_path / "matte.mp4"
    assert write("matte", clip, target) == []
    frames = decoded(target)
    assert len(frames) == FRAMES
    for index, frame in enumerate(frames):
        grey = frame.to_ndarray(format="gray").astype(float)[:HEIGHT, :WIDTH] / 255
        assert np.abs(grey - (labels_at(index) > 0)).mean() < 0.02
    assert seconds(target, video=0) == pytest.approx(seconds(clip, video=0), abs=2e-3)


def test_binary_pictures_of_each_object(clip: Path, tmp_path: Path) -> None:
    """Each object has a folder with one picture per frame: 255 inside, 0 outside, all black where it is absent."""
    write("binary-png", clip, tmp_path / "binary.zip")
    with zipfile.ZipFile(tmp_path / "binary.zip") as archive:
        assert sorted(archive.namelist()) == sorted(f"{i}/{n:05d}.png" for i in (1, 3) for n in range(FRAMES))
        for number in (1, 3):
            for index in range(FRAMES):
                picture = Image.open(BytesIO(archive.read(f"{number}/{index:05d}.png")))
                assert picture.mode == "L"
                assert np.array_equal(np.asarray(picture), np.where(labels_at(index) == number, 255, 0))


def test_boxes_for_label_studio(clip: Path, tmp_path: Path) -> None:
    """Frames count from 1, places are percentages, and an object that leaves has a last keyframe that ends it."""
    write("labelstudio", clip, tmp_path / "task.json")
    (task,) = json.loads((tmp_path / "task.json").read_text())
    assert task["data"] == {"video": "dog.mkv"}
    first, second = task["predictions"][0]["result"]
    assert [(r["type"], r["value"]["labels"], r["value"]["framesCount"]) for r in (first, second)] == [
        ("videorectangle", ["dog"], FRAMES),
        ("videorectangle", ["object 3"], FRAMES),
    ]
    for index, keyframe in enumerate(first["value"]["sequence"]):
        left, top = keyframe["x"] * WIDTH / 100, keyframe["y"] * HEIGHT / 100
        right, bottom = left + keyframe["width"] * WIDTH / 100, top + keyframe["height"] * HEIGHT / 100
        assert (keyframe["frame"], keyframe["enabled"]) == (index + 1, True)
        assert (left, top, right, bottom) == pytest.approx((6 + index, 8, 26 + index, 24), abs=1e-3)
    assert [(k["frame"], k["enabled"]) for k in second["value"]["sequence"]] == [
        (5, True), (6, True), (7, True), (8, False),
    ]  # fmt: skip


def test_polygons_in_a_coco_file(clip: Path, tmp_path: Path) -> None:
    """Every annotation's polygons, drawn by COCO's own code, are the mask."""
    write("polygons", clip, tmp_path / "polygons.json")
    found = json.loads((tmp_path / "polygons.json").read_text())
    assert len(found["annotations"]) == FRAMES + 4
    for entry in found["annotations"]:
        truth = labels_at(entry["image_id"] - 1) == entry["category_id"]
        assert iou(drawn(entry["segmentation"], truth.shape), truth) > 0.95


@pytest.mark.parametrize(("tolerance", "least", "points"), [(0.0, 0.985, 1000), (1.0, 0.96, 60), (8.0, 0.75, 16)])
def test_a_polygon_is_as_close_as_the_tolerance(tolerance: float, least: float, points: int) -> None:
    """A disc with a hole and a second part: no pixel differs farther from the outline than the tolerance allows."""
    rows, columns = np.mgrid[:120, :160]
    disc = (rows - 60) ** 2 + (columns - 60) ** 2 < 40**2
    mask = disc | ((rows > 20) & (rows < 50) & (columns > 120) & (columns < 150))
    holed = mask & ~((rows - 60) ** 2 + (columns - 60) ** 2 < 10**2)
    found = polygons_of(holed, box_of(holed), tolerance)
    assert len(found) == 2
    assert sum(len(polygon) for polygon in found) // 2 < points
    assert iou(drawn(found, mask.shape), mask) > least


def test_an_ending_that_says_another_format_is_refused(tmp_path: Path) -> None:
    """The error names what is allowed."""
    from service.run.outputs import Outputs

    with pytest.raises(UsageError, match=r"the matte file is 'matte.mov'; allowed endings: .mp4"):
        Outputs(tmp_path / "out", exports={"matte": tmp_path / "matte.mov"}).check((), force=False)


def drawn(polygons: list[list[float]], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Draw polygons with pycocotools."""
    rle: Any = coco.merge(coco.frPyObjects(polygons, shape[0], shape[1]))
    return np.asarray(coco.decode(rle) > 0)


def iou(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    """Return the intersection over the union."""
    return float((one & other).sum() / (one | other).sum())


def box_of(mask: npt.NDArray[np.bool_]) -> list[int]:
    """Return the bounding box (x, y, width, height)."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1]
