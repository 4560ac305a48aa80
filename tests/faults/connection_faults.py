"""Connections of clients that break or stay silent."""

from __future__ import annotations

import random
import socket
import struct
import time
from contextlib import suppress

from tests.faults.fault import FollowUp, WeightedFaults
from tests.support.plant import Plant


class ConnectionFaults:
    """Faults of connections to API processes.

    Args:
        plant: The plant.
        chooser: Decides when a connection breaks, and to which process.
    """

    def __init__(self, plant: Plant, chooser: random.Random) -> None:
        self._plant = plant
        self._random = chooser

    def faults(self) -> WeightedFaults:
        """Return all faults."""
        return ((3, self.cut_upload), (2, self.lose_answer), (2, self.open_halves))

    def cut_upload(self) -> FollowUp:
        """Reset the connection in the middle of an upload."""
        sent = self._random.randrange(1, 200_000)
        return lambda: self._post_raw(bytes(sent), announced=200_000)

    def lose_answer(self) -> FollowUp:
        """Send a whole job and reset the connection before its answer: a job that nobody knows of, which runs."""
        wait = self._random.random()
        return lambda: self._post_raw(None, wait=wait)

    def open_halves(self) -> FollowUp:
        """Open connections that send half a header and then nothing."""
        api = self._random.choice(self._plant.apis)

        def open_and_wait() -> None:
            connections = []
            with suppress(OSError):
                for _ in range(50):
                    connections.append(socket.create_connection(("127.0.0.1", api.port), 5))
                    connections[-1].sendall(b"GET /health/live HTTP/1.1\r\nHost: local")
            time.sleep(2)
            for connection in connections:
                connection.close()

        return open_and_wait

    def _post_raw(self, video: bytes | None, announced: int = 0, wait: float = 0.05) -> None:
        """Post over a socket and reset the connection."""
        api = self._random.choice(self._plant.apis)
        body = b"".join(
            b'--b\r\nContent-Disposition: form-data; name="%s"; filename="x"\r\n\r\n%s\r\n' % part
            for part in ((b"video", self._plant.clip), (b"mask", self._plant.mask))
        )
        sent = body + b"--b--\r\n" if video is None else body[:90] + video
        length = len(sent) if video is None else announced + len(body)
        with suppress(OSError), socket.create_connection(("127.0.0.1", api.port), timeout=10) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            head = "POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            connection.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode() + sent)
            time.sleep(wait)
