"""Times reading motion, references and residual against plain decoding and against mv-extractor.

Three tasks take turns on each clip: plain PyAV decoding with default settings and no conversion, `codec.open_video`
with everything it yields, and mv-extractor, which returns BGR pictures and raw vectors but no references or residual.
mv-extractor needs a virtual environment of its own (`pip install motion-vector-extractor`); pass its Python by
--mv-python.
"""

from __future__ import annotations

import argparse
import subprocess
from functools import partial
from pathlib import Path

import av

from benchmarks.harness import Report, Row, Spread, Task, clip, interleave, parser, per_frame, ratio
from codec import open_video

SEQUENCES = ("kite-walk", "bmx-bumps", "soccerball")
ENCODERS = {"H.264": "libx264", "MPEG-4": "mpeg4", "MPEG-2": "mpeg2video"}
_WORKER = Path(__file__).with_name("mv_extractor_worker.py")


def plain(files: list[Path], threads: str = "SLICE") -> None:
    """Decode every frame; slice threads are the default of PyAV."""
    for file in files:
        with av.open(file) as container:
            container.streams.video[0].thread_type = threads
            for _ in container.decode(video=0):
                pass


def ours(files: list[Path]) -> None:
    """Read everything that `open_video` yields."""
    for file in files:
        with open_video(file) as video:
            for _ in video:
                pass


def mv_extractor(python: Path, files: list[Path]) -> float:
    """Run mv-extractor in a process of its own; return its seconds from the first file to the last frame."""
    done = subprocess.run([python, _WORKER, *files], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    """Measure and write decode.json."""
    options = parser(__doc__)
    options.add_argument("--mv-python", type=Path, help="Python that has motion-vector-extractor; skipped by default")
    arguments = options.parse_args()
    report = Report("decode", arguments)
    frames, rounds = (10, 2) if arguments.quick else (48, 15)
    for codec, encoder in ENCODERS.items():
        measure(report, arguments, codec, [clip(arguments, name, frames, encoder) for name in SEQUENCES], rounds)
    report.details["frames"] = frames * len(SEQUENCES)
    report.details["sequences"] = SEQUENCES
    report.write()


def measure(report: Report, arguments: argparse.Namespace, codec: str, files: list[Path], rounds: int) -> None:
    """Add the rows of one codec; only H.264 has goals."""
    main_codec = codec == "H.264"
    tasks: dict[str, Task] = {"plain": partial(plain, files), "keymask": partial(ours, files)}
    if main_codec:
        tasks["plain, frame threads"] = partial(plain, files, "AUTO")
        if arguments.mv_python:
            tasks["mv-extractor"] = partial(mv_extractor, arguments.mv_python, files)
    seconds = interleave(tasks, rounds)
    frames = sum(count(file) for file in files)
    report.details[codec] = {"ms_per_frame": per_frame(seconds, frames)}
    what = f"{codec}: motion, references and residual over plain decoding"
    report.rows.append(Row(what, ratio(seconds, "keymask", "plain"), goal="<= 1.5" if main_codec else ""))
    if not main_codec:
        return
    over = ratio(seconds, "keymask", "plain, frame threads")
    note = "exported vectors are not reproducible with frame threads"
    report.rows.append(Row(f"{codec}: the same over decoding with frame threads", over, note=note))
    if "mv-extractor" in seconds:
        over = ratio(seconds, "keymask", "mv-extractor")
        report.rows.append(Row(f"{codec}: the same over mv-extractor", over, goal="<= 1"))
    rate = Spread.of((frames / value for value in seconds["keymask"]), 1)
    report.rows.append(Row(f"{codec}: frames with motion, references and residual", rate, "frames/s"))


def count(file: Path) -> int:
    """Count the frames of a clip."""
    with av.open(file) as container:
        return sum(1 for _ in container.decode(video=0))


if __name__ == "__main__":
    main()
