"""Resume state of a run, small enough to be saved regularly.

It does not contain the memory bank. To resume, the key frames are encoded again and memorized with the masks they had.
Everything else that later masks depend on, such as a network's recurrent features, is saved as it is, so a resumed run
yields the same masks as one that was never interrupted.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from codec.types import Float32Array, FrameType
from vos.runtime.durable import replacing
from vos.types import FrameMask, MaskSource, SoftMask


@dataclass(frozen=True, slots=True)
class MemoryLayout:
    """Which key frames a memory bank holds.

    Attributes:
        indices: Presentation indices by slot.
        latest: Slot of the latest frame.
        spaced: Slots of the spaced frames, oldest first.
        permanent: Slots of frames with given masks other than the first frame, oldest first.
    """

    indices: tuple[int, ...]
    latest: int
    spaced: tuple[int, ...]
    permanent: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class HeldReference:
    """Channels of a frame that later frames may refer to.

    Attributes:
        decode_index: Decode index of the frame.
        slot: Its slot in the store, which decides ties between references.
        channels: float32 [K + L + 1, rows, columns], see `vos.propagation.propagate.Propagated`.
    """

    decode_index: int
    slot: int
    channels: Float32Array


@dataclass(frozen=True, slots=True, eq=False)
class RunState:
    """State of a run between two masks.

    Attributes:
        next_index: Presentation index of the next mask.
        waves: Number of waves (see `vos.runtime.waves`) that are done.
        keys: Presentation indices of recent key frames, the latest one last.
        key_count: Key frames so far, including the prompt frame.
        frame_count: Frames so far.
        memory: Which key frames the memory bank holds.
        refiner_keys: Presentation indices of the key frames that the refiner holds, the first key frame first.
        logits: Presentation index of these key frames -> logits of the base network, float32 [K, 1, rows, columns] at
            stride 4. Prompt frames whose masks are all given have none.
        references: Frames that later frames may refer to, the latest one last.
        pending: Masks that are done but not yet next in presentation order.
        counts: Source of a mask -> masks yielded so far.
        before_start: Source of a mask -> masks before the start of the output, which are not yielded.
        network: Arrays of the base network that cannot be computed again from key frames and masks.
    """

    next_index: int
    waves: int
    keys: tuple[int, ...]
    key_count: int
    frame_count: int
    memory: MemoryLayout
    refiner_keys: tuple[int, ...]
    logits: Mapping[int, Float32Array]
    references: tuple[HeldReference, ...]
    pending: tuple[FrameMask, ...]
    counts: Mapping[MaskSource, int]
    before_start: Mapping[MaskSource, int] = field(default_factory=dict)
    network: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)

    def save(self, path: Path, fingerprint: str) -> None:
        """Write the state to a file, completely or not at all, and wait until it is on the disk.

        Args:
            path: An .npz file.
            fingerprint: Identifies the video, the options and the network.
        """
        arrays: dict[str, Any] = {f"logits{i}": self.logits[i] for i in self.logits}
        arrays |= {f"reference{r.decode_index}": r.channels for r in self.references}
        arrays |= {f"labels{m.index}": m.labels for m in self.pending}
        soft = {m.index: m.soft for m in self.pending if m.soft is not None}
        arrays |= {f"soft{i}.{number}": mask.values for i, masks in soft.items() for number, mask in masks.items()}
        arrays |= {f"network.{name}": array for name, array in self.network.items()}
        about = {
            "fingerprint": fingerprint,
            "next_index": self.next_index,
            "waves": self.waves,
            "keys": self.keys,
            "key_count": self.key_count,
            "frame_count": self.frame_count,
            "memory": asdict(self.memory),
            "refiner_keys": self.refiner_keys,
            "logits": list(self.logits),
            "references": [(r.decode_index, r.slot) for r in self.references],
            "pending": [
                (m.index, m.pts, m.time, str(m.type), str(m.source), list(m.scores.items())) for m in self.pending
            ],
            "soft": [(i, [(number, mask.extent) for number, mask in masks.items()]) for i, masks in soft.items()],
            "counts": {str(source): count for source, count in self.counts.items()},
            "before_start": {str(source): count for source, count in self.before_start.items()},
            "network": list(self.network),
        }
        with replacing(path) as file:
            np.savez(file, about=np.array(json.dumps(about)), **arrays)

    @classmethod
    def load(cls, path: Path, fingerprint: str) -> RunState | None:
        """Read a saved state. Return None if the file is missing, damaged, or has another fingerprint."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                about = json.loads(str(arrays["about"]))
                return _parse(about, arrays) if about["fingerprint"] == fingerprint else None
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile, zlib.error):
            return None


def _parse(about: dict[str, Any], arrays: Mapping[str, Any]) -> RunState:
    memory = about["memory"]
    soft = {
        i: {number: SoftMask(arrays[f"soft{i}.{number}"], tuple(extent)) for number, extent in masks}
        for i, masks in about.get("soft", ())  # states of earlier versions have none
    }
    return RunState(
        next_index=about["next_index"],
        waves=about["waves"],
        keys=tuple(about["keys"]),
        key_count=about["key_count"],
        frame_count=about["frame_count"],
        memory=MemoryLayout(
            tuple(memory["indices"]), memory["latest"], tuple(memory["spaced"]), tuple(memory["permanent"])
        ),
        refiner_keys=tuple(about["refiner_keys"]),
        logits={i: arrays[f"logits{i}"] for i in about["logits"]},
        references=tuple(HeldReference(i, slot, arrays[f"reference{i}"]) for i, slot in about["references"]),
        pending=tuple(
            FrameMask(
                *(index, pts, time, FrameType(kind), MaskSource(source), arrays[f"labels{index}"], dict(scores)),
                soft=soft.get(index),
            )
            for index, pts, time, kind, source, scores in about["pending"]
        ),
        counts={MaskSource(source): count for source, count in about["counts"].items()},
        before_start={MaskSource(source): count for source, count in about["before_start"].items()},
        network={name: arrays[f"network.{name}"] for name in about["network"]},
    )
