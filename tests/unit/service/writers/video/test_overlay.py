"""The video with the masks drawn over it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from codec.decode.colors import Colors
from codec.reader import open_video
from codec.types import FrameType, UInt8Array
from service.errors import UsageError
from service.writers.video.overlay import OverlayWriter
from tests.support.media import square, write_clip, write_patches
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
    """Orange is added inside the mask; the rest is the source's picture apart from the encoder's loss."""
    source = write_clip(tmp_path / "in.mp4", size=(128, 96))
    draw(source, tmp_path / "out.mp4")
    before, after = (np.stack(play(path).pictures).astype(float) for path in (source, tmp_path / "out.mp4"))
    inside = (after - (before / 2 + np.array((115, 79, 0))))[:, 28:44, 36:60]
    outside = (after - before)[:, 60:, 70:]
    assert np.abs(inside).mean() < 8
    assert np.abs(outside).mean() < 8


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_clock_that_began_25_hours_ago_is_set_to_0(tmp_path: Path, suffix: str) -> None:
    """The overlay of a broadcast begins at 0 and lasts as long as its frames; the sound stays in step with them."""
    source = write_clip(tmp_path / "in.ts", range(90_000_000, 90_000_480, 40), audio="aac")
    target = tmp_path / f"out{suffix}"
    assert draw(source, target) == []
    before, after = play(source), play(target)
    assert steps(after.times) == pytest.approx([0.04] * 11, abs=2e-3)
    assert 0 <= after.times[0] < 0.1
    assert float(after.sound[0][0] - after.times[0]) == pytest.approx(
        float(before.sound[0][0] - before.times[0]), abs=2e-3
    )
    with av.open(str(target)) as container:
        assert container.duration is not None
        assert container.duration / av.time_base < 1


@pytest.mark.parametrize("audio", [None, "aac"])
@pytest.mark.parametrize("second", [0, 3_600_000])
def test_frames_keep_their_distance_where_two_files_are_joined(tmp_path: Path, second: int, audio: str | None) -> None:
    """Times go on where the clock starts anew or jumps ahead, and the sound of the second part fits its pictures."""
    parts = [
        write_clip(tmp_path / f"{start}.ts", range(start + 1000, start + 1480, 40), audio=audio)
        for start in (0, second)
    ]
    source = tmp_path / "joined.ts"
    source.write_bytes(parts[0].read_bytes() + parts[1].read_bytes())
    assert draw(source, tmp_path / "out.mp4") == []
    after = play(tmp_path / "out.mp4")
    assert steps(after.times) == pytest.approx([0.04] * 23, abs=1e-3)
    if audio is not None:
        assert len(after.sound) >= 2 * 23
        part = play(parts[1])
        lag = float(part.sound[-1][0] - part.times[0])
        assert float(after.sound[-1][0] - after.times[12]) == pytest.approx(lag, abs=0.002)


def steps(times: list[Fraction]) -> list[float]:
    """Return the distances of frames in seconds."""
    return [float(b - a) for a, b in pairwise(times)]


TAGS = {
    "BT.709": (".mp4", Colors(1, 1, 1, False), (64, 48)),
    "BT.709, full range": (".mp4", Colors(1, 1, 1, True), (64, 48)),
    "BT.601 in HD": (".mkv", Colors(6, 6, 6, False), (1280, 720)),
    "BT.2020": (".mov", Colors(9, 9, 14, False), (64, 48)),
}


@pytest.mark.parametrize("name", TAGS)
def test_samples_and_tags_of_the_source_are_kept(tmp_path: Path, name: str) -> None:
    """Samples far from a mask do not change but for the encoder's loss, and mean the same color as before."""
    suffix, colors, size = TAGS[name]
    source, target = write_patches(tmp_path / "in.mp4", colors, size=size), tmp_path / f"out{suffix}"
    assert draw(source, target) == []
    before, after = first_picture(source), first_picture(target)
    assert after.tags == before.tags == (colors.matrix, int(colors.color_range), colors.primaries, colors.transfer)
    assert np.abs(after.luma - before.luma)[size[1] // 2 + 8 :].max() <= 3


@pytest.mark.parametrize(("size", "matrix"), [((64, 48), 6), ((1280, 720), 1)])
def test_an_untagged_source_gets_the_tags_that_players_assume(
    tmp_path: Path, size: tuple[int, int], matrix: int
) -> None:
    """SD is BT.601 and HD BT.709; the overlay says so, with the samples as they were."""
    source = write_patches(tmp_path / "in.mp4", None, size=size)
    draw(source, tmp_path / "out.mp4")
    before, after = first_picture(source), first_picture(tmp_path / "out.mp4")
    assert before.tags == (2, 0, 2, 2)
    assert after.tags == (matrix, 1, 1, 1)
    assert np.abs(after.luma - before.luma)[size[1] // 2 + 8 :].max() <= 3


@pytest.mark.parametrize("transfer", [16, 18])
def test_hdr_stays_hdr(tmp_path: Path, transfer: int) -> None:
    """PQ and HLG keep 10 bits and their tags, a note says so, and a mask is no brighter than graphics may be."""
    colors = Colors(9, 9, transfer, False)
    source = write_patches(tmp_path / "in.mp4", colors, encoder="libx265", pixel_format="yuv420p10le")
    (note,) = draw(source, tmp_path / "out.mp4")
    assert "HDR" in note
    before, after = first_picture(source), first_picture(tmp_path / "out.mp4")
    assert after.tags == before.tags == (9, 1, 9, transfer)
    assert after.pixel_format == "yuv420p10le"
    assert np.abs(after.luma - before.luma)[32:].max() <= 12
    white = {16: 573, 18: 721}[transfer]  # graphics white, 203 cd/m2, in 10 bits (ITU-R BT.2408, table 1)
    assert before.luma[:24, :32].max() < 260
    assert 300 < after.luma[:24, :32].max() < white


def test_10_bits_of_sdr_become_8_with_a_note(tmp_path: Path) -> None:
    """A 10-bit video that is not HDR is shown in 8 bits, which all players decode, and a note says so."""
    colors = Colors(1, 1, 1, False)
    source = write_patches(tmp_path / "in.mp4", colors, encoder="libx265", pixel_format="yuv420p10le")
    assert draw(source, tmp_path / "out.mp4") == ["the overlay has 8 bits per sample, the video 10"]
    before, after = first_picture(source), first_picture(tmp_path / "out.mp4")
    assert (after.pixel_format, after.tags) == ("yuv420p", before.tags)
    assert np.abs(after.luma - before.luma / 4)[32:].max() <= 3


@dataclass(frozen=True)
class Picture:
    """Luma of a file's first picture, its format, and its tags: matrix, range, primaries, transfer."""

    luma: npt.NDArray[np.float64]
    pixel_format: str
    tags: tuple[int, int, int, int]


def first_picture(path: Path) -> Picture:
    """Decode a file's first picture."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        kind = "<u2" if "10" in frame.format.name else np.uint8
        plane = np.frombuffer(memoryview(frame.planes[0]), kind).reshape(frame.height, -1)
        tags = (int(frame.colorspace), int(frame.color_range), int(frame.color_primaries), int(frame.color_trc))
        name = frame.format.name.replace("yuvj", "yuv")
        return Picture(plane[:, : frame.width].astype(float), name, tags)


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
