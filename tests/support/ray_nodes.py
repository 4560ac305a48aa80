"""A Ray cluster of several node processes, in a process of its own: `RayNodes` starts it, and a test breaks it.

Arguments: the port of the head, and the number of nodes, each with one CPU; the head has none. The process prints a
line when the nodes are up, obeys "remove N", which kills node N, and "add N", which starts another one in its place,
and kills all nodes at the end of its input.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support.paths import ROOT

_STORE_BYTES = 80 << 20


class RayNodes:
    """A head node without CPUs and further nodes with one each.

    Args:
        environment: Further variables of the nodes' processes; they also tell this cluster's processes from others.
        nodes: Number of nodes beside the head.

    Attributes:
        count: Number of nodes beside the head.
        port: Port of the head.
    """

    def __init__(self, environment: Mapping[str, str], nodes: int) -> None:
        self._marks = {f"{name}={value}".encode() for name, value in environment.items()}
        self._environment = dict(environment)
        self.count = nodes
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port: int = listener.getsockname()[1]
        self.start()

    def __enter__(self) -> RayNodes:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """Address of the cluster."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the nodes and wait until they are up."""
        quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_gcs_server_port_wait_time_s": "180", "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(  # its standard error is noise of Ray, which has log files of its own
            [sys.executable, "-m", "tests.support.ray_nodes", str(self.port), str(self.count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
            env=os.environ | quiet | self._environment,
        )
        self._read()

    def remove(self, node: int) -> None:
        """Kill all processes of a node."""
        self._order(f"remove {node}")

    def add(self, node: int) -> None:
        """Start a node in place of one that was killed."""
        self._order(f"add {node}")

    def stop(self) -> None:
        """Kill all nodes, and the head with them."""
        self._process.communicate()
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def actors(self) -> list[int]:
        """Return the ids of the processes of worker actors."""
        return self.processes(b"ray::WorkerActor")

    def processes(self, title: bytes = b"") -> list[int]:
        """Return the ids of the cluster's processes whose command contains this."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                mine = self._marks <= set((folder / "environ").read_bytes().split(b"\0"))
                if mine and title in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
        return found

    def _order(self, order: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{order}\n")
        self._process.stdin.flush()
        self._read()

    def _read(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "done\n", "the Ray cluster did not start"


def main(port: int, count: int) -> None:
    """Run the nodes until the end of the input."""
    from ray.cluster_utils import Cluster

    head = {"gcs_server_port": port, "num_cpus": 0, "object_store_memory": _STORE_BYTES, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = [_add_node(cluster) for _ in range(count)]
    print("done", flush=True)
    for line in sys.stdin:
        order, node = line.split()
        if order == "remove":
            cluster.remove_node(nodes[int(node)], allow_graceful=False)
        else:
            nodes[int(node)] = _add_node(cluster)
        print("done", flush=True)
    cluster.shutdown()


def _add_node(cluster: Any) -> Any:
    return cluster.add_node(num_cpus=1, object_store_memory=_STORE_BYTES)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
