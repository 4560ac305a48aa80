"""Serves one job and every result format in a process that cannot import torch.

test_api_operations.py runs it.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.modules["torch"] = None  # type: ignore[assignment]

from tests.support.serving import served  # noqa: E402


def main(folder: Path) -> None:
    """Call everything that a client may call."""
    with served(folder) as service:
        job_id = service.run()
        for path in (
            "masks",
            "masks/0.png",
            "events",
            *(f"result?format={f}" for f in ("png", "coco", "ytvis", "overlay")),
        ):
            service.client.get(f"/v1/jobs/{job_id}/{path}").raise_for_status()
        service.client.post("/v1/probe", files={"video": service.clip.read_bytes()}).raise_for_status()
        for path in ("/v1/models", "/health/ready", "/metrics", "/openapi.json", "/docs"):
            service.client.get(path).raise_for_status()
    print("served without torch")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
