"""Files of jobs: paths, uploads, quota, sweep and locks."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.jobs.types import new_job_id
from service.storage.job_files import JobFiles, Storage
from service.storage.process_lock import ProcessLock, is_locked


def adopted(storage: Storage, content: bytes = b"x") -> JobFiles:
    """Upload files for a new job and return them."""
    with storage.upload() as upload:
        upload.video.write_bytes(content)
        return storage.adopt(upload, new_job_id())


@pytest.mark.parametrize(
    "name", ["", "..", "../../etc", "a" * 31, "A" * 32, "g" * 32, "a" * 32 + "/x", "a" * 32 + "\n"]
)
def test_only_ids_of_the_service_become_paths(tmp_path: Path, name: str) -> None:
    """Any other name is refused before it becomes part of a path."""
    with pytest.raises(ValueError, match="not a job id"):
        Storage(tmp_path).job(name)


def test_an_upload_that_is_not_adopted_is_deleted(tmp_path: Path) -> None:
    """This holds when the upload ends with an error too, for instance when the client disconnects."""
    storage = Storage(tmp_path)

    def receive() -> None:
        with storage.upload() as upload:
            upload.video.write_bytes(b"half")
            raise ConnectionError

    with pytest.raises(ConnectionError):
        receive()
    assert [p for p in tmp_path.rglob("*") if p.name == "video"] == []
    storage.close()
    assert list((tmp_path / "incoming").iterdir()) == []


def test_an_adopted_upload_belongs_to_the_job(tmp_path: Path) -> None:
    """Adopting moves the files unchanged; deleting the job removes them."""
    storage = Storage(tmp_path)
    files = adopted(storage, b"video")
    assert files.video.read_bytes() == b"video"
    assert storage.job_ids() == [files.folder.name]
    storage.delete(files.folder.name)
    storage.delete(files.folder.name)
    assert storage.job_ids() == []
    storage.close()


def test_simultaneous_uploads_use_separate_folders(tmp_path: Path) -> None:
    """Threads that upload at the same time do not overwrite each other's files."""
    storage = Storage(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda i: adopted(storage, b"%d" % i), range(40)))
    assert [f.video.read_bytes() for f in folders] == [b"%d" % i for i in range(40)]
    storage.close()


def test_a_sweep_removes_only_old_folders_without_a_job(tmp_path: Path) -> None:
    """Folders of jobs, young folders whose job may be about to be created, and all other folders stay."""
    storage = Storage(tmp_path)
    owned, young, old = (adopted(storage) for _ in range(3))
    (tmp_path / "jobs" / "lost+found").mkdir()
    for files in (owned, old):
        os.utime(files.folder, (time.time() - 100,) * 2)
    assert storage.sweep({owned.folder.name}, storage.job_ids()) == [old.folder.name]
    assert sorted(storage.job_ids()) == sorted([owned.folder.name, young.folder.name])
    assert (tmp_path / "jobs" / "lost+found").is_dir()
    storage.close()


def test_only_uploads_of_dead_processes_are_swept(tmp_path: Path) -> None:
    """A sweep deletes the unfinished uploads of a killed process at once, but not those of a live process."""
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom service.storage.job_files import Storage\n"
        "with Storage(Path(sys.argv[1])).upload() as u:\n u.video.write_bytes(b'half')\n print('go', flush=True)\n"
        " time.sleep(600)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "go\n"
    storage = Storage(tmp_path)
    assert not storage.is_sole_process()
    storage.sweep((), ())
    assert len(list(tmp_path.glob("incoming/*/*/video"))) == 1
    child.kill()
    child.wait()
    child.stdout.close()
    assert storage.is_sole_process()
    storage.sweep((), ())
    assert list((tmp_path / "incoming").iterdir()) == []
    storage.close()


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


def test_a_worker_is_alive_while_its_lock_is_held(tmp_path: Path) -> None:
    """Another storage sees the lock, and a sweep removes the locks of dead workers."""
    storage = Storage(tmp_path)
    lock = storage.lock_worker("w")
    (tmp_path / "workers" / "dead.lock").touch()
    assert Storage(tmp_path).is_worker_alive("w")
    assert not storage.is_worker_alive("dead")
    storage.sweep((), ())
    assert [p.name for p in (tmp_path / "workers").iterdir()] == ["w.lock"]
    lock.release()
    assert not storage.is_worker_alive("w")
