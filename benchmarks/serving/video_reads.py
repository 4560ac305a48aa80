"""Measures how a worker gets at the video of a job in an object store: copied once, or read by ranges.

The video is a clip that is repeated to the given size. The store is moto's server, a process of its own on this
machine, which takes some 10 ms per request, as a store in the same network does. Copied is as
`service.storage.objects` does it, then every packet is read from the file. By ranges, FFmpeg reads through a buffer of
1 MiB. Both read each packet once; neither decodes.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import av

from benchmarks.harness import Report, Row, Spread, interleave, parser
from benchmarks.paths import ROOT
from service.storage.objects.object_store import ObjectStore

KEY = "jobs/video"
_BUFFER = 1 << 20


def make_video(source: Path, target: Path, size: int) -> None:
    """Write a video of about `size` bytes: the packets of another one again and again."""
    with av.open(str(source)) as first, av.open(str(target), "w", format="mp4") as out:
        stream = out.add_stream_from_template(first.streams.video[0])
        packets = [packet for packet in first.demux(video=0) if packet.dts is not None]
        content = [(bytes(p), p.pts or 0, p.dts or 0, p.is_keyframe) for p in packets]
        length = content[-1][2] - content[0][2] + (content[1][2] - content[0][2])
        for turn in range(max(1, size // source.stat().st_size)):
            for data, pts, dts, is_keyframe in content:
                packet = av.Packet(data)
                packet.pts, packet.dts = pts + turn * length, dts + turn * length
                packet.is_keyframe, packet.stream, packet.time_base = is_keyframe, stream, packets[0].time_base
                out.mux(packet)


def copied(store: ObjectStore, folder: Path, first: list[float]) -> None:
    """Copy the video to a file and read its packets."""
    began = perf_counter()
    store.fetch(KEY, folder / "copy")
    with av.open(str(folder / "copy")) as container:
        _read(container, began, first)


def by_range(store: ObjectStore, first: list[float]) -> None:
    """Read the packets of the video from the store."""
    began = perf_counter()
    with av.open(_RangeFile(store), buffer_size=_BUFFER) as container:
        _read(container, began, first)


class _RangeFile:
    """An object as a file that FFmpeg reads from; each read is a request."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._size = store.size(KEY) or 0
        self._position = 0

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        end = min(self._size, self._position + size)
        if end <= self._position:
            return b""
        block = self._store.read_range(KEY, self._position, end)
        self._position = end
        return block

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to an offset."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Return the offset."""
        return self._position


def _read(container: Any, began: float, first: list[float]) -> None:
    for number, _packet in enumerate(container.demux(video=0)):
        if number == 0:
            first.append(perf_counter() - began)


def measure(arguments: argparse.Namespace) -> Report:
    """Measure both ways."""
    from tests.support.object_stores import s3_server  # noqa: PLC0415 - needs the packages of the tests

    report = Report("video_reads", arguments)
    first: dict[str, list[float]] = {"copied": [], "by range": []}
    with tempfile.TemporaryDirectory() as name, s3_server() as server:
        folder = Path(name)
        make_video(ROOT / "service/sample/clip.mp4", folder / "video", arguments.bytes)
        store = server.open("benchmark")
        store.put_file(KEY, folder / "video")
        tasks = {
            "copied": partial(copied, store, folder, first["copied"]),
            "by range": partial(by_range, store, first["by range"]),
        }
        seconds = interleave(tasks, arguments.rounds)
        report.details = {"bytes": (folder / "video").stat().st_size, "seconds": seconds, "first_packet": first}
    for way, values in seconds.items():
        report.rows.append(Row(f"All packets of the video, {way}", Spread.of(values), "s"))
        report.rows.append(Row(f"Its first packet, {way}", Spread.of(first[way][1:]), "s"))
    return report


def main() -> None:
    """Measure and write the report."""
    options = parser(__doc__)
    options.add_argument("--bytes", type=int, default=64 << 20, help="size of the video")
    options.add_argument("--rounds", type=int, default=5, help="number of reads of each kind")
    arguments = options.parse_args()
    if arguments.quick:
        arguments.bytes, arguments.rounds = 4 << 20, 2
    report = measure(arguments)
    report.write()
    print(json.dumps(report.details["first_packet"]))


if __name__ == "__main__":
    main()
