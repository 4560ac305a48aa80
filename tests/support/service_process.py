"""An engine in a separate process (`tests.integration.service_child`), which a test can kill and stop."""

from __future__ import annotations

import subprocess
import sys
from types import TracebackType

from tests.support.engine_site import Site
from tests.support.paths import ROOT


class ServiceProcess:
    """An engine on a site's database and files.

    Attributes:
        process: The process of the supervisor.
        worker: Process id of its worker.
    """

    def __init__(self, site: Site, *, lease_seconds: float = 15.0) -> None:
        command = [sys.executable, "-m", "tests.integration.service_child", str(site.root), str(lease_seconds)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self.process.stdout is not None
        self.worker = int(self.process.stdout.readline().split()[1])

    def __enter__(self) -> ServiceProcess:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.kill()

    def kill(self) -> None:
        """Send SIGKILL, as the kernel does when memory runs out."""
        self.process.kill()
        self._end()

    def stop(self) -> int:
        """Send SIGTERM, as an orderly restart does; return the exit code."""
        self.process.terminate()
        self._end()
        return self.process.returncode

    def _end(self) -> None:
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
