"""The Python API in this process: sources, prompts, options, errors."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import get_type_hints

import av
import numpy as np
import pytest
import torch
from keymask.errors import LocalError
from keymask.local import LocalFrame, segment
from keymask.mask_file import encode as encode_mask
from keymask.options import LocalOptions, Options
from PIL import Image

from service.run.options import JobOptions, RunOptions
from service.run.segment import segment as run
from tests.support.media import write_clip

SIZE = (64, 48)
LABELS = np.zeros(SIZE[::-1], np.uint8)
LABELS[8:24, 8:24] = 1
LABELS[30:40, 40:56] = 2
OPTIONS = {"keyframes": "every:4", "end": 6}


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A short clip of SIZE."""
    return write_clip(tmp_path / "clip.mp4")


@pytest.fixture
def pictures() -> np.ndarray:
    """Six pictures uint8 [6, 48, 64, 3]: a bright square that moves over noise."""
    found = np.random.default_rng(0).integers(0, 90, (6, *SIZE[::-1], 3), np.uint8)
    for t, picture in enumerate(found):
        picture[8:24, 8 + 2 * t : 24 + 2 * t] += np.uint8(150)
    return found


def same(frames: list[LocalFrame], others: list[LocalFrame]) -> bool:
    """Whether two runs returned the same masks."""
    return len(frames) == len(others) and all(
        a.index == b.index and a.source == b.source and np.array_equal(a.mask, b.mask)
        for a, b in zip(frames, others, strict=True)
    )


def test_masks_are_those_of_a_run(clip: Path) -> None:
    """Index, time, source, labels and scores are those that the command line's run computes."""
    with run(clip, LABELS, RunOptions(**OPTIONS)) as masks:
        expected = list(masks)
    frames = list(segment(clip, LABELS, **OPTIONS))
    assert [frame.source for frame in frames] == ["prompt", *["propagated"] * 3, "key", "propagated"]
    for frame, mask in zip(frames, expected, strict=True):
        assert (frame.index, frame.time, frame.scores) == (mask.index, mask.time, mask.scores)
        np.testing.assert_array_equal(frame.mask, mask.labels)


def test_a_video_is_a_path_bytes_or_a_file(clip: Path) -> None:
    """All three give the same masks."""
    expected = list(segment(clip, LABELS, **OPTIONS))
    assert same(list(segment(str(clip), LABELS, **OPTIONS)), expected)
    assert same(list(segment(clip.read_bytes(), LABELS, **OPTIONS)), expected)
    with clip.open("rb") as file:
        assert same(list(segment(file, LABELS, **OPTIONS)), expected)


def test_prompts_on_several_frames(clip: Path) -> None:
    """Masks and lists of objects by frame mark any frames, and both directions cover the frames before them."""
    prompts = {3: LABELS, 5: [{"object": 2, "box": (4, 4, 12, 12)}]}
    frames = list(segment(clip, prompts=prompts, direction="both", **OPTIONS))
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert [frame.index for frame in frames if frame.source == "prompt"] == [3, 5]
    assert np.array_equal(frames[3].mask == 1, LABELS == 1)
    with pytest.raises(LocalError, match="prompts must map frames to masks"):
        segment(clip, prompts=[LABELS], **OPTIONS)  # type: ignore[arg-type]
    with pytest.raises(LocalError, match="give one of prompt, prompts, box and boxes; given: prompt, prompts"):
        segment(clip, LABELS, prompts=prompts, **OPTIONS)


def test_pictures_are_an_array_a_tensor_a_folder_or_a_list(pictures: np.ndarray, tmp_path: Path) -> None:
    """All four give the same masks, one per picture."""
    files = [tmp_path / f"{t:05d}.png" for t in range(len(pictures))]
    for file, picture in zip(files, pictures, strict=True):
        Image.fromarray(picture).save(file)
    expected = list(segment(pictures, LABELS, keyframes="every:4"))
    assert [frame.index for frame in expected] == list(range(6))
    for source in (torch.from_numpy(pictures), tmp_path, files, [str(file) for file in files]):
        assert same(list(segment(source, LABELS, keyframes="every:4")), expected)


def test_a_prompt_is_a_path_bytes_an_array_or_a_picture(clip: Path, tmp_path: Path) -> None:
    """Masks do not depend on the form of the prompt."""
    png = encode_mask(LABELS)
    (tmp_path / "mask.png").write_bytes(png)
    expected = list(segment(clip, LABELS, **OPTIONS))
    for prompt in (tmp_path / "mask.png", png, Image.open(io.BytesIO(png)), torch.from_numpy(LABELS)):
        assert same(list(segment(clip, prompt, **OPTIONS)), expected)


def test_frames_come_with_what_was_read(clip: Path) -> None:
    """Objects and notes are known before the first mask; arrays follow the rules of files."""
    frames = segment(clip, np.where(LABELS == 2, 0.8, 0.1), **OPTIONS)
    assert [(item.object, item.area, item.bbox) for item in frames.prompt] == [(1, 160, (40, 30, 16, 10))]
    assert frames.notes == ("the mask has probabilities; object 1 is where they are at least 0.5",)
    assert next(frames).index == 0
    frames.close()
    colors = np.array([(0, 0, 0), (128, 0, 0), (0, 128, 0)], np.uint8)[LABELS]
    for prompt in (colors, Image.fromarray(colors), LABELS.astype(float), LABELS[..., None]):
        assert [item.object for item in segment(clip, prompt, **OPTIONS).prompt] == [1, 2]
    assert [item.object for item in segment(clip, LABELS, mask_mode="binary", **OPTIONS).prompt] == [1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": "nowhere.mp4"}, "nowhere.mp4"),
        ({"source": np.zeros((3, 48, 64), np.uint8)}, "uint8"),
        ({"prompt": LABELS[:10]}, "64x10.*64x48"),
        ({"prompt": np.zeros((48, 64, 7), np.uint8)}, r"array of uint8 \[48, 64, 7\]"),
        ({"prompt": "no number"}, "no number does not exist"),
        ({"prompt": [["a"]]}, "the mask cannot be used: a mask is a path"),
        ({"prompt": b"no picture"}, "the mask is not a picture that can be read"),
        ({"quality": "good"}, "fast, balanced, best"),
        ({"speed": 3}, "speed"),
    ],
)
def test_bad_input_is_an_error_at_the_call(clip: Path, change: dict[str, object], message: str) -> None:
    """The error says what was given; it does not wait for the first mask."""
    arguments = {"source": clip, "prompt": LABELS} | change
    with pytest.raises(LocalError, match=message):
        segment(**arguments)  # type: ignore[arg-type]


def test_without_the_server_packages_the_error_says_how_to_install_them() -> None:
    """`keymask` imports none of them; `segment` names the distribution that is missing."""
    code = (
        "import sys; sys.modules['service'] = None; import keymask, keymask.local\n"
        "assert 'torch' not in sys.modules\n"
        "try: keymask.local.segment('a.mp4', 'b.png')\n"
        "except keymask.KeymaskError as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ServerNotInstalledError")
    assert "pip install keymask-server" in done.stdout


def test_the_client_offers_the_options_of_the_server() -> None:
    """Options of a job and of a run in this process have the names that the server's tables have."""
    assert set(Options.__annotations__) == set(JobOptions.model_fields)
    assert set(get_type_hints(LocalOptions)) == set(RunOptions.model_fields)


def test_a_dropped_iterator_closes_its_video(clip: Path) -> None:
    """No file stays open if no frame was asked for, or only some."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    frames = segment(clip, LABELS, **OPTIONS)
    del frames
    started = segment(clip, LABELS, **OPTIONS)
    next(started)
    del started
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_boxes_and_points_are_prompts(clip: Path, pictures: np.ndarray) -> None:
    """A box, boxes by id and a list of marks become the prompt, on a video and on pictures."""
    frames = list(segment(clip, [{"object": 3, "box": (8, 8, 20, 20), "frame": 1}], **OPTIONS))
    assert [frame.index for frame in frames] == [1, 2, 3, 4, 5]
    assert set(np.unique(frames[0].mask)) == {0, 3}
    boxed = segment(pictures, box=(8, 8, 16, 16), end=1)
    assert [item.object for item in boxed.prompt] == [1]
    (first,) = boxed
    assert (first.mask[10:22, 10:22] == 1).mean() > 0.9
    two = segment(clip, boxes={2: (8, 8, 20, 20), 5: (40, 20, 20, 20)}, end=1)
    assert set(np.unique(next(two).mask)) == {0, 2, 5}
    two.close()


def test_exports_are_written_while_masks_are_yielded(clip: Path, tmp_path: Path) -> None:
    """NumPy reads the soft masks: given ones are exact, others agree with the labels. Videos have the masks' frames."""
    files = {"npz": tmp_path / "soft.npz", "matte": tmp_path / "matte.mp4"}
    frames = list(segment(clip.read_bytes(), LABELS, exports=files, **OPTIONS))
    with np.load(files["npz"]) as soft:
        assert sorted(soft) == sorted(f"{number}/{frame.index:05d}" for number in (1, 2) for frame in frames)
        for number in (1, 2):
            assert np.array_equal(soft[f"{number}/00000"], np.where(number == LABELS, 255, 0))
            likely, mask = soft[f"{number}/00001"] > 127, frames[1].mask == number
            assert (likely & mask).sum() > 0.7 * (likely | mask).sum()
        for frame in frames:
            assert frame.soft is not None
            assert frame.soft.keys() == {1, 2}
            assert all(np.array_equal(frame.soft[i], soft[f"{i}/{frame.index:05d}"]) for i in (1, 2))
    with av.open(files["matte"]) as container:
        pictures = [picture.to_ndarray(format="gray") for picture in container.decode(video=0)]
    assert len(pictures) == len(frames)
    assert np.array_equal(pictures[1] > 127, frames[1].mask > 0)


def test_pictures_have_exports_without_a_video(pictures: np.ndarray, tmp_path: Path) -> None:
    """Formats that hold masks only need no file to read; a loop that is left early leaves what was yielded."""
    frames = segment(pictures, LABELS, exports={"binary-png": tmp_path / "masks.zip"})
    yielded = [next(frames) for _ in range(3)]
    frames.close()
    with zipfile.ZipFile(tmp_path / "masks.zip") as archive:
        read = {name: np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in archive.namelist()}
    assert len(read) == 2 * len(yielded)
    assert np.array_equal(read["2/00002.png"] > 0, yielded[2].mask == 2)


@pytest.mark.parametrize(
    ("exports", "message"),
    [
        ({"zip": "masks.zip"}, "there is no format 'zip'; allowed: png,"),
        ({"npz": "soft.zip"}, r"the npz file is 'soft.zip'; allowed endings: \.npz"),
        ({"matte": "matte.mp4"}, "matte reads the source a second time, so it needs a path or bytes"),
    ],
)
def test_exports_that_cannot_be_written_are_refused(
    pictures: np.ndarray, tmp_path: Path, exports: dict[str, str], message: str
) -> None:
    """The error is raised at the call, and no file is left."""
    with pytest.raises(LocalError, match=message):
        segment(pictures, LABELS, exports={name: tmp_path / file for name, file in exports.items()})
    assert not list(tmp_path.iterdir())


def test_bad_marks_are_refused(clip: Path) -> None:
    """Nothing, two ways at once, and boxes outside the picture are errors of one line."""
    with pytest.raises(LocalError, match="give one of prompt, prompts, box and boxes; given: none"):
        segment(clip)
    with pytest.raises(LocalError, match="given: prompt, box"):
        segment(clip, LABELS, box=(1, 2, 3, 4))
    with pytest.raises(LocalError, match="covers no pixel of the picture of 64x48"):
        segment(clip, box=(80, 2, 3, 4))
    with pytest.raises(LocalError, match=r"prompt\.0\.object is 300"):
        segment(clip, [{"object": 300, "box": (1, 2, 3, 4)}])
