"""Follows streams of the HTTP service and counts their bytes; `http_service.py` runs it as a separate process.

Arguments: host, port, and the path of each stream. Prints "following" once all streams have been answered, reads until
standard input ends, and prints JSON with `received` (bytes) and `errors`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict, dataclass, field


@dataclass
class Received:
    """Bytes and errors of all streams."""

    received: int = 0
    errors: list[str] = field(default_factory=list)


async def _follow(host: str, port: int, path: str, received: Received, answered: asyncio.Event) -> None:
    """Read a stream. Its job lasts longer than the measurement, so an end is an error."""
    try:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head[:15]:
            received.errors.append(head.split(b"\r\n")[0].decode())
            return
        answered.set()
        while part := await reader.read(1 << 16):
            received.received += len(part)
        received.errors.append(f"{path.rsplit('/', 1)[-1]} ended early")
    except (OSError, EOFError) as error:
        received.errors.append(repr(error))
    finally:
        answered.set()


async def _follow_all(host: str, port: int, paths: list[str]) -> Received:
    received, answered = Received(), [asyncio.Event() for _ in paths]
    tasks = [
        asyncio.create_task(_follow(host, port, path, received, event))
        for path, event in zip(paths, answered, strict=True)
    ]
    await asyncio.gather(*(event.wait() for event in answered))
    print("following", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return received


def main() -> None:
    """Follow the streams until standard input ends."""
    host, port, *paths = sys.argv[1:]
    print(json.dumps(asdict(asyncio.run(_follow_all(host, int(port), paths)))))


if __name__ == "__main__":
    main()
