"""Traces of requests and their jobs by OpenTelemetry, if its standard variables name a collector.

Without them, nothing is imported here and every function returns at once. The trace of a job goes through several
processes; its row carries the `traceparent` (W3C Trace Context) of the request that posted it:

POST /v1/jobs            the request                         in the API process
├── queue                from the request to the first claim; in the process that supervises the worker
├── run                  one attempt of a worker             there; `release` if the worker died
├── result               a result file is made               in an API process
└── webhook              one attempt to deliver an event     in a process that sends

Workers and sandboxes send nothing themselves, because they may open no sockets.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeAlias

from service.config import traces_are_wanted

_log = logging.getLogger(__name__)

Attributes: TypeAlias = Mapping[str, str | int | float | bool]

_provider: Any = None
_tracer: Any = None
"""That of the provider; None if nothing is traced."""
_SEND_SECONDS = 3.0


class Span:
    """A span that is open, or none if nothing is traced.

    Args:
        span: The span of OpenTelemetry.
    """

    def __init__(self, span: Any = None) -> None:
        self._span = span

    def end_as(self, name: str, attributes: Attributes, *, failed: bool) -> None:
        """Name the span and say how it ends."""
        if self._span is not None:
            self._span.update_name(name)
            self._span.set_attributes(dict(attributes))
            _set_status(self._span, failed)


_NO_SPAN = Span()


def start_tracing() -> None:
    """Send spans from now on, if the environment names a collector of OpenTelemetry (`OTEL_EXPORTER_OTLP_ENDPOINT`)."""
    if not traces_are_wanted():
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError:
        _log.warning("no traces are sent: OpenTelemetry is not installed; pip install 'keymask-server[otel]'")
        return
    use_processor(BatchSpanProcessor(OTLPSpanExporter()))


def use_processor(processor: Any) -> None:
    """Pass spans to a span processor of OpenTelemetry from now on."""
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415

    global _tracer, _provider  # noqa: PLW0603
    resource = Resource.create()
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):  # the environment names none
        resource = resource.merge(Resource({SERVICE_NAME: "keymask"}))
    _provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    _provider.add_span_processor(processor)
    _tracer = _provider.get_tracer("keymask")


def stop_tracing() -> None:
    """Send what is not sent yet, for a short time, and stop."""
    global _tracer, _provider  # noqa: PLW0603
    if _tracer is not None:
        # The library waits for up to half a minute if the collector is away.
        sending = threading.Thread(target=_provider.shutdown, name="keymask-traces", daemon=True)
        sending.start()
        sending.join(_SEND_SECONDS)
        _tracer = _provider = None


@contextmanager
def tracing() -> Iterator[None]:
    """Send spans while the block runs, if the environment asks for it."""
    start_tracing()
    try:
        yield
    finally:
        stop_tracing()


@contextmanager
def request_span(traceparent: str | None) -> Iterator[Span]:
    """Yield the span of a request, which is current while the block runs.

    Args:
        traceparent: That of the caller, if it has sent one.
    """
    if _tracer is None:
        yield _NO_SPAN
        return
    from opentelemetry.trace import SpanKind  # noqa: PLC0415

    with _tracer.start_as_current_span("request", context=_context_of(traceparent), kind=SpanKind.SERVER) as span:
        yield Span(span)


def current_traceparent() -> str | None:
    """Return the `traceparent` of the current span, None if there is none."""
    if _tracer is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")


def record(
    name: str,
    traceparent: str | None,
    period: tuple[datetime, datetime],
    attributes: Attributes,
    *,
    failed: bool = False,
) -> None:
    """Record something that has happened as a part of a trace.

    Args:
        name: Name of the span.
        traceparent: The span that it belongs to; nothing is recorded without one.
        period: When it began and ended.
        attributes: What else is known.
        failed: Whether it ended with an error.
    """
    if _tracer is None or traceparent is None:
        return
    began, ended = (int(moment.timestamp() * 1e6) * 1000 for moment in period)
    span = _tracer.start_span(name, context=_context_of(traceparent), start_time=began, attributes=dict(attributes))
    _set_status(span, failed)
    span.end(end_time=max(began, ended))


def _context_of(traceparent: str | None) -> Any:
    """Return the context of a remote span; an empty one if it is not well-formed."""
    from opentelemetry.context import Context  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    if traceparent is None:
        return Context()
    return TraceContextTextMapPropagator().extract({"traceparent": traceparent}, context=Context())


def _set_status(span: Any, failed: bool) -> None:
    from opentelemetry.trace import StatusCode  # noqa: PLC0415

    if failed:
        span.set_status(StatusCode.ERROR)
