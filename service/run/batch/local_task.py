"""A task on this machine: its inputs are copied here, and its results to the object store, where they have URLs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

from service.config import Settings
from service.errors import UsageError
from service.net.input_urls import copy_ends, copy_url
from service.run.batch.object_path import ObjectPath
from service.run.batch.plan import BatchTask
from service.run.batch.unfinished_objects import REPORT, UnfinishedObjects, in_parallel, is_mask
from service.run.outputs import results_of_another_run
from service.run.resume.fingerprint import SAMPLE_BYTES, fingerprint_of_report
from service.run.run_to_files import RunRequest, is_finished
from service.storage.objects.object_store import SCHEME

Run: TypeAlias = Callable[[RunRequest, Callable[[], None]], dict[str, Any]]
"""Runs a request and returns the report; calls the function after each resume state that it has saved."""


@contextmanager
def on_this_machine(task: BatchTask, settings: Settings) -> Iterator[LocalTask]:
    """Yield a task with a temporary folder for the files that are not on this machine."""
    if task.is_local:
        yield LocalTask(task, settings, Path())
        return
    with TemporaryDirectory(prefix="keymask-") as folder:
        yield LocalTask(task, settings, Path(folder).resolve())


class LocalTask:
    """A task with files of this machine.

    Args:
        task: The task.
        settings: Where URLs may lead, and limits.
        folder: Folder for copies.
    """

    def __init__(self, task: BatchTask, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self._given = task
        self._results = task.folder if isinstance(task.folder, ObjectPath) else None
        here = task if task.url is None else replace(task, video=folder / "video" / task.video)
        if isinstance(task.mask, ObjectPath):
            here = replace(here, mask=folder / "mask" / task.mask.name)
        if self._results is not None:
            here = replace(here, folder=folder / "out")
        self._here = here
        self._has_video = False
        self._renamed = {
            str(here.folder): str(task.folder),
            str(here.video): task.source,
            str(here.mask): str(task.mask),
        }

    def is_finished(self) -> bool:
        """Whether an earlier batch has finished it. Of an object, only what identifies it is read."""
        request = self._here.request()
        self._fetch_results()
        if fingerprint_of_report(request.outputs.report, complete=True) is None:
            return False
        self._fetch_mask()
        self._fetch_video(whole=False)
        if not is_finished(request):
            return False
        if self._results is not None:  # an earlier batch was interrupted when all was stored
            UnfinishedObjects(self._results.open(), request.outputs.folder).remove()
        return True

    def run(self, run: Run) -> dict[str, Any]:
        """Run the task and store its results; return the report that `run` returns, with the names of the task.

        Raises:
            UsageError: Results of something else are in the way.
        """
        request = self._here.request()
        self._fetch_mask()
        self._fetch_video(whole=True)
        if self._results is None:
            return run(request, lambda: None)
        unfinished = UnfinishedObjects(self._results.open(), request.outputs.folder)
        resume = self._prepare(self._results, request, unfinished)
        try:
            report = run(replace(request, resume=resume), unfinished.store_if_due)
        finally:
            self._store_results(self._results, unfinished)
        renamed: dict[str, Any] = json.loads(self._rename(json.dumps(report)))
        return renamed

    def named(self, text: str) -> str:
        """Replace the paths of copies in a message by the names of what they are copies of."""
        for path, name in self._renamed.items():
            text = text.replace(path, name)
        return text

    def _fetch_video(self, *, whole: bool) -> None:
        """Copy the video from its URL, or of an object only its beginning and its end."""
        url, target = self._given.url, self._here.video
        if url is None or self._has_video:
            return
        target.parent.mkdir(exist_ok=True)
        if whole or not url.startswith(SCHEME):
            copy_url(url, target, self._settings)
            self._has_video = True
        else:
            copy_ends(url, target, self._settings, SAMPLE_BYTES)

    def _fetch_mask(self) -> None:
        mask, target = self._given.mask, self._here.mask
        if isinstance(mask, ObjectPath) and isinstance(target, Path) and not target.exists():
            target.parent.mkdir(exist_ok=True)
            copy_url(mask.url, target, self._settings)

    def _fetch_results(self) -> None:
        """Put the stored report where the run would write it, and empty files in place of all other results."""
        folder = self._here.folder
        if self._results is None or not isinstance(folder, Path) or folder.exists():
            return
        store = self._results.open()
        folder.mkdir()
        for entry in store.entries(""):
            if "/" not in entry.key:
                (folder / entry.key).touch()
        with suppress(FileNotFoundError):
            (folder / REPORT).write_bytes(store.read(REPORT))

    def _prepare(self, results: ObjectPath, request: RunRequest, unfinished: UnfinishedObjects) -> bool:
        """Replace the copies of earlier results by what the run continues; return whether it continues anything.

        Raises:
            UsageError: There are results that `run_to_files` would refuse to replace in a folder.
        """
        self._fetch_results()
        begun = unfinished.fingerprint
        earlier = begun or fingerprint_of_report(request.outputs.report)
        if earlier is not None and not request.force:
            if not request.resume:
                raise UsageError(
                    f"{results} has results of an earlier run: choose another place, or replace with --force"
                )
            if earlier != request.fingerprint():
                raise results_of_another_run(results)
        shutil.rmtree(request.outputs.folder)
        resume = request.resume and begun == request.fingerprint()
        if resume:
            unfinished.fetch()
        return resume

    def _store_results(self, results: ObjectPath, unfinished: UnfinishedObjects) -> None:
        """Store all results, the report last: a later batch trusts a complete report, whatever else is there."""
        folder = self._here.folder
        assert isinstance(folder, Path)
        report = folder / REPORT
        if unfinished.is_here:
            unfinished.store()
        if not report.exists():  # the run has failed before the first mask
            return
        report.write_text(self._rename(report.read_text(encoding="utf-8")), encoding="utf-8")
        files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        wanted = {key for key in files if key != REPORT and not key.startswith(".resume/")}
        store = results.open()
        there = {entry.key for entry in store.entries("masks") if is_mask(entry.key)}
        store.delete([REPORT, *(there - wanted)])
        kept = {key for key in there & wanted if unfinished.has(key)}
        in_parallel(lambda key: store.put_file(key, files[key]), sorted(wanted - kept))
        store.put_file(REPORT, report)
        if not unfinished.is_here:
            unfinished.remove()

    def _rename(self, report: str) -> str:
        """Replace the paths of copies in the JSON of a report by the names of what they are copies of."""
        for path, name in self._renamed.items():
            report = report.replace(json.dumps(path)[1:-1], json.dumps(name)[1:-1])
        return report
