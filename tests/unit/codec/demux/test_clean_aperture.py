"""The clean aperture of MP4 files, written by hand as the standard lays out its boxes."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest

from codec.demux.clean_aperture import read_clean_apertures
from codec.reader import open_video
from tests.support.media import write_clip


def box(kind: bytes, *content: bytes) -> bytes:
    """Return a box (ISO/IEC 14496-12, clause 4.2)."""
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def clap(width: int, height: int, right: tuple[int, int] = (0, 1), down: tuple[int, int] = (0, 1)) -> bytes:
    """Return a `clap` box."""
    return box(b"clap", struct.pack(">IIIIiIiI", width, 1, height, 1, *right, *down))


def movie(*entries: bytes, version: int = 0) -> bytes:
    """Return the boxes of a file whose tracks 1, 2, ... have sample entries with these boxes."""
    tracks = []
    for number, extra in enumerate(entries, 1):
        times = bytes(8 if version == 0 else 16)
        header = box(b"tkhd", bytes([version, 0, 0, 3]), times, struct.pack(">I", number), bytes(60))
        entry = box(b"avc1", bytes(78), box(b"avcC", b"12345"), extra)
        table = box(b"stsd", struct.pack(">II", 0, 1), entry)
        tracks.append(box(b"trak", header, box(b"mdia", box(b"minf", box(b"stbl", table)))))
    return box(b"ftyp", b"isom") + box(b"free", b"123") + box(b"moov", box(b"mvhd", bytes(96)), *tracks)


def add_clap(path: Path, aperture: bytes) -> None:
    """Add a box to the sample entry of a file whose `moov` is at its end."""
    data = path.read_bytes()
    at = data.index(b"avcC") - 4
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1"):
        start = data.rindex(kind, 0, at) - 4
        (size,) = struct.unpack_from(">I", data, start)
        data = data[:start] + struct.pack(">I", size + len(aperture)) + data[start + 4 :]
    path.write_bytes(data[:at] + aperture + data[at:])


@pytest.mark.parametrize("version", [0, 1])
def test_each_track_has_its_own(version: int) -> None:
    """Tracks without the box are left out."""
    found = read_clean_apertures(io.BytesIO(movie(clap(288, 160), b"", clap(10, 20, (3, 2), (-4, 1)), version=version)))
    assert sorted(found) == [1, 3]
    assert found[1].within(320, 180) == (16, 10, 288, 160)
    assert found[3].within(17, 40) == (5, 6, 10, 20)  # centers 1.5 right and 4 up of the picture's
    assert found[1].within(288, 160) is None
    assert found[1].within(200, 160) is None


def test_a_video_has_it_in_its_info(tmp_path: Path) -> None:
    """FFmpeg decodes the whole picture; the info says which part players show."""
    add_clap(write_clip(tmp_path / "clip.mp4"), clap(32, 24, (4, 1)))
    with open_video(tmp_path / "clip.mp4") as reader:
        assert (reader.info.coded_width, reader.info.coded_height) == (64, 48)
        assert reader.info.clean_aperture == (20, 12, 32, 24)
        assert len(list(reader)) == 12


@pytest.mark.parametrize(
    "data", [b"", b"abc", b"\x1aE\xdf\xa3 Matroska", movie(box(b"clap", struct.pack(">IIIIiIiI", *[1, 0] * 4)))]
)
def test_other_and_damaged_files_have_none(data: bytes) -> None:
    """No error: FFmpeg says what is wrong with a file."""
    assert read_clean_apertures(io.BytesIO(data)) == {}


def test_a_file_that_is_cut_or_lies_about_sizes_ends_the_search() -> None:
    """Whatever is changed, reading ends and raises nothing."""
    whole = movie(clap(288, 160), clap(1, 1))
    for at in range(len(whole)):
        read_clean_apertures(io.BytesIO(whole[:at]))
        read_clean_apertures(io.BytesIO(whole[:at] + b"\xff" + whole[at + 1 :]))
        read_clean_apertures(io.BytesIO(whole[:at] + b"\0" + whole[at + 1 :]))
