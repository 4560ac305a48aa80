"""The report of a run: one record and one JSON shape for `report.json`, `--json` and HTTP."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from service.prompts.objects import PromptObject, objects_line
from service.run.options import RunOptions
from service.run.outputs import Outputs
from service.run.review.reviewer import ReviewRange, review_line
from vos.types import MaskSource, Stats


@dataclass(frozen=True, slots=True)
class Report:
    """A run, finished or broken off.

    Attributes:
        codec: What the bitstream offered, see `service.run.bitstream_stats`.
        model: Network, weights, device.
        options: What the user chose.
        stats: Frames by source and seconds by stage.
        prompt: Objects of the prompt, as read from the mask.
        pixels: Number of pixels of the prompt.
        review: Ranges of frames to look at first, the most urgent first.
        seconds: Seconds outside the segmenter: "open", "load", "write", "total".
        video: The video's name; None for an upload.
        outputs: Where the results are; None for a job of the service, which links them.
        notes: What the user should know, in plain words.
        error: Why the run broke off; None if it is complete.
        resumed_at: Presentation index of the first mask that this attempt computed, after an earlier one; None if there
            was none.
        fingerprint: Digest of inputs and options, by which a later run knows its own; None for a job of the service.
    """

    codec: dict[str, Any]
    model: dict[str, Any]
    options: RunOptions
    stats: Stats
    seconds: dict[str, float]
    prompt: tuple[PromptObject, ...] = ()
    pixels: int = 0
    review: tuple[ReviewRange, ...] = ()
    video: str | None = None
    outputs: Outputs | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None
    resumed_at: int | None = None
    fingerprint: str | None = None

    @property
    def network_runs_saved(self) -> int:
        """Frames that have a mask without the base network."""
        return self.stats.segmented - self.stats.network_runs

    @property
    def frames_read(self) -> int:
        """Frames that this attempt read and an earlier one had not: all up to the last mask, not only those written."""
        read: int = self.codec["frames_read"]
        return max(0, read - (self.resumed_at or 0))

    @property
    def fps(self) -> float:
        """Frames read per second from opening the video to the last mask written, without loading the network."""
        busy = self.seconds["total"] - self.seconds.get("load", 0.0)
        return self.frames_read / busy if busy > 0 else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return everything but the frames."""
        seconds = self.seconds | self.stats.seconds
        chosen = asdict(self.options.for_segmenter()) | self.options.model_dump(
            include={
                *("model", "prompt_frame", "mask_mode", "direction", "motion", "analysis_side", "max_side"),
                *("labels", "opacity", "colors", "polygon_tolerance"),
            }
        )
        return {
            "keymask": version("keymask-server"),
            "complete": self.error is None,
            "error": self.error,
            "video": {"path": self.video} | self.codec,
            "model": self.model,
            "options": chosen,
            "prompt": [item.to_json(self.options.labels) for item in self.prompt],
            "frames_written": self.stats.total,
            "frames_segmented": self.stats.segmented,
            "sources": {str(source): self.stats.frames.get(source, 0) for source in MaskSource},
            "key_share": round(self.stats.key_share, 4),
            "network_runs": self.stats.network_runs,
            "network_runs_saved": self.network_runs_saved,
            "fps": round(self.fps, 2),
            "seconds": {stage: round(value, 4) for stage, value in seconds.items()},
            "resumed": self.resumed_at is not None,
            "fingerprint": self.fingerprint,
            "needs_review": [item.to_json() for item in self.review],
            "outputs": None if self.outputs is None else self.outputs.to_json(),
            "written": [] if self.outputs is None else self.outputs.written(),
            "notes": list(self.notes),
        }

    def lines(self) -> list[str]:
        """Return the lines that a user reads at the end."""
        frames, saved, total = self.stats.total, self.network_runs_saved, self.seconds["total"]
        segmented = self.stats.segmented
        of = f" of {segmented} segmented" if segmented != frames else ""
        lines = [
            f"{frames} frames{of} in {total:.1f} s ({self.fps:.1f} per second, without loading the network)",
            f"the base network ran on {self.stats.network_runs} of them; {saved} runs saved "
            f"({saved / max(segmented, 1):.0%}), "
            f"motion from the {self.codec['motion_source']}",
        ]
        lines += [objects_line(self.prompt, self.pixels)] if self.prompt else []
        lines += [review_line(self.review)] if self.review else []
        if self.outputs is not None:
            lines += [f"masks    {self.outputs.masks}", f"report   {self.outputs.report}"]
            lines += [f"{name:8} {path}" for name, path in self.outputs.files.items()]
        return lines + [f"note: {note}" for note in self.notes]
