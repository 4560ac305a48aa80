"""Collect the results of a batch: one line of JSON per video."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from service.run.batch.object_path import ObjectPath, Place
from service.run.batch.task import TaskResult
from vos.runtime.durable import make_folder, sync_folder

_STORE_SECONDS = 10.0
"""Shortest time between two versions of a report in an object store, each of which has all lines."""


def collect(results: Iterable[TaskResult], path: Place) -> Generator[TaskResult]:
    """Write each result to a file as it comes, and pass it on once it is on the disk.

    Args:
        results: The results.
        path: NDJSON file, which is replaced. An object is replaced every ten seconds, and at the end.
    """
    if isinstance(path, ObjectPath):
        yield from _collect_in_store(results, path)
        return
    make_folder(path.parent)
    with path.open("w", encoding="utf-8") as file:
        sync_folder(path.parent)
        for result in results:
            file.write(json.dumps(result.to_json(), allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
            yield result


def _collect_in_store(results: Iterable[TaskResult], path: ObjectPath) -> Generator[TaskResult]:
    store = path.parent.open()
    with TemporaryDirectory(prefix="keymask-") as folder:
        copy = Path(folder) / path.name
        copy.touch()
        stored_at = time.monotonic()
        try:
            for result in collect(results, copy):
                if time.monotonic() - stored_at > _STORE_SECONDS:
                    store.put_file(path.name, copy)
                    stored_at = time.monotonic()
                yield result
        finally:
            store.put_file(path.name, copy)
