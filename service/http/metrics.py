"""Metrics for Prometheus: counters of the API process, and values read from store, files and engine per scrape."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.engine.types import Engine, WorkerState
from service.jobs.store import JobStore
from service.jobs.types import JobStatus
from service.storage.job_files import Storage

_BASE_NETWORK_SOURCES = ("key", "prompt")
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The metrics of one application, in a registry of its own."""

    def __init__(self, store: JobStore, storage: Storage, engine: Engine, lease_seconds: float) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "keymask_http_requests", "Requests answered.", ("method", "route", "status"), registry=self.registry
        )
        self.request_seconds = Histogram(
            "keymask_http_request_seconds",
            "Seconds from a request's first byte to the headers of its answer.",
            ("method", "route"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.upload_bytes = Counter("keymask_upload_bytes", "Bytes received in uploads.", registry=self.registry)
        self.problems = Counter(
            "keymask_problems", "Errors answered, by problem type.", ("kind",), registry=self.registry
        )
        self.registry.register(_StateCollector(store, storage, engine, lease_seconds))

    def render(self) -> bytes:
        """Return all metrics as text; reads the database."""
        return generate_latest(self.registry)


class _StateCollector(Collector):
    """Reads its values at each scrape."""

    def __init__(self, store: JobStore, storage: Storage, engine: Engine, lease_seconds: float) -> None:
        self._store = store
        self._storage = storage
        self._engine = engine
        self._lease_seconds = lease_seconds

    def describe(self) -> Iterator[Metric]:
        """Describe nothing, so that registering the collector does not read the database."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Read store, files and engine once."""
        counts = self._store.counts()
        jobs = GaugeMetricFamily("keymask_jobs", "Jobs in the database, by status.", labels=["status"])
        for status, count in counts.items():
            jobs.add_metric([status], count)
        yield jobs
        yield GaugeMetricFamily("keymask_queue_length", "Jobs that wait for a worker.", counts[JobStatus.QUEUED])
        yield from self._cluster_metrics()
        yield GaugeMetricFamily("keymask_storage_bytes", "Bytes of the files of all jobs.", self._storage.space.usage())
        yield from self._engine_metrics()

    def _cluster_metrics(self) -> Iterator[Metric]:
        """Read the database for what workers of all processes do. Ages are by this machine's clock."""
        now = datetime.now(UTC)
        since = self._store.queued_since()
        age = 0.0 if since is None else max(0.0, (now - since).total_seconds())
        yield GaugeMetricFamily("keymask_queue_age_seconds", "Age of the oldest job that waits for a worker.", age)
        fps = GaugeMetricFamily("keymask_worker_fps", "Frames per second of the job it runs.", labels=["worker"])
        leases = GaugeMetricFamily(
            "keymask_worker_lease_age_seconds", "Seconds since it renewed its claim on its job.", labels=["worker"]
        )
        for running in self._store.running():
            fps.add_metric([running.worker], running.fps or 0.0)
            if running.lease_until is not None:
                left = (running.lease_until - now).total_seconds()
                leases.add_metric([running.worker], max(0.0, self._lease_seconds - left))
        yield fps
        yield leases

    def _engine_metrics(self) -> Iterator[Metric]:
        totals = self._engine.totals()
        for name, help_text, label, values in (
            ("keymask_frames", "Masks written, by source.", "source", totals.frames),
            ("keymask_stage_seconds", "Seconds that runs spent, by stage.", "stage", totals.seconds),
            ("keymask_finished_jobs", "Jobs that ended, by status.", "status", totals.jobs),
        ):
            family = CounterMetricFamily(name, help_text, labels=[label])
            for key, value in values.items():
                family.add_metric([key], value)
            yield family
        frames = sum(totals.frames.values())
        share = sum(totals.frames.get(source, 0) for source in _BASE_NETWORK_SOURCES) / frames if frames else 0.0
        yield GaugeMetricFamily("keymask_key_share", "Share of frames that the base network segmented.", share)
        yield CounterMetricFamily("keymask_worker_restarts", "Workers that were replaced.", totals.worker_restarts)
        yield CounterMetricFamily(
            "keymask_resumed_jobs", "Jobs that were resumed from stored masks.", totals.resumed_jobs
        )
        workers = GaugeMetricFamily("keymask_workers", "Workers, by state.", labels=["state"])
        states = [worker.state for worker in self._engine.workers()]
        for state in WorkerState:
            workers.add_metric([state], states.count(state))
        yield workers
        yield GaugeMetricFamily(
            "keymask_remote_worker_processes",
            "Processes with workers elsewhere that give signs of life, if this one has no workers.",
            totals.remote_processes,
        )
