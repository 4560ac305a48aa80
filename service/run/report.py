"""What a run did, in figures: the head of the report, and the lines a user reads at the end."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from service.run.outputs import Outputs
from vos.types import MaskSource, Stats


@dataclass(frozen=True, slots=True)
class Summary:
    """A run, finished or broken off.

    Attributes:
        video: The video as it was named.
        codec: What the bitstream offered, see `service.run.bitstream_stats`.
        model: Network, weights, device.
        options: What the user chose.
        stats: Frames by source and seconds by stage.
        seconds: Seconds of what happens outside the segmenter: "open", "load", "write", "total".
        outputs: Where the results are.
        notes: What the user should know, in plain words.
        error: Why the run broke off; None if it is complete.
    """

    video: str
    codec: dict[str, Any]
    model: dict[str, Any]
    options: dict[str, Any]
    stats: Stats
    seconds: dict[str, float]
    outputs: Outputs
    notes: tuple[str, ...]
    error: str | None

    @property
    def network_runs(self) -> int:
        """Frames for which the network encoded the picture: key frames and the prompt's."""
        return self.stats.frames.get(MaskSource.KEY, 0) + self.stats.frames.get(MaskSource.PROMPT, 0)

    @property
    def network_runs_saved(self) -> int:
        """Frames whose mask came without the network."""
        return self.stats.total - self.network_runs

    @property
    def fps(self) -> float:
        """Frames per second from the first byte of the video to the last mask written, without loading the network."""
        busy = self.seconds["total"] - self.seconds.get("load", 0.0)
        return self.stats.total / busy if busy > 0 else 0.0

    def to_json(self) -> dict[str, Any]:
        """The head of `report.json`: everything but the frames."""
        seconds = self.seconds | self.stats.seconds
        return {
            "keymask": version("keymask-server"),
            "complete": self.error is None,
            "error": self.error,
            "video": {"path": self.video} | self.codec,
            "model": self.model,
            "options": self.options,
            "frames_written": self.stats.total,
            "sources": {str(source): self.stats.frames.get(source, 0) for source in MaskSource},
            "key_share": round(self.stats.key_share, 4),
            "network_runs": self.network_runs,
            "network_runs_saved": self.network_runs_saved,
            "fps": round(self.fps, 2),
            "seconds": {stage: round(value, 4) for stage, value in seconds.items()},
            "outputs": self.outputs.to_json(),
            "notes": list(self.notes),
        }

    def lines(self) -> list[str]:
        """What a user wants to know at the end."""
        frames, saved, total = self.stats.total, self.network_runs_saved, self.seconds["total"]
        lines = [
            f"{frames} frames in {total:.1f} s ({self.fps:.1f} a second, without loading the network)",
            f"network ran on {self.network_runs} of them; {saved} runs saved ({saved / max(frames, 1):.0%}), "
            f"motion from the {self.codec['motion_source']}",
            f"masks    {self.outputs.masks}",
            f"report   {self.outputs.report}",
        ]
        if self.outputs.overlay is not None:
            lines.append(f"overlay  {self.outputs.overlay}")
        if self.outputs.rle is not None:
            lines.append(f"rle      {self.outputs.rle}")
        return lines + [f"note: {note}" for note in self.notes]
