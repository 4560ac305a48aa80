"""Receives a body that is kept in memory, up to its limit."""

from __future__ import annotations

from starlette.requests import ClientDisconnect, Request

from service.http.multipart import at_rate, drain
from service.problems import ProblemError


async def receive_json(request: Request, limit: int, least_rate: int) -> bytes:
    """Return the body of a request that sends JSON.

    Args:
        request: The request; its body has not been read.
        limit: Largest size in bytes.
        least_rate: Bytes per second that have to arrive.

    Raises:
        ProblemError: The body is not JSON by its content type, is too large, or arrives too slowly.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ProblemError(
            "unsupported-media-type", f"the content type is {kind[:80] or 'none'!r}; allowed: application/json"
        )
    chunks, body = request.stream(), bytearray()
    try:
        async for chunk in at_rate(chunks, least_rate):
            body += chunk
            if len(body) > limit:
                await drain(chunks)
                raise ProblemError("upload-too-large", f"the body has more than the {limit} bytes allowed", limit=limit)
    except ClientDisconnect:
        raise ProblemError("upload-interrupted", "the client closed the connection before the end") from None
    return bytes(body)
