"""Times motion by proxy against plain decoding, on streams whose decoders export no vectors.

For HEVC, VP9 and AV1, `codec.open_video` encodes an H.264 proxy on the fly and reads its motion. An H.264 stream goes
through the same proxy for comparison.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from benchmarks.harness import Report, Row, Spread, clip, interleave, parser, per_frame, ratio
from benchmarks.speed.decode import count, plain
from codec import open_video

SEQUENCES = ("kite-walk", "soccerball")
ENCODERS = {"HEVC": "libx265", "VP9": "libvpx-vp9", "AV1": "libsvtav1", "H.264": "libx264"}


def proxy(files: list[Path]) -> None:
    """Read everything that `open_video` yields, with motion by proxy."""
    for file in files:
        with open_video(file, motion="proxy") as video:
            for _ in video:
                pass


def main() -> None:
    """Measure and write proxy.json."""
    arguments: argparse.Namespace = parser(__doc__).parse_args()
    report = Report("proxy", arguments)
    length, rounds = (10, 1) if arguments.quick else (48, 7)
    for codec, encoder in ENCODERS.items():
        files = [clip(arguments, name, length, encoder) for name in SEQUENCES]
        seconds = interleave({"plain": partial(plain, files), "proxy": partial(proxy, files)}, rounds)
        frames = sum(count(file) for file in files)
        report.details[codec] = {"frames": frames, "ms_per_frame": per_frame(seconds, frames)}
        rate = Spread.of((frames / value for value in seconds["proxy"]), 1)
        note = f"{rate.median:.0f} frames/s"
        report.rows.append(
            Row(f"{codec}: motion by proxy over plain decoding", ratio(seconds, "proxy", "plain"), note=note)
        )
    report.details["sequences"] = SEQUENCES
    report.write()


if __name__ == "__main__":
    main()
