"""The broker against its own OpenAPI document: schemathesis, bounded."""

from __future__ import annotations

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from jupyter_aisec.grants import GrantView
from tests.broker.world import Recorded
from tests.effort import examples

# A stream without an end, and paths of slashes, which schemathesis never makes: both have
# tests of their own.
NOT_HERE = ["/v1/events", "/v1/ledger/tile/{path}"]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def test_a_grant_is_described_by_its_struct(recorded: Recorded) -> None:
    with recorded.serve() as api:
        described = api.get("/openapi.json")["components"]["schemas"]
    grant = described["GrantView"]
    assert set(grant["required"]) == set(GrantView.__struct_fields__)
    assert grant["properties"]["isolation"] == {"enum": ["full", "none", "partial"]}
    assert grant["properties"]["request"]["required"] == ["payload", "payloadType", "signatures"]
    assert set(described["Explained"]["properties"]) == {"terms", "refusal"}


def test_every_route_answers_as_it_is_described(recorded: Recorded) -> None:
    with recorded.serve() as api:
        document = api.get("/openapi.json")
        assert document["openapi"].startswith("3.1")
        schema = schemathesis.openapi.from_dict(document).exclude(path=NOT_HERE)
        headers = {"Authorization": f"Bearer {api.token('approver')}"}
        operations = [found.ok() for found in schema.get_all_operations()]
        assert len(operations) > 25
        modes = [(operation, GenerationMode.POSITIVE) for operation in operations]
        modes += [
            (operation, GenerationMode.NEGATIVE) for operation in operations if operation.body
        ]
        for operation, mode in modes:

            @settings(
                max_examples=examples(8),
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def check(case: schemathesis.Case) -> None:
                case.call_and_validate(base_url=api.url, headers=headers, checks=CHECKS)

            check()
        assert api.get("/v1/audit", "approver")["findings"] == []
