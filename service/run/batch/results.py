"""Collect the results of a batch: one line of JSON per video."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from service.run.batch.task import TaskResult
from vos.runtime.durable import make_folder, sync_folder


def collect(results: Iterable[TaskResult], path: Path) -> Iterator[TaskResult]:
    """Write each result to a file as it comes, and pass it on once it is on the disk.

    Args:
        results: The results.
        path: NDJSON file, which is replaced.
    """
    make_folder(path.parent)
    with path.open("w", encoding="utf-8") as file:
        sync_folder(path.parent)
        for result in results:
            file.write(json.dumps(result.to_json(), allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
            yield result
