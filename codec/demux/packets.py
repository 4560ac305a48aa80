"""A stream's packets in decode order, the first few of which can be looked at before they are taken."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import av
import av.error
from av.container import InputContainer
from av.video.stream import VideoStream

_LOOK_AHEAD = 16


class Packets(Iterator["av.Packet[Any]"]):
    """Packets of a video stream, each once, in decode order; the last one, empty, drains the decoder."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self._rest: Iterator[av.Packet[Any]] = container.demux(stream)
        self._ahead: deque[av.Packet[Any]] = deque()

    def __next__(self) -> av.Packet[Any]:
        return self._ahead.popleft() if self._ahead else next(self._rest)

    def look_intra_only(self) -> bool:
        """Whether every one of the next packets, at least two and at most 16, can be decoded without another.

        An error on the way is kept and raised where the packet it concerns would be taken.
        """
        while len(self._ahead) < _LOOK_AHEAD:
            try:
                packet = next(self._rest)
            except StopIteration:
                break
            except av.error.FFmpegError as error:
                self._rest = _raising(error)
                break
            self._ahead.append(packet)
            if packet.size and not packet.is_keyframe:
                return False
        return sum(packet.size > 0 for packet in self._ahead) > 1


def _raising(error: Exception) -> Iterator[av.Packet[Any]]:
    raise error
    yield
