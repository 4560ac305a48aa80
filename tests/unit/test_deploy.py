"""The files for clusters agree with Kubernetes's schemas, with Compose's structure and with the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from typer.main import get_command

from service.cli.main import app
from service.config import PREFIX, Settings
from tests.support.paths import ROOT

MANIFESTS = sorted((ROOT / "deploy" / "kubernetes").glob("*.yml"))
COMPOSE = ROOT / "docker" / "compose.cluster.yml"
KUBERNETES = "1.34"


def documents() -> list[dict[str, Any]]:
    """Return all manifests."""
    return [document for path in MANIFESTS for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))]


def of_kind(kind: str) -> dict[str, Any]:
    """Return the only manifest of a kind."""
    (found,) = (document for document in documents() if document["kind"] == kind)
    return found


def pods() -> list[dict[str, Any]]:
    """Return the templates of all pods."""
    return [
        of_kind("Job")["spec"]["template"],
        of_kind("Deployment")["spec"]["template"],
        of_kind("ScaledJob")["spec"]["jobTargetRef"]["template"],
    ]


def test_manifests_have_the_fields_of_the_api() -> None:
    """Each built-in object is valid and has no unknown field; the job in the ScaledJob, too."""
    built_in = [document for document in documents() if "keda.sh" not in document["apiVersion"]]
    job = {"metadata": {"name": "worker"}, "spec": of_kind("ScaledJob")["spec"]["jobTargetRef"]}
    for document in [*built_in, {"apiVersion": "batch/v1", "kind": "Job", **job}]:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    broken = {**of_kind("Deployment"), "spec": {**of_kind("Deployment")["spec"], "replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, KUBERNETES, strict=True)


def test_workers_are_a_scaled_job_and_end_by_themselves() -> None:
    """KEDA counts what the database calls unfinished and ends no pod; each pod works once, and is not repeated."""
    spec = of_kind("ScaledJob")["spec"]
    (trigger,) = spec["triggers"]
    assert trigger["type"] == "postgresql"
    query = trigger["metadata"]["query"]
    assert re.findall(r"'(\w+)'", query) == ["queued", "running"]
    assert (spec["rollout"]["strategy"], spec["scalingStrategy"]["strategy"]) == ("gradual", "default")
    assert spec["jobTargetRef"]["backoffLimit"] == 0
    secrets = {document["metadata"]["name"]: document for document in documents() if document["kind"] == "Secret"}
    (reference,) = of_kind("TriggerAuthentication")["spec"]["secretTargetRef"]
    assert reference["key"] in secrets[reference["name"]]["stringData"]


def test_the_queue_query_counts_unfinished_jobs(tmp_path: Path) -> None:
    """The database accepts KEDA's query."""
    from service.jobs.store import JobStore

    store = JobStore(f"sqlite:///{tmp_path}/jobs.db")
    with store._engine.connect() as connection:
        query = of_kind("ScaledJob")["spec"]["triggers"][0]["metadata"]["query"]
        assert connection.exec_driver_sql(query).scalar() == 0
    store.close()


def test_pods_are_confined_and_bounded() -> None:
    """No pod runs as root, gains rights, writes outside its volumes or takes unlimited memory."""
    for pod in pods():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        (container,) = spec["containers"]
        context = container["securityContext"]
        assert (context["readOnlyRootFilesystem"], context["allowPrivilegeEscalation"]) == (True, False)
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in spec["volumes"]} == {"data", "tmp"}


def test_commands_options_and_settings_exist() -> None:
    """What the containers run and set is known to this version."""
    commands = get_command(app).commands  # type: ignore[attr-defined]
    arguments = [pod["spec"]["containers"][0]["args"] for pod in pods()]
    services = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    arguments += [services[name]["command"] for name in ("migrate", "worker")]
    for command, *options in arguments:
        known = {option for parameter in commands[command].params for option in parameter.opts}
        assert set(options) <= known
    texts = [path.read_text(encoding="utf-8") for path in [*MANIFESTS, COMPOSE, ROOT / "deploy" / "README.md"]]
    named = {name.lower() for text in texts for name in re.findall(rf"{PREFIX}([A-Z_]+)", text)}
    assert named <= set(Settings.model_fields)
    grace = Settings().grace_seconds
    assert all(pod["spec"].get("terminationGracePeriodSeconds", 99) > grace for pod in pods())


def test_composed_processes_wait_for_one_migration() -> None:
    """API processes and workers start after the only process that migrates has succeeded, on a healthy database."""
    services = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    assert services["migrate"]["restart"] == "no"
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in ("api", "worker", "ray-head", "ray-node"):
        assert services[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
        assert services[name]["cap_drop"] == ["ALL"]
        assert services[name]["read_only"]
    environment = services["api"]["environment"]
    assert environment["KEYMASK_DEVICES"] == "none"
    # So that the service refuses to be open without keys.
    assert services["api"]["ports"] == [environment["KEYMASK_PUBLISHED"] + ":8000"]
    ports = "127.0.0.1:8000-8003"
    assert Settings(host="0.0.0.0", published=ports).only_local
    assert not Settings(host="0.0.0.0", published=ports.replace("127", "10")).only_local
