"""Does memory grow with the length of a video?

`keymask run` in a process of its own, start to end with its masks and report on disk, on 500 and on 5,000 frames of the
same 480p clip repeated without encoding it again; compared is the peak resident size of the two processes.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import av
from harness import Report, Row, Spread, clip, first_labels, parser
from PIL import Image

from codec.encode import RATE

SEQUENCE, LENGTH = "soccerball", 48
_KEYFRAMES = "every:10"


def repeat(source: Path, target: Path, frames: int) -> None:
    """Write a clip over and over until it has `frames` frames; each turn starts at an IDR picture."""
    with av.open(source) as reading:
        stream = reading.streams.video[0]
        packets = [(bytes(packet), packet.pts, packet.is_keyframe) for packet in reading.demux(stream) if packet.size]
        shown = {pts: place for place, pts in enumerate(sorted(pts for _, pts, _ in packets))}
        # Decoding runs ahead of showing by as many frames as reordering needs.
        delay = max(number - shown[pts] for number, (_, pts, _) in enumerate(packets))
        with av.open(target, "w") as writing:
            copy = writing.add_stream_from_template(stream)
            for number in range(frames):
                turn, place = divmod(number, len(packets))
                data, pts, is_keyframe = packets[place]
                packet = av.Packet(data)
                packet.stream, packet.time_base, packet.is_keyframe = copy, 1 / RATE, is_keyframe
                packet.pts, packet.dts = turn * len(packets) + shown[pts] + delay, number
                writing.mux(packet)


def peak_mib(video: Path, mask: Path, frames: int) -> float:
    """Peak resident size of `keymask run` on a video, in MiB.

    Raises:
        RuntimeError: It failed, or gave another number of masks.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        code = "import sys; from service.cli import main; sys.exit(main())"
        options = ["--mask", str(mask), "--out", str(out), "--keyframes", _KEYFRAMES, "--weights", "seeded"]
        process = subprocess.Popen(
            [sys.executable, "-c", code, "run", str(video), *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        assert process.stderr is not None
        message = process.stderr.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        masks = len(list((out / "masks").glob("*.png")))
    if process.returncode or masks != frames:
        raise RuntimeError(f"keymask run ended with {process.returncode}, {masks} masks of {frames}: {message}")
    return _mib(usage)


def _mib(usage: resource.struct_rusage) -> float:
    # Linux counts ru_maxrss in KiB, macOS in bytes.
    return usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> None:
    """Measure and write memory.json."""
    arguments: argparse.Namespace = parser(__doc__).parse_args()
    report = Report("memory", arguments)
    short, long = (60, 200) if arguments.quick else (500, 5000)
    source = clip(arguments, SEQUENCE, LENGTH)
    with tempfile.TemporaryDirectory() as folder:
        mask = Path(folder) / "mask.png"
        Image.fromarray(first_labels(arguments, SEQUENCE)).save(mask)
        peaks = {}
        for frames in (short, long):
            video = Path(folder) / f"{frames}.mkv"
            repeat(source, video, frames)
            peaks[frames] = peak_mib(video, mask, frames)
    report.details = {
        "sequence": SEQUENCE,
        "keyframes": _KEYFRAMES,
        "peak_mib": {str(frames): round(peak, 1) for frames, peak in peaks.items()},
    }
    growth = Spread.of([peaks[long] / peaks[short]])
    report.rows = [
        Row(f"Peak memory of keymask run on {long:,} frames over {short:,}", growth, goal="<= 1.05"),
        Row(f"Peak memory on {long:,} frames", Spread.of([peaks[long]], 0), "MiB"),
    ]
    report.write()


if __name__ == "__main__":
    main()
