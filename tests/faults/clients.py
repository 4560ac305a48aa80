"""Clients of the plant, which repeat what was not answered and keep a ledger of what was acknowledged."""

from __future__ import annotations

import random
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Any

import httpx

from tests.support.plant import FRAMES, Member, Plant

PATIENCE_SECONDS = 300.0
"""Longest time that a job or an answer may take while faults are injected."""
_TRANSIENT = (429, 500, 502, 503, 504, 507)
ENDED = ("succeeded", "failed", "canceled")


@dataclass
class Ledger:
    """What the service has acknowledged.

    Attributes:
        jobs: Job id -> what its client wants of it: "run", "cancel" or "delete".
        complaints: What no fault may cause.
        counts: How often something happened that a fault may cause.
        streams: Number of streams of masks that are open, by API process.
        slowest: Longest time in seconds without an answer from any API process.
    """

    jobs: dict[str, str] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    streams: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    lock: Lock = field(default_factory=Lock)

    def complain(self, text: str) -> None:
        """Note what no fault may cause."""
        with self.lock:
            self.complaints.append(text)

    @contextmanager
    def streaming(self, api: Member) -> Iterator[None]:
        """Count a stream while the block runs."""
        with self.lock:
            self.streams[api.name] += 1
        try:
            yield
        finally:
            with self.lock:
                self.streams[api.name] -= 1


class Customer:
    """Posts one job after another, follows it to its end and checks what it gets.

    Args:
        plant: The service.
        ledger: Receives what is acknowledged.
        seed: Decides what the customer does.
    """

    def __init__(self, plant: Plant, ledger: Ledger, seed: int) -> None:
        self._plant = plant
        self._ledger = ledger
        self._random = random.Random(seed)
        self._client = httpx.Client(timeout=20)

    def work(self, stop: Event) -> None:
        """Post jobs until `stop`."""
        with self._client:
            while not stop.is_set():
                try:
                    self._one_job()
                except Exception as error:
                    self._ledger.complain(f"a client met {error!r}")

    def _one_job(self) -> None:
        wish = self._random.choices(("run", "cancel", "delete"), (8, 1, 1))[0]
        job_id = self._post(f"key-{uuid.UUID(int=self._random.getrandbits(128))}")
        with self._ledger.lock:
            self._ledger.jobs[job_id] = wish
        if wish == "cancel":
            time.sleep(self._random.random())
            self._ask("POST", f"/v1/jobs/{job_id}/cancel")
        elif wish == "delete":
            time.sleep(self._random.random())
            self._ask("DELETE", f"/v1/jobs/{job_id}", accept=(404,))
            return
        self._follow(job_id) if self._random.random() < 0.5 else self._poll(job_id)

    def _post(self, key: str) -> str:
        """Post a job and repeat it until it is answered; a repetition never makes a second job."""
        files = {"video": self._plant.clip, "mask": self._plant.mask}
        job_id = str(self._ask("POST", "/v1/jobs", files=files, headers={"Idempotency-Key": key}).json()["id"])
        if self._random.random() < 0.2:
            again = str(self._ask("POST", "/v1/jobs", files=files, headers={"Idempotency-Key": key}).json()["id"])
            if again != job_id:
                self._ledger.complain(f"one Idempotency-Key made {job_id} and {again}")
        return job_id

    def _poll(self, job_id: str) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            if self._ask("GET", f"/v1/jobs/{job_id}").json()["status"] in ENDED:
                return
            time.sleep(0.1)
        self._ledger.complain(f"{job_id} did not end")

    def _follow(self, job_id: str) -> None:
        """Follow the masks through all faults. Each frame comes once, in order."""
        seen: list[int] = []
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            seen += self._stream(job_id, seen[-1] + 1 if seen else 0)
            if self._ask("GET", f"/v1/jobs/{job_id}").json()["status"] in ENDED:
                break
            time.sleep(0.1)
        if seen != list(range(len(seen))):
            self._ledger.complain(f"a follower of {job_id} got the frames {seen}")

    def _stream(self, job_id: str, first: int) -> list[int]:
        """Return the frames of one connection, which a fault may cut."""
        seen: list[int] = []
        api = self._api()
        url = f"{api.url}/v1/jobs/{job_id}/masks?from={first}"
        try:
            with self._client.stream("GET", url) as answer, self._ledger.streaming(api):
                if answer.status_code == 200:
                    # A line without its end was cut off.
                    text = ""
                    for piece in answer.iter_text():
                        *lines, text = (text + piece).split("\n")
                        seen += [int(line.split('"index":')[1].split(",")[0]) for line in lines if line]
        except httpx.TransportError:
            with self._ledger.lock:
                self._ledger.counts["streams cut"] += 1
        return seen

    def _ask(self, method: str, path: str, accept: tuple[int, ...] = (), **request: Any) -> httpx.Response:
        """Send a request, to another API process after each failure, until it is answered."""
        end = time.monotonic() + PATIENCE_SECONDS
        reason = ""
        while time.monotonic() < end:
            try:
                answer = self._client.request(method, self._api().url + path, **request)
            except httpx.TransportError as error:
                reason = repr(error)
            else:
                if answer.is_success or answer.status_code in accept:
                    return answer
                reason = f"{answer.status_code} {answer.text[:200]}"
                if answer.status_code not in _TRANSIENT or answer.status_code == 500:
                    raise AssertionError(f"{method} {path}: {reason}")
            with self._ledger.lock:
                self._ledger.counts["requests repeated"] += 1
            time.sleep(0.1)
        raise AssertionError(f"{method} {path} was not answered in {PATIENCE_SECONDS:g} s: {reason}")

    def _api(self) -> Member:
        return self._random.choice(self._plant.apis)


def probe(plant: Plant, ledger: Ledger, stop: Event) -> None:
    """Ask both API processes in turn, and note the longest time without an answer from either."""
    answered = time.monotonic()
    while not stop.is_set():
        for api in plant.apis:
            try:
                httpx.get(f"{api.url}/health/live", timeout=1)
            except httpx.TransportError:
                continue
            answered = time.monotonic()
        ledger.slowest = max(ledger.slowest, time.monotonic() - answered)
        stop.wait(0.1)


def frames_of(lines: str) -> list[int]:
    """Return the frames of a complete answer of `/masks`."""
    return [int(line.split('"index":')[1].split(",")[0]) for line in lines.splitlines()]


ALL_FRAMES = list(range(FRAMES))
