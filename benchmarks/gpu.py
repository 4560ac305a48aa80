"""Measures what only a CUDA machine can say, in one run of at most eight minutes.

1. The tests that are skipped without CUDA.
2. Frames per second, decoding included, of each base network on every frame and with `adaptive`, at 480p and 1080p,
   with 1 and 10 objects; seconds by stage and peak memory of the device.
3. A profile of `stm` with `adaptive`: the operations that take most of the device's time.

Weights are seeded, and the propagated masks replace the network's answer after all of its work (`stub_networks.py`).
This measures speed, not accuracy. The most telling cases come first, and the result file is written after each, so a
run that is stopped loses nothing. What no time is left for is listed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from time import perf_counter
from typing import Any

import av
import cv2
import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.harness import Report, Row, Spread, parser
from benchmarks.paths import ROOT
from benchmarks.speed.stub_networks import echoing
from codec import open_video
from codec.encode import Encoder, encode
from vos.errors import OptionError
from vos.segmenter import Segmenter
from vos.types import Options, Prompt
from vos.weights.load import SEEDED, load_network, load_refiner

MODELS = ("stm", "compact", "cutie-base", "stcn", "sam2.1-tiny")
SAMPLE = ROOT / "service" / "sample" / "clip.mp4"
GOALS = {"stm adaptive 480p, 1 object": ">= 400"}
FRAMES, FRAMES_OF_EVERY_1, WARM_UP = 90, 30, 12


@dataclass(frozen=True)
class Case:
    """What is measured once."""

    model: str
    keyframes: str
    side: int
    objects: int

    @property
    def name(self) -> str:
        """Name for the table."""
        return f"{self.model} {self.keyframes} {self.side}p, {self.objects} object{'s' * (self.objects > 1)}"


def cases(quick: bool) -> Iterator[Case]:
    """Yield the cases, the most telling ones first."""
    if quick:
        yield Case("compact", "adaptive", 480, 1)
        return
    for objects, side, keyframes, model in product((1, 10), (480, 1080), ("adaptive", "every:1"), MODELS):
        yield Case(model, keyframes, side, objects)


def sample(side: int, frames: int) -> bytes:
    """Return the sample clip, scaled to a height and encoded again as H.264."""
    with av.open(SAMPLE) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)][:frames]
    size = (side * pictures[0].shape[1] // pictures[0].shape[0] // 2 * 2, side)
    return encode((cv2.resize(picture, size).astype(np.uint8) for picture in pictures), Encoder("libx264", {}))


def squares(height: int, width: int, objects: int) -> Prompt:
    """Return a prompt of one object, or of ten in two rows, each a square of a quarter of the height."""
    labels, side = np.zeros((height, width), np.uint8), height // 4
    for number in range(objects):
        row, column = divmod(number, 5)
        top, left = (
            (height // 3, width // 3) if objects == 1 else (height // 8 + row * height // 2, column * width // 5)
        )
        labels[top : top + side, left : left + min(side, width // 5)] = number + 1
    return Prompt(labels)


def measure(case: Case, clips: dict[int, bytes], device: str, frames: int) -> dict[str, Any]:
    """Return frames per second of each run, and what they were spent on."""
    network = echoing(load_network(case.model, device=device, weights=SEEDED))
    segmenter = Segmenter(network, Options(keyframes=case.keyframes), load_refiner(device=device))
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    speeds = []
    for turn in range(4 if frames > WARM_UP else 2):
        end = WARM_UP if turn == 0 else frames if case.keyframes != "every:1" else min(frames, FRAMES_OF_EVERY_1)
        begin = perf_counter()
        count = run(segmenter, clips[case.side], case.objects, end)
        speeds.append(count / (perf_counter() - begin))
    return {
        "frames_per_second": [round(speed, 2) for speed in speeds[1:]],
        "stage_seconds": {stage: round(seconds, 4) for stage, seconds in segmenter.stats.seconds.items()},
        "key_share": round(segmenter.stats.key_share, 3),
        "peak_megabytes": torch.cuda.max_memory_allocated() // 2**20 if torch.cuda.is_available() else None,
    }


def run(segmenter: Segmenter, clip: bytes, objects: int, end: int) -> int:
    """Segment the first frames of a clip, and return their number. Masks are on the CPU, so no work is pending."""
    with open_video(clip) as video:
        prompt = squares(video.info.display_height, video.info.display_width, objects)
        masks = segmenter.run(video, video.info, prompt)
        return sum(1 for _, _mask in zip(range(end), masks, strict=False))


def device_profile(clip: bytes, device: str, frames: int) -> list[str]:
    """Return the table of the operations that take most time, line by line."""
    network = echoing(load_network("stm", device=device, weights=SEEDED))
    segmenter = Segmenter(network, Options(), load_refiner(device=device))
    run(segmenter, clip, 1, min(frames, WARM_UP))
    cuda = [ProfilerActivity.CUDA] * torch.cuda.is_available()
    with profile(activities=[ProfilerActivity.CPU, *cuda]) as profiler:
        run(segmenter, clip, 1, min(frames, 30))
    order = "self_cuda_time_total" if cuda else "self_cpu_time_total"
    return str(profiler.key_averages().table(sort_by=order, row_limit=25)).splitlines()


def cuda_tests() -> str:
    """Run the tests that need CUDA; return pytest's last line."""
    command = [sys.executable, "-m", "pytest", "-q", "-k", "cuda", "tests/unit/vos"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    return done.stdout.strip().rpartition("\n")[2]


def main() -> None:
    """Measure and write gpu.json."""
    options = parser(__doc__)
    options.add_argument("--device", default="auto")
    options.add_argument("--seconds", type=float, default=420, help="begin no case after this time")
    arguments: argparse.Namespace = options.parse_args()
    begin, frames = perf_counter(), 4 if arguments.quick else FRAMES
    report = Report("gpu", arguments)
    clips = {side: sample(side, frames) for side in ((480,) if arguments.quick else (480, 1080))}
    report.details = {"cuda": torch.cuda.is_available(), "cases": {}, "left_out": {}}
    for number, case in enumerate(cases(arguments.quick)):
        if perf_counter() - begin > arguments.seconds:
            report.details["left_out"][case.name] = "no time was left"
            continue
        try:
            found = measure(case, clips, arguments.device, frames)
        except (OptionError, RuntimeError) as error:
            report.details["left_out"][case.name] = str(error).partition("\n")[0]
            continue
        report.details["cases"][case.name] = found
        speed = Spread.of(found["frames_per_second"])
        report.rows.append(Row(case.name, speed, "fps", GOALS.get(case.name, ""), "seeded weights, decoding included"))
        if number == 0 and not arguments.quick:
            report.details["profile"] = device_profile(clips[480], arguments.device, frames)
            report.details["tests"] = cuda_tests()
        report.write()
    report.write()


if __name__ == "__main__":
    main()
