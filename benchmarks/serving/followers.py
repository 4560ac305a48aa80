"""Follows streams of the HTTP service and counts what comes; `http_service.py` runs it as a process beside its own.

Arguments: host, port, and the path of each stream. It prints "following" once every stream has been answered, reads on
until its standard input ends, and prints what it met as JSON: `received` (bytes) and `errors`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict, dataclass, field


@dataclass
class Met:
    """What the followers met."""

    received: int = 0
    errors: list[str] = field(default_factory=list)


async def _follow(host: str, port: int, path: str, met: Met, answered: asyncio.Event) -> None:
    """Read a stream; its job outlives the measurement, so that its end is an error."""
    try:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head[:15]:
            met.errors.append(head.split(b"\r\n")[0].decode())
            return
        answered.set()
        while part := await reader.read(1 << 16):
            met.received += len(part)
        met.errors.append(f"{path.rsplit('/', 1)[-1]} ended early")
    except (OSError, EOFError) as error:
        met.errors.append(repr(error))
    finally:
        answered.set()


async def _follow_all(host: str, port: int, paths: list[str]) -> Met:
    met, answered = Met(), [asyncio.Event() for _ in paths]
    tasks = [
        asyncio.create_task(_follow(host, port, path, met, event)) for path, event in zip(paths, answered, strict=True)
    ]
    await asyncio.gather(*(event.wait() for event in answered))
    print("following", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return met


def main() -> None:
    """Follow until there is no more input."""
    host, port, *paths = sys.argv[1:]
    print(json.dumps(asdict(asyncio.run(_follow_all(host, int(port), paths)))))


if __name__ == "__main__":
    main()
