"""Events of jobs at a real receiver: signed, repeated until they are confirmed, and sent nowhere else."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from standardwebhooks.webhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from service.engine.upkeep import webhook_sender
from service.engine.upkeep.webhook_sender import WebhookSender
from service.jobs import outbox
from service.net.address_guard import UrlRules
from tests.support.serving import Served, served
from tests.support.waiting import wait_for

SECRET = "a secret of the whole service"
BOX = {"frame": 5, "object": 1, "box": [10, 10, 20, 20]}


@dataclass
class Receiver:
    """An HTTP server that notes each post and answers with the next of `answers`, then with 204.

    Attributes:
        answers: Statuses of the next answers.
        posts: Headers and body of each post.
        url: Where it listens.
        gate: Closed, it holds all answers back.
        waiting: Number of posts that wait for their answer, and the largest number so far.
    """

    answers: list[int] = field(default_factory=list)
    posts: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""
    gate: threading.Event = field(default_factory=threading.Event)
    waiting: int = 0
    most_waiting: int = 0

    def events(self) -> list[dict[str, Any]]:
        """Return what was posted."""
        return [json.loads(body) for _, body in self.posts]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold all answers back while the block runs."""
        self.gate.clear()
        try:
            yield
        finally:
            self.gate.set()

    @contextmanager
    def listening(self, address: str) -> Iterator[Receiver]:
        """Serve while the block runs."""
        receiver = self
        self.gate.set()
        lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.posts.append(({name.lower(): value for name, value in self.headers.items()}, body))
                with lock:
                    receiver.waiting += 1
                    receiver.most_waiting = max(receiver.waiting, receiver.most_waiting)
                receiver.gate.wait(60)
                with lock:
                    receiver.waiting -= 1
                self.send_response(receiver.answers.pop(0) if receiver.answers else 204)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer((address, 0), Handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        self.url = f"http://{address}:{server.server_port}/hook"
        yield self
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver on this machine."""
    with Receiver().listening("127.0.0.1") as receiver:
        yield receiver


@pytest.fixture
def neighbor() -> Iterator[Receiver]:
    """A receiver on another host, which is this machine, too."""
    with Receiver().listening("127.0.0.2") as receiver:
        yield receiver


@pytest.fixture
def service(
    tmp_path: Path, receiver: Receiver, neighbor: Receiver, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Served]:
    """A service that sends events to this machine, which it would refuse otherwise, and repeats them soon."""
    hosts = (urlsplit(receiver.url).netloc, urlsplit(neighbor.url).netloc, "127.0.0.1:9")
    local = UrlRules(hosts, "KEYMASK_WEBHOOK_HOSTS", ("http",), lambda to: to in ip_network("127.0.0.0/30"))
    monkeypatch.setattr("service.http.submission.rules_of", lambda _: local)
    monkeypatch.setattr(outbox, "BACKOFF", (timedelta(seconds=0.1), timedelta(seconds=0.1)))
    monkeypatch.setattr(webhook_sender, "_PAUSE_SECONDS", 0.05)
    with served(tmp_path / "service", webhook_hosts="hooks.example.com", webhook_secret=SECRET) as running:
        settings, store = running.services.settings, running.services.store
        senders = [WebhookSender(settings, store, local) for _ in range(2)]  # as in two processes
        for sender in senders:
            sender.start()
        yield running
        for sender in senders:
            sender.stop(10)


def post(service: Served, **webhook: Any) -> Any:
    """Post a job with a webhook and return the answer."""
    files = {"video": service.clip.read_bytes(), "mask": service.mask.read_bytes()}
    return service.client.post("/v1/jobs", files=files, data={"webhook": json.dumps(webhook)})


def correct(service: Served, job_id: str, **webhook: Any) -> dict[str, Any]:
    """Post a correction and return it."""
    answer = service.client.post(f"/v1/jobs/{job_id}/corrections", json={"prompt": [BOX], **webhook})
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def deliveries(service: Served, job_id: str) -> list[dict[str, Any]]:
    """Return the log of a job's events."""
    return list(service.client.get(f"/v1/jobs/{job_id}/deliveries").json()["deliveries"])


def test_events_are_signed_and_sent_until_they_are_confirmed(service: Served, receiver: Receiver) -> None:
    """The receiver, which fails twice, gets each event with one id and a signature that the library accepts."""
    receiver.answers = [500, 503]
    answer = post(service, url=receiver.url, events=["job.started", "job.succeeded", "job.failed"])
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert job["webhook"] == {"url": receiver.url, "events": ["job.started", "job.succeeded", "job.failed"]}
    service.until(job["id"], "succeeded")
    log = wait_for(lambda: (now := deliveries(service, job["id"])) and all(d["delivered_at"] for d in now) and now, 60)
    assert [entry["event"] for entry in log] == ["job.started", "job.succeeded"]
    assert sum(entry["attempts"] for entry in log) == len(receiver.posts) == 4
    assert {entry["answer"] for entry in log} == {"HTTP 204"}
    assert {entry["next_attempt_at"] for entry in log} == {None}

    verifier = Verifier(service.client.get("/v1/webhook-secret").json()["secret"])
    for headers, body in receiver.posts:
        verifier.verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        verifier.verify(receiver.posts[0][1] + b" ", receiver.posts[0][0])
    assert {headers["webhook-id"] for headers, _ in receiver.posts} == {entry["id"] for entry in log}
    succeeded = [event for event in receiver.events() if event["type"] == "job.succeeded"]
    assert succeeded[0]["data"] == {"id": job["id"], "corrects": None, "status": "succeeded", "error": None}


def test_a_slow_receiver_delays_no_other_and_gets_one_event_at_a_time(
    service: Served, receiver: Receiver, neighbor: Receiver
) -> None:
    """Each process sends one event to a host at a time, and meanwhile those of other hosts."""
    ids = set()
    with receiver.held():
        for _ in range(4):
            ids.add(post(service, url=receiver.url).json()["id"])
        wait_for(lambda: receiver.waiting, 60)
        quick = post(service, url=neighbor.url).json()["id"]
        wait_for(lambda: deliveries(service, quick) and deliveries(service, quick)[0]["delivered_at"], 60)
        for job_id in ids:
            service.until(job_id, "succeeded")
        time.sleep(0.5)
        assert receiver.most_waiting <= 2, "of two processes"
    wait_for(lambda: {event["data"]["id"] for event in receiver.events()} == ids, 60)
    assert receiver.most_waiting <= 2
    assert len(receiver.posts) == 4


def test_the_end_of_a_job_is_not_sent_before_its_start_was_answered(service: Served, receiver: Receiver) -> None:
    """Not even by another process; an answer that is an error does not hold the end back."""
    receiver.answers = [500]
    with receiver.held():
        job_id = post(service, url=receiver.url, events=["job.started", "job.succeeded"]).json()["id"]
        service.until(job_id, "succeeded")
        wait_for(lambda: receiver.posts, 60)
        time.sleep(0.5)
        assert [event["type"] for event in receiver.events()] == ["job.started"]
    wait_for(lambda: len(receiver.posts) == 3, 60)
    assert sorted(event["type"] for event in receiver.events()[1:]) == ["job.started", "job.succeeded"]


def test_a_correction_tells_whom_its_job_told_unless_it_says_otherwise(
    service: Served, receiver: Receiver, neighbor: Receiver
) -> None:
    """Its events name the job that it corrects."""
    events = ["job.succeeded"]
    job_id = post(service, url=receiver.url, events=events).json()["id"]
    service.until(job_id, "succeeded")
    inherited, own, silent = (
        correct(service, job_id, **webhook)
        for webhook in ({}, {"webhook": {"url": neighbor.url, "events": events}}, {"webhook": None})
    )
    assert inherited["webhook"] == {"url": receiver.url, "events": events}
    assert own["webhook"] == {"url": neighbor.url, "events": events}
    assert silent["webhook"] is None
    wait_for(lambda: len(receiver.posts) == 2 and len(neighbor.posts) == 1, 60)
    assert {event["data"]["id"]: event["data"]["corrects"] for event in receiver.events()} == {
        job_id: None,
        inherited["id"]: job_id,
    }
    assert neighbor.events()[0]["data"]["id"] == own["id"]
    service.until(silent["id"], "succeeded")
    assert deliveries(service, silent["id"]) == []

    refused = {"prompt": [BOX], "webhook": {"url": "https://elsewhere.example.com/"}}
    answer = service.client.post(f"/v1/jobs/{job_id}/corrections", json=refused)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/url-not-allowed")


def test_only_the_events_that_were_asked_for_are_sent(service: Served, receiver: Receiver) -> None:
    """By default that is the end of a job, whatever it is; a job without a webhook has no events."""
    with service.held():
        job_id = post(service, url=receiver.url).json()["id"]
        service.client.post(f"/v1/jobs/{job_id}/cancel")
    wait_for(lambda: receiver.posts, 60)
    wait_for(lambda: deliveries(service, job_id)[0]["delivered_at"], 60)
    assert [event["type"] for event in receiver.events()] == ["job.canceled"]
    assert deliveries(service, service.run()) == []


def test_an_event_is_given_up_after_a_number_of_attempts_or_when_the_receiver_is_gone(
    service: Served, receiver: Receiver
) -> None:
    """The log says so; 410 ends it at once."""
    receiver.answers = [500, 500, 500, 410]
    for attempts, answer in ((3, "HTTP 500"), (1, "HTTP 410")):
        job_id = post(service, url=receiver.url, events=["job.succeeded"]).json()["id"]
        service.until(job_id, "succeeded")
        (entry,) = wait_for(
            lambda job_id=job_id: (now := deliveries(service, job_id)) and not now[0]["next_attempt_at"] and now, 60
        )
        assert (entry["attempts"], entry["answer"], entry["delivered_at"]) == (attempts, answer, None)


@pytest.mark.parametrize(
    ("webhook", "status", "kind"),
    [
        ({"url": "https://elsewhere.example.com/"}, 422, "url-not-allowed"),
        ({"url": "ftp://127.0.0.1/"}, 422, "url-not-allowed"),
        ({"url": "http://127.0.0.1:9/", "events": []}, 422, "invalid-parts"),
        ({"url": "http://127.0.0.1:9/", "events": ["job.exploded"]}, 422, "invalid-parts"),
        ({"event": "job.failed"}, 422, "invalid-parts"),
    ],
)
def test_a_webhook_that_cannot_be_used_is_refused(
    service: Served, webhook: dict[str, Any], status: int, kind: str
) -> None:
    """The answer says what is allowed, and no job is made."""
    answer = post(service, **webhook)
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{kind}")
    assert service.client.get("/v1/jobs").json()["jobs"] == []


def test_webhooks_are_off_by_default(tmp_path: Path, receiver: Receiver) -> None:
    """Without allowed hosts there is no secret, and a webhook is refused."""
    with served(tmp_path / "service") as service:
        answer = post(service, url="https://hooks.example.com/")
        assert (answer.status_code, answer.json()["type"]) == (422, "/problems/url-not-allowed")
        assert "KEYMASK_WEBHOOK_HOSTS" in answer.json()["detail"]
        assert service.client.get("/v1/webhook-secret").status_code == 404
