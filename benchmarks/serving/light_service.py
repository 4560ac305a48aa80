"""Serves with the tests' light engine instead of a network, to measure the API process alone.

`python -m benchmarks.serving.light_service` listens on a free port as `keymask serve --port 0 --json -` does. Settings
come from the environment.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace

LOADER = "tests.support.fakes:load"


def main() -> None:
    """Serve until SIGTERM."""
    from service.config import load_settings  # noqa: PLC0415 - a spawned worker imports this file again
    from service.engine.supervisor import Supervisor  # noqa: PLC0415
    from service.engine.types import EngineConfig  # noqa: PLC0415
    from service.http.app import create_app  # noqa: PLC0415
    from service.http.server import listen, run_server  # noqa: PLC0415
    from service.jobs.store import JobStore  # noqa: PLC0415
    from service.runtime.logs import configure_logging  # noqa: PLC0415
    from service.storage.job_files import Storage  # noqa: PLC0415

    def make_engine(config: EngineConfig, store: JobStore, storage: Storage) -> Supervisor:
        return Supervisor(replace(config, loader=LOADER), store, storage)

    settings = load_settings()
    configure_logging(settings.log_level)
    socket, address = listen(settings)
    print(json.dumps({"address": address, "pid": os.getpid()}), flush=True)
    run_server(create_app(settings, make_engine=make_engine), socket, settings)


if __name__ == "__main__":
    main()
