"""`/docs`: the operations of the OpenAPI document as a page without scripts, which loads nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

router = APIRouter()

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "code{font-size:.9em}summary{cursor:pointer}details{border:1px solid #ccc;border-radius:4px;margin:.5rem 0;"
    "padding:.5rem .8rem}table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ddd;padding:.25rem "
    ".5rem;text-align:left;vertical-align:top}.m{display:inline-block;min-width:4.5rem;font-weight:bold}"
)
_POLICY = (
    "default-src 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy of the page: its own style sheet and nothing else."""


@router.get("/docs", include_in_schema=False)
async def read_docs(request: Request) -> HTMLResponse:
    """The operations as a page."""
    page = docs_page(request.app.openapi())
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})


def docs_page(document: Mapping[str, Any]) -> str:
    """Return the page.

    Args:
        document: The OpenAPI document.
    """
    title = escape(f"{document['info']['title']} {document['info']['version']}")
    groups: dict[str, list[str]] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            shown = "".join(_operation(method.upper(), path, operation))
            groups.setdefault(operation["tags"][0], []).append(shown)
    sections = "".join(f"<h2>{escape(tag)}</h2>{''.join(shown)}" for tag, shown in groups.items())
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body><h1>{title}</h1>'
        f"{_text(document['info']['description'])}"
        '<p>For programs: <a href="openapi.json">openapi.json</a> (OpenAPI 3.1), with the schemas that are named here.'
        f"</p>{sections}</body></html>"
    )


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f'<details><summary><span class="m">{method}</span> <code>{escape(path)}</code> '
    yield f"{escape(operation['summary'])}</summary>{_text(operation.get('description', ''))}"
    rows = [
        (f"<code>{escape(one['name'])}</code> ({escape(one['in'])})", _kind(one["schema"]), one.get("description", ""))
        for one in operation.get("parameters", ())
    ]
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        for name, schema in content["schema"].get("properties", {}).items():
            label = f"<code>{escape(name)}</code> ({escape(media)})"
            rows.append((label, _kind(schema), schema.get("description", "")))
    if rows:
        yield "<h3>Parameters</h3>" + _table(rows)
    answers = [
        (f"<code>{status}</code>", ", ".join(_media(answer)), answer.get("description", ""))
        for status, answer in sorted(operation["responses"].items())
    ]
    yield "<h3>Answers</h3>" + _table(answers) + "</details>"


def _media(answer: Mapping[str, Any]) -> Iterator[str]:
    for media, content in answer.get("content", {}).items():
        kind = _kind(content.get("schema", {}))
        yield f"{media}: {kind}" if kind else media


def _kind(schema: Mapping[str, Any]) -> str:
    """Return the type of a schema in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"] if one.get("type") != "null")
    items = f" of {_kind(schema['items'])}" if "items" in schema else ""
    return f"{schema.get('type', '')}{items}"


def _table(rows: list[tuple[str, str, str]]) -> str:
    """Return a table; the first column is HTML, the other two are text."""
    body = "".join(f"<tr><td>{name}<td>{escape(kind)}<td>{_inline(text)}</tr>" for name, kind, text in rows)
    return f"<table>{body}</table>"


def _text(text: str) -> str:
    return "".join(f"<p>{_inline(paragraph)}</p>" for paragraph in text.split("\n\n") if paragraph.strip())


def _inline(text: str) -> str:
    """Escape a text, and set what stands between backticks as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))
