"""Keeps connections half open, without a whole header; `half_open.py` runs it as a separate process.

Arguments: host, port and number of connections. Half of them send nothing, half a part of a header. A connection that
the server closes is opened again. Prints "open" once all have been opened, and at the end of standard input JSON with
`opened` and `refused`.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from dataclasses import asdict, dataclass

_PART = b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nX-Slow: "


@dataclass
class Opened:
    """Connections that were opened, and attempts that failed."""

    opened: int = 0
    refused: int = 0


async def _keep(host: str, port: int, sent: bytes, counts: Opened) -> None:
    """Keep one connection half open."""
    while True:
        try:
            reader, writer = await asyncio.open_connection(host, port)
            counts.opened += 1
            writer.write(sent)
            await reader.read()
            writer.close()
        except OSError:
            counts.refused += 1
        await asyncio.sleep(0.1)


async def _keep_all(host: str, port: int, number: int) -> Opened:
    counts = Opened()
    tasks = [asyncio.create_task(_keep(host, port, _PART * (n % 2), counts)) for n in range(number)]
    while counts.opened < number:
        await asyncio.sleep(0.05)
    print("open", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return counts


def main() -> None:
    """Keep the connections until standard input ends."""
    host, port, number = sys.argv[1:]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(json.dumps(asdict(asyncio.run(_keep_all(host, int(port), int(number))))))


if __name__ == "__main__":
    main()
