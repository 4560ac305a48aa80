"""An engine without HTTP in a separate process that a test can kill.

Arguments: the site's folder, which contains the home of the worker's behavior, and the seconds of a lease. The process
prints "ready" and the
worker's process id once a worker is ready, and stops on SIGTERM.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

from service.config import Settings
from service.engine.supervisor import Supervisor
from service.engine.types import EngineConfig
from service.jobs.store import JobStore
from service.storage.job_files import Storage


def main(root: Path, lease_seconds: float) -> None:
    """Run the engine until SIGTERM."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    config = EngineConfig(
        devices=("cpu",),
        loader="tests.support.fakes:load",
        poll_seconds=0.05,
        housekeeping_seconds=0.5,
        lease_seconds=lease_seconds,
        settings=Settings(home=root / "home"),
    )
    store = JobStore(f"sqlite:///{root}/jobs.db")
    engine = Supervisor(config, store, Storage(root / "files", reserve=0))
    engine.start()
    while not engine.ready and not stop.is_set():
        stop.wait(0.05)
    print("ready", engine.workers()[0].pid, flush=True)
    stop.wait()
    engine.stop()
    store.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
