"""Write `report.json` with one entry per frame, without holding the frames in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from service.writers.mask_line import frame_head, rounded
from vos.runtime.durable import make_folder, replace_durably
from vos.types import FrameMask


def frame_entry(frame: FrameMask) -> dict[str, Any]:
    """Return the entry of a frame. `score` is the mean over the objects, `scores` has one value per object id."""
    scores = {str(i): rounded(score) for i, score in frame.scores.items()}
    return {
        **frame_head(frame),
        "score": rounded(sum(frame.scores.values()) / len(frame.scores)) if frame.scores else 0.0,
        "scores": scores,
    }


class ReportWriter:
    """Collects frame entries in a file beside `path`; `finish` assembles the report and moves it into place.

    The report appears whole or not at all, also after a power cut.
    """

    def __init__(self, path: Path) -> None:
        make_folder(path.parent)
        self._path = path
        self._entries = path.with_name(path.name + ".frames.part")
        self._whole = path.with_name(path.name + ".part")
        self._file = self._entries.open("w", encoding="utf-8")

    def write(self, frame: FrameMask) -> None:
        """Append the frame's entry."""
        self._file.write(json.dumps(frame_entry(frame)) + "\n")

    def close(self) -> None:
        """Close and delete the entries; without `finish` there is no report."""
        self._file.close()
        self._entries.unlink(missing_ok=True)
        self._whole.unlink(missing_ok=True)

    def finish(self, summary: dict[str, Any]) -> None:
        """Write the report: `summary`, then `frames`.

        Args:
            summary: Everything but the frames, in JSON types; not empty.
        """
        self._file.close()
        head = json.dumps(summary, indent=2, allow_nan=False).removesuffix("\n}")
        with self._whole.open("w", encoding="utf-8") as whole, self._entries.open(encoding="utf-8") as entries:
            whole.write(head + ',\n  "frames": [')
            for number, entry in enumerate(entries):
                whole.write((",\n    " if number else "\n    ") + entry.rstrip("\n"))
            whole.write("\n  ]\n}\n")
        replace_durably(self._whole, self._path)
        self._entries.unlink()
