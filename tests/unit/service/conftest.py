"""A segmenter without a network, and small clips, for the tests of the service layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from codec.types import CompressedFrame, VideoInfo
from service.config import Settings
from service.loading import Engine, ModelChoice
from vos.types import FrameMask, Options, Prompt, Source, Stats


@dataclass
class StillSegmenter:
    """Gives every frame the prompt's mask, in presentation order; the first is `prompt`, the others `propagated`."""

    options: Options
    given: dict[Source, int] = field(default_factory=dict)

    @property
    def stats(self) -> Stats:
        """Frames by source."""
        return Stats(dict(self.given), {"decode": 0.0})

    def run(self, frames: Iterable[CompressedFrame], _info: VideoInfo, prompt: Prompt) -> Iterator[FrameMask]:
        """One mask a frame, held back until its turn in presentation order."""
        waiting: dict[int, CompressedFrame] = {}
        wanted = 0
        for frame in frames:
            waiting[frame.index] = frame
            while wanted in waiting:
                ready = waiting.pop(wanted)
                wanted += 1
                if ready.index >= prompt.index and ready.index < (self.options.end or 1 << 30):
                    yield self._mask(ready, prompt)

    def _mask(self, frame: CompressedFrame, prompt: Prompt) -> FrameMask:
        source = Source.PROMPT if frame.index == prompt.index else Source.PROPAGATED
        self.given[source] = self.given.get(source, 0) + 1
        scores = dict.fromkeys(prompt.object_ids, 0.5)
        return FrameMask(frame.index, frame.pts, frame.time, frame.type, source, prompt.labels, scores)


def load_still(choice: ModelChoice, options: Options, settings: Settings) -> Engine:
    """Stands in for `service.loading.load_engine`."""
    return Engine(StillSegmenter(options), {"name": "still"})


@pytest.fixture
def still_engine() -> Callable[[ModelChoice, Options, Settings], Engine]:
    """A loader of `StillSegmenter`."""
    return load_still


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings whose home is empty."""
    return Settings(home=tmp_path / "home")


@pytest.fixture
def write_mask(tmp_path: Path) -> Callable[..., Path]:
    """Writes a mask PNG with one square of the given value into the test's folder."""

    def write(width: int, height: int, value: int = 1, name: str = "mask.png") -> Path:
        labels = np.zeros((height, width), np.uint8)
        labels[height // 4 : height // 2, width // 4 : width // 2] = value
        path = tmp_path / name
        Image.fromarray(labels * (255 // value)).save(path)
        return path

    return write


@pytest.fixture
def write_clip(tmp_path: Path) -> Callable[..., Path]:
    """Encodes a short clip of a moving gradient into the test's folder."""

    def write(
        name: str = "clip.mp4",
        *,
        times: Iterable[int] = range(12),
        size: tuple[int, int] = (64, 48),
        codec: str = "libx264",
        audio: str | None = None,
        pixel_format: str = "yuv420p",
    ) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream(codec, rate=25)
            stream.width, stream.height = size
            stream.pix_fmt = pixel_format
            stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
            sound: Any = container.add_stream(audio, rate=48000) if audio else None
            for time in times:
                container.mux(stream.encode(_picture(size, time)))
            container.mux(stream.encode(None))
            if sound is not None:
                _add_sound(container, sound)
        return path

    return write


def _picture(size: tuple[int, int], time: int) -> av.VideoFrame:
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    ramp = np.stack([(x * 3 + time) % 256, (y * 5) % 256, (x + y) % 256], axis=2).astype(np.uint8)
    picture = av.VideoFrame.from_ndarray(ramp, "rgb24")
    picture.pts, picture.time_base = time, Fraction(1, 1000)
    return picture


def _add_sound(container: Any, stream: Any) -> None:
    layout = {"pcm_s16le": ("s16", np.int16)}.get(stream.codec_context.name, ("fltp", np.float32))
    for block in range(20):
        samples = np.zeros((1, 1024), layout[1])
        frame = av.AudioFrame.from_ndarray(samples, layout[0], "mono")
        frame.sample_rate, frame.pts = 48000, block * 1024
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
