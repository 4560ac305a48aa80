"""Files of jobs: where they are, that nothing of a client's reaches a path, and that nothing ownerless stays."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.errors import StorageFullError
from service.jobs.types import new_job_id
from service.storage.job_files import JobFiles, Storage
from service.storage.process_lock import ProcessLock, is_locked


def adopted(storage: Storage, content: bytes = b"x") -> JobFiles:
    """Files of a new job."""
    with storage.upload() as upload:
        upload.video.write_bytes(content)
        return storage.adopt(upload, new_job_id())


@pytest.mark.parametrize(
    "name", ["", "..", "../../etc", "a" * 31, "A" * 32, "g" * 32, "a" * 32 + "/x", "a" * 32 + "\n"]
)
def test_only_ids_of_the_service_name_a_folder(tmp_path: Path, name: str) -> None:
    """Whatever else is given is refused before a path is made of it."""
    with pytest.raises(ValueError, match="not a job id"):
        Storage(tmp_path).job(name)


def test_an_upload_that_is_not_adopted_leaves_nothing(tmp_path: Path) -> None:
    """Also when it ends with an error, as when a client goes away."""
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


def test_an_adopted_upload_is_the_jobs(tmp_path: Path) -> None:
    """Its files move as they are, in one step."""
    storage = Storage(tmp_path)
    files = adopted(storage, b"video")
    assert files.video.read_bytes() == b"video"
    assert storage.job_ids() == [files.folder.name]
    storage.delete(files.folder.name)
    storage.delete(files.folder.name)
    assert storage.job_ids() == []
    storage.close()


def test_simultaneous_uploads_have_folders_of_their_own(tmp_path: Path) -> None:
    """Threads that upload at the same time do not meet."""
    storage = Storage(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda i: adopted(storage, b"%d" % i), range(40)))
    assert [f.video.read_bytes() for f in folders] == [b"%d" % i for i in range(40)]
    storage.close()


def test_the_quota_counts_jobs_and_uploads(tmp_path: Path) -> None:
    """What would exceed it is refused; what is deleted makes room again at once."""
    storage = Storage(tmp_path, quota=1000, reserve=0)
    files = adopted(storage, b"x" * 700)
    storage.check_space(300)
    with pytest.raises(StorageFullError, match="700 of 1,000 bytes are in use; there is no room for 301 more"):
        storage.check_space(301)
    storage.delete(files.folder.name)
    storage.check_space(1000)
    storage.close()


def test_the_disks_own_end_counts_too(tmp_path: Path) -> None:
    """Room that is kept free for the database and running jobs is not given away."""
    with pytest.raises(StorageFullError, match="the disk has"):
        Storage(tmp_path, reserve=1 << 60).check_space()


def test_a_sweep_removes_old_folders_without_a_job_only(tmp_path: Path) -> None:
    """Jobs' folders stay, so do young ones whose job is just being created, and whatever is not a job's folder."""
    storage = Storage(tmp_path)
    owned, young, old = (adopted(storage) for _ in range(3))
    (tmp_path / "jobs" / "lost+found").mkdir()
    for files in (owned, old):
        os.utime(files.folder, (time.time() - 100,) * 2)
    assert storage.sweep({owned.folder.name}, storage.job_ids()) == [old.folder.name]
    assert sorted(storage.job_ids()) == sorted([owned.folder.name, young.folder.name])
    assert (tmp_path / "jobs" / "lost+found").is_dir()
    storage.close()


def test_uploads_of_a_dead_process_are_swept_and_those_of_a_living_one_are_not(tmp_path: Path) -> None:
    """A killed process's half uploads go at once, whatever their age."""
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
    """Asking changes nothing; a file that is not there is not locked."""
    path = tmp_path / "deep" / "x.lock"
    assert not is_locked(path)
    lock = ProcessLock(path)
    assert is_locked(path)
    assert is_locked(path)
    lock.release()
    assert not path.exists()
    path.touch()
    assert not is_locked(path)


def test_a_worker_lives_as_long_as_its_lock(tmp_path: Path) -> None:
    """Other processes see it; the locks of dead workers are swept."""
    storage = Storage(tmp_path)
    lock = storage.lock_worker("w")
    (tmp_path / "workers" / "dead.lock").touch()
    assert Storage(tmp_path).is_worker_alive("w")
    assert not storage.is_worker_alive("dead")
    storage.sweep((), ())
    assert [p.name for p in (tmp_path / "workers").iterdir()] == ["w.lock"]
    lock.release()
    assert not storage.is_worker_alive("w")
