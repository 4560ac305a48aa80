"""/openapi.json describes what the service does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

# Imported here, while there is one thread: the compiler of Python 3.11 sometimes fails if two threads use it at once.
from schemathesis.specs.openapi.schemas import OpenApiSchema

from service.problems import MEDIA_TYPE, PROBLEMS
from tests.support.serving import Served, served

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
EXAMPLES = 25
"""Number of requests per operation."""
OPERATIONS = [
    ("POST", "/v1/jobs"),
    ("GET", "/v1/jobs"),
    ("GET", "/v1/jobs/{job_id}"),
    ("DELETE", "/v1/jobs/{job_id}"),
    ("POST", "/v1/jobs/{job_id}/cancel"),
    ("POST", "/v1/jobs/{job_id}/corrections"),
    ("GET", "/v1/jobs/{job_id}/versions"),
    ("POST", "/v1/jobs/{job_id}/undo"),
    ("GET", "/v1/jobs/{job_id}/deliveries"),
    ("GET", "/v1/webhook-secret"),
    ("GET", "/v1/jobs/{job_id}/events"),
    ("GET", "/v1/jobs/{job_id}/masks"),
    ("GET", "/v1/jobs/{job_id}/masks/{index}.png"),
    ("GET", "/v1/jobs/{job_id}/result"),
    ("GET", "/v1/jobs/{job_id}/result/notes"),
    ("GET", "/v1/jobs/{job_id}/review"),
    ("GET", "/v1/jobs/{job_id}/frames/{index}"),
    ("GET", "/v1/jobs/{job_id}/frames/{index}/analysis"),
    ("POST", "/v1/probe"),
    ("POST", "/v1/prompts"),
    ("OPTIONS", "/v1/uploads"),
    ("POST", "/v1/uploads"),
    ("GET", "/v1/uploads/{upload_id}"),
    ("PATCH", "/v1/uploads/{upload_id}"),
    ("DELETE", "/v1/uploads/{upload_id}"),
    ("GET", "/v1/uploads/{upload_id}/video"),
    ("GET", "/v1/uploads/{upload_id}/probe"),
    ("GET", "/v1/uploads/{upload_id}/frames/{index}"),
    ("GET", "/v1/uploads/{upload_id}/frames/{index}/analysis"),
    ("GET", "/v1/models"),
    ("GET", "/v1/sample"),
    ("GET", "/health/live"),
    ("GET", "/health/ready"),
    ("GET", "/metrics"),
    ("GET", "/problems/{kind}"),
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One service for all tests of the module."""
    with served(tmp_path_factory.mktemp("schema")) as running:
        yield running


@pytest.fixture(scope="module")
def document(service: Served) -> dict[str, Any]:
    """The OpenAPI document."""
    answer: dict[str, Any] = service.client.get("/openapi.json").json()
    return answer


@pytest.fixture(scope="module")
def job_id(service: Served) -> str:
    """A job that has succeeded."""
    return service.run()


def test_the_document_describes_exactly_the_operations(document: dict[str, Any]) -> None:
    """The document is OpenAPI 3.1 and describes these operations and no others."""
    assert document["openapi"].startswith("3.1.")
    described = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert described == set(OPERATIONS)


def test_every_error_is_documented_with_an_example(document: dict[str, Any]) -> None:
    """Each error response is a problem with one example per type, whose status is the response's."""
    for path, item in document["paths"].items():
        for operation in item.values():
            for status, response in operation["responses"].items():
                if int(status) < 400:
                    continue
                content = response["content"][MEDIA_TYPE]
                assert content["schema"] == {"$ref": "#/components/schemas/Problem"}, path
                assert content["examples"]
                for kind, example in content["examples"].items():
                    assert example["value"]["status"] == PROBLEMS[kind].status == int(status)


def test_every_body_has_an_example_that_fits(document: dict[str, Any]) -> None:
    """Every JSON, NDJSON, event or form body has an example that is valid for its schema."""
    for path, item in document["paths"].items():
        for operation in item.values():
            answers = [answer for status, answer in operation["responses"].items() if int(status) < 300]
            for body in [operation.get("requestBody", {}), *answers]:
                for kind, content in body.get("content", {}).items():
                    schema = content["schema"]
                    if schema == {"type": "object"} or schema.get("format") == "binary" or kind == "text/plain":
                        continue
                    named = document["components"]["schemas"].get(schema.get("$ref", "").rpartition("/")[2], {})
                    example = content["example"] if "example" in content else named["examples"][0]
                    shown = json.loads(example) if kind == "application/x-ndjson" else example
                    validator = Draft202012Validator({**schema, "components": document["components"]})
                    assert not list(validator.iter_errors(shown)), (path, kind)


def test_examples_match_the_service(service: Served, document: dict[str, Any]) -> None:
    """The examples of problem types and models equal what the service returns."""
    schemas = document["components"]["schemas"]
    (problem,) = schemas["ProblemKind"]["examples"]
    assert service.client.get(problem["type"]).json() == problem
    (shown,) = schemas["ModelList"]["examples"]
    there = {model["name"]: model for model in service.client.get("/v1/models").json()["models"]}
    for model in shown["models"]:
        assert {**there[model["name"]], "size": model["size"]} == model


def test_every_problem_type_of_a_request_is_documented(document: dict[str, Any]) -> None:
    """Every problem type is an example of some operation, except those that only a job can end with."""
    found = {
        kind
        for item in document["paths"].values()
        for operation in item.values()
        for response in operation["responses"].values()
        for kind in response.get("content", {}).get(MEDIA_TYPE, {}).get("examples", {})
    }
    unasked = {"job-finished", "job-timeout", "job-unreadable", "masks-too-large", "worker-died"}
    assert set(PROBLEMS) - found == unasked


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_responses_are_as_documented(service: Served, job_id: str, method: str, path: str) -> None:
    """Valid and invalid requests generated from the document get documented responses and never a 5xx."""
    schema: OpenApiSchema = schemathesis.openapi.from_url(f"{service.client.base_url}/openapi.json")
    operation = schema[path][method]
    valid = operation.as_strategy()
    invalid = (
        operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE) if _has_input(operation) else valid
    )

    @seed(1)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.one_of(valid, invalid), st.booleans())
    def check(case: schemathesis.Case, real: bool) -> None:
        if real and method != "DELETE" and "job_id" in (case.path_parameters or {}):
            case.path_parameters["job_id"] = job_id
        case.call_and_validate(checks=CHECKS, timeout=240)

    check()


def _has_input(operation: Any) -> bool:
    return bool(operation.path_parameters or operation.query or operation.headers or operation.body)
