"""What the models of the contract look like: one example a kind, shown by OpenAPI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

JOB_ID = "01939f0f1c2a8c1b2d3e4f5061728394"
JOB: dict[str, Any] = {
    "id": JOB_ID,
    "status": "running",
    "progress": {"done": 31, "total": 90, "stage": "segmenting", "fps": 24.6},
    "created_at": "2026-11-20T12:00:00.000Z",
    "started_at": "2026-11-20T12:00:00.300Z",
    "finished_at": None,
    "expires_at": None,
    "options": {
        "model": "compact",
        "keyframes": "adaptive",
        "prompt_frame": 0,
        "start": None,
        "end": None,
        "max_side": None,
        "quality": "balanced",
        "max_key_share": 1.0,
    },
    "video": {
        "codec": "h264",
        "width": 854,
        "height": 480,
        "fps": 25.0,
        "frames": 90,
        "duration": 3.6,
        "rotation": 0,
    },
    "report": None,
    "error": None,
    "links": {
        "self": f"/v1/jobs/{JOB_ID}",
        "events": f"/v1/jobs/{JOB_ID}/events",
        "masks": f"/v1/jobs/{JOB_ID}/masks",
        "mask": f"/v1/jobs/{JOB_ID}/masks/{{index}}.png",
        "result": f"/v1/jobs/{JOB_ID}/result?format={{format}}",
        "cancel": f"/v1/jobs/{JOB_ID}/cancel",
    },
}
_MODELS: list[dict[str, Any]] = [
    {
        "name": "compact",
        "summary": "the default: small, fast on a CPU, part of this package",
        "license": "Apache-2.0",
        "terms": "the model card in docs says on what it was trained",
        "size": 5983674,
        "available": True,
        "loaded": True,
        "default": True,
    },
    {
        "name": "stcn",
        "summary": "STCN (NeurIPS 2021), ResNet-50 and ResNet-18",
        "license": "MIT",
        "terms": "trained on DAVIS, YouTube-VOS, BL30K and sets of stills, some of which their owners offer for "
        "research only",
        "size": None,
        "available": False,
        "loaded": False,
        "default": False,
    },
]
_PROBLEM: dict[str, Any] = {
    "type": "/problems/queue-full",
    "title": "As many jobs wait as are allowed",
    "status": 429,
    "retry_after": 30,
}

EXAMPLES: Mapping[str, Any] = {
    "JobView": JOB,
    "JobPage": {"jobs": [JOB], "cursor": JOB_ID},
    "ModelList": {"models": _MODELS},
    "ProblemKind": _PROBLEM,
    "Health": {"status": "ok"},
}
"""Name of a schema -> an example of it."""
