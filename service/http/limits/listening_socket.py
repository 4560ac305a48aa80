"""A listening socket that survives a lack of open files."""

from __future__ import annotations

import errno
import logging
import os
import socket
from contextlib import suppress
from typing import Any

from service.http.limits.log_limit import LogLimit

ACCEPTED_PER_TURN = 16
"""Connections that the event loop accepts before it does something else; many at once would delay all requests."""
_BACKLOG = 2048
"""Connections that the kernel keeps until they are accepted."""
_UNREAD_SECONDS = 300
"""Time for which a client may leave data unread or unacknowledged."""
_LACK = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_log = logging.getLogger(__name__)


class ListeningSocket(socket.socket):
    """A TCP socket for asyncio.

    Without a file for a new connection, asyncio would log a traceback for each attempt, thousands per second. This
    socket keeps a file in reserve, accepts the connection with it, and closes the connection.
    """

    def __init__(self, family: int) -> None:
        # asyncio disables Nagle's algorithm only if the protocol is named; with it every answer takes 40 ms longer.
        super().__init__(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._reserve = os.open(os.devnull, os.O_RDONLY)
        self._log_limit = LogLimit()
        self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; accepted connections inherit it
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * _UNREAD_SECONDS)

    def listen(self, _backlog: int = 0, /) -> None:
        """Listen; asyncio's backlog is the number of connections per turn."""
        super().listen(_BACKLOG)

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection.

        Raises:
            BlockingIOError: None waits, or there is no file for it.
        """
        try:
            return super().accept()
        except OSError as error:
            if error.errno not in _LACK:
                raise
            if self._log_limit.due():
                reason = {"reason": error.strerror, "unlogged": self._log_limit.unlogged}
                _log.error("connection refused: the process has no file for it", extra=reason)
            self._refuse()
            raise BlockingIOError from error

    def close(self) -> None:
        """Close the socket and the reserve."""
        super().close()
        self._free_reserve()

    def _refuse(self) -> None:
        self._free_reserve()
        with suppress(OSError):
            super().accept()[0].close()
        with suppress(OSError):  # another thread took the file; the next attempt tries again
            self._reserve = os.open(os.devnull, os.O_RDONLY)

    def _free_reserve(self) -> None:
        reserve, self._reserve = self._reserve, -1
        if reserve >= 0:
            os.close(reserve)
