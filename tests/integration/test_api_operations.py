"""Health, metrics, models, probe and logs."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.config import Settings, digest_of_key
from service.errors import ERROR_MAPPINGS
from service.http.app import create_app
from service.http.context import Services
from service.problems import PROBLEMS, ProblemError, type_of
from service.runtime.logs import configure_logging
from service.sandbox.handles import Output
from service.sandbox.pool import Sandbox
from tests.support import sandbox_calls
from tests.support.media import write_clip
from tests.support.paths import ROOT
from tests.support.serving import FRAMES, Served, served
from tests.support.thread_engine import ThreadEngine
from tests.support.waiting import files_below, wait_for


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One service for all tests of the module."""
    with served(tmp_path_factory.mktemp("operations")) as running:
        yield running


@pytest.fixture
def own_process() -> Iterator[None]:
    """Restore the configuration of the log, the mode of new files and signals after the test."""
    root = logging.getLogger()
    handlers, level, mask = list(root.handlers), root.level, os.umask(0o022)
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in signals.items():
        signal.signal(number, handler)
    root.handlers[:] = handlers
    root.setLevel(level)
    os.umask(mask)


def test_the_service_needs_no_torch(tmp_path: Path) -> None:
    """A process that cannot import torch serves every call; only workers run networks."""
    script = ROOT / "tests/integration/without_torch.py"
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "home")], env=environ, capture_output=True, text=True, check=False
    )
    assert done.stdout == "served without torch\n", done.stderr


def test_the_application_imports_no_compiler() -> None:
    """Importing the application loads neither numba nor scipy, which would double the memory of the API process."""
    script = "import sys, service.http.app; print(sorted({'numba', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_ready_waits_for_a_worker(service: Served) -> None:
    """Live answers 200 at once; ready answers 503 with the reason until a worker has loaded its network."""
    assert service.client.get("/health/live").json() == {"status": "ok"}
    assert service.client.get("/health/ready").status_code == 200
    service.engine.ready = False
    try:
        answer = service.client.get("/health/ready")
        assert (answer.status_code, answer.json()["detail"]) == (503, "no weights")
        assert service.client.get("/health/live").status_code == 200
    finally:
        service.engine.ready = True


def test_metrics_count_jobs_frames_and_requests(service: Served) -> None:
    """The metrics have jobs by status, frames by source, the key share, upload bytes, problems and requests."""
    service.run()
    service.post(video=b"no video")
    families = {f.name: f for f in text_string_to_metric_families(service.client.get("/metrics").text)}
    value = {(s.name, *s.labels.values()): s.value for family in families.values() for s in family.samples}
    assert value["keymask_jobs", "succeeded"] >= 1
    assert value["keymask_queue_length",] == 0
    assert value["keymask_frames_total", "prompt"] * (FRAMES - 1) == value["keymask_frames_total", "propagated"]
    assert value["keymask_key_share",] == pytest.approx(1 / FRAMES)
    assert value["keymask_stage_seconds_total", "decode"] == 0.5
    assert value["keymask_upload_bytes_total",] > service.clip.stat().st_size
    assert value["keymask_problems_total", "video-unreadable"] >= 1
    assert value["keymask_http_requests_total", "POST", "/v1/jobs", "422"] >= 1
    assert value["keymask_worker_restarts_total",] == 0


def test_models_have_licence_and_availability(service: Served) -> None:
    """Every model has its licence; the default is loaded, and a model without weights is not available."""
    models = {model["name"]: model for model in service.client.get("/v1/models").json()["models"]}
    compact, stm = models["compact"], models["stm"]
    assert (compact["default"], compact["loaded"], compact["available"], compact["license"]) == (
        True, True, True, "Apache-2.0"
    )  # fmt: skip
    assert compact["size"] == (ROOT / "vos/pretrained/compact.safetensors").stat().st_size
    assert (stm["available"], stm["loaded"], stm["size"]) == (False, False, None)


def test_probe_keeps_nothing(service: Served) -> None:
    """A probe reports on the bitstream and leaves no file behind."""
    report = service.client.post("/v1/probe", files={"video": service.clip.read_bytes()}).json()
    assert (report["frames"], report["complete"], sum(report["types"].values())) == (FRAMES, True, FRAMES)
    assert {forecast["policy"] for forecast in report["forecasts"]} >= {"adaptive", "codec"}
    assert report["advice"]
    incoming = service.services.settings.files_dir / "incoming"
    assert not files_below(incoming)
    with_mask = {"video": service.clip.read_bytes(), "mask": service.mask.read_bytes()}
    assert service.client.post("/v1/probe", files=with_mask).json()["type"] == "/problems/invalid-parts"


def test_an_unexpected_error_shows_no_traceback(service: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect is answered as a problem without internal details; the log has the traceback."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(service.services.store, "page", fail)
    answer = service.client.get("/v1/jobs")
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert answer.json()["type"] == "/problems/internal-error"
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text


def test_every_mapped_problem_type_exists() -> None:
    """The table of errors names only problem types that exist."""
    assert {mapping.problem for _, mapping in ERROR_MAPPINGS} <= set(PROBLEMS)


def test_a_problem_explains_itself(service: Served) -> None:
    """The `type` of a problem is an address of the service that explains it."""
    for kind, problem in PROBLEMS.items():
        page = service.client.get(type_of(kind)).json()
        assert (page["type"], page["title"], page["status"]) == (type_of(kind), problem.title, problem.status)
    assert service.client.get("/problems/none").status_code == 404


def test_the_log_is_json_with_the_job(service: Served, own_process: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request is one JSON line with its id and, if there is one, the job's id."""
    written = io.StringIO()  # pytest's capture can lose a line that is written while it is read
    monkeypatch.setattr(sys, "stderr", written)
    configure_logging("info")
    answer = service.post(**{"X-Request-ID": "mine-1"})
    service.client.get(f"/v1/jobs/{answer.json()['id']}", headers={"X-Request-ID": "bad id\x7f"})
    # A line is written after the last byte of its answer, so it may be late; a late line of an earlier test may come
    # between.
    job_id = answer.json()["id"]

    def both() -> list[dict[str, Any]] | None:
        whole = [json.loads(line) for line in written.getvalue().splitlines(keepends=True) if line.endswith("}\n")]
        ours = [line for line in whole if line["logger"] == "keymask.http" and line.get("job_id") == job_id]
        return ours if len(ours) == 2 else None

    requests = wait_for(both)
    assert [(line["method"], line["status"]) for line in requests] == [("POST", 202), ("GET", 200)]
    assert answer.headers["x-request-id"] == requests[0]["request_id"] == "mine-1"
    assert re.fullmatch("[0-9a-f]{16}", requests[1]["request_id"])


def test_the_log_has_no_colours(own_process: None, capfd: pytest.CaptureFixture[str]) -> None:
    """The log leaves out what uvicorn adds for terminals."""
    configure_logging("info")
    logging.getLogger("uvicorn.error").info("Started", extra={"color_message": "\x1b[36mStarted"})
    (line,) = map(json.loads, capfd.readouterr().err.splitlines())
    assert (line["message"], line["logger"]) == ("Started", "uvicorn.error")
    assert "color_message" not in line


def test_serve_and_stop(tmp_path: Path) -> None:
    """`keymask serve` listens, prints its address, ends open streams at SIGTERM and exits with 0.

    Only its own user can read what it writes.
    """
    address, home = tmp_path / "address.json", tmp_path / "home"
    environ = {**os.environ, "KEYMASK_HOME": str(home), "KEYMASK_DEVICES": "none", "KEYMASK_HOST": "127.0.0.1"}
    command = [sys.executable, "-c", "import sys; from service.cli.main import main; sys.exit(main())"]
    with (tmp_path / "log").open("w") as log, subprocess.Popen(
        [*command, "serve", "--port", "0", "--json", str(address)],
        env=environ, cwd=ROOT, stdout=log, stderr=log, umask=0,
    ) as process:  # fmt: skip
        try:
            base = _address(process, address)
            ready = httpx.get(f"{base}/health/ready", timeout=240)
            assert (ready.status_code, "keymask worker" in ready.json()["detail"]) == (503, True)
            with served(tmp_path / "other") as files:
                form = {"video": files.clip.read_bytes(), "mask": files.mask.read_bytes()}
            job_id = httpx.post(f"{base}/v1/jobs", files=form, timeout=240).json()["id"]
            with httpx.stream("GET", f"{base}/v1/jobs/{job_id}/events", timeout=240) as stream:
                lines = stream.iter_lines()
                assert next(lines) == "event: progress"
                process.send_signal(signal.SIGTERM)
                written = {str(path.relative_to(home)): path.stat().st_mode & 0o777 for path in home.rglob("*")}
                list(lines)
            assert process.wait(240) == 0
            assert {"service/jobs.db", "service/jobs.db-wal", f"service/files/jobs/{job_id}/video"} <= written.keys()
            assert set(written.values()) == {0o600, 0o700}
        finally:
            process.kill()
    assert '"message": "stopped"' in (tmp_path / "log").read_text()


def test_exports_delay_neither_a_probe_nor_the_shutdown(tmp_path: Path) -> None:
    """While every export process is busy, a video can be probed and the service can stop."""
    app = create_app(
        Settings(home=tmp_path, inspect_processes=1, render_seconds=3600),
        make_engine=ThreadEngine,
        make_sandbox=lambda processes, seconds, limits, modules: Sandbox(
            processes, timeout=seconds, limits=limits, modules=(*modules, sandbox_calls.__name__)
        ),
    )
    clip, begun = write_clip(tmp_path / "clip.mp4"), tmp_path / "begun"

    async def main() -> int:
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost", timeout=240) as client,
        ):
            services: Services = app.state.services
            export = asyncio.create_task(services.export_pool.call(sandbox_calls.block, Output(begun)))
            await asyncio.to_thread(wait_for, lambda: begun.exists() and begun.stat().st_size)
            answer = await client.post("/v1/probe", files={"video": clip.read_bytes()})
        with pytest.raises(ProblemError) as caught:
            await export
        assert caught.value.kind == "not-ready"
        return answer.status_code

    assert asyncio.run(main()) == 200


def _address(process: subprocess.Popen[bytes], file: Path) -> str:
    def found() -> str | None:
        assert process.poll() is None, f"keymask serve ended with {process.returncode}"
        try:
            base = str(json.loads(file.read_text())["address"])
            return base if httpx.get(f"{base}/health/live", timeout=240).status_code == 200 else None
        except (OSError, ValueError, httpx.TransportError):
            return None

    return str(wait_for(found))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve", "--host", "0.0.0.0"], "without an API key"),
        (["serve", "--host", "0.0.0.0", "--auth", "off"], "set both KEYMASK_AUTH=off and KEYMASK_TRUST_NETWORK=true"),
        (["serve", "--auth", "maybe"], "--auth is 'maybe'"),
        (["worker", "--devices", "none"], "a worker needs at least one device"),
        (["keys", "new", "a b"], "the name is 'a b'"),
    ],
)
@pytest.mark.usefixtures("own_process")
def test_a_usage_error_is_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`serve`, `worker` and `keys` with bad arguments exit with 2 and print one line."""
    from service.cli.main import main

    monkeypatch.setenv("KEYMASK_HOME", str(tmp_path))
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.usefixtures("own_process")
def test_a_port_in_use_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`serve` on a port that another process listens on exits with 2 and prints one line."""
    from service.cli.main import main

    monkeypatch.setenv("KEYMASK_HOME", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"cannot listen on 127.0.0.1 port {port}" in line


@pytest.mark.parametrize("command", [["serve", "--port", "0"], ["worker", "--devices", "cpu"]])
@pytest.mark.parametrize("setting", ["KEYMASK_HOME", "KEYMASK_STORAGE_DIR", "KEYMASK_DATABASE_URL"])
@pytest.mark.usefixtures("own_process")
def test_a_folder_that_cannot_be_written_is_one_line(
    command: list[str],
    setting: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing starts, and the line names the setting, the folder and the reason."""
    from service.cli.main import main

    obstacle = tmp_path / "file"
    obstacle.touch()  # not even root can make a folder below a file
    monkeypatch.setenv("KEYMASK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv(setting, f"sqlite:///{obstacle}/x/jobs.db" if "URL" in setting else f"{obstacle}/x")
    assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"keymask: error: {setting}: the folder {obstacle}/x")
    assert line.endswith("Not a directory")


@pytest.mark.usefixtures("own_process")
def test_a_worker_that_runs_once_ends_when_no_job_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an empty queue `keymask worker --once` ends at once and successfully."""
    from service.cli.main import main

    monkeypatch.setenv("KEYMASK_HOME", str(tmp_path))
    monkeypatch.setenv("KEYMASK_GRACE_SECONDS", "0")
    assert main(["worker", "--devices", "cpu", "--once"]) == 0


def test_migrate_says_which_schema_the_database_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It makes the schema of this version, and names the database without its password."""
    from service.cli.main import main

    monkeypatch.setenv("KEYMASK_HOME", str(tmp_path))
    assert main(["migrate", "--json", "-"]) == 0
    migrations = ROOT / "service/jobs/migrations/versions"
    newest = max(path.stem for path in migrations.glob("0*.py"))
    assert json.loads(capsys.readouterr().out)["schema"] == newest.split("_")[0]


def test_a_misspelt_variable_is_named_at_the_start(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command says on standard error which variables it does not know."""
    from service.cli.main import main

    monkeypatch.setenv("KEYMASK_HOEM", "/data")
    assert main(["--version"]) == 0
    assert "KEYMASK_HOEM is not a setting; did you mean KEYMASK_HOME?" in capsys.readouterr().err


def test_a_new_key_opens_the_service(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`keymask keys new` prints a key once, and the settings accept its entry."""
    from service.cli.main import main

    file = tmp_path / "keys"
    assert main(["keys", "new", "ann", "--file", str(file), "--json", "-"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert file.read_text() == made["entry"] + "\n"
    assert made["key"] not in file.read_text()
    assert Settings(api_keys_file=file).key_digests() == {digest_of_key(made["key"]): "ann"}
