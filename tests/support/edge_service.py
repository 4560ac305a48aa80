"""A service in a process of its own whose files can be rationed.

Arguments: its folder, and its limit of open files at the start. It prints its address. SIGUSR1 lowers the limit, so
that no file can be opened and no connection accepted; SIGUSR2 restores it. SIGTERM ends the service.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path

from service.config import Settings
from service.http.app import create_app
from service.http.server import listen, run_server
from service.runtime.logs import configure_logging
from tests.support.serving import InlineSandbox
from tests.support.thread_engine import ThreadEngine


def main() -> None:
    """Serve until SIGTERM."""
    folder, files = Path(sys.argv[1]), int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    signal.signal(signal.SIGUSR1, lambda *_: _ration(_lowest_free_file(), files))
    signal.signal(signal.SIGUSR2, lambda *_: _ration(files, files))
    configure_logging("warning")
    settings = Settings(home=folder, port=0, grace_seconds=0)
    socket, address = listen(settings)
    print(address, flush=True)
    app = create_app(
        settings,
        make_engine=ThreadEngine,
        make_sandbox=lambda processes, *_limits: InlineSandbox(processes),
    )
    run_server(app, socket, settings)


def _lowest_free_file() -> int:
    number = os.dup(0)
    os.close(number)
    return number


def _ration(soft: int, hard: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


if __name__ == "__main__":
    main()
