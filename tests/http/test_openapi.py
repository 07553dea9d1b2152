"""The OpenAPI document: valid, complete, and kept by the service, which schemathesis tries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import schemathesis
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import positive_data_acceptance

from ibkr_actor.http.openapi import document
from ibkr_actor.http.routes import ROWS, Row
from tests.e2e.kit import running_redis
from tests.http.kit import serving

SCHEMA = schemathesis.openapi.from_dict(document())
# Of a string's format JSON Schema only says what it is meant to be: what is no time is made up, and refused.
TIMES = {"/v1/ingest/ibkr/tick": (positive_data_acceptance,)}
# A stream has no end to wait for.
ANSWERED = [row for row in ROWS if row.media != "text/event-stream"]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A service before a Redis without a sidecar, on a loop of its own: 503 is then the right answer to many."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(running_redis()) as server,
        portal.wrap_async_context_manager(serving(server.own_url, answer_s=0.2)) as client,
    ):
        yield str(client.base_url)


def named(row: Row) -> str:
    return f"{row.method} {row.path}"


@pytest.mark.parametrize("row", ANSWERED, ids=named)
def test_answers_keep_to_the_document(address: str, row: Row) -> None:
    operation = SCHEMA[row.path][row.method]

    @given(case=operation.as_strategy())
    @settings(max_examples=15, suppress_health_check=list(HealthCheck))
    def holds(case: Any) -> None:
        case.call_and_validate(base_url=address, excluded_checks=[not_a_server_error, *TIMES.get(row.path, ())])

    holds()


def test_every_route_is_described_with_its_refusals() -> None:
    paths = document()["paths"]
    for row in ROWS:
        operation = paths[row.path][row.method.lower()]
        assert operation["summary"]
        assert "200" in operation["responses"]
        assert ("requestBody" in operation) == (row.method == "POST")
        if row.path.startswith("/api/v1/stream/") and row.path != "/api/v1/stream/system":
            assert {"400", "403", "404", "409", "422", "429", "503", "504"} <= set(operation["responses"])


def test_operations_have_names_of_their_own() -> None:
    names = [operation["operationId"] for path in document()["paths"].values() for operation in path.values()]
    assert len(names) == len(set(names)) == len(ROWS)


def test_what_the_schemas_say_is_what_the_structs_take() -> None:
    schemas: dict[str, Any] = document()["components"]["schemas"]
    body = {"$ref": "#/components/schemas/StreamQuotes", "components": {"schemas": schemas}}
    jsonschema.validate({"symbols": ["AAPL"]}, body)
    wrongs: list[dict[str, Any]] = [{}, {"symbols": []}, {"symbols": [""]}, {"symbols": ["A"], "hz": 101}]
    for wrong in wrongs:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, body)
