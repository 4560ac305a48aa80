"""A stand-in for CVAT: one task, and the calls of its HTTP API that uploading masks makes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import numpy.typing as npt

TASK, TOKEN = 7, "a-token-of-cvat"


@dataclass
class FakeCvat:
    """The server.

    Attributes:
        labels: Name -> type of the labels of the task; their ids count from 11.
        meta: Frames of the task, as `/data/meta` describes them.
        url: Its address.
        shapes: Annotations of the task.
        calls: Calls so far: method, path, action.
    """

    labels: dict[str, str]
    meta: dict[str, Any]
    url: str = ""
    shapes: list[dict[str, Any]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        """Return status and JSON of a call."""
        self.calls.append(f"{method} {path} {query.get('action', [''])[0]}".strip())
        task, path = f"/api/tasks/{TASK}", path.rstrip("/")
        if path == task:
            jobs = {"count": 1, "completed": 0, "validation": 0, "url": ""}
            return 200, {"id": TASK, "name": "dog", "organization": None, "jobs": jobs, "labels": {"url": ""}}
        if path == "/api/labels" and query["task_id"] == [str(TASK)]:
            found = [{"id": 11 + n, "name": k, "type": self.labels[k]} for n, k in enumerate(self.labels)]
            return 200, {"count": len(found), "next": None, "previous": None, "results": found}
        if path == f"{task}/data/meta":
            return 200, self.meta
        if path == f"{task}/annotations" and method == "DELETE":
            self.shapes.clear()
            return 204, None
        if path == f"{task}/annotations" and method == "PATCH" and query["action"] == ["create"]:
            self.shapes += body["shapes"]
            return 200, {"version": 0, "tags": [], "shapes": [], "tracks": []}
        return 404, {"detail": "Not found."}

    def masks(self, height: int, width: int) -> dict[tuple[int, int], npt.NDArray[np.bool_]]:
        """Return (frame, label) -> mask, from the format that CVAT documents: run lengths of the box, then the box."""
        return {(s["frame"], s["label_id"]): _decoded(s["points"], height, width) for s in self.shapes}


def _decoded(points: list[float], height: int, width: int) -> npt.NDArray[np.bool_]:
    *runs, left, top, right, bottom = (int(n) for n in points)
    pixels = [bool(n % 2) for n, run in enumerate(runs) for _ in range(run)]
    mask = np.zeros((height, width), np.bool_)
    mask[top : bottom + 1, left : right + 1] = np.reshape(pixels, (bottom + 1 - top, right + 1 - left))
    return mask


@contextmanager
def fake_cvat(labels: dict[str, str], **meta: Any) -> Iterator[FakeCvat]:
    """Serve a task of 12 frames of 64x48, unless `meta` says otherwise, while the block runs."""
    pictures = [{"width": 64, "height": 48, "name": "dog.mp4", "related_files": 0}]
    usual = {"chunks_updated_date": "2026-11-30T10:00:00Z", "frames": pictures, "deleted_frames": [], "size": 12}
    fake = FakeCvat(labels, usual | {"start_frame": 0, "stop_frame": 11, "frame_filter": ""} | meta)

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            parts = urlsplit(self.path)
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size)) if size else None
            status, answer = 401, {"detail": "Authentication credentials were not provided."}
            if self.headers.get("Authorization") == f"Bearer {TOKEN}":
                status, answer = fake.answer(self.command, parts.path, parse_qs(parts.query), body)
            data = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PATCH = do_DELETE = _serve  # noqa: N815 - names of the standard library

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        fake.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()
