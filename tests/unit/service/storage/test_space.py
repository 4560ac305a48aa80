"""Quota, share per key and reserve: bytes are reserved before they are written."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from service.errors import StorageFullError
from service.storage.job_files import Storage
from service.storage.space import STEP, Reservation
from tests.support.paths import ROOT
from tests.support.stored_jobs import MIB, opened, stored

Usage = namedtuple("Usage", "total used free")


def fits(reservation: Reservation, size: int) -> bool:
    """Return whether a reservation can be enlarged to this size."""
    try:
        reservation.cover(size)
    except StorageFullError:
        return False
    return True


def test_simultaneous_reservations_keep_to_the_quota(tmp_path: Path) -> None:
    """Of many threads that reserve at once, exactly as many succeed as there is room for."""
    storage = opened(tmp_path, quota=5 * MIB)
    reservations = [storage.reserve() for _ in range(24)]
    start = Barrier(24)

    def reserve(own: Reservation) -> bool:
        start.wait()
        return fits(own, MIB)

    with ThreadPoolExecutor(24) as pool:
        assert sum(pool.map(reserve, reservations)) == 5
    assert storage.space.usage() == 5 * MIB
    for own in reservations:
        with own:
            pass
    assert storage.space.usage() == 0
    assert [path.suffix for path in (tmp_path / "incoming").iterdir()] == [".alive"]


def test_simultaneous_processes_keep_to_the_quota(tmp_path: Path) -> None:
    """Processes that store jobs as fast as they can never exceed the quota together, and use most of it."""
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from tests.support.stored_jobs import opened, stored, MIB\n"
        "storage = opened(Path(sys.argv[1]), quota=12 * MIB)\nprint('ready', flush=True)\nsys.stdin.readline()\n"
        "refused = 0\nwhile refused < 3:\n try:\n  stored(storage, MIB)\n except Exception:\n  refused += 1\n"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for _ in range(2)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        child.communicate(timeout=60)
    sizes = [path.stat().st_size for path in tmp_path.rglob("video")]
    assert 10 * MIB <= sum(sizes) <= 12 * MIB


def test_a_refusal_says_what_is_used_allowed_and_wanted(tmp_path: Path) -> None:
    """Jobs and reservations count; a deleted job and an ended upload free their bytes at once."""
    storage = opened(tmp_path, quota=1000)
    files = stored(storage, 500)
    with storage.reserve() as other, storage.reserve() as own:
        other.cover(200)
        own.cover(300)
        with pytest.raises(StorageFullError, match="1,000 of 1,000 bytes are in use; there is no room for 1 more"):
            own.cover(301)
    with storage.reserve() as own:
        own.cover(500)
    storage.delete(files.folder.name)
    with storage.reserve() as own:
        own.cover(1000)


def test_a_key_has_a_share_of_the_quota(tmp_path: Path) -> None:
    """Jobs of this and of earlier processes count for the key that created them; other keys still have room."""
    earlier = stored(opened(tmp_path), 300).folder.name
    storage = opened(tmp_path, quota=1000, share=0.5, owners=lambda ids: {i: "a" for i in ids if i == earlier})
    stored(storage, 150, "a")
    with storage.reserve("a") as own, storage.reserve("b") as other:
        own.cover(50)
        with pytest.raises(StorageFullError, match=r"use 500 of the 500 bytes that one API key may use; .* 10 more"):
            own.cover(60)
        other.cover(500)


def test_the_reserve_counts_what_others_are_about_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two uploads that fit one at a time do not both get the last bytes of the disk."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10_000, 9_000, 1_000))
    storage = Storage(tmp_path, reserve=200)
    other = Storage(tmp_path, reserve=200)
    with storage.reserve() as first, storage.reserve() as second, other.reserve() as third:
        first.cover(600)
        second.cover(100)
        for late in (second, third):
            with pytest.raises(StorageFullError, match=r"has 1,000 bytes left, .* 700 are reserved; .* no room for"):
                late.cover(201)
        first.charge(600)  # from here on, the disk itself says so
        monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10_000, 9_600, 400))
        second.cover(200)


def test_the_default_quota_is_most_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a quota, files may use 80 % of the disk."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1000, 0, 1000))
    with opened(tmp_path).reserve() as own:
        own.cover(800)
        with pytest.raises(StorageFullError, match="800 of 800 bytes"):
            own.cover(801)


def test_an_upload_of_unknown_size_reserves_in_steps(tmp_path: Path) -> None:
    """A step is reserved before its first byte arrives, and near the quota only what has arrived."""
    storage = opened(tmp_path, quota=STEP + 100)
    with storage.reserve() as own:
        own.charge(10)
        assert own.size == STEP + 10
        own.charge(STEP)
        own.charge(80)
        assert own.size == STEP + 90
        with pytest.raises(StorageFullError):
            own.charge(11)


def test_results_and_growing_files_count(tmp_path: Path) -> None:
    """A finished result counts as part of its job; an unfinished one counts as its reservation only."""
    storage = opened(tmp_path, quota=1000)
    files = stored(storage, 100)
    part = files.result("part-1-masks.zip")
    part.parent.mkdir()
    with storage.reserve() as own:
        own.cover(300)
        part.write_bytes(bytes(300))
        assert storage.space.usage() == 400
        part.rename(files.result("masks.zip"))
        own.keep(files.folder.name)
    assert storage.space.usage() == 400
    with opened(tmp_path, quota=1000).reserve() as own:
        assert not fits(own, 601)
        assert fits(own, 600)
