"""How much faster is STM with every sixth frame a key frame than on every frame, end to end?

Seeded weights: the work is that of the published ones, but they find nothing. So STM does all of its work on a key
frame, and then the masks that motion carried there are taken for its answer (`told.py`): every other stage works on an
object of real size and shape. Speed is measured and loss is not. Carried masks are repaired, and for comparison left as
they are. The clock runs from opening the clip to the last mask; loading the network and a first run of it are not
counted. Some five minutes on two quiet cores, nearly all of it STM.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from torch import get_num_threads

from benchmarks.harness import (  # before torch
    Report,
    Row,
    Spread,
    clip,
    first_labels,
    interleave,
    parser,
    per_frame,
    ratio,
)
from benchmarks.speed.stub_networks import EchoNetwork
from codec import open_video
from vos.modeling.network import VOSNetwork
from vos.modeling.refiner import Refiner
from vos.segmenter import Segmenter
from vos.types import Options, Prompt, Stats
from vos.weights.load import SEEDED, load_network, load_refiner

SEQUENCE = "car-turn"
METHODS = {"every:6": ("every:6", True), "every:6, not repaired": ("every:6", False), "every:1": ("every:1", False)}
"""Name -> key-frame policy, and whether carried masks are repaired."""


@dataclass
class Work:
    """What segmenting a clip took and gave.

    Attributes:
        stats: Of the segmenter.
        areas: Labelled pixels of each mask: cost follows them, so they must not fade away.
    """

    stats: Stats
    areas: list[int] = field(default_factory=list)

    def details(self) -> dict[str, Any]:
        """Sources of masks, seconds by stage, mean area relative to the prompt's."""
        return {
            "sources": {source.value: count for source, count in self.stats.frames.items()},
            "stage_seconds": {stage: round(seconds, 3) for stage, seconds in self.stats.seconds.items()},
            "area_kept": round(sum(self.areas) / len(self.areas) / self.areas[0], 3),
        }


def segment(network: VOSNetwork, refiner: Refiner | None, keyframes: str, video_bytes: bytes, prompt: Prompt) -> Work:
    """Segment a clip; masks come back on the CPU, so nothing is pending on a device at the end."""
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
    frames, rounds = (4, 1) if arguments.quick else (37, 3)
    chosen = {"device": arguments.device, "precision": arguments.precision}
    network = EchoNetwork(load_network(arguments.model, weights=SEEDED, **chosen))
    refiner = load_refiner(**chosen)
    video_bytes = clip(arguments, SEQUENCE, frames).read_bytes()
    prompt = Prompt(first_labels(arguments, SEQUENCE))
    done: dict[str, Work] = {}

    def task(name: str) -> None:
        keyframes, repaired = METHODS[name]
        done[name] = segment(network, refiner if repaired else None, keyframes, video_bytes, prompt)

    def warm_up() -> None:
        segment(network, refiner, "every:2", clip(arguments, SEQUENCE, 5).read_bytes(), prompt)

    seconds = interleave({name: partial(task, name) for name in METHODS}, rounds, warm_up)
    parameter = next(network.parameters())
    report.details = {
        "sequence": SEQUENCE,
        "frames": frames,
        "model": arguments.model,
        "device": str(parameter.device),
        "precision": str(parameter.dtype).removeprefix("torch."),
        "threads": get_num_threads(),
        "ms_per_frame": per_frame(seconds, frames),
        "work": {name: work.details() for name, work in done.items()},
        "frames_per_second": {
            policy: asdict(Spread.of(frames / value for value in values)) for policy, values in seconds.items()
        },
    }
    report.rows = rows(arguments.model, seconds, done["every:6"].stats)
    report.write()


def rows(model: str, seconds: dict[str, list[float]], sparse: Stats) -> list[Row]:
    """Rows of the seconds of each method's rounds, and of what a run with every:6 was spent on."""
    what = f"{model} with every:6 over {model} on every frame, end to end"
    note = (
        "seeded weights, whose work is done and whose answer is replaced by what motion carried, so that warp, repair "
        "and labels have an object: only speed can be measured, not what it loses"
    )
    return [
        Row(what, ratio(seconds, "every:1", "every:6"), goal=">= 5", note=note, why=reason(model, sparse)),
        Row(f"{what}, not repaired", ratio(seconds, "every:1", "every:6, not repaired"), note=note),
    ]


def reason(model: str, sparse: Stats) -> str:
    """Why it is not faster, from what a run with every:6 was spent on."""
    total = sum(sparse.seconds.values())
    own = sum(sparse.seconds.get(stage, 0.0) for stage in ("encode", "read", "memorize"))
    repair = sparse.seconds.get("correct", 0.0)
    return (
        f"one key frame in six allows 6 at most; with every:6 {model} on key frames is {100 * own / total:.0f} % of "
        f"the time, repair {100 * repair / total:.0f} %, decoding, warping and labels the rest"
    )


if __name__ == "__main__":
    main()
