import json
import sys
import time
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from pydantic import ValidationError

import contracts
from contracts import ContractError
from contracts.examples import EXAMPLES

CANARIES = ("Roe", "Jane", "4711", "jane.roe", "555-0100", "1980", "ACC100045", "P100045")


@pytest.fixture
def patient() -> contracts.PatientRegistered:
    example = EXAMPLES[contracts.PatientRegistered]
    assert isinstance(example, contracts.PatientRegistered)
    return example


def body_of(message: contracts.Message) -> dict:
    return json.loads(message.to_bytes())


NEWEST = [EXAMPLES[message] for message in contracts.REGISTRY.newest()]


@pytest.mark.parametrize("example", NEWEST, ids=lambda example: example.type)
def test_a_message_comes_back_as_it_was_written(example):
    assert contracts.parse(example.to_bytes()) == example
    assert contracts.parse(example.to_bytes()).to_bytes() == example.to_bytes()


def test_the_writer_gets_an_envelope_that_is_complete(patient):
    at = datetime(2026, 11, 25, 9, 30, tzinfo=timezone(timedelta(hours=-5)))
    message = contracts.new_message(
        contracts.PatientRegistered,
        aggregate_id=patient.aggregate_id,
        revision=3,
        data=patient.data,
        producer="scheduler-sync",
        occurred_at=at,
    )
    assert (message.type, message.version, message.revision) == ("patient.registered", 2, 3)
    assert message.message_id.version == 7
    assert message.correlation_id == message.message_id
    assert message.causation_id is None
    assert body_of(message)["occurred_at"] == "2026-11-25T14:30:00Z"
    assert message.key() == str(patient.aggregate_id).encode()


def test_a_reader_ignores_fields_that_it_does_not_know(patient):
    body = body_of(patient)
    body["colour"] = "blue"
    body["data"]["blood_group"] = "0"
    body["data"]["identifiers"][0]["since"] = "2020-01-01"
    assert contracts.parse(json.dumps(body).encode()) == patient


def test_a_reader_fills_in_optional_fields_that_an_older_writer_did_not_know(patient):
    body = body_of(patient)
    del body["causation_id"]
    for name in ("email", "phone", "address", "birth_date", "language"):
        del body["data"][name]
    read = contracts.parse(json.dumps(body).encode())
    assert isinstance(read, contracts.PatientRegistered)
    assert read.data.email is None
    assert read.data.language is None


def test_a_writer_cannot_write_a_field_that_the_contract_does_not_have():
    with pytest.raises(ValidationError, match="maiden"):
        contracts.PersonName(family="Roe", given="Jane", maiden="Doe")


@pytest.mark.parametrize(
    ("field", "value"),
    [("family", 7), ("family", None), ("given", b"Jane")],
)
def test_a_writer_cannot_write_a_value_of_another_type(field, value):
    with pytest.raises(ValidationError) as refused:
        contracts.PersonName(**{"family": "Roe", "given": "Jane", field: value})
    assert "Jane" not in str(refused.value)


def test_a_writer_cannot_put_the_data_of_another_message_in(patient):
    with pytest.raises(ContractError, match=r"^data:"):
        contracts.new_message(
            contracts.AppointmentScheduled,
            aggregate_id=patient.aggregate_id,
            revision=1,
            data=patient.data,
            producer="scheduler-sync",
            occurred_at=datetime.now(UTC),
        )


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"revision": 0}, "revision"),
        ({"occurred_at": datetime(2026, 1, 1)}, "occurred_at"),  # noqa: DTZ001 - the naive one is the case
        ({"producer": ""}, "producer"),
    ],
)
def test_a_writer_is_told_which_argument_breaks_the_contract(patient, changes, path):
    arguments = {
        "aggregate_id": patient.aggregate_id,
        "revision": 1,
        "data": patient.data,
        "producer": "scheduler-sync",
        "occurred_at": datetime.now(UTC),
    }
    with pytest.raises(ContractError) as refused:
        contracts.new_message(contracts.PatientRegistered, **(arguments | changes))
    assert refused.value.path == path


def test_a_message_cannot_be_changed(patient):
    with pytest.raises(ValidationError):
        patient.revision = 2
    with pytest.raises(ValidationError):
        patient.data.name.family = "Doe"


BROKEN = {
    "not JSON": (lambda body: b'{"type": "patient.registered", "Jane', ""),
    "not UTF-8": (lambda body: json.dumps(body, ensure_ascii=False).replace("Roe", "Roë").encode("latin-1"), ""),
    "empty": (lambda body: b"", ""),
    "a list": (lambda body: json.dumps([body]).encode(), ""),
    "no type": (lambda body: without(body, "type"), "type"),
    "unknown type": (lambda body: changed(body, "type", "Jane.Roe"), "type"),
    "type of another kind": (lambda body: changed(body, "type", ["Roe"]), "type"),
    "no version": (lambda body: without(body, "version"), "version"),
    "unknown version": (lambda body: changed(body, "version", 4711), "version"),
    "version as text": (lambda body: changed(body, "version", "1"), "version"),
    "no data": (lambda body: without(body, "data"), "data"),
    "bad identifier": (lambda body: changed(body, "message_id", "Jane Roe"), "message_id"),
    "local time": (lambda body: changed(body, "occurred_at", "1980-02-29T00:00:00-05:00"), "occurred_at"),
    "time without zone": (lambda body: changed(body, "occurred_at", "1980-02-29T00:00:00"), "occurred_at"),
    "revision zero": (lambda body: changed(body, "revision", 0), "revision"),
    "revision as text": (lambda body: changed(body, "revision", "4711"), "revision"),
    "bad birth date": (lambda body: changed_data(body, "birth_date", "29/02/1980"), "data.birth_date"),
    "bad sex": (lambda body: changed_data(body, "sex", "Jane"), "data.sex"),
    "name of another kind": (lambda body: changed_data(body, "name", "Jane Roe"), "data.name"),
    "nested": (lambda body: changed_data(body, "name", {"given": "Jane", "family": 4711}), "data.name.family"),
    "in a list": (
        lambda body: changed_data(body, "identifiers", [{"issuer": "X", "value": "1"}, {"issuer": "Roe"}]),
        "data.identifiers[1].value",
    ),
}


def without(body, name):
    return json.dumps({key: value for key, value in body.items() if key != name}).encode()


def changed(body, name, value):
    return json.dumps(body | {name: value}).encode()


def changed_data(body, name, value):
    return json.dumps(body | {"data": body["data"] | {name: value}}).encode()


@pytest.mark.parametrize(("broken", "path"), BROKEN.values(), ids=BROKEN)
def test_a_broken_message_is_refused_with_the_place_and_without_a_value(patient, broken, path):
    with pytest.raises(ContractError) as refused:
        contracts.parse(broken(body_of(patient)))
    error = refused.value
    assert error.path == path
    assert error.reason
    assert error.__cause__ is None
    assert error.__context__ is None, "a chained validation error would show the message's values in a traceback"
    for canary in CANARIES:
        assert canary not in str(error)


def test_not_even_one_character_of_a_bad_identifier_is_told(patient):
    with pytest.raises(ContractError) as refused:
        contracts.parse(changed(body_of(patient), "aggregate_id", "Roe"))
    assert str(refused.value) == "aggregate_id: is not a UUID"


def test_an_unknown_version_is_told_from_an_unknown_message(patient):
    with pytest.raises(ContractError, match=r"this release knows patient\.registered in version 1, 2 only"):
        contracts.parse(changed(body_of(patient), "version", 3))


def test_headers_repeat_the_envelope_as_cloudevents_attributes(patient):
    assert contracts.headers(patient) == {
        "ce_id": str(patient.message_id),
        "ce_type": "patient.registered",
        "ce_source": "scheduler-sync",
        "ce_specversion": "1.0",
        "ce_time": "2026-11-25T14:30:00+00:00",
        "ce_subject": str(patient.aggregate_id),
        "ce_dataschema": "urn:contracts:patient.registered:2",
        "content-type": "application/json",
    }


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=lambda example: example.type)
def test_key_and_headers_hold_nothing_of_the_patient(example):
    text = json.dumps(contracts.headers(example)) + example.key().decode()
    for canary in CANARIES:
        assert canary not in text


def test_identifiers_ascend_and_carry_their_time():
    before = time.time_ns() // 1_000_000
    made = [contracts.uuid7() for _ in range(10_000)]
    after = time.time_ns() // 1_000_000
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert {identifier.version for identifier in made} == {7}
    assert {identifier.variant for identifier in made} == {UUID(int=0x8 << 60).variant}
    assert before <= made[0].int >> 80
    assert made[-1].int >> 80 <= after + 1


def test_identifiers_ascend_also_when_the_clock_goes_back(monkeypatch):
    first = contracts.uuid7()
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    assert contracts.uuid7() > first


def test_nothing_of_a_message_is_remembered():
    """By default pydantic caches strings that it has read: they cost memory and are patients' data."""
    example = EXAMPLES[contracts.AppointmentScheduled].to_bytes()
    assert b'"A100045"' in example
    messages = [example.replace(b'"A100045"', f'"A100045-{number}"'.encode()) for number in range(5_000)]
    contracts.parse(example)
    before = sys.getallocatedblocks()
    for message in messages:
        contracts.parse(message)
    assert sys.getallocatedblocks() - before < 500
