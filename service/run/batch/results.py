"""Collect the results of a batch: one line of JSON per video."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from service.run.batch.task import TaskResult


def collect(results: Iterable[TaskResult], path: Path) -> Iterator[TaskResult]:
    """Write each result to a file as it comes, and pass it on.

    Args:
        results: The results.
        path: NDJSON file, which is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for result in results:
            file.write(json.dumps(result.to_json(), allow_nan=False) + "\n")
            file.flush()
            yield result
