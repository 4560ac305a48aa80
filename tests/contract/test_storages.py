"""What every storage does for jobs, whether it is a folder that machines share or an object store of any kind."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.engine.attempts.publishing import Publisher
from service.errors import LostJobError, RunError, StorageFullError, StorageUnavailableError, UsageError
from service.jobs.types import LogSegment, new_job_id
from service.storage.job_files import JobFiles
from service.storage.mask_log import MaskLog, settle
from service.storage.mask_log_view import BLOCK, LongLine, MaskLogView
from service.storage.objects.object_store import ObjectStore, open_object_store
from tests.support.object_stores import S3Server, Storages, storages
from tests.support.paths import ROOT
from tests.support.stored_jobs import VIDEO, submit

_opened: list[MaskLog | Storages] = []


@pytest.fixture(autouse=True)
def _close_all() -> Iterator[None]:
    """Close what a test has opened."""
    yield
    while _opened:
        _opened.pop().close()


def closing_at_end(made: Storages) -> Storages:
    """Close storages at the end of the test."""
    _opened.append(made)
    return made


def line_of(index: int, size: int = 100) -> bytes:
    """Return a line of a mask log."""
    return json.dumps({"index": index, "filler": "x" * size}).encode()


class Writer:
    """An attempt that writes masks, and the job's row."""

    def __init__(self, files: JobFiles, fence: int, earlier: tuple[LogSegment, ...] = ()) -> None:
        files.folder.mkdir(exist_ok=True)
        self.log = MaskLog(files.mask_log(fence))
        _opened.append(self.log)
        self.segments = (*earlier, LogSegment(fence, 0 if files.is_copy else None))
        self._publisher = Publisher(files, fence, lambda size: self._count(LogSegment(fence, size)))

    def _count(self, segment: LogSegment) -> None:
        self.segments = (*self.segments[:-1], segment)

    def write(self, *lines: bytes) -> None:
        """Write lines that count."""
        for line in lines:
            self.log.copy(json.loads(line)["index"], line)
        self._publisher.publish(self.log)

    def close(self) -> tuple[LogSegment, ...]:
        """End the attempt; return the row's segments."""
        self.log.close()
        return (*self.segments[:-1], LogSegment(self.segments[-1].fence, self.log.size))


def test_inputs_are_read_on_another_machine(kinds: Storages) -> None:
    """What one machine adopted, another reads with the same bytes, also after the first one is gone."""
    here, there = kinds.machine("here"), kinds.machine("there")
    job_id = submit(here)
    if kinds.objects is not None:
        here.close()
    files = there.job(job_id)
    files.fetch()
    assert files.video.read_bytes() == VIDEO
    assert files.mask.read_bytes() == b"mask"
    assert not files.prompts.exists()


def test_a_large_file_is_stored_in_parts(stores: Storages) -> None:
    """A video larger than the parts of an upload and than the blocks of a download arrives unchanged."""
    video = secrets.token_bytes(1 << 20) * 11 + b"end"
    job_id = submit(stores.machine("here"), video)
    files = stores.machine("there").job(job_id)
    files.fetch()
    assert files.video.read_bytes() == video


def test_what_is_not_adopted_leaves_nothing(kinds: Storages) -> None:
    """An upload that no job adopts is gone, and belongs to no job."""
    here = kinds.machine("here")
    with here.upload() as upload:
        upload.video.write_bytes(VIDEO)
    assert not upload.folder.exists()
    assert kinds.machine("there").job_ids() == []


def test_masks_are_followed_while_they_are_written(kinds: Storages) -> None:
    """A reader on another machine sees each line that counts, in order, and none twice, over two attempts."""
    here, there = kinds.machine("here"), kinds.machine("there")
    job_id = submit(here)
    seen: list[bytes] = []
    offset = 0

    def follow(segments: tuple[LogSegment, ...]) -> None:
        nonlocal offset
        log = MaskLogView(there.job(job_id), segments)
        while True:
            lines, offset = log.read_lines(offset)
            if not lines:
                break
            seen.extend(lines)

    files = here.job(job_id)
    files.fetch()
    first = Writer(files, 1)
    follow(first.segments)
    assert seen == []
    for index in range(0, 6, 2):
        first.write(line_of(index), line_of(index + 1))
        follow(first.segments)
        assert seen == [line_of(i) for i in range(index + 2)]
    second = Writer(files, 2, first.close())
    second.write(line_of(6))
    follow(second.segments)
    second.write(line_of(7))
    follow(second.close())
    assert seen == [line_of(i) for i in range(8)]
    log = MaskLogView(kinds.machine("third").job(job_id), second.close())
    assert [line["index"] for line in log.iter_lines()] == list(range(8))
    assert log.find_line(5) == line_of(5)


def test_a_long_line_is_read_in_pieces(kinds: Storages) -> None:
    """A line of more than a block is found and read on another machine."""
    here = kinds.machine("here")
    job_id = submit(here)
    writer = Writer(here.job(job_id), 1)
    long = line_of(1, BLOCK + 10)
    writer.write(line_of(0), long)
    log = MaskLogView(kinds.machine("there").job(job_id), writer.close())
    found = log.find_line(1)
    assert isinstance(found, LongLine)
    assert b"".join(log.read_piece(*piece) for piece in found.pieces()) == long


def test_soft_masks_are_read_on_another_machine(kinds: Storages) -> None:
    """Whoever makes results has them with their lines; whoever follows the job reads the lines alone."""
    here = kinds.machine("here")
    job_id = submit(here)
    writer = Writer(here.job(job_id), 1)
    for index in range(3):
        writer.log.copy(index, line_of(index) + b"\t{}" + b" " * index)
        writer._publisher.publish(writer.log)
    log = MaskLogView(kinds.machine("there").job(job_id), writer.close())
    assert log.read_lines(0) == ([line_of(i) for i in range(3)], log.size())
    assert [line["soft"].strip() for line in log.iter_lines()] == [b"{}"] * 3


def test_what_is_not_counted_is_not_read(kinds: Storages) -> None:
    """Lines that were written and never counted are in no reader's log; the next attempt continues before them."""
    here, there = kinds.machine("here"), kinds.machine("there")
    job_id = submit(here)
    writer = Writer(here.job(job_id), 1)
    writer.write(line_of(0))
    counted = LogSegment(1, writer.log.size)
    writer.log.copy(1, line_of(1))
    writer.close()
    files = there.job(job_id)
    assert MaskLogView(files, (counted,)).size() == len(line_of(0)) + 1
    assert settle(files, (counted,)) == ((counted,), 0)


def test_a_fence_has_one_writer(stores: Storages) -> None:
    """A second process that writes with a fence is refused; the same bytes once more are accepted."""
    here, there = stores.machine("here"), stores.machine("there")
    job_id = submit(here)
    Writer(here.job(job_id), 1).write(line_of(0))
    Writer(there.job(job_id), 1).write(line_of(0))
    with pytest.raises(LostJobError):
        Writer(stores.machine("third").job(job_id), 1).write(line_of(0, 50))


def test_a_lost_answer_does_no_harm(stores: Storages, monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks whose storing seemed to fail, and more masks after it, are stored and counted once the store answers."""
    here = stores.machine("here")
    writer = Writer(here.job(submit(here)), 1)
    put = ObjectStore.create

    def lose(store: ObjectStore, key: str, content: bytes) -> bool:
        put(store, key, content)
        raise StorageUnavailableError("the answer was lost")

    with monkeypatch.context() as losing:
        losing.setattr(ObjectStore, "create", lose)
        with pytest.raises(StorageUnavailableError):
            writer.write(line_of(0))
    writer.write(line_of(1))
    log = MaskLogView(stores.machine("there").job(here.job_ids()[0]), writer.segments)
    assert [line["index"] for line in log.iter_lines()] == [0, 1]


def test_a_result_is_made_once(kinds: Storages) -> None:
    """A result that one machine has stored, another finds whole; before, there is none."""
    here, there = kinds.machine("here"), kinds.machine("there")
    job_id = submit(here)
    files = here.job(job_id)
    files.fetch()
    assert there.job(job_id).find_result("masks.zip") is None
    files.result("").mkdir(exist_ok=True)
    part = files.result("part")
    part.write_bytes(b"zip")
    files.store_result(part, "masks.zip", "application/zip")
    stat = there.job(job_id).find_result("masks.zip")
    assert stat is not None
    assert stat.st_size == 3
    assert there.job(job_id).result("masks.zip").read_bytes() == b"zip"


def test_a_stored_result_has_a_url(tmp_path: Path, server: S3Server) -> None:
    """Anybody who has the URL of a result reads it from S3, with its name and media type; other stores have none."""
    kinds = closing_at_end(storages("s3", tmp_path, server))
    here = kinds.machine("here")
    job_id = submit(here)
    files = here.job(job_id)
    files.result("").mkdir()
    part = files.result("part")
    part.write_bytes(b"{}")
    assert files.sign_result("coco.json") is None
    files.store_result(part, "coco.json", "application/json")
    url = kinds.machine("there").job(job_id).sign_result("coco.json")
    assert url is not None
    answer = httpx.get(url)
    assert answer.content == b"{}"
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{job_id}-coco.json"'
    folder = closing_at_end(storages("folder", tmp_path)).machine("here")
    assert folder.job(submit(folder)).sign_result("coco.json") is None


def test_a_deleted_job_is_gone_everywhere(kinds: Storages) -> None:
    """After a deletion nothing of the job is found on any machine, and other jobs are untouched."""
    here, there = kinds.machine("here"), kinds.machine("there")
    job_id, other = submit(here), submit(here)
    Writer(here.job(job_id), 1).write(line_of(0))
    there.delete(job_id)
    there.delete(job_id)
    assert here.job_ids() == [other]
    files = kinds.machine("third").job(job_id)
    if kinds.objects is None:
        assert not files.video.exists()
    else:
        with pytest.raises(FileNotFoundError):
            files.fetch()
    assert MaskLogView(files, (LogSegment(1, 50),)).size() == 0
    assert kinds.machine("third").job_ids() == [other]


def test_orphans_are_swept(kinds: Storages) -> None:
    """Files without a row go after four leases, those with a row stay."""
    here = kinds.machine("here", lease_seconds=0.05)
    owned, orphan = submit(here), submit(here)
    there = kinds.machine("there", lease_seconds=0.05)
    assert there.sweep([owned], there.job_ids()) == []
    time.sleep(0.25)
    assert there.sweep([owned], there.job_ids()) == [orphan]
    assert there.job_ids() == [owned]


def test_the_quota_counts_all_jobs(kinds: Storages) -> None:
    """Bytes that another machine has stored count for the quota, and those of deleted jobs do not."""
    job_id = submit(kinds.machine("here"))
    there = kinds.machine("there", quota=len(VIDEO) + 100_000)
    with there.reserve() as space, pytest.raises(StorageFullError):
        space.cover(200_000)
    there.delete(job_id)
    with there.reserve() as space:
        space.cover(200_000)


def test_a_correction_shares_the_video(kinds: Storages) -> None:
    """The video of a correction is that of its parent, also when the parent is deleted."""
    here, there = kinds.machine("here"), kinds.machine("there")
    parent, job_id = submit(here), new_job_id()
    files = there.job(parent)
    files.fetch()
    with there.upload() as upload:
        upload.video.hardlink_to(files.video)
        upload.prompts.write_text("{}", encoding="utf-8")
        there.persist(upload, job_id, video_of=parent)
        there.adopt(upload, job_id)
    here.delete(parent)
    found = kinds.machine("third").job(job_id)
    found.fetch()
    assert found.video.read_bytes() == VIDEO
    assert found.prompts.read_text(encoding="utf-8") == "{}"


def test_a_damaged_object_is_an_error(stores: Storages) -> None:
    """A video that no longer has the checksum that it was stored with is refused."""
    job_id = submit(stores.machine("here"))
    assert stores.objects is not None
    stores.objects.put(f"jobs/{job_id}/video", VIDEO[:-1] + b"?")
    files = stores.machine("there").job(job_id)
    with pytest.raises(RunError, match="checksum"):
        files.fetch()
    assert not files.video.exists()


def test_copies_go_when_nobody_uses_them(stores: Storages, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that nobody has used for a while is deleted, and fetched again when it is needed."""
    here = stores.machine("here")
    job_id = submit(here)
    files = here.job(job_id)
    here.sweep([job_id], [job_id])
    assert files.video.exists()
    monkeypatch.setattr("service.storage.objects.object_storage._KEEP_SECONDS", 0.0)
    here.sweep([job_id], [job_id])
    assert not files.folder.exists()
    files.fetch()
    assert files.video.read_bytes() == VIDEO


def test_folders_of_dead_processes_are_deleted(stores: Storages) -> None:
    """A process removes the copies of those that were killed, and not those of a living one."""
    living, dead = stores.machine("here"), stores.machine("here")
    submit(dead)
    assert dead._lock is not None
    os.close(dead._lock._file)  # what the end of a process does
    dead._lock = None
    stores.machine("here")
    assert living.root.exists()
    assert not dead.root.exists()


def test_a_store_that_is_away_is_an_error_that_passes(tmp_path: Path) -> None:
    """Without an answer, each call fails with the error that clients see as 503, and changes nothing."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    away = closing_at_end(Storages("s3", tmp_path, S3Server(port).open("away")))
    storage = away.machine("here")
    files = storage.job(new_job_id())
    writer = Writer(files, 1)
    for call in (
        lambda: submit(storage),
        files.fetch,
        lambda: files.fetch_states(2),
        lambda: files.find_result("masks.zip"),
        lambda: writer.write(line_of(0)),
        lambda: storage.delete(new_job_id()),
        storage.job_ids,
        MaskLogView(files, (LogSegment(7, 50),)).size,
    ):
        with pytest.raises(StorageUnavailableError):
            call()
    assert writer.segments == (LogSegment(1, 0),)


def test_the_extra_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without obstore, or with a URL of no bucket, one line says what is missing."""
    for url in ("s3:bucket", "https://bucket/prefix", "s3://"):
        with pytest.raises(UsageError, match="s3://bucket/prefix"):
            open_object_store(url)
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(UsageError, match="keymask-server"):
        open_object_store("s3://bucket/prefix")


def test_a_folder_needs_no_obstore() -> None:
    """What every process imports does not import obstore."""
    code = "import service.http.app, service.engine.open, service.cli.main, sys; sys.exit('obstore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
