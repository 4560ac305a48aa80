"""A PgBouncer of the tests' own that pools transactions: each one may run on another connection of the server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

from sqlalchemy.engine import make_url

from tests.support.waiting import wait_for

SERVER_CONNECTIONS = 3
"""Fewer than the clients of a test, so that they share them."""


def find_pgbouncer() -> str | None:
    """Return the path of the program, None if it is not installed."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


class PgBouncer:
    """PgBouncer in front of a database, with the settings that docs/howto/deploy.md asks for.

    Args:
        folder: A folder of its own.
        url: URL of the database.

    Attributes:
        url: URL of the same database through PgBouncer.
    """

    def __init__(self, folder: Path, url: str) -> None:
        behind = make_url(url)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self._port: int = listener.getsockname()[1]
        self.url = behind.set(port=self._port).render_as_string(hide_password=False)
        for part in (folder, *folder.parents[:3]):
            part.chmod(part.stat().st_mode | 0o111)  # it refuses to run as root, and must reach its files as nobody
        (folder / "users").write_text(f'"{behind.username}" ""\n')
        (folder / "pgbouncer.ini").write_text(f"""
[databases]
{behind.database} = host=127.0.0.1 port={behind.port} dbname={behind.database}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self._port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = {SERVER_CONNECTIONS}
server_round_robin = 1
ignore_startup_parameters = options
""")
        program = find_pgbouncer()
        assert program is not None
        as_user = ["setpriv", "--reuid=nobody", "--clear-groups"] if os.geteuid() == 0 else []
        with (folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*as_user, program, str(folder / "pgbouncer.ini")], stdout=log, stderr=log, cwd=folder
            )
        wait_for(self._answers, 30)

    def __enter__(self) -> PgBouncer:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()

    def _answers(self) -> bool:
        assert self._process.poll() is None, "pgbouncer has ended"
        try:
            socket.create_connection(("127.0.0.1", self._port), 1).close()
        except OSError:
            time.sleep(0.05)
            return False
        return True
