"""The service with the tests' light engine instead of a network, for what is measured of the API process alone.

`python benchmarks/light_service.py` serves on a free port as `keymask serve --port 0 --json -` does; settings come from
the environment.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

ROOT = str(Path(__file__).resolve().parent.parent)
LOADER = "tests.fakes:load"


def main() -> None:
    """Serve until SIGTERM."""
    from service.config import load_settings  # noqa: PLC0415 - a spawned worker imports this file again
    from service.engine.local import LocalEngine  # noqa: PLC0415
    from service.engine.types import EngineConfig  # noqa: PLC0415
    from service.jobs.store import JobStore  # noqa: PLC0415
    from service.logs import configure_logging  # noqa: PLC0415
    from service.main import create_app  # noqa: PLC0415
    from service.server import listen, run_server  # noqa: PLC0415
    from service.storage import Storage  # noqa: PLC0415

    def make_engine(config: EngineConfig, store: JobStore, storage: Storage) -> LocalEngine:
        return LocalEngine(replace(config, loader=LOADER), store, storage)

    settings = load_settings()
    configure_logging(settings.log_level)
    socket, address = listen(settings)
    print(json.dumps({"address": address, "pid": os.getpid()}), flush=True)
    run_server(create_app(settings, make_engine=make_engine), socket, settings)


if __name__ == "__main__":
    sys.path.insert(0, ROOT)
    main()
