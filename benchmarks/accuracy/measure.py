"""Measures what propagation costs in accuracy and gains in speed.

Runs `keymask eval --baseline` with many settings in turns, on sequences that no network was trained on:

- `curve`: loss against share of key frames, all policies, with and without refinement, three encodings per sequence.
- `matrix`: loss over encoder settings, with at most 20 % key frames.
- `multi`: several objects.
- `cost`: milliseconds of a refinement.

`--only` measures some parts again and keeps the other parts of accuracy.json. Takes about 20 minutes on two idle cores.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.accuracy.methods import Method, compare, first_frames
from benchmarks.accuracy.refine_cost import milliseconds
from benchmarks.accuracy.rows import rows
from benchmarks.harness import Report, environment, parser
from codec.encode import Encoder, parse_options
from vos.evaluation.davis import Sequence, find_sequences
from vos.weights.load import load_refiner

MULTI = ("schoolgirls", "tabletop")
MATRIX_FRAMES = 40
"""Frames per sequence in the matrix; ten encoder settings on whole sequences would take an hour."""
DEFAULT = Method("adaptive")
FAST = Method("adaptive", "fast")
BOUNDED = Method("adaptive", max_key_share=0.2)
CURVE = (
    DEFAULT,
    FAST,
    Method("adaptive", "best"),
    BOUNDED,
    Method("adaptive", max_key_share=0.13),
    Method("adaptive", max_key_share=0.08),
    Method("codec"),
    *(Method(f"every:{interval}") for interval in (3, 5, 8, 12)),
    *(Method("adaptive", quality, refine=False) for quality in ("fast", "balanced", "best")),
    Method("codec", refine=False),
    *(Method(f"every:{interval}", refine=False) for interval in (5, 8)),
)
ENCODERS = {
    "x264 veryfast": ("libx264", "preset=veryfast"),
    "x264 medium": ("libx264", ""),
    "x264 slow": ("libx264", "preset=slow"),
    "x264 baseline profile": ("libx264", "profile=baseline,bf=0"),
    "x264 crf 18": ("libx264", "crf=18"),
    "x264 crf 28": ("libx264", "crf=28"),
    "x264 crf 35": ("libx264", "crf=35"),
    "x264 1 reference": ("libx264", "refs=1"),
    "x264 5 references": ("libx264", "refs=5"),
    "x265 through the proxy": ("libx265", ""),
}
"""FFmpeg encoder and its options, by the setting's name."""
CURVE_ENCODERS = ("x264 medium", "x264 veryfast", "x264 slow")
"""On a single encoding, the encoder alone can decide which policy is best on a sequence."""


def curve(arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare all policies on whole sequences in several encodings."""
    methods = (DEFAULT, Method("every:5"), Method("every:5", refine=False)) if arguments.quick else CURVE
    encoders = [encoder(name) for name in CURVE_ENCODERS[: 2 if arguments.quick else None]]
    return compare(_sequences(arguments, arguments.frames), encoders, methods, arguments)


def matrix(arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare adaptive with few key frames over encoder settings; return a comparison per setting."""
    names = list(ENCODERS)[:: len(ENCODERS) - 1] if arguments.quick else list(ENCODERS)
    sequences = _sequences(arguments, arguments.frames or MATRIX_FRAMES)
    return {name: compare(sequences, [encoder(name)], (BOUNDED, FAST), arguments) for name in names}


def multi(arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare methods on sequences with 7 and 8 objects at 240p."""
    others = () if arguments.quick else (BOUNDED, Method("codec"), Method("every:5"))
    methods = (DEFAULT, *others, Method("adaptive", refine=False))
    with tempfile.TemporaryDirectory() as folder:
        sequences = find_sequences(as_davis(arguments.data.parent / "multi", Path(folder)))
        cut = [first_frames(sequence, arguments.frames) for sequence in sequences[: 1 if arguments.quick else None]]
        return compare(cut, [Encoder()], methods, arguments)


def cost(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time refinements of an object that covers a tenth of the picture."""
    return milliseconds(load_refiner(), *((6, 1) if arguments.quick else (16, 6)))


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "cost": cost,  # First, because the process of a run has done nothing before either.
    "curve": curve,
    "matrix": matrix,
    "multi": multi,
}


def encoder(name: str) -> Encoder:
    """Return the encoder of a setting of `ENCODERS`."""
    codec, options = ENCODERS[name]
    return Encoder(codec, parse_options(options))


def _sequences(arguments: argparse.Namespace, frames: int | None) -> list[Sequence]:
    names = arguments.sequences.split(",") if arguments.sequences else None
    return [first_frames(sequence, frames) for sequence in find_sequences(arguments.data, names)]


def as_davis(multi: Path, root: Path) -> Path:
    """Link sequences of frames/ and masks/ into DAVIS layout."""
    for kind, folder in (("JPEGImages", "frames"), ("Annotations", "masks")):
        (root / kind / "480p").mkdir(parents=True)
        for name in MULTI:
            (root / kind / "480p" / name).symlink_to((multi / name / folder).resolve())
    return root


def kept(file: Path, quick: bool) -> dict[str, Any]:
    """Return the parts measured before; a quick run and a full run are never mixed."""
    if not file.exists():
        return {}
    old = json.loads(file.read_text(encoding="utf-8"))
    return {name: part for name, part in old["details"].items() if name in PARTS} if old["quick"] == quick else {}


def chosen(text: str) -> list[str]:
    """Parse names of parts, separated by commas.

    Raises:
        argparse.ArgumentTypeError: A name is not a part.
    """
    names = text.split(",")
    for name in names:
        if name not in PARTS:
            raise argparse.ArgumentTypeError(f"unknown part {name!r}; allowed: {', '.join(PARTS)}")
    return names


def main() -> None:
    """Measure and write accuracy.json."""
    options = parser(__doc__)
    options.add_argument("--model", default="compact")
    options.add_argument("--weights", help="weights file or 'seeded'; default: the model's own")
    options.add_argument("--only", type=chosen, metavar="PART,PART", help=f"some of {', '.join(PARTS)}")
    options.add_argument("--sequences", metavar="A,B", help="some of the sequences of --data; default: all")
    options.add_argument("--frames", type=int, metavar="N", help="use the first N frames of each sequence only")
    arguments: argparse.Namespace = options.parse_args()
    if arguments.quick:
        arguments.sequences, arguments.frames = arguments.sequences or "soccerball", arguments.frames or 8
    report = Report("accuracy", arguments)
    report.details = kept(arguments.out / "accuracy.json", arguments.quick)
    for name in arguments.only or PARTS:
        report.details[name] = {"environment": environment(), **PARTS[name](arguments)}
        report.rows = rows(report.details)
        report.write()  # after each part, so that an interrupted run keeps finished parts


if __name__ == "__main__":
    main()
