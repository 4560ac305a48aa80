"""One process of the service under faults, without a network: `python -m tests.support.plant_child api|worker`.

Settings come from the environment. The process prints one JSON object with its address once it is up.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from dataclasses import replace

LOADER = "tests.support.counted_runs:load"


def serve() -> None:
    """Run an API process until SIGTERM; its workers run elsewhere."""
    from service.config import load_settings
    from service.http.app import create_app
    from service.http.server import listen, run_server
    from service.net.tracing import tracing
    from service.runtime.logs import configure_logging

    settings = load_settings()
    configure_logging(settings.log_level)
    socket, address = listen(settings)
    print(json.dumps({"address": address}), flush=True)
    with tracing():
        run_server(create_app(settings), socket, settings)


def work() -> None:
    """Run a host, which has one worker or starts the actors of a Ray cluster, until SIGTERM."""
    from service.config import load_settings
    from service.engine.open import engine_class, engine_config, open_store
    from service.net.tracing import tracing
    from service.runtime.logs import configure_logging

    settings = load_settings()
    configure_logging(settings.log_level)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    store, storage = open_store(settings)
    config = replace(engine_config(settings), loader=LOADER, poll_seconds=0.05, state_seconds=0.1)
    engine = engine_class(settings)(replace(config, housekeeping_seconds=1.0), store, storage)
    engine.start()
    print(json.dumps({"pid": os.getpid()}), flush=True)
    with tracing():
        stop.wait()
        engine.stop()
    storage.close()
    store.close()


if __name__ == "__main__":
    {"api": serve, "worker": work}[sys.argv[1]]()
