"""Traces of jobs: what belongs to them, across processes, and that nothing is there unless it is asked for."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.engine.tracing import trace_release
from service.engine.upkeep import webhook_sender
from service.engine.upkeep.webhook_sender import WebhookSender
from service.jobs.claims import Release
from service.jobs.store import JobStore
from service.jobs.types import Job, JobVideo
from service.net import tracing
from service.run.options import JobOptions
from tests.support.fakes import behave
from tests.support.paths import ROOT
from tests.support.plant import FRAMES, Plant
from tests.support.serving import served
from tests.support.waiting import wait_for

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
"""The example of the W3C's recommendation: version, trace, span, flags."""


@pytest.fixture
def spans() -> Iterator[Any]:
    """What has been traced in this process."""
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    tracing.use_processor(SimpleSpanProcessor(exporter))
    yield exporter.get_finished_spans
    tracing.stop_tracing()


def test_a_trace_has_the_request_its_result_and_its_webhook(
    tmp_path: Path, spans: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are children of the request, which is a child of the caller's span; polling is not traced."""
    monkeypatch.setattr(webhook_sender, "post", lambda *_: ("HTTP 204", True, False))
    hooks = {"webhook_hosts": "hooks.example.com", "webhook_secret": "a secret of the whole service"}
    with served(tmp_path, **hooks) as service:
        files = {"video": service.clip.read_bytes(), "mask": ("mask.png", service.mask.read_bytes())}
        data = {"webhook": '{"url": "https://hooks.example.com/", "events": ["job.succeeded"]}'}
        answer = service.client.post("/v1/jobs", files=files, data=data, headers={"traceparent": CALLER})
        job = answer.json()["id"]
        service.until(job, "succeeded")
        service.client.get(f"/v1/jobs/{job}/result?format=coco").raise_for_status()
        sender = WebhookSender(service.services.settings, service.services.store)
        sender.start()
        found = wait_for(lambda: {"result", "webhook"} <= {span.name for span in spans()} and spans())
        sender.stop(10)
    by_name = {span.name: span for span in found}
    assert sorted(span.name for span in found) == ["POST /v1/jobs", "result", "webhook"]
    request = by_name["POST /v1/jobs"]
    assert {f"{span.context.trace_id:032x}" for span in found} == {CALLER.split("-")[1]}
    assert f"{request.parent.span_id:016x}" == CALLER.split("-")[2]
    assert {by_name[name].parent.span_id for name in ("result", "webhook")} == {request.context.span_id}
    assert request.attributes["http.response.status_code"] == answer.status_code == 202
    assert by_name["result"].attributes["keymask.format"] == "coco"
    assert by_name["webhook"].attributes["keymask.answer"] == "HTTP 204"
    assert {span.attributes["keymask.job.id"] for span in found[1:]} == {job}


def test_a_request_that_fails_is_traced_and_a_bad_traceparent_ignored(tmp_path: Path, spans: Any) -> None:
    """What the caller has sent may be anything; a refusal is no error of the service."""
    with served(tmp_path) as service:
        service.client.post("/v1/jobs", headers={"traceparent": "00-0-0-xx"})
        service.client.get("/v1/jobs", headers={"traceparent": CALLER})
    refused, read = spans()
    assert refused.parent is None
    assert (refused.attributes["http.response.status_code"] // 100, refused.status.is_ok) == (4, True)
    assert (read.name, f"{read.parent.span_id:016x}") == ("GET /v1/jobs", CALLER.split("-")[2])


class Collector:
    """Receives traces as a collector of OpenTelemetry does: OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

                body = self.rfile.read(int(self.headers["Content-Length"]))
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        collector.spans += scope.spans
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def named(self, name: str) -> list[Any]:
        """Return the spans of a name."""
        return [span for span in self.spans if span.name == name]


def attributes(span: Any) -> dict[str, Any]:
    """Return the attributes of a received span."""
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}


def test_a_trace_goes_through_the_queue_to_a_worker_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The API process sends the request; the other host sends the wait, and the attempt with its frames."""
    collector = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.address)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    home = tmp_path / "plant"
    behave(home)
    with Plant(home, f"sqlite:///{tmp_path}/jobs.db", hosts=1) as plant:
        files = {"video": plant.clip, "mask": plant.mask}
        job = httpx.post(f"{plant.apis[0].url}/v1/jobs", files=files, timeout=60).raise_for_status().json()["id"]
        wait_for(lambda: {span.name for span in collector.spans} >= {"POST /v1/jobs", "queue", "run"})
    collector.server.shutdown()
    collector.server.server_close()
    (request,), (queue,), (run,) = map(collector.named, ("POST /v1/jobs", "queue", "run"))
    assert request.trace_id == queue.trace_id == run.trace_id
    assert request.span_id == queue.parent_span_id == run.parent_span_id
    assert not request.parent_span_id
    about = attributes(run)
    assert (about["keymask.job.id"], about["keymask.status"], about["keymask.attempt"]) == (job, "succeeded", 1)
    assert sum(count for name, count in about.items() if name.startswith("keymask.frames.")) == FRAMES
    assert request.start_time_unix_nano < queue.start_time_unix_nano <= queue.end_time_unix_nano
    assert abs(run.start_time_unix_nano - queue.end_time_unix_nano) < 1e7


def test_nothing_is_imported_unless_the_environment_names_a_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the variable, a process that starts and stops tracing loads no OpenTelemetry (FastAPI loads its API)."""
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    code = (
        "import sys, service.engine.supervisor; from service.net.tracing import *; start_tracing(); "
        "assert current_traceparent() is None; stop_tracing(); sys.exit('opentelemetry' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_missing_extra_is_one_warning(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The service runs without traces."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace.export", None)
    with tracing.tracing():
        assert tracing.current_traceparent() is None
    assert "pip install 'keymask-server[otel]'" in caplog.text


def test_a_collector_that_is_away_delays_the_end_of_the_process_only_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for its spans any longer than a few seconds."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    tracing.start_tracing()
    with tracing.request_span(CALLER):
        pass
    began = time.monotonic()
    tracing.stop_tracing()
    assert time.monotonic() - began < 10


def test_a_worker_that_dies_is_an_error_in_the_trace(spans: Any) -> None:
    """One that returns its job is none; a job without a trace adds nothing."""
    video = JobVideo("h264", 64, 48, 25.0, 12, 0.48, 0)
    job = Job("0" * 32, JobOptions(), video, "", datetime.now(UTC), traceparent=CALLER)
    for why in (Release.DIED, Release.RETURNED):
        trace_release(job, "worker", why)
    trace_release(replace(job, traceparent=None), "worker", Release.DIED)
    died, returned = spans()
    assert (died.name, died.status.is_ok, returned.status.is_ok) == ("release", False, True)
    assert f"{died.parent.span_id:016x}" == CALLER.split("-")[2]


def test_the_trace_of_a_job_is_stored(tmp_path: Path, spans: Any) -> None:
    """Another process reads it from the row; without tracing the row has none."""
    with served(tmp_path) as service:
        traced = service.run()
        tracing.stop_tracing()
        plain = service.run()
        url = service.services.store.url
        store = JobStore(url)
        parent = store.get(traced).traceparent
        assert parent is not None
        assert int(parent.split("-")[2], 16) == spans()[0].context.span_id
        assert store.get(plain).traceparent is None
        store.close()
