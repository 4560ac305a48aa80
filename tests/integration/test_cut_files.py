"""Files cut off in a transfer yield every complete frame, then an error that counts them."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from contextlib import closing
from itertools import islice
from pathlib import Path

import av
import av.error
import pytest

from codec import BrokenStreamError, CompressedFrame, NoFramesError, open_video
from codec.decode.decoder import VideoDecoder
from codec.demux.source import VideoFile
from codec.demux.truncation import segment_end
from service.cli.main import main
from tests.support.media import write_mask
from tests.support.odd_streams import ODD_STREAMS, h264, moov_first, pictures
from tests.support.synthetic import encode

X265 = {"x265-params": "log-level=none:pools=1:frame-threads=1"}
WHOLE: dict[str, Callable[[], bytes]] = {
    "h264 mp4": lambda: moov_first(h264(bframes=3)),
    "h264 mp4 without B": lambda: moov_first(h264(bframes=0)),
    "h264 mov": lambda: moov_first(h264("mov", bframes=2)),
    "hevc mp4": lambda: moov_first(encode(pictures(), "libx265", X265, container="mp4")),
    "vp9 mp4": lambda: moov_first(encode(pictures(), "libvpx-vp9", container="mp4")),
    "mjpeg mp4": lambda: moov_first(encode(pictures(), "mjpeg", container="mp4", pixel_format="yuvj420p")),
    "prores mov": lambda: moov_first(
        encode(pictures(), "prores_ks", container="mov", pixel_format="yuv422p10le"),
    ),
    "fragmented mp4": ODD_STREAMS["fragmented"].make,
    "h264 mkv": lambda: h264("matroska", bframes=3),
    "vp9 webm": ODD_STREAMS["vp9 with hidden frames"].make,
    "mpeg4 avi": ODD_STREAMS["mpeg4 with B"].make,
    "flv": ODD_STREAMS["flv"].make,
    "vp8 ivf": ODD_STREAMS["vp8"].make,
}
"""Files that store where their frames end."""


def arrived(whole: bytes, kept: int) -> list[int | None]:
    """Return the times of the frames that lie completely in the first `kept` bytes, from the whole file."""
    with av.open(io.BytesIO(whole)) as file:
        packets = [packet for packet in file.demux(video=0) if packet.size]
    return sorted(packet.pts for packet in packets if packet.pos + packet.size <= kept)


def means(whole: bytes) -> dict[int | None, float]:
    """Return the mean of the first plane of each picture by time, from a plain decode of the whole file."""
    with av.open(io.BytesIO(whole)) as file:
        file.streams.video[0].thread_count = 1
        return {frame.pts: float(frame.reformat(format="gray").to_ndarray().mean()) for frame in file.decode(video=0)}


def read(data: bytes) -> tuple[list[CompressedFrame], BrokenStreamError]:
    """Return the frames of a broken file in presentation order, and its error."""
    frames: list[CompressedFrame] = []
    with pytest.raises(BrokenStreamError) as caught, open_video(data) as reader:
        frames.extend(reader)
    return sorted(frames, key=lambda frame: frame.index), caught.value


@pytest.mark.parametrize("share", [0.7, 0.8, 0.93])
@pytest.mark.parametrize("name", WHOLE)
def test_complete_frames_are_yielded_before_the_error(name: str, share: float) -> None:
    """Number, times and pictures equal those of the whole file's frames that arrived; the error counts them."""
    whole = WHOLE[name]()
    kept = int(share * len(whole))
    expected = arrived(whole, kept)
    frames, error = read(whole[:kept])
    assert len(frames) == error.frames == len(expected) > 0
    assert [frame.pts for frame in frames] == expected
    assert str(error).startswith(
        f"the video of {kept} bytes is damaged: decoding stopped after {len(expected)} frames (cut off: "
    )
    truth = means(whole)
    assert [float(frame.luma.mean()) for frame in frames] == pytest.approx([truth[pts] for pts in expected], abs=3)


@pytest.mark.parametrize("name", ["h264 mp4", "h264 mov", "hevc mp4", "h264 mkv"])
def test_a_cut_between_frames_is_noticed(name: str) -> None:
    """A file that ends with a frame's last byte, in which FFmpeg finds no error, is reported as cut off."""
    whole = WHOLE[name]()
    with av.open(io.BytesIO(whole)) as file:
        packets = [packet for packet in file.demux(video=0) if packet.size]
    kept = packets[15].pos + packets[15].size if "mkv" not in name else packets[16].pos
    frames, error = read(whole[:kept])
    assert len(frames) == error.frames == 16


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_file_ends_without_an_error(name: str) -> None:
    """The same files, complete, yield all frames, also with trailing bytes."""
    whole = WHOLE[name]()
    with av.open(io.BytesIO(whole)) as file:
        count = sum(1 for _ in file.decode(video=0))
    assert count >= 24
    with open_video(whole) as reader:
        assert len(list(reader)) == count


def test_a_trimmed_file_is_not_cut_off() -> None:
    """Frames that an edit list hides are not yielded, and are no reason for an error."""
    whole = h264(bframes=3)
    place = whole.index(b"elst") + 12
    (duration,) = struct.unpack(">I", whole[place : place + 4])
    trimmed = whole[:place] + struct.pack(">I", duration // 2) + whole[place + 4 :]
    with av.open(io.BytesIO(trimmed)) as file:
        count = sum(1 for _ in file.decode(video=0))
    with open_video(trimmed) as reader:
        assert len(list(reader)) == count < 24


def test_a_live_matroska_stream_is_not_cut_off() -> None:
    """A segment of unknown length, as in a live stream, may end anywhere."""
    whole = bytearray(h264("matroska", bframes=0))
    place = whole.index(b"\x18\x53\x80\x67") + 4
    assert segment_end(bytes(whole[:256])) == len(whole)
    whole[place : place + 8] = b"\x01" + b"\xff" * 7
    assert segment_end(bytes(whole[:256])) is None
    with open_video(bytes(whole[: len(whole) // 2])) as reader:
        assert len(list(reader)) == 8


@pytest.mark.parametrize(
    ("head", "end"),
    [
        (b"", None),
        (b"\x1a\x45\xdf\xa3", None),
        (b"\x1a\x45\xdf\xa3\x82ab\x18\x53\x80\x67\x85", 17),
        (b"\x1a\x45\xdf\xa3\x40\x02ab\x18\x53\x80\x67\x10\x00\x00\x05", 21),
        (b"\x1a\x45\xdf\xa3\x82ab\x18\x53\x80\x67\xff", None),
        (b"\x1a\x45\xdf\xa3\x82ab\x18\x53\x80\x67\x00", None),
        (b"\x1a\x45\xdf\xa3\x82ab\x18\x53\x80\x67\x40", None),
        (b"\x1a\x45\xdf\xa3\x82ab\x1f\x43\xb6\x75\x85", None),
        (b"\x00\x00\x00\x20ftyp", None),
    ],
)
def test_segment_ends(head: bytes, end: int | None) -> None:
    """Sizes of one, two and four bytes are read (RFC 8794, table 1); unknown, missing and foreign sizes give None."""
    assert segment_end(head) == end


@pytest.mark.parametrize("good", [2, 12])
def test_frames_in_the_decoder_at_a_demuxing_error_are_yielded(good: int) -> None:
    """When the container breaks, frames that the decoder holds for reordering are yielded with their times."""
    whole = h264(bframes=3)
    file = VideoFile(whole)
    packets = iter([next(file.packets) for _ in range(good)])

    def breaking() -> object:
        yield from packets
        raise av.error.InvalidDataError(1094995529, "Invalid data found")

    file.packets = breaking()  # type: ignore[assignment]
    pictures_given = []
    with (
        closing(VideoDecoder(file, vectors=False)) as decoder,
        pytest.raises(BrokenStreamError, match=f"stopped after {good} frames") as caught,
    ):
        pictures_given.extend(decoder.pictures())
    assert caught.value.frames == len(pictures_given) == good
    with av.open(io.BytesIO(whole)) as plain:
        times = sorted(packet.pts * packet.time_base for packet in islice(plain.demux(video=0), good))
    assert [picture.time for picture in pictures_given] == pytest.approx([float(time) for time in times])


def test_a_cut_first_frame_is_not_a_frame() -> None:
    """Without one complete frame, the file is refused."""
    whole = moov_first(h264(bframes=3))
    with av.open(io.BytesIO(whole)) as file:
        first = next(file.demux(video=0))
    with pytest.raises(NoFramesError, match=r"first picture cannot be decoded .cut off: its index points to"):
        open_video(whole[: first.pos + first.size - 10])


def test_the_command_line_fails_with_the_masks_before_the_cut(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`keymask run` on a cut file ends with exit code 1 and one mask per complete frame."""
    whole = moov_first(h264(bframes=3))
    kept = len(whole) * 8 // 10
    (tmp_path / "cut.mp4").write_bytes(whole[:kept])
    mask = write_mask(tmp_path / "mask.png", 160, 96)
    out = tmp_path / "out"
    arguments = ["run", str(tmp_path / "cut.mp4"), "--mask", str(mask), "--out", str(out), "--weights", "seeded"]
    assert main(arguments) == 1
    count = len(arrived(whole, kept))
    assert f"decoding stopped after {count} frames (cut off: its index points to byte" in capsys.readouterr().err
    assert len(list(out.glob("masks/*.png"))) == count
