"""Iterate over a stream's packets, with a peek at the first ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import av
import av.error
from av.container import InputContainer
from av.video.stream import VideoStream

PEEKED_PACKETS = 16
"""Most packets that `peek` yields."""


class Packets(Iterator["av.Packet[Any]"]):
    """Yields each packet of a video stream once, in decode order; the last packet is empty and drains the decoder."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self._rest: Iterator[av.Packet[Any]] = container.demux(stream)
        self._peeked: deque[av.Packet[Any]] = deque()

    def __next__(self) -> av.Packet[Any]:
        return self._peeked.popleft() if self._peeked else next(self._rest)

    def peek_intra_only(self) -> bool:
        """Whether the next packets (at least 2, at most 16) are all intra coded."""
        count = 0
        for packet in self.peek():
            if packet.size and not packet.is_keyframe:
                return False
            count += packet.size > 0
        return count > 1

    def peek(self) -> Iterator[av.Packet[Any]]:
        """Yield the next packets, at most 16, without consuming them.

        If reading fails, the error is raised when iteration reaches the packet concerned.
        """
        yield from tuple(self._peeked)
        while len(self._peeked) < PEEKED_PACKETS:
            try:
                packet = next(self._rest)
            except StopIteration:
                return
            except av.error.FFmpegError as error:
                self._rest = _raising(error)
                return
            self._peeked.append(packet)
            yield packet


def _raising(error: Exception) -> Iterator[av.Packet[Any]]:
    raise error
    yield
