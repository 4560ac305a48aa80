"""Files of jobs: paths, uploads, quota and sweep."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.errors import StorageUnavailableError
from service.jobs.types import new_job_id
from service.storage.change_watch import ChangeWatch
from service.storage.job_files import JobFiles, Storage
from tests.support.paths import ROOT
from tests.support.waiting import wait_for
from vos.runtime.durable import part_of


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


def test_an_upload_whose_folder_is_gone_can_be_sent_again(tmp_path: Path) -> None:
    """Another process swept it, for instance after this one was stopped for long. That is no error of this service."""
    storage = Storage(tmp_path)

    def receive() -> None:
        with storage.upload() as upload:
            upload.video.write_bytes(b"half")
            shutil.rmtree(upload.folder.parent)
            upload.mask.write_bytes(b"mask")

    with pytest.raises(StorageUnavailableError, match="deleted while it was handled"):
        receive()
    storage.close()


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
    storage = Storage(tmp_path, lease_seconds=0.1)
    owned, old = (adopted(storage) for _ in range(2))
    (tmp_path / "jobs" / "lost+found").mkdir()
    assert storage.sweep({owned.folder.name}, storage.job_ids()) == []
    time.sleep(0.5)
    young = adopted(storage)
    assert storage.sweep({owned.folder.name}, storage.job_ids()) == [old.folder.name]
    assert sorted(storage.job_ids()) == sorted([owned.folder.name, young.folder.name])
    assert (tmp_path / "jobs" / "lost+found").is_dir()
    storage.close()


def test_a_sweep_removes_only_abandoned_parts(tmp_path: Path) -> None:
    """A part that still grows stays, and so do complete files; what a killed process left goes."""
    storage = Storage(tmp_path, lease_seconds=0.05)
    files = adopted(storage)
    whole, growing, left = (files.result(name) for name in ("masks.zip", "part-1-masks.zip", "part-2-masks.zip"))
    whole.parent.mkdir()
    state = part_of(files.folder / "state-1.npz")
    for path in (whole, growing, left, state):
        path.write_bytes(b"x")
    end = time.monotonic() + 30
    while (left.exists() or state.exists()) and time.monotonic() < end:
        with growing.open("ab") as file:
            file.write(b"x")
        storage.sweep({files.folder.name}, storage.job_ids())
        time.sleep(0.02)
    assert sorted(whole.parent.iterdir()) == sorted([whole, growing])
    assert not state.exists()
    storage.close()


def test_a_wrong_clock_deletes_no_folder(tmp_path: Path) -> None:
    """A folder that is about to get its job stays, however old its times look after a jump of the clock."""
    storage = Storage(tmp_path)
    new = adopted(storage)
    os.utime(new.folder, (0, 0))
    storage.sweep((), storage.job_ids())
    assert storage.sweep((), storage.job_ids()) == []
    storage.close()


def test_only_uploads_of_stopped_processes_are_swept(tmp_path: Path) -> None:
    """Uploads stay while their process touches its file; they go once it was stopped or killed for a whole lease."""
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom service.storage.job_files import Storage\n"
        "with Storage(Path(sys.argv[1]), lease_seconds=0.5).upload() as u:\n u.video.write_bytes(b'half')\n"
        " print('go', flush=True)\n time.sleep(600)\n"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for _ in range(2)
    ]
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "go\n"
            child.stdout.close()
        storage = Storage(tmp_path, lease_seconds=2.0)
        uploads = lambda: len(list(tmp_path.glob("incoming/*/*/video")))  # noqa: E731
        end = time.monotonic() + 3
        while time.monotonic() < end:
            storage.sweep((), ())
            time.sleep(0.1)
        assert uploads() == 2
        children[0].send_signal(signal.SIGSTOP)
        wait_for(lambda: storage.sweep((), ()) or uploads() == 1)
        children[1].kill()
        wait_for(lambda: storage.sweep((), ()) or uploads() == 0)
        assert list((tmp_path / "incoming").iterdir()) == []
        storage.close()
    finally:
        for child in children:
            child.kill()
            child.wait()


def test_times_without_a_change_begin_anew_after_a_gap() -> None:
    """A value that changes starts at 0, and so does every value after a time in which nobody looked."""
    now = [100.0]
    watch: ChangeWatch[str] = ChangeWatch(5.0, clock=lambda: now[0])
    assert watch.observe({"a": 1, "b": 1}) == {"a": 0, "b": 0}
    now[0] += 4
    assert watch.observe({"a": 1, "b": 2, "c": 1}) == {"a": 4, "b": 0, "c": 0}
    now[0] += 4
    assert watch.observe({"a": 1, "b": 2}) == {"a": 8, "b": 4}
    now[0] += 6
    assert watch.observe({"a": 1, "b": 2}) == {"a": 0, "b": 0}
