"""A service that answers the client by a script, without a socket and in no time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
from pycocotools import mask as coco

Run = Callable[..., Any]
"""Calls a method of either client against a script."""
JOB: dict[str, Any] = {
    "id": "j1",
    "status": "running",
    "progress": {"done": 1, "total": 4, "stage": "segmenting", "fps": None},
    "created_at": "2026-11-20T12:00:00.000Z",
    "video": {"codec": "h264", "width": 6, "height": 4, "fps": 25.0, "frames": 4, "duration": 0.16, "rotation": 0},
}
MASK = np.zeros((4, 6), np.uint8)
MASK[1:3, 2:5] = 3


def job(status: str = "running", **change: Any) -> dict[str, Any]:
    """Return a job in a state, as the service writes it."""
    return {**JOB, "status": status, **change}


def line(index: int) -> str:
    """Return a line of the mask stream; the object moves by one column per frame."""
    mask = np.roll(MASK, index, axis=1) == 3
    counts = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    item = {"id": 3, "rle": {"size": [4, 6], "counts": counts}, "bbox": [2, 1, 3, 2], "area": 6, "score": 0.9}
    return json.dumps(
        {"index": index, "pts": index, "time": index / 25, "type": "P", "source": "key", "objects": [item]}
    )


class Broken(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body whose connection is lost after its lines."""

    def __init__(self, *lines: str) -> None:
        self._text = "".join(each + "\n" for each in lines)

    def __iter__(self) -> Iterator[bytes]:
        yield self._text.encode()
        raise httpx.ReadError("connection lost")

    async def __aiter__(self) -> Any:
        for part in self:
            yield part


class Clock:
    """Time that passes only in pauses."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def pause(self, seconds: float) -> None:
        """Advance the clock without waiting."""
        self.pauses.append(seconds)
        self.now += seconds

    async def pause_async(self, seconds: float) -> None:
        """Do the same for asyncio."""
        self.pause(seconds)


@dataclass(frozen=True)
class Outage:
    """A service that is unreachable for some seconds from the first attempt on."""

    clock: Clock
    seconds: float


class Script:
    """Responds to requests in turn and records them."""

    def __init__(self, *answers: httpx.Response | Exception | Outage) -> None:
        self._answers = list(answers)
        self.requests: list[httpx.Request] = []
        self._back_at: float | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Return the next response."""
        self.requests.append(request)
        if isinstance(outage := self._answers[0], Outage):
            if self._back_at is None:
                self._back_at = outage.clock.now + outage.seconds
            if outage.clock.now < self._back_at:
                raise httpx.ConnectError("refused")
            self._back_at = None
            del self._answers[0]
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def spent(self) -> bool:
        """Whether every response was used."""
        return not self._answers


class Quiet(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body without data for a minute."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def __iter__(self) -> Iterator[bytes]:
        self._clock.now += 60
        raise httpx.ReadTimeout("timed out")
        yield b""

    async def __aiter__(self) -> Any:
        for part in self:
            yield part


def ok(body: Any, status: int = 200) -> httpx.Response:
    """Return a JSON response."""
    return httpx.Response(status, json=body)


def masks(*indices: int) -> httpx.Response:
    """Return a complete mask stream."""
    return httpx.Response(200, text="".join(line(i) + "\n" for i in indices))
