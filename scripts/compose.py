"""A composed service for the scripts that try it: a project name, an image and a port of its own."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STARTING_SECONDS = 180.0


class Compose:
    """A composed service.

    Args:
        name: Name of the script, which becomes that of the project.
        file: Compose file, below `docker/`.
        service: The service that answers requests.
    """

    def __init__(self, name: str, file: str, service: str) -> None:
        self._name = name
        self._service = service
        has_plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0
        self._command = [*(["docker", "compose"] if has_plugin else ["docker-compose"]), "-p", f"keymask-{name}"]
        self._command += ["-f", str(ROOT / "docker" / file)]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        image = os.environ.get("IMAGE") or self._build_image()
        self._environment = {**os.environ, "IMAGE": image, "ENV_FILE": "env.example", "PUBLISH": address}
        self._environment["PUBLISH_PROMETHEUS"] = "127.0.0.1:0"
        self.url = f"http://{address}"

    def __call__(self, *words: str) -> None:
        """Run a compose command and show its output."""
        subprocess.run([*self._command, *words], env=self._environment, check=True)

    def output(self, *words: str) -> str:
        """Return the standard output of a compose command."""
        command = [*self._command, *words]
        return subprocess.run(command, env=self._environment, check=True, text=True, stdout=subprocess.PIPE).stdout

    def containers(self, service: str) -> list[str]:
        """Return the ids of the containers of a service."""
        return self.output("ps", "-q", service).split()

    def wait_until_healthy(self) -> None:
        """Wait until the image's health check reports that the service is ready."""
        (container,) = self.containers(self._service)
        inspect = ["docker", "inspect", "--format", "{{.State.Health.Status}}", container]
        started = time.monotonic()
        while (health := subprocess.check_output(inspect, text=True).strip()) != "healthy":
            if time.monotonic() - started > STARTING_SECONDS:
                raise SystemExit(f"the container is {health} after {STARTING_SECONDS:.0f} s; allowed: healthy")
            time.sleep(1)
        self.say(f"healthy after {time.monotonic() - started:.0f} s")

    def require(self, condition: bool, otherwise: str) -> None:
        """Exit with one line if a condition does not hold."""
        if not condition:
            raise SystemExit(f"docker_{self._name}: {otherwise}")

    def say(self, what: str) -> None:
        """Print progress."""
        print(f"docker_{self._name}: {what}", flush=True)

    def _build_image(self) -> str:
        """Build the image and return its name."""
        self.say("build")
        image = f"keymask:{self._name}"
        flags = shlex.split(os.environ.get("BUILD_FLAGS", ""))
        subprocess.run(["docker", "build", "--tag", image, *flags, str(ROOT)], check=True)
        return image
