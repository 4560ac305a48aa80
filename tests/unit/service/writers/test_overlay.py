"""The video with the masks drawn over it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from codec.reader import open_video
from codec.types import FrameType, UInt8Array
from service.errors import UsageError
from service.writers.overlay import OverlayWriter
from tests.support.media import square, write_clip
from tests.support.odd_streams import ODD_STREAMS
from vos.types import FrameMask, MaskSource

UNEVEN = [0, 40, 50, 130, 131, 300, 460, 470]
"""Frame times in milliseconds of a stream of variable rate."""


@dataclass(frozen=True)
class Played:
    """A file as a player sees it: pictures, their times in seconds, and the sound's packets with theirs."""

    pictures: list[UInt8Array]
    times: list[Fraction]
    sound: list[tuple[Fraction, bytes]]
    stream: str


def play(path: Path) -> Played:
    """Decode the pictures and read the sound's packets."""
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        frames = [(frame.to_ndarray(format="rgb24"), frame.pts) for frame in container.decode(video)]
        time_base = video.time_base or Fraction(0)
        stream = f"{video.codec_context.name} {video.codec_context.pix_fmt} {video.width}x{video.height}"
    with av.open(str(path)) as container:
        sound = [
            (packet.pts * packet.time_base, bytes(packet))
            for packet in (container.demux(audio=0) if container.streams.audio else ())
            if packet.pts is not None
        ]
    return Played([picture for picture, _ in frames], [(pts or 0) * time_base for _, pts in frames], sound, stream)


def draw(source: Path, target: Path, indices: range | None = None) -> list[str]:
    """Write the overlay with a square on each frame (or on those of `indices`), and return the notes."""
    with open_video(source) as reader:
        info, frames = reader.info, sorted(reader, key=lambda frame: frame.index)
    writer = OverlayWriter(source, target, info)
    labels = square(info.display_width, info.display_height)
    for frame in frames:
        if indices is None or frame.index in indices:
            writer.write(FrameMask(frame.index, frame.pts, frame.time, FrameType.P, MaskSource.KEY, labels, {1: 1.0}))
    writer.close()
    writer.close()
    return writer.notes


def test_uneven_frame_times_and_the_sound_are_kept(tmp_path: Path) -> None:
    """Every frame has the source's time, and the audio packets have the same bytes and times."""
    source = write_clip(tmp_path / "in.mp4", UNEVEN, audio="aac")
    assert draw(source, tmp_path / "out.mp4") == []
    before, after = play(source), play(tmp_path / "out.mp4")
    assert after.times == before.times == [Fraction(ms, 1000) for ms in UNEVEN]
    assert after.sound == before.sound
    assert len(after.sound) > 20
    assert after.stream == "h264 yuv420p 64x48"


def test_the_mask_is_drawn_where_it_is(tmp_path: Path) -> None:
    """Red is added inside the mask; the rest is the source's picture apart from the encoder's loss."""
    source = write_clip(tmp_path / "in.mp4", size=(128, 96))
    draw(source, tmp_path / "out.mp4")
    before, after = (np.stack(play(path).pictures).astype(float) for path in (source, tmp_path / "out.mp4"))
    inside = (after - (before / 2 + np.array((64, 0, 0))))[:, 28:44, 36:60]
    outside = (after - before)[:, 60:, 70:]
    assert np.abs(inside).mean() < 8
    assert np.abs(outside).mean() < 8


def test_a_part_begins_at_0_with_its_own_sound(tmp_path: Path) -> None:
    """With masks that begin later, the video begins at 0, keeps time differences, and has the matching audio."""
    source = write_clip(tmp_path / "in.mp4", UNEVEN, audio="aac")
    draw(source, tmp_path / "out.mp4", range(3, 6))
    before, after = play(source), play(tmp_path / "out.mp4")
    assert after.times == [Fraction(ms - 130, 1000) for ms in UNEVEN[3:6]]
    kept = [data for time, data in before.sound if Fraction(130, 1000) <= time < Fraction(460, 1000)]
    assert [data for _, data in after.sound] == kept


def test_sound_that_does_not_fit_is_noted(tmp_path: Path) -> None:
    """Where the container cannot hold the source's audio, the overlay is silent and a note says so."""
    source = write_clip(tmp_path / "in.mkv", audio="flac")
    assert draw(source, tmp_path / "out.mov") == ["the overlay has no sound: flac does not fit into mov"]
    assert play(tmp_path / "out.mov").sound == []
    assert draw(source, tmp_path / "out.mkv") == []
    assert play(tmp_path / "out.mkv").sound == play(source).sound


def test_the_overlay_of_a_rotated_video_is_upright(tmp_path: Path) -> None:
    """Rotation in the source's metadata is applied to the pixels, and the output carries none."""
    source = write_clip(tmp_path / "in.mp4", size=(128, 96), rotation=90)
    draw(source, tmp_path / "out.mp4")
    before, after = play(source), play(tmp_path / "out.mp4")
    assert after.stream == "h264 yuv420p 96x128"
    upright = np.rot90(before.pictures[5], 1).astype(float)
    assert np.abs(after.pictures[5] - upright)[80:].mean() < 8


def test_an_odd_size_is_padded_by_its_own_border(tmp_path: Path) -> None:
    """A picture of odd width or height gets one more column or row, a copy of its last."""
    source = write_clip(tmp_path / "in.mp4", size=(65, 49), pixel_format="yuv444p")
    draw(source, tmp_path / "out.mp4")
    before, after = play(source), play(tmp_path / "out.mp4")
    assert after.stream == "h264 yuv420p 66x50"
    assert np.abs(after.pictures[0][49, :65].astype(float) - before.pictures[0][48]).mean() < 12


@pytest.mark.parametrize(
    "name",
    ["h264 10 bit", "interlaced h264", "missing pts", "size changes", "lost frame", "hevc", "trailing garbage ts"],
)
def test_odd_streams_have_one_picture_per_mask(tmp_path: Path, name: str) -> None:
    """The overlay of any stream has as many frames as a plain decode, at ascending times."""
    odd = ODD_STREAMS[name]
    source = tmp_path / f"in{odd.suffix}"
    source.write_bytes(odd.make())
    draw(source, tmp_path / "out.mp4")
    played = play(tmp_path / "out.mp4")
    assert len(played.pictures) == len(play(source).pictures) >= odd.frames
    assert all(a < b for a, b in zip(played.times, played.times[1:], strict=False))


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    """The overlay's suffix must be that of a supported container."""
    source = write_clip(tmp_path / "in.mp4")
    with pytest.raises(UsageError, match=r"the overlay is 'out.avi'; allowed endings: .mp4, .m4v, .mov, .mkv"):
        draw(source, tmp_path / "out.avi")
