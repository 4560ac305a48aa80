"""What does reading motion, references and residual cost over decoding alone?

Tasks, in turns, on each clip: plain PyAV decoding (its defaults, no picture converted), `codec.open_video` with all
that it yields, and mv-extractor, which gives BGR pictures and raw vectors but neither references nor residual. It lives
in a virtual environment of its own: `pip install motion-vector-extractor` there, and name its Python by --mv-python.
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
_WHY = (
    "vectors, references, and prediction and residual of every pixel are work that plain decoding does not have; some "
    "of it runs beside the decoder in a thread of its own, so that the figure grows where the second core is not free"
)
_WHY_OVER_EXTRACTOR = (
    "mv-extractor resolves no references and makes no residual, which is most of what is done here beside decoding"
)
_WORKER = Path(__file__).with_name("mv_extractor_worker.py")


def plain(files: list[Path], threads: str = "SLICE") -> None:
    """Decode every frame and look at none; PyAV's own default is slice threads."""
    for file in files:
        with av.open(file) as container:
            container.streams.video[0].thread_type = threads
            for _ in container.decode(video=0):
                pass


def ours(files: list[Path]) -> None:
    """Everything that `open_video` yields."""
    for file in files:
        with open_video(file) as video:
            for _ in video:
                pass


def mv_extractor(python: Path, files: list[Path]) -> float:
    """mv-extractor in its own process; it reports the seconds between opening the first file and the last frame."""
    done = subprocess.run([python, _WORKER, *files], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    """Measure and write decode.json."""
    options = parser(__doc__)
    options.add_argument("--mv-python", type=Path, help="Python that has motion-vector-extractor; left out without it")
    arguments = options.parse_args()
    report = Report("decode", arguments)
    frames, rounds = (10, 2) if arguments.quick else (48, 15)
    for codec, encoder in ENCODERS.items():
        measure(report, arguments, codec, [clip(arguments, name, frames, encoder) for name in SEQUENCES], rounds)
    report.details["frames"] = frames * len(SEQUENCES)
    report.details["sequences"] = SEQUENCES
    report.write()


def measure(report: Report, arguments: argparse.Namespace, codec: str, files: list[Path], rounds: int) -> None:
    """Add the rows of one codec; goals are set for H.264 alone."""
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
    report.rows.append(Row(what, ratio(seconds, "keymask", "plain"), goal="<= 1.5" if main_codec else "", why=_WHY))
    if not main_codec:
        return
    over = ratio(seconds, "keymask", "plain, frame threads")
    note = "frame threads are faster, but make exported vectors random; they serve only who needs no motion"
    report.rows.append(Row(f"{codec}: the same over decoding with frame threads", over, note=note))
    if "mv-extractor" in seconds:
        over = ratio(seconds, "keymask", "mv-extractor")
        report.rows.append(Row(f"{codec}: the same over mv-extractor", over, goal="<= 1", why=_WHY_OVER_EXTRACTOR))
    rate = Spread.of((frames / value for value in seconds["keymask"]), 1)
    report.rows.append(Row(f"{codec}: frames with motion, references and residual", rate, "frames/s"))


def count(file: Path) -> int:
    """Frames in a clip."""
    with av.open(file) as container:
        return sum(1 for _ in container.decode(video=0))


if __name__ == "__main__":
    main()
