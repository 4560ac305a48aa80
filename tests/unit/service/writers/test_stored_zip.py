"""The zip written from front to back, as the standard library reads it."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from service.writers.stored_zip import StoredZip


class Pipe(io.BytesIO):
    """A file that cannot be sought while it is written."""

    def seek(self, *_: int) -> int:
        """Never."""
        raise AssertionError("sought")


@pytest.mark.parametrize("count", [0, 1, 3, 70_000])
def test_other_programs_read_it(count: int) -> None:
    """Any number of entries, also beyond 65,535, are read back with their names and content."""
    pipe = Pipe()
    archive = StoredZip(pipe)
    for number in range(count):
        archive.add(f"{number:05d}.png", b"%d" % number * (number % 5))
    archive.close()
    with zipfile.ZipFile(io.BytesIO(pipe.getvalue())) as read:
        assert read.namelist() == [f"{number:05d}.png" for number in range(count)]
        assert read.testzip() is None
        assert all(read.read(f"{number:05d}.png") == b"%d" % number * (number % 5) for number in range(0, count, 997))
        assert all(entry.date_time == (1980, 1, 1, 0, 0, 0) for entry in read.infolist()[:9])


def test_entries_beyond_four_gibibytes(tmp_path: Path) -> None:
    """Offsets of entries may need more than 32 bits (the file is sparse)."""
    far = 5 << 30
    with (tmp_path / "far.zip").open("wb") as file:
        file.seek(far)
        archive = StoredZip(file, far)
        archive.add("one.png", b"1" * 100)
        archive.add("two.png", b"2" * 200)
        archive.close()
    with zipfile.ZipFile(tmp_path / "far.zip") as read:
        assert [entry.header_offset for entry in read.infolist()] == [far, far + 30 + 7 + 100]
        assert (read.read("one.png"), read.read("two.png")) == (b"1" * 100, b"2" * 200)


def test_entries_may_be_compressed() -> None:
    """Compressed and stored entries are read back from one file, which the compressed ones make smaller."""
    pipe = Pipe()
    archive = StoredZip(pipe)
    archive.add("soft.npy", bytes(100_000), deflate=True)
    archive.add("one.png", b"1" * 100)
    archive.close()
    assert len(pipe.getvalue()) < 2000
    with zipfile.ZipFile(io.BytesIO(pipe.getvalue())) as read:
        assert read.testzip() is None
        assert (read.read("soft.npy"), read.read("one.png")) == (bytes(100_000), b"1" * 100)


def test_the_same_entries_give_the_same_bytes() -> None:
    """The file depends on nothing but its entries, not even on the time."""

    def made() -> bytes:
        pipe = Pipe()
        archive = StoredZip(pipe)
        archive.add("a.png", b"data")
        archive.close()
        return pipe.getvalue()

    assert made() == made()
