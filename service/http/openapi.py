"""The OpenAPI 3.1 document of the service, with one example per model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.http.schemas import FrameLine, Options, ProblemView, WebhookRequest, links_of
from service.problems import PROBLEMS, type_of
from service.prompts.shapes import ShapePrompt
from service.writers.mask_line import EXAMPLE

BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
"""Content of a response that is a file."""
PROMPT_SCHEMA: dict[str, Any] = {
    "type": "array",
    "minItems": 1,
    "items": {"$ref": "#/components/schemas/ShapePrompt"},
}
"""Schema of a form's part `prompt`."""

_JOB_ID = "01939f0f1c2a8c1b2d3e4f5061728394"
_JOB: dict[str, Any] = {
    "id": _JOB_ID,
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
        "mask_mode": "auto",
        "start": None,
        "end": None,
        "analysis_side": "auto",
        "max_side": None,
        "quality": "balanced",
        "max_key_share": 1.0,
        "edges": "refined",
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
    "prompt": [
        {"object": 1, "label": None, "frame": 0, "color": "#800000", "area": 21043, "bbox": [212, 96, 174, 205]}
    ],
    "notes": [],
    "corrects": None,
    "origin": None,
    "webhook": {"url": "https://hooks.example.com/keymask", "events": ["job.succeeded", "job.failed"]},
    "report": None,
    "error": None,
    "links": links_of(_JOB_ID),
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
_PROMPT_MASK: dict[str, Any] = {
    "frame": 0,
    "time": 0.0,
    "width": 854,
    "height": 480,
    "objects": json.loads(EXAMPLE)["objects"],
    "notes": [],
}
_PROBLEM: dict[str, Any] = {
    "type": type_of("queue-full"),
    "title": PROBLEMS["queue-full"].title,
    "status": int(PROBLEMS["queue-full"].status),
    "retry_after": PROBLEMS["queue-full"].retry_after,
}

EXAMPLES: Mapping[str, Any] = {
    "JobView": _JOB,
    "JobVersions": {"versions": [_JOB]},
    "JobPage": {"jobs": [_JOB], "cursor": _JOB_ID},
    "ModelList": {"models": _MODELS},
    "ProblemKind": _PROBLEM,
    "PromptMask": _PROMPT_MASK,
    "ResultNotes": {"notes": ["the overlay has no sound: flac does not fit into mov"]},
    "Health": {"status": "ok"},
    "WebhookSecret": {"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="},
    "Deliveries": {
        "deliveries": [
            {
                "id": f"msg_{_JOB_ID}_job.succeeded",
                "event": "job.succeeded",
                "created_at": "2026-11-20T12:00:04.100Z",
                "attempts": 2,
                "answer": "HTTP 200",
                "delivered_at": "2026-11-20T12:00:10.000Z",
                "next_attempt_at": None,
            }
        ]
    },
    "UploadView": {
        "id": _JOB_ID,
        "offset": 8388608,
        "length": 73400320,
        "complete": False,
        "expires_at": "2026-11-21T12:00:00.000Z",
    },
    "Video": _JOB["video"],
}
"""Name of a schema -> its example."""


def form_body(parts: dict[str, Any], required: list[str], example: dict[str, Any], **content: Any) -> dict[str, Any]:
    """Describe a multipart form that the route reads itself, for `openapi_extra`.

    Args:
        parts: Name of each part -> its schema.
        required: Names of the parts that the form must have.
        example: One form.
        content: Further members of the media type, such as `encoding`.
    """
    schema = {"type": "object", "required": required, "additionalProperties": False, "properties": parts}
    form = {"schema": schema, "example": example, **content}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": form}}}


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the document; it is built on the first call."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas = schema["components"]["schemas"]
        # No route names these in its signature.
        for model in (Options, FrameLine, ProblemView, ShapePrompt, WebhookRequest):
            own = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(own.pop("$defs", {}))
            schemas[own["title"]] = own
        for name, example in EXAMPLES.items():  # set here, because FastAPI drops nulls from examples
            schemas[name]["examples"] = [example]
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        app.openapi_schema = schema
    return app.openapi_schema
