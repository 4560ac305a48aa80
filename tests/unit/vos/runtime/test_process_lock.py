"""Locks that show whether a process is alive."""

from __future__ import annotations

from pathlib import Path

from vos.runtime.process_lock import ProcessLock, is_locked


def test_a_lock_is_held_until_it_is_released(tmp_path: Path) -> None:
    """`is_locked` changes nothing, and a missing file is not locked."""
    path = tmp_path / "deep" / "x.lock"
    assert not is_locked(path)
    lock = ProcessLock(path)
    assert is_locked(path)
    assert is_locked(path)
    lock.release()
    assert not path.exists()
    path.touch()
    assert not is_locked(path)
