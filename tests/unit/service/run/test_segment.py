"""The one way from a video and a prompt to masks, with a segmenter that needs no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from codec.displayed_frame import read_displayed_frame
from codec.errors import BrokenStreamError, MotionError
from codec.types import CompressedFrame, UInt8Array
from service.config import Settings
from service.errors import MaskSizeError, TooManyObjectsError, UsageError
from service.prompts.made_mask import make_mask
from service.prompts.shapes import ShapePrompt
from service.run.model_loader import LoadedModel
from service.run.options import RunOptions
from service.run.segment import segment
from service.run.source.video_input import Video
from tests.support.media import square, write_clip, write_mask
from tests.support.odd_streams import cut_before, with_stated_seconds
from tests.support.still_engine import load_still
from tests.support.synthetic import encode, pan, x264
from vos.errors import OptionError, PromptError


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of 5 pictures of 64x48, numbered 0 to 6 without 2 and 3."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in (0, 1, 4, 5, 6):
        Image.new("RGB", (64, 48), (40 * number, 0, 0)).save(folder / f"{number:05d}.jpg")
    return folder


def test_a_path_bytes_a_folder_a_list_and_an_array_are_videos(tmp_path: Path, pictures: Path) -> None:
    """Each yields one mask per frame; only a bitstream has its own motion."""
    clip = write_clip(tmp_path / "in.mp4")
    array = np.zeros((4, 48, 64, 3), np.uint8)
    videos: list[tuple[Video, int, str]] = [
        (clip, 12, "bitstream"),
        (str(clip), 12, "bitstream"),
        (clip.read_bytes(), 12, "bitstream"),
        (pictures, 5, "proxy"),
        (sorted(pictures.iterdir())[:3], 3, "proxy"),
        (array, 4, "proxy"),
    ]
    for video, count, source in videos:
        with segment(video, square(64, 48), load=load_still) as run:
            assert [mask.index for mask in run] == list(range(count))
            assert run.info.motion_source == source
            assert run.bitstream.frames == run.stats.total == count


def test_missing_numbers_are_noted(pictures: Path) -> None:
    """A folder with gaps is segmented as it is, and the note names the missing numbers."""
    with segment(pictures, square(64, 48), load=load_still) as run:
        assert run.notes == [f"{pictures} has no picture 2 to 3 (2 missing); masks are numbered by position, 0 to 4"]


def test_a_jump_of_the_clock_is_noted_and_times_go_on(tmp_path: Path) -> None:
    """Where two transport streams are joined, the report names the frame, and times keep their distance across it."""
    clip = write_clip(tmp_path / "part.ts", range(90_000_000, 90_000_480, 40)).read_bytes()
    with segment(clip * 2, square(64, 48), RunOptions(), load=load_still) as run:
        masks = list(run)
        (note,) = run.report({"total": 1.0}).notes
    assert [mask.time for mask in masks] == pytest.approx([i / 25 for i in range(24)])
    assert masks[0].pts == masks[12].pts
    assert note == "the clock of the stream jumps at frame 12; times go on from the frame before"
    with segment(clip * 2, square(64, 48), RunOptions(end=12), load=load_still) as run:
        list(run)
        assert run.report({"total": 1.0}).notes == ()


def test_a_mask_is_a_file_or_an_array(tmp_path: Path) -> None:
    """Both give the same prompt; an array of another size than the video is refused before the network is loaded."""
    clip, mask = write_clip(tmp_path / "in.mp4"), write_mask(tmp_path / "mask.png")
    for prompt in (mask, square(64, 48)):
        with segment(clip, prompt, load=load_still) as run:
            assert np.array_equal(next(iter(run)).labels, square(64, 48))
    with pytest.raises(MaskSizeError, match="the mask is 48x64; the video is displayed at 64x48"):
        segment(clip, square(48, 64), load=load_still)


@pytest.mark.parametrize(
    ("options", "prompt", "error"),
    [
        (RunOptions(start=3, end=3), square(64, 48), OptionError),
        (RunOptions(), np.zeros((48, 64), np.uint8), PromptError),
        (RunOptions(motion="bitstream"), square(64, 48), MotionError),
    ],
)
def test_bad_input_is_refused_at_once(
    pictures: Path, options: RunOptions, prompt: UInt8Array, error: type[Exception]
) -> None:
    """The call itself raises, not the first step of the iteration."""
    with pytest.raises(error):
        segment(pictures, prompt, options, load=load_still)


def test_masks_before_a_break_are_yielded(pictures: Path) -> None:
    """A picture that cannot be read ends the masks with an error, after the ones before it."""
    (pictures / "00004.jpg").write_bytes(b"no picture")
    found: list[int] = []
    with segment(pictures, square(64, 48), load=load_still) as run, pytest.raises(BrokenStreamError):
        found.extend(mask.index for mask in run)
    assert found == [0, 1]


def test_each_frame_is_announced_before_its_mask(tmp_path: Path) -> None:
    """The callback sees frames in decode order, and what it raises ends the run."""
    seen: list[int] = []

    def stop(frame: CompressedFrame) -> None:
        seen.append(frame.decode_index)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with (
        segment(write_clip(tmp_path / "in.mp4"), square(64, 48), load=load_still, on_frame=stop) as run,
        pytest.raises(KeyboardInterrupt),
    ):
        list(run)
    assert seen == [0, 1, 2]


def notes_of(video: Video, **options: Any) -> list[str]:
    """Return the notes of a whole run."""
    with segment(video, square(64, 48), RunOptions(**options), load=load_still) as run:
        assert list(run)
        return run.notes


def test_frames_beyond_the_video_are_refused_before_the_network_is_loaded(tmp_path: Path) -> None:
    """The prompt frame and the start must be frames that are shown; packets before a cut are none."""
    loaded: list[object] = []

    def load(*arguments: Any) -> LoadedModel:
        loaded.append(arguments)
        return load_still(*arguments)

    whole = encode(pan(40, (64, 48)).frames, "libx264", x264(bframes=2, keyint=12), container="mpegts")
    (tmp_path / "cut.ts").write_bytes(cut_before(whole, 14, "mpegts"))
    for options, message in (
        ({"prompt_frame": 16}, "the prompt frame is 16; the video has 16 frames, 0 to 15"),
        ({"start": 20}, "start is 20; the video has 16 frames, 0 to 15"),
    ):
        for video in (tmp_path / "cut.ts", np.stack(list(pan(16, (64, 48)).frames))):
            with pytest.raises(OptionError, match=message):
                segment(video, square(64, 48), RunOptions(**options), load=load)
    assert loaded == []
    (note,) = notes_of(tmp_path / "cut.ts", prompt_frame=15)
    assert "cut between key frames: nothing can be decoded before packet 10" in note


def test_an_end_beyond_the_video_is_noted(tmp_path: Path) -> None:
    """The run ends with the video, and says so."""
    clip = write_clip(tmp_path / "in.mp4")
    assert notes_of(clip, end=12) == []
    assert notes_of(clip, end=13) == ["end is 13; the video has 12 frames, so the run ends with its last frame"]


@pytest.mark.parametrize("container", ["matroska", "flv"])
def test_a_wrong_duration_is_noted(container: str) -> None:
    """All masks are there, and a note says what the header states."""
    video = encode(pan(12, (64, 48)).frames, "libx264", x264(bframes=2), container=container)
    assert notes_of(video) == []
    wrong = with_stated_seconds(video, container, 90.0)
    assert notes_of(wrong) == ["the video's header states 90.0 seconds; its pictures end after 0.5"]
    assert notes_of(wrong, end=5) == []


def test_more_objects_than_allowed_are_refused(tmp_path: Path) -> None:
    """The setting holds for every run, and the error says what it is called."""
    clip = write_clip(tmp_path / "in.mp4")
    labels = np.zeros((48, 64), np.uint8)
    labels[:6, :10] = np.arange(1, 61).reshape(6, 10)
    with pytest.raises(TooManyObjectsError, match=r"marks 60 objects; allowed: 50, the setting KEYMASK_MAX_OBJECTS"):
        segment(clip, labels, load=load_still)
    with segment(clip, labels, settings=Settings(max_objects=60), load=load_still) as run:
        assert len(list(run)) == 12


def test_boxes_and_points_become_the_prompt(tmp_path: Path) -> None:
    """The mask is made on the frame that the shapes mark, also of a binary file, and notes say what to check."""
    clip = write_clip(tmp_path / "clip.mp4")
    shapes = (ShapePrompt(frame=3, object=2, box=(10, 8, 30, 60)), ShapePrompt(object=4, points=((50, 10, 1),)))
    made = make_mask(read_displayed_frame(clip, 3).rgb, shapes)
    with clip.open("rb") as file, segment(file, shapes, load=load_still) as run:
        masks = list(run)
        assert run.options.prompt_frame == 3
        assert np.array_equal(run.prompt.prompt.labels, made.labels)
        assert run.notes[-len(made.notes) :] == list(made.notes)
    assert [mask.index for mask in masks] == list(range(3, 12))
    assert np.array_equal(masks[0].labels, made.labels)


def test_shapes_on_another_frame_than_the_option_are_refused(tmp_path: Path) -> None:
    """An option that was set must agree; a frame beyond the end is named as such."""
    clip = write_clip(tmp_path / "clip.mp4")
    shapes = (ShapePrompt(frame=3, object=2, box=(10, 8, 30, 60)),)
    with pytest.raises(UsageError, match="the prompt marks frame 3, but prompt_frame is 0"):
        segment(clip, shapes, RunOptions(prompt_frame=0), load=load_still)
    with pytest.raises(OptionError, match="the prompt frame is 12; the video has 12 frames, 0 to 11"):
        segment(clip, (shapes[0].model_copy(update={"frame": 12}),), load=load_still)
