"""Segmenters without a network, so workers start quickly, and faults that tests inject into workers.

`load` is a `ModelLoader` that a spawned worker can import ("tests.support.fakes:load"). At the start of each run, the
segmenter reads `behaviour.json` in the settings' home, so a test can change it while a worker is alive: `seconds` is
the time to sleep per frame, and `fault` = {"at": frame, "kind": ..., "times": n} injects a fault n times. The kind
"wait" holds the run as long as the file `wait` is in this folder.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from codec.types import CompressedFrame, VideoInfo
from service.config import Settings
from service.run.model_loader import LoadedModel, ModelChoice, load_model
from vos.errors import WeightsError
from vos.runtime.protocol import SegmenterLike
from vos.runtime.run_state import MemoryLayout, RunState
from vos.types import FrameMask, MaskSource, Options, Prompt, Stats


def behave(home: Path, **behaviour: Any) -> None:
    """Set the behavior of workers with this home from their next run on."""
    home.mkdir(parents=True, exist_ok=True)
    part = home / "behaviour.part"
    part.write_text(json.dumps(behaviour))
    part.replace(home / "behaviour.json")


def has_faulted(home: Path) -> bool:
    """Return whether the latest `fault` has been injected as often as asked. A mask may be there before."""
    return bool(_behaviour(home)["fault"].get("times", 1) < 1)


def load(choice: ModelChoice, options: Options, settings: Settings) -> LoadedModel:
    """Replace `service.run.model_loader.load_model`."""
    if (settings.home / "no-weights").exists():
        raise WeightsError("the weights are missing")
    return LoadedModel(ChainSegmenter(options, settings.home), {"name": choice.name, "device": "none"})


def load_network(choice: ModelChoice, options: Options, settings: Settings) -> LoadedModel:
    """Load the real network, with the faults of `behaviour.json`."""
    model = load_model(choice, options, settings)
    return LoadedModel(FaultySegmenter(model.segmenter, settings.home), model.description)


def load_memory(choice: ModelChoice, options: Options, settings: Settings) -> LoadedModel:
    """Load a small network with the faults of `behaviour.json`; its key frames depend on the whole memory."""
    from tests.support import resumable

    model = resumable.load_memory(choice, options, settings)
    return LoadedModel(FaultySegmenter(model.segmenter, settings.home), model.description)


class WrappedSegmenter:
    """Has the statistics and the resume state of another segmenter."""

    def __init__(self, inner: SegmenterLike) -> None:
        self._inner = inner

    @property
    def stats(self) -> Stats:
        """Statistics of the other segmenter."""
        return self._inner.stats

    @property
    def state(self) -> RunState | None:
        """Resume state of the other segmenter."""
        return self._inner.state


class FaultySegmenter(WrappedSegmenter):
    """Yields the masks of another segmenter until a fault is injected."""

    def __init__(self, inner: SegmenterLike, home: Path) -> None:
        super().__init__(inner)
        self._home = home

    def beside(self, start: int | None, end: int | None) -> FaultySegmenter:
        """Another one for this range, with the same faults."""
        return FaultySegmenter(self._inner.beside(start, end), self._home)

    def run(self, *arguments: Any, **prompts: Any) -> Iterator[FrameMask]:
        """Yield the masks of the other segmenter."""
        behaviour = _behaviour(self._home)
        for mask in self._inner.run(*arguments, **prompts):
            _inject_if_due(self._home, mask.index, behaviour)
            yield mask


class ChainSegmenter:
    """Rolls the prompt mask by a checksum of all pictures so far, so each mask depends on every frame before it."""

    def __init__(self, options: Options, home: Path) -> None:
        self.options = options
        self._home = home
        self._counts: Counter[MaskSource] = Counter()
        self._position = (0, 0)
        self._chain = 0
        self._begun = False

    @property
    def stats(self) -> Stats:
        """Number of frames per source."""
        return Stats(dict(self._counts), {"decode": 0.25 * self._counts.total()})

    @property
    def state(self) -> RunState | None:
        """The resume state, which stores the checksum as the only key frame."""
        if not self._begun:
            return None
        layout = MemoryLayout((0,), 0, ())
        return RunState(
            next_index=self._position[0],
            waves=self._position[1],
            keys=(self._chain,),
            key_count=1,
            frame_count=self._counts.total(),
            memory=layout,
            refiner_keys=(),
            logits={},
            references=(),
            pending=(),
            counts=dict(self._counts),
        )

    def beside(self, start: int | None, end: int | None) -> ChainSegmenter:
        """Another one for this range."""
        return ChainSegmenter(replace(self.options, start=start, end=end), self._home)

    def run(
        self,
        frames: Iterable[CompressedFrame],
        _info: VideoInfo,
        prompt: Prompt,
        state: RunState | None = None,
        **_prompts: Any,
    ) -> Iterator[FrameMask]:
        """Yield one mask per frame; presentation order must equal decode order."""
        behaviour = _behaviour(self._home)
        if state is not None:
            self._counts, self._chain = Counter(state.counts), state.keys[0]
            self._position = (state.next_index, state.waves)
        for frame in frames:
            assert frame.index == frame.decode_index
            if frame.index < max(prompt.index, self._position[1]):
                continue
            if frame.index == self.options.end:
                return
            _inject_if_due(self._home, frame.index, behaviour)
            self._chain = zlib.crc32(frame.luma.tobytes(), self._chain)
            source = MaskSource.KEY if self._begun or state is not None else MaskSource.PROMPT
            self._counts[source] += 1
            self._begun = True
            self._position = (frame.index + 1, frame.decode_index + 1)
            labels = np.roll(prompt.labels, self._chain % 17, axis=1)
            if frame.index >= (self.options.start or 0):
                scores = dict.fromkeys(prompt.object_ids, 0.5)
                yield FrameMask(frame.index, frame.pts, frame.time, frame.type, source, labels, scores)
            time.sleep(behaviour.get("seconds", 0.0))


def _behaviour(home: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((home / "behaviour.json").read_text()))
    except FileNotFoundError:
        return {}


def _inject_if_due(home: Path, index: int, behaviour: dict[str, Any]) -> None:
    fault = behaviour.get("fault")
    if fault is None or fault["at"] != index or fault.get("times", 1) < 1:
        return
    fault["times"] = fault.get("times", 1) - 1
    behave(home, **behaviour)
    if fault["kind"] == "wait":
        while (home / "wait").exists():
            time.sleep(0.02)
    else:
        inject_fault(fault["kind"])


def inject_fault(kind: str) -> None:
    """Let something happen to this process."""
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif kind == "segfault":
        ctypes.string_at(0)
    elif kind == "abort":
        os.abort()
    elif kind == "exit":
        os._exit(3)
    elif kind == "hang":
        time.sleep(3600)
    elif kind == "memory":
        raise MemoryError
    elif kind == "defect":
        raise RuntimeError("a defect with /a/secret/path")
    elif kind == "disk":
        raise OSError(28, "No space left on device")
    else:
        raise ValueError(kind)
