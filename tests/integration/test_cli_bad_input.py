"""What a user reads after bad input: one line that says what was given and what is allowed, and the exit code."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import av
import numpy as np
import pytest
from PIL import Image

from service.cli import main
from service.results.png import encode_mask
from tests.media import square, write_broken, write_clip, write_grey, write_mask
from tests.odd_streams import ODD_STREAMS

Arguments: TypeAlias = Callable[[Path], list[str]]
"""Makes files in a folder and gives the arguments of `keymask`."""


@dataclass(frozen=True)
class Case:
    """Bad input.

    Attributes:
        arguments: What is run.
        message: Pattern of the whole line after "keymask: error: ".
        exit_code: 2 for bad usage or input, 1 for a failure.
    """

    arguments: Arguments
    message: str
    exit_code: int = 2


def run_with(*more: str, **files: bytes | None) -> Arguments:
    """`keymask run` on a good clip and mask, with further options, and files put in place of good ones.

    Args:
        more: Further options; "{tmp}" stands for the test's folder.
        files: Content of `video` or `mask`; None: no such file.
    """

    def arguments(tmp: Path) -> list[str]:
        video, mask = tmp / "in.mp4", tmp / "mask.png"
        write_clip(video)
        write_mask(mask)
        for name, path in (("video", video), ("mask", mask)):
            if name in files:
                path.unlink()
                content = files[name]
                if content is not None:
                    path.write_bytes(content)
        options = [option.format(tmp=tmp) for option in more]
        return ["run", str(video), "--mask", str(mask), "--out", str(tmp / "out"), "--weights", "seeded", *options]

    return arguments


def run_on(make_video: Callable[[Path], object], width: int = 64, height: int = 48) -> Arguments:
    """`keymask run` on a file that `make_video` writes."""

    def arguments(tmp: Path) -> list[str]:
        make_video(tmp / "in.mp4")
        mask = write_mask(tmp / "mask.png", width, height)
        return ["run", str(tmp / "in.mp4"), "--mask", str(mask), "--out", str(tmp / "out"), "--weights", "seeded"]

    return arguments


def plain(*words: str) -> Arguments:
    """The arguments as they are; "{tmp}" stands for the test's folder."""
    return lambda tmp: [word.format(tmp=tmp) for word in words]


def audio_only(path: Path) -> None:
    """A file with sound and no picture."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def header_of(path: Path) -> None:
    """An MP4 whose frames are missing."""
    write_clip(path)
    data = path.read_bytes()
    at = data.index(b"mdat") - 4
    size = int.from_bytes(data[at : at + 4], "big")
    path.write_bytes(data[: at + 8] + bytes(size - 8) + data[at + size :])


def turned_around(tmp: Path) -> list[str]:
    """A mask in the coded size of a video that is displayed turned."""
    write_clip(tmp / "in.mp4", rotation=90)
    return ["run", str(tmp / "in.mp4"), "--mask", str(write_mask(tmp / "mask.png")), "--out", str(tmp / "out")]


def earlier_result(tmp: Path) -> list[str]:
    """A run into a folder that holds a report."""
    (tmp / "out").mkdir()
    (tmp / "out" / "report.json").write_text("{}", encoding="utf-8")
    return run_with()(tmp)


def grey(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], tmp: Path) -> bytes:
    """The bytes of a PNG without a palette."""
    return write_grey(tmp / "grey.png", pixels).read_bytes()


def black_mask(tmp: Path) -> list[str]:
    """A mask without any object."""
    return run_with(mask=grey(np.zeros((48, 64), np.uint8), tmp))(tmp)


def jpeg_mask(tmp: Path) -> list[str]:
    """A JPEG that is named like a PNG."""
    Image.fromarray(square(64, 48) * 255).save(tmp / "photo.jpg")
    return run_with(mask=(tmp / "photo.jpg").read_bytes())(tmp)


HEVC = ODD_STREAMS["hevc"].make
GOOD_MASK = encode_mask(square(64, 48))
VIDEO = r"'\S+in\.mp4'"

CASES: dict[str, Case] = {
    # usage
    "unknown command": Case(plain("segment"), r"No such command 'segment'\."),
    "unknown option": Case(plain("run", "--fast"), r"No such option: --fast.*"),
    "no video": Case(plain("run"), r"Missing argument '\{?video\}?'\."),
    "no mask": Case(plain("run", "a.mp4", "--out", "o"), r"Missing option '--mask'\."),
    "no out": Case(plain("run", "a.mp4", "--mask", "m.png"), r"Missing option '--out'\."),
    "start is no number": Case(
        run_with("--start", "soon"), r"Invalid value for '--start': Input should be a valid integer.*"
    ),
    "start below 0": Case(run_with("--start", "-1"), r"start is -1; it must be 0 or more"),
    "end before start": Case(
        run_with("--start", "5", "--end", "5"), r"end is 5; it must be more than start, which is 5"
    ),
    "prompt frame below 0": Case(run_with("--prompt-frame", "-2"), r"prompt frame is -2; it must be 0 or more"),
    "prompt frame after the end": Case(run_with("--prompt-frame", "99"), r"the prompt's frame is 99; .* 12 frames.*"),
    "start before the prompt": Case(
        run_with("--prompt-frame", "4", "--start", "2"), r"start is 2, before the prompt's frame 4; .*"
    ),
    "start after the end": Case(run_with("--start", "50"), r"start is 50; the video has 12 frames, 0 to 11"),
    "unknown key frames": Case(run_with("--keyframes", "often"), r"keyframes is 'often'; .*adaptive.*codec.*every:N.*"),
    "every 0": Case(run_with("--keyframes", "every:0"), r".*every:0.*"),
    "unknown model": Case(run_with("--model", "sam"), r"model is 'sam'; it must be one of compact, stm, stcn"),
    "unknown motion": Case(run_with("--motion", "guess"), r"motion is 'guess'; .*auto.*bitstream.*proxy.*"),
    "unknown device": Case(run_with("--device", "tpu"), r"device is 'tpu'; it must be auto, cpu, cuda or cuda:N"),
    "unknown precision": Case(
        run_with("--precision", "int4"), r"precision is 'int4'; it must be auto, float32, bfloat16, float16"
    ),
    "max side 0": Case(run_with("--max-side", "0"), r"Invalid value for '--max-side': .*greater than or equal to 16"),
    "missing weights": Case(
        run_with("--weights", "{tmp}/none.safetensors"), r"\S+none\.safetensors cannot be read: .*"
    ),
    "weights not pulled": Case(
        lambda tmp: [a for a in run_with("--model", "stm")(tmp) if a not in ("--weights", "seeded")],
        r"stm's weights are not here .* `keymask models pull stm`.*",
    ),
    "bench with half an input": Case(plain("bench", "a.mp4"), r"VIDEO and --mask go together; .*"),
    # outputs
    "an earlier result": Case(earlier_result, r"\S+report\.json from an earlier run: .* --force"),
    "out is a file": Case(
        lambda tmp: [*run_with()(tmp)[:-4], "--out", str(write_mask(tmp / "o"))], r"--out \S+ is a file; .*"
    ),
    "overlay of unknown kind": Case(
        run_with("--overlay", "{tmp}/o.gif"), r"the overlay is 'o\.gif'; allowed endings: \.mp4, \.m4v, \.mov, \.mkv"
    ),
    "overlay over the video": Case(
        run_with("--overlay", "{tmp}/in.mp4", "--force"), r"\S+in\.mp4 is an input of this run; .*"
    ),
    "json into no folder": Case(
        run_with("--json", "{tmp}/none/a.json", "--end", "2"), r"--json \S+: the folder \S+ does not exist"
    ),
    # the mask
    "mask missing": Case(run_with(mask=None), r"the mask \S+ does not exist"),
    "mask empty file": Case(run_with(mask=b""), r"the mask \S+ is not a PNG picture"),
    "mask is text": Case(run_with(mask=b"hello"), r"the mask \S+ is not a PNG picture"),
    "mask is a JPEG": Case(jpeg_mask, r"the mask \S+ is not a PNG picture"),
    "mask cut off": Case(run_with(mask=GOOD_MASK[:-30]), r"the mask \S+ is damaged: .*"),
    "mask of another size": Case(
        run_with(mask=encode_mask(square(48, 64))), r"the mask \S+ is 48x64; the video is displayed at 64x48; .*"
    ),
    "mask in coded size": Case(turned_around, r"the mask \S+ is 64x48; the video is displayed at 48x64; .*"),
    "mask without object": Case(black_mask, r"the mask marks no object: every pixel is 0; .*"),
    # the video
    "video missing": Case(run_with(video=None), VIDEO + r" cannot be opened: No such file or directory"),
    "video empty": Case(run_with(video=b""), VIDEO + r" is empty: 0 bytes"),
    "video is a folder": Case(run_on(Path.mkdir), VIDEO + r" is a folder; a video file is expected"),
    "video is text": Case(run_with(video=b"hello, world\n" * 50), VIDEO + r" is .*"),
    "video is noise": Case(
        run_with(video=np.random.default_rng(0).bytes(5000)), VIDEO + r" is not a video that FFmpeg can read: .*"
    ),
    "video is a picture": Case(run_with(video=GOOD_MASK), VIDEO + r" is a still picture .*"),
    "video is a list": Case(run_with(video=b"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\na.ts\n"), VIDEO + r" is .*"),
    "video without pictures": Case(run_on(audio_only), VIDEO + r" has no video stream; its streams: audio"),
    "video of zeros": Case(run_on(header_of), VIDEO + r" .*"),
    "no vectors in it": Case(
        lambda tmp: [*run_with(video=HEVC(), mask=encode_mask(square(160, 96)))(tmp), "--motion", "bitstream"],
        r"motion is 'bitstream', but hevc streams export no motion vectors; allowed here: auto, proxy",
    ),
    "video breaks in the middle": Case(
        run_on(write_broken, 160, 96), VIDEO + r" is damaged: decoding stopped after 12 frames .*", exit_code=1
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_gets_one_clear_line(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bad input ends with its exit code and exactly one line on standard error that names the fault; no traceback."""
    case = CASES[name]
    exit_code = main(case.arguments(tmp_path))
    output, error = capsys.readouterr()
    assert re.fullmatch(f"keymask: error: {case.message}\n", error)
    assert exit_code == case.exit_code
    assert output == ""


def test_the_table_is_long_enough() -> None:
    """At least 30 kinds of bad input are tried."""
    assert len(CASES) >= 30
