"""How much faster is STM with every sixth frame a key frame than on every frame, end to end?

Seeded weights: they segment nothing, but the work is that of the published ones. So speed is measured and loss is not.
Carried masks are repaired, and for comparison left as they are; what a repair costs follows the size of what was found,
which with seeded weights is no object. The clock runs from opening the clip to the last mask; loading the network and a
first run of it are not counted.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from functools import partial

from harness import Report, Row, Spread, clip, first_labels, interleave, parser, per_frame, ratio  # before torch
from torch import get_num_threads

from codec import open_video
from vos.modeling.network import VOSNetwork
from vos.modeling.refiner import Refiner
from vos.segmenter import Segmenter
from vos.types import Options, Prompt, Stats
from vos.weights import SEEDED, load_network, load_refiner

SEQUENCE = "soccerball"
METHODS = {"every:6": ("every:6", True), "every:6, not repaired": ("every:6", False), "every:1": ("every:1", False)}
"""Name -> key-frame policy, and whether carried masks are repaired."""


def segment(network: VOSNetwork, refiner: Refiner | None, keyframes: str, video_bytes: bytes, prompt: Prompt) -> Stats:
    """Segment a clip; masks come back on the CPU, so nothing is pending on a device at the end."""
    segmenter = Segmenter(network, Options(keyframes=keyframes), refiner)
    with open_video(video_bytes) as video:
        for _ in segmenter.run(video, video.info, prompt):
            pass
    return segmenter.stats


def main() -> None:
    """Measure and write speedup.json."""
    options = parser(__doc__)
    options.add_argument("--model", default="stm")
    options.add_argument("--device", default="auto")
    options.add_argument("--precision", default="auto")
    arguments: argparse.Namespace = options.parse_args()
    report = Report("speedup", arguments)
    frames, rounds = (4, 1) if arguments.quick else (25, 2)
    network = load_network(arguments.model, device=arguments.device, precision=arguments.precision, weights=SEEDED)
    refiner = load_refiner(device=arguments.device, precision=arguments.precision)
    video_bytes = clip(arguments, SEQUENCE, frames).read_bytes()
    prompt = Prompt(first_labels(arguments, SEQUENCE))
    stats: dict[str, Stats] = {}

    def task(name: str) -> None:
        keyframes, repaired = METHODS[name]
        stats[name] = segment(network, refiner if repaired else None, keyframes, video_bytes, prompt)

    start = clip(arguments, SEQUENCE, 5).read_bytes()
    tasks = {name: partial(task, name) for name in METHODS}
    seconds = interleave(tasks, rounds, warm_up=lambda: segment(network, refiner, "every:2", start, prompt))
    parameter = next(network.parameters())
    report.details = {
        "sequence": SEQUENCE,
        "frames": frames,
        "model": arguments.model,
        "device": str(parameter.device),
        "precision": str(parameter.dtype).removeprefix("torch."),
        "threads": get_num_threads(),
        "ms_per_frame": per_frame(seconds, frames),
        "sources": {policy: {s.value: n for s, n in cost.frames.items()} for policy, cost in stats.items()},
        "stage_seconds": {p: {s: round(t, 3) for s, t in cost.seconds.items()} for p, cost in stats.items()},
        "frames_per_second": {
            policy: asdict(Spread.of(frames / value for value in values)) for policy, values in seconds.items()
        },
    }
    what = f"{arguments.model} with every:6 over {arguments.model} on every frame, end to end"
    note = "seeded weights: only speed can be measured, not what it loses"
    report.rows = [
        Row(what, ratio(seconds, "every:1", "every:6"), goal=">= 5", note=note),
        Row(f"{what}, not repaired", ratio(seconds, "every:1", "every:6, not repaired"), note=note),
    ]
    report.write()


if __name__ == "__main__":
    main()
