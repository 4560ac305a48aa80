"""Time the stages of a run on this machine: in turns, over several rounds, by the median."""

from __future__ import annotations

import os
import platform
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from codec.demux.source import VideoFile
from codec.reader import open_video
from service.config import Settings
from service.run.model_loader import LoadedModel, choice_of, load_model
from service.run.options import RunOptions
from service.run.segment import segment

STAGES = {
    "decode": "plain decode",
    "decode + motion": "decode with motion, references and residual",
    "propagated": "decode and propagation; the base network runs on the prompt frame only",
    "repaired": "the same, with the refiner on every frame",
    "key": "decode and the base network on every frame",
    "adaptive": "the default: key frames where they are needed",
}


@dataclass(frozen=True, slots=True)
class Timing:
    """Time of one stage.

    Attributes:
        stage: A key of `STAGES`.
        milliseconds: Milliseconds per frame, median over the rounds.
        fps: Frames per second.
        over_decode: Time relative to plain decode in the same round, median over the rounds.
    """

    stage: str
    milliseconds: float
    fps: float
    over_decode: float


def measure(
    video: Path,
    mask: Path,
    options: RunOptions,
    settings: Settings,
    rounds: int,
    *,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> dict[str, Any]:
    """Time every stage on a video; the first round warms up and does not count.

    `on_progress` is called between stages, never within one, with the number of stages done and the total.

    Raises:
        CodecError: The video cannot be read.
        VosError: The mask, the model or the weights cannot be used.
    """
    with open_video(video) as reader:
        info = reader.info

    def segmented(keyframes: str, *, refine: bool = True) -> Callable[[], tuple[int, float]]:
        chosen = options.model_copy(update={"keyframes": keyframes, "refine": refine})
        model = load_model(choice_of(chosen), chosen.for_segmenter(), settings)
        return partial(_segment, video, mask, chosen, model)

    stages: dict[str, Callable[[], tuple[int, float]]] = {
        "decode": partial(_decode, video),
        "decode + motion": partial(_read, video),
        "propagated": segmented("every:1000000", refine=False),
        "repaired": segmented("every:1000000"),
        "key": segmented("every:1"),
        "adaptive": segmented("adaptive"),
    }
    frames = 0
    seconds: dict[str, list[float]] = {stage: [] for stage in stages}
    turns = [(number, stage) for number in range(rounds + 1) for stage in stages]
    for done, (number, stage) in enumerate(turns):
        on_progress(done, len(turns))
        frames, spent = stages[stage]()
        if number:
            seconds[stage].append(spent)
    return {
        "machine": {"cpu": _cpu(), "cores": len(os.sched_getaffinity(0)), "python": platform.python_version()},
        "video": {"path": str(video), "codec": info.codec, "size": f"{info.coded_width}x{info.coded_height}"},
        "model": asdict(choice_of(options)),
        "frames": frames,
        "rounds": rounds,
        "stages": [asdict(_timing(stage, spent, seconds["decode"], frames)) for stage, spent in seconds.items()],
    }


def _timing(stage: str, spent: list[float], decode: list[float], frames: int) -> Timing:
    typical = median(spent)
    ratio = median(own / plain for own, plain in zip(spent, decode, strict=True))
    return Timing(stage, round(1000 * typical / frames, 2), round(frames / typical, 1), round(ratio, 2))


def _decode(video: Path) -> tuple[int, float]:
    started = perf_counter()
    file = VideoFile(video)
    try:
        frames = sum(1 for _ in file.container.decode(file.stream))
    finally:
        file.close()
    return frames, perf_counter() - started


def _read(video: Path) -> tuple[int, float]:
    started = perf_counter()
    with open_video(video) as reader:
        frames = sum(1 for _ in reader)
    return frames, perf_counter() - started


def _segment(video: Path, mask: Path, options: RunOptions, model: LoadedModel) -> tuple[int, float]:
    started = perf_counter()
    with segment(video, mask, options, load=lambda *_: model) as run:
        deque(run, maxlen=0)
    return run.stats.total, perf_counter() - started


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
