"""Times STM with every sixth frame a key frame against STM on every frame, end to end.

The weights are seeded: they do the work of published weights but find nothing. STM does all of its work on a key frame,
and the propagated masks then replace its answer (`stub_networks.py`), so all other stages work on an object of real
size and shape. This measures speed, not loss. One run refines propagated masks and one leaves them. The clock runs from
opening the clip to the last mask; loading the network and a warm-up run are not counted. Takes about five minutes on
two idle cores.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from torch import get_num_threads

from benchmarks.harness import Report, Row, Spread, clip, first_labels, interleave, parser, per_frame, ratio
from benchmarks.speed.stub_networks import echoing
from codec import open_video
from vos.keyframes.base_network import BaseNetwork
from vos.modeling.network import VOSNetwork
from vos.modeling.refiner import Refiner
from vos.segmenter import Segmenter
from vos.types import Options, Prompt, Stats
from vos.weights.load import SEEDED, load_network, load_refiner

SEQUENCE = "car-turn"
METHODS = {"every:6": ("every:6", True), "every:6, not refined": ("every:6", False), "every:1": ("every:1", False)}
"""Key-frame policy and whether propagated masks are refined, by name."""


@dataclass
class Work:
    """Cost and result of segmenting a clip.

    Attributes:
        stats: Statistics of the segmenter.
        areas: Labelled pixels of each mask. Cost follows area, so it must not shrink.
    """

    stats: Stats
    areas: list[int] = field(default_factory=list)

    def details(self) -> dict[str, Any]:
        """Return sources of masks, seconds by stage, and mean area relative to the prompt's."""
        return {
            "sources": {source.value: count for source, count in self.stats.frames.items()},
            "stage_seconds": {stage: round(seconds, 3) for stage, seconds in self.stats.seconds.items()},
            "area_kept": round(sum(self.areas) / len(self.areas) / self.areas[0], 3),
        }


def segment(
    network: VOSNetwork | BaseNetwork, refiner: Refiner | None, keyframes: str, video_bytes: bytes, prompt: Prompt
) -> Work:
    """Segment a clip. Masks are on the CPU, so no work is pending on a device at the end."""
    segmenter = Segmenter(network, Options(keyframes=keyframes), refiner)
    with open_video(video_bytes) as video:
        areas = [int((mask.labels > 0).sum()) for mask in segmenter.run(video, video.info, prompt)]
    return Work(segmenter.stats, areas)


def main() -> None:
    """Measure and write speedup.json."""
    options = parser(__doc__)
    options.add_argument("--model", default="stm")
    options.add_argument("--device", default="auto")
    options.add_argument("--precision", default="auto")
    arguments: argparse.Namespace = options.parse_args()
    report = Report("speedup", arguments)
    report.details, seconds = measure(arguments.model, arguments, frames=37, rounds=3)
    report.rows = rows(arguments.model, seconds)
    report.write()


def measure(
    model: str, arguments: argparse.Namespace, frames: int, rounds: int
) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """Time a network; return what lies behind the figures, and the seconds of each method's rounds."""
    frames, rounds = (4, 1) if arguments.quick else (frames, rounds)
    chosen = {"device": arguments.device, "precision": arguments.precision}
    network = echoing(load_network(model, weights=SEEDED, **chosen))
    refiner = load_refiner(**chosen)
    video_bytes = clip(arguments, SEQUENCE, frames).read_bytes()
    prompt = Prompt(first_labels(arguments, SEQUENCE))
    done: dict[str, Work] = {}

    def task(name: str) -> None:
        keyframes, refined = METHODS[name]
        done[name] = segment(network, refiner if refined else None, keyframes, video_bytes, prompt)

    # Regions of a new shape take a tenth of a second more, once per process.
    seconds = interleave({name: partial(task, name) for name in METHODS}, rounds, partial(task, "every:6"))
    parameter = next(network.parameters())
    details = {
        "sequence": SEQUENCE,
        "frames": frames,
        "model": model,
        "device": str(parameter.device),
        "precision": str(getattr(network, "compute_dtype", parameter.dtype)).removeprefix("torch."),
        "threads": get_num_threads(),
        "ms_per_frame": per_frame(seconds, frames),
        "work": {name: work.details() for name, work in done.items()},
        "frames_per_second": {
            policy: asdict(Spread.of(frames / value for value in values)) for policy, values in seconds.items()
        },
    }
    return details, seconds


def rows(model: str, seconds: dict[str, list[float]]) -> list[Row]:
    """Return the rows of the seconds of each method's rounds."""
    question = f"{model} with every:6 over {model} on every frame, end to end"
    note = "seeded weights; propagated masks replace the network's answer after all of its work: speed only, not loss"
    return [
        Row(question, ratio(seconds, "every:1", "every:6"), goal=">= 5", note=note),
        Row(f"{question}, not refined", ratio(seconds, "every:1", "every:6, not refined"), note=note),
    ]


if __name__ == "__main__":
    main()
