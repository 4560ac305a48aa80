"""Measures whether memory grows with the length of a video.

Runs `keymask run` in a process of its own, with `compact`, default options and all writers (masks, report, run-length
masks, overlay), and compares the peak resident size on 5,000 frames with that on 500 frames. The video plays a sequence
forwards and backwards, over and over, so the run follows an object all the time; the masks of the last turn must show
it. A third run of 1,500 frames separates growth per frame from caches that fill once. Takes about five minutes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image

from benchmarks.harness import Report, Row, Spread, parser
from codec.encode import RATE, Encoder, encode
from codec.types import UInt8Array
from vos.evaluation.davis import Sequence, find_sequences
from vos.evaluation.evaluate import read_picture
from vos.evaluation.metrics import score_objects

SEQUENCE, HEIGHT = "car-turn", 480
FOLLOWED = 0.7
"""Smallest mean J over the last turn; a run that lost its object measures nothing."""


@dataclass(frozen=True)
class Film:
    """A scaled-down sequence, played forwards and backwards.

    Attributes:
        turn: The encoded clip of one turn.
        truth: The object at each position of the turn, uint8 [height, width], 0 and 1.
    """

    turn: bytes
    truth: tuple[UInt8Array, ...]

    @classmethod
    def of(cls, sequence: Sequence, count: int) -> Film:
        """Take the first `count` pictures of a sequence with one object, then go back to the second picture."""
        order = [*range(count), *range(count - 2, 0, -1)]
        pictures = (_small(read_picture(sequence.pictures[place]), cv2.INTER_AREA) for place in order)
        truth = {place: _small(sequence.labels(place), cv2.INTER_NEAREST) for place in range(count)}
        return cls(encode(pictures, Encoder()), tuple(truth[place] for place in order))


def _small(picture: UInt8Array, how: int) -> UInt8Array:
    """Scale a picture or labels to `HEIGHT` lines."""
    width = round(picture.shape[1] * HEIGHT / picture.shape[0] / 2) * 2
    return np.asarray(cv2.resize(picture, (width, HEIGHT), interpolation=how), np.uint8)


def repeat(turn: bytes, target: Path, frames: int) -> None:
    """Repeat a clip until `frames` frames are written; each turn starts at an IDR picture."""
    with av.open(BytesIO(turn), "r") as reading:
        stream = reading.streams.video[0]
        packets = [
            (bytes(packet), packet.pts, packet.is_keyframe)
            for packet in reading.demux(stream)
            if packet.pts is not None  # The empty packet at the end has no time.
        ]
        shown = {pts: place for place, pts in enumerate(sorted(pts for _, pts, _ in packets))}
        # Decoding must be ahead of presentation by the depth of reordering.
        delay = max(number - shown[pts] for number, (_, pts, _) in enumerate(packets))
        with av.open(target, "w") as writing:
            copy = writing.add_stream_from_template(stream)
            for number in range(frames):
                time, place = divmod(number, len(packets))
                data, pts, is_keyframe = packets[place]
                packet = av.Packet(data)
                packet.stream, packet.time_base, packet.is_keyframe = copy, 1 / RATE, is_keyframe
                packet.pts, packet.dts = time * len(packets) + shown[pts] + delay, number
                writing.mux(packet)


@dataclass(frozen=True)
class Run:
    """Cost and quality of one run.

    Attributes:
        peak_mib: Peak resident size in MiB.
        j: Mean J over the frames of the last whole turn, 0 to 1.
    """

    peak_mib: float
    j: float


def run(film: Film, frames: int) -> Run:
    """Run `keymask run` on `frames` frames.

    Raises:
        RuntimeError: The command failed, wrote another number of masks, or lost the object.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        video, mask, out = folder / "video.mkv", folder / "mask.png", folder / "out"
        repeat(film.turn, video, frames)
        Image.fromarray(film.truth[0]).save(mask)
        outputs: list[str | Path] = [
            "--out",
            out,
            "--rle",
            folder / "masks.ndjson",
            "--overlay",
            folder / "overlay.mkv",
        ]
        peak = peak_mib(["run", video, "--mask", mask, *outputs])
        masks = sorted((out / "masks").glob("*.png"))
        if len(masks) != frames:
            raise RuntimeError(f"keymask run wrote {len(masks)} masks for {frames} frames")
        j = float(np.mean(list(_js(film, masks))))
    if j < FOLLOWED:
        raise RuntimeError(f"J of the last turn is {j:.2f}, below {FOLLOWED}: the run lost the object")
    return Run(peak, j)


def _js(film: Film, masks: list[Path]) -> Iterator[float]:
    """Yield J of the masks of the last turn."""
    for file in masks[-len(film.truth) :]:
        with Image.open(file) as picture:
            found = np.asarray(picture, np.uint8)
        yield score_objects(found, film.truth[int(file.stem) % len(film.truth)], (1,))[1].j


def peak_mib(arguments: list[str | Path]) -> float:
    """Return the peak resident size of a `keymask` command, in MiB.

    Raises:
        RuntimeError: The command failed.
    """
    code = "import sys; from service.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        message = process.stderr.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"keymask {arguments[0]} ended with {process.returncode}: {message}")
    # ru_maxrss is in KiB on Linux and in bytes on macOS.
    return usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def rows(runs: Mapping[int, Run]) -> list[Row]:
    """Return the rows of a short, a middle and a long run, given by number of frames."""
    short, middle, long = sorted(runs)
    note = (
        f"compact, default options; writes masks, report, RLE and overlay; {HEIGHT} lines; the object is followed to "
        f"the end (J of the last turn {runs[long].j:.2f})"
    )
    growth = Spread.of([runs[long].peak_mib / runs[short].peak_mib])
    return [
        Row(
            f"Peak memory of keymask run on {long:,} frames over {short:,}",
            growth,
            goal="<= 1.05",
            note=note,
        ),
        Row(f"The same over {middle:,} frames", Spread.of([runs[long].peak_mib / runs[middle].peak_mib])),
        Row(f"Peak memory on {long:,} frames", Spread.of([runs[long].peak_mib], 0), "MiB"),
    ]


def main() -> None:
    """Measure and write memory.json."""
    arguments: argparse.Namespace = parser(__doc__).parse_args()
    report = Report("memory", arguments)
    count, lengths = (20, (60, 100, 200)) if arguments.quick else (80, (500, 1500, 5000))
    (sequence,) = find_sequences(arguments.data, [SEQUENCE])
    film = Film.of(sequence, count)
    runs = {frames: run(film, frames) for frames in lengths}
    report.details = {
        "sequence": SEQUENCE,
        "picture": [film.truth[0].shape[1], HEIGHT],
        "frames_a_turn": len(film.truth),
        "peak_mib": {str(frames): round(found.peak_mib, 1) for frames, found in runs.items()},
        "j_of_last_turn": {str(frames): round(found.j, 3) for frames, found in runs.items()},
    }
    report.rows = rows(runs)
    report.write()


if __name__ == "__main__":
    main()
