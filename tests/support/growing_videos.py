"""Videos whose pictures grow in the middle, and a reader that reports how much memory they take.

`python -m tests.support.growing_videos FILE [MAX_PIXELS]` decodes a file and prints as JSON the number of pictures, the
error and the peak of the resident size in bytes.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from tests.support.paths import ROOT

SMALL = (64, 48)
FIRST = 30
"""Number of small pictures: more than FFmpeg decodes to find out the properties of a file."""
_FAST = {"preset": "ultrafast", "tune": "zerolatency"}
KINDS: dict[str, tuple[str, dict[str, str], str]] = {
    "h264": ("libx264", _FAST, "yuv420p"),
    "mpegts": ("libx264", _FAST, "yuv420p"),
    "flv": ("libx264", _FAST, "yuv420p"),
    "matroska": ("mpeg4", {}, "yuv420p"),
    "ivf": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}, "yuv420p"),
    "avi": ("mjpeg", {}, "yuvj420p"),
    "hevc": ("libx265", {"preset": "ultrafast", "x265-params": "log-level=none:bframes=0"}, "yuv420p"),
}
"""Container -> encoder, its options and the pixel format."""


def growing(container: str, large: tuple[int, int], first: int = FIRST) -> bytes:
    """Return a video of small pictures followed by two large ones."""
    encoder, options, pixel_format = KINDS[container]
    out = io.BytesIO()
    with av.open(out, "w", format=container) as output:
        stream: Any = output.add_stream(encoder, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = *SMALL, pixel_format
        for packet in _packets(encoder, options, pixel_format, SMALL, range(first)):
            packet.stream = stream
            output.mux(packet)
        for packet in _packets(encoder, options, pixel_format, large, range(first, first + 2)):
            packet.stream = stream
            output.mux(packet)
    return out.getvalue()


def read_in_a_process(path: Path, max_pixels: int | None) -> dict[str, Any]:
    """Decode a file in a process of its own; return what that printed."""
    arguments = [str(path), *([] if max_pixels is None else [str(max_pixels)])]
    command = [sys.executable, "-m", "tests.support.growing_videos", *arguments]
    found: dict[str, Any] = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    return found


def _packets(
    encoder: str, options: dict[str, str], pixel_format: str, size: tuple[int, int], times: range
) -> Iterator[Any]:
    context: Any = av.CodecContext.create(encoder, "w")
    context.width, context.height, context.pix_fmt = *size, pixel_format
    context.time_base, context.framerate, context.options = Fraction(1, 25), Fraction(25), dict(options)
    for time in times:
        frame = av.VideoFrame(*size, pixel_format)
        for plane in frame.planes:
            plane.update(bytes([128]) * plane.buffer_size)
        frame.pts, frame.time_base = time, Fraction(1, 25)
        yield from context.encode(frame)
    yield from context.encode(None)


def main() -> None:
    """Decode the file that the command line names."""
    from codec.decode.decoder import VideoDecoder
    from codec.demux.limits import DecodeLimits, limit_decoding
    from codec.demux.source import VideoFile
    from codec.errors import CodecError

    if len(sys.argv) > 2:
        limit_decoding(DecodeLimits(int(sys.argv[2])))
    count, failure = 0, None
    try:
        for _ in VideoDecoder(VideoFile(sys.argv[1]), vectors=False).pictures():
            count += 1
    except CodecError as error:
        failure = f"{type(error).__name__}: {error}"
    # ru_maxrss would include the process that this one was forked from.
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    peak = int(line.split()[1]) << 10
    print(json.dumps({"pictures": count, "error": failure, "peak": peak}))


if __name__ == "__main__":
    main()
