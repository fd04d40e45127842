"""Everything that the API's own document allows, and much that it does not: never an answer 5xx."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scheduling_stand import Stand, at, named, standing, wanted

from chassis.testing.depth import DEPTH
from scheduler_sync.scheduling.openapi import DOCUMENT

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
OPERATIONS = [one.ok() for one in SCHEMA.get_all_operations()]
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40) | st.sampled_from(
    ["Parameters", "Appointment", "HealthcareService/hs-1", "Patient/x", "2026-12-01T09:00:00-05:00", "9999-12-31"]
)  # fmt: skip
NAMES = st.sampled_from([
    "start", "end", "service", "appt-resource", "appt-reference", "patient", "ignore-appointment", "hold", "reason",
    "_count", "minutes", "study", "latitude", "longitude",
])  # fmt: skip
KEYS = st.sampled_from([
    "resourceType", "reference", "identifier", "system", "value", "start", "end", "participant", "actor", "serviceType",
    "coding", "code", "display", "minutesDuration",
])  # fmt: skip
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


@pytest.fixture
async def stand(migrated_url: str, tmp_path: Path) -> AsyncIterator[Stand]:
    async with standing(migrated_url, tmp_path) as opened:
        await opened.call("$book", appt__resource=wanted(at(9)), patient=named(0))
        yield opened


async def ask(stand: Stand, method: str, path: str, **more: Any) -> None:
    answer = await stand.client.request(method, path, **more)
    assert answer.status_code < 500, (method, path, answer.status_code, answer.text)
    if answer.headers["content-type"].startswith("application/fhir+json"):
        assert answer.json()["resourceType"] in {"Bundle", "Appointment", "OperationOutcome"} or path.endswith(".json")


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: f"{one.method} {one.path}")
async def test_what_the_document_allows_is_answered(stand: Stand, operation: Any):
    cases: list[Any] = []

    @settings(max_examples=DEPTH.examples(6), deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def collect(case: Any) -> None:
        cases.append(case)

    collect()
    assert cases
    for case in cases:
        await ask(
            stand,
            case.method,
            case.formatted_path,
            params=case.query or None,
            headers={name: str(value) for name, value in (case.headers or {}).items()},
            content=None if case.method == "GET" else _body(case.body),
        )


async def test_parameters_of_any_kind_are_answered(stand: Stand):
    found: list[Any] = []

    @settings(max_examples=DEPTH.examples(20), deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(
        st.lists(st.tuples(NAMES, st.sampled_from(["valueString", "resource", "valueReference"]), VALUES), max_size=5)
    )
    def collect(parameters: Any) -> None:
        found.append(parameters)

    collect()
    for parameters in found:
        body = {
            "resourceType": "Parameters", "parameter": [{"name": name, key: value} for name, key, value in parameters]
        }  # fmt: skip
        for operation in (
            "$find",
            "$hold",
            "$book",
            "5/$cancel",
            f"{named(1)['valueReference']['reference'][8:]}/$reschedule",
        ):
            await ask(stand, "POST", f"/fhir/Appointment/{operation}", content=_body(body))


def _body(value: Any) -> bytes:
    try:
        return orjson.dumps(value, default=str)
    except (TypeError, orjson.JSONEncodeError):
        return repr(value).encode("utf-8", "replace")
