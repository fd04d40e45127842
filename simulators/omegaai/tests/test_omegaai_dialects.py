"""Both ways of writing: strict R4, checked by an independent R4 model, and each of the vendor's deviations."""

import importlib
import json

import pytest

from omegaai_sim.fhir import dialect

KINDS = ("Patient", "Appointment", "HealthcareService", "Organization", "Task")


@pytest.fixture
async def filled(omegaai):
    await omegaai.book()
    return omegaai


async def _switch(omegaai, wanted):
    answer = await omegaai.api.post("/control/dialect", json={"dialect": wanted})
    assert answer.json() == {"dialect": wanted}


def _model(kind):
    return getattr(importlib.import_module(f"fhir.resources.R4B.{kind.lower()}"), kind)


async def test_strict_is_r4(filled):
    for kind in KINDS:
        bundle = await filled.get(kind)
        assert bundle["entry"]
        for entry in bundle["entry"]:
            _model(kind).model_validate_json(json.dumps(entry["resource"]))
        _model("Bundle").model_validate_json(json.dumps(bundle))


async def test_vendor_is_not_r4(filled):
    await _switch(filled, "vendor")
    for kind in KINDS:
        for entry in (await filled.get(kind))["entry"]:
            with pytest.raises(ValueError, match="validation error"):
                _model(kind).model_validate_json(json.dumps(entry["resource"]))


async def test_vendor_deviates_in_each_way(filled):
    strict = (await filled.get("Appointment"))["entry"][0]["resource"]
    await _switch(filled, "vendor")
    booked = (await filled.get("Appointment"))["entry"][0]["resource"]
    person = (await filled.get("Patient"))["entry"][0]["resource"]
    place = await filled.get("Organization/2")
    assert (booked["status"], person["gender"]) == ("PENDING", "FEMALE")  # codes in upper case
    assert booked["serviceType"][0]["coding"][0]["code"] == "CT-HEAD"  # a site's own codes stay
    assert booked["priorityId"] == 2  # properties that FHIR does not have
    assert booked["description"] == ""  # empty strings instead of nothing
    reference = booked["participant"][0]["actor"]
    assert reference == {"reference": f"patient/{person['id']}", "id": person["id"]}  # lower case, and the id beside it
    value = strict["identifier"][0]["value"]
    assert booked["identifier"][0]["value"] == value.replace("urn:uuid:", "urn:uuid")  # no colon
    assert booked["fullUrl"] == f"appointment/{booked['id']}"  # fullUrl inside the resource
    zones = [one["valueString"] for one in place["extension"] if "valueString" in one]
    assert zones == ["Eastern Standard Time"]  # Windows names only


async def test_a_client_may_send_back_what_the_vendor_dialect_gave(filled):
    before = (await filled.get("Appointment"))["entry"][0]["resource"]
    await _switch(filled, "vendor")
    shown = await filled.get(f"Appointment/{before['id']}")
    await filled.update({**shown, "status": "BOOKED"}, 1)
    await _switch(filled, "strict")
    after = await filled.get(f"Appointment/{before['id']}")
    assert after.pop("meta")["versionId"] == "2"
    before.pop("meta")
    assert after == {**before, "status": "booked"}


async def test_strict_takes_nothing_of_the_vendors(filled):
    stored = (await filled.get("Appointment"))["entry"][0]["resource"]
    await filled.update(dialect.to_vendor(stored), 1, status=422)


async def test_there_are_two_dialects(omegaai):
    assert (await omegaai.api.post("/control/dialect", json={"dialect": "klingon"})).status_code == 400
    assert (await omegaai.api.get("/control/dialect")).json() == {"dialect": "strict"}
