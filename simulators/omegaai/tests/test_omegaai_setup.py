"""What is set up once per customer: organisations, issuers, study types, procedure codes, healthcare services."""

import pytest

from omegaai_sim.services import catalogue


async def test_everything_of_the_guides_prerequisites_is_there(omegaai):
    for kind, query in (
        ("AssigningAuthority", {"name": "NORTHSIDE", "managingorganization": "1"}),
        ("StudyType", {"code": "CT-HEAD", "modality": "CT"}),
        ("ProcedureCode", {"code": "70450"}),
        ("HealthcareService", {"organization": "2", "active": "true"}),
        ("Organization", {"partof": "1"}),
    ):
        assert (await omegaai.get(kind, **query))["total"] > 0, kind


async def test_a_service_is_changed_with_its_version_and_everything_else_stays(omegaai):
    service = await omegaai.get("HealthcareService/11")
    changed = {**service, "active": False, "availableTime": [{"daysOfWeek": ["mon"], "allDay": True}]}
    stored = (await omegaai.update(changed, 1)).json()
    assert (stored["active"], stored["meta"]["versionId"]) == (False, "2")
    assert stored["extension"] == service["extension"]
    await omegaai.update(changed, 1, status=412)
    assert (await omegaai.get("HealthcareService", active="false"))["total"] == 1
    found = await omegaai.simulator.services.store.read(catalogue.services)
    assert [one.hours_words for one in found if one.id == "11"] == ["Mon all day"]


async def test_a_new_service_needs_a_name_and_an_organisation_that_exists(omegaai):
    body = {"resourceType": "HealthcareService", "name": "NEW CT", "providedBy": {"reference": "Organization/2"}}
    assert int((await omegaai.create(body)).json()["id"]) >= 100
    await omegaai.create({**body, "providedBy": {"reference": "Organization/99"}}, status=422)
    await omegaai.create({"resourceType": "HealthcareService", "name": "NEW CT"}, status=422)
    await omegaai.create({name: value for name, value in body.items() if name != "name"}, status=422)


@pytest.mark.parametrize("dialect", ["strict", "vendor"])
async def test_a_client_may_send_back_what_it_has_read(omegaai, dialect: str):
    await omegaai.api.post("/control/dialect", json={"dialect": dialect})
    for path in ("HealthcareService/11", "Organization/2", "AssigningAuthority/1", "StudyType/1", "ProcedureCode/1"):
        await omegaai.update(await omegaai.get(path), 1)


async def test_an_issuer_decides_which_patients_are_taken(omegaai):
    system = "http://other.example/id"
    other = omegaai.patient(identifier=[{"type": {"coding": [{"code": "MR"}]}, "system": system, "value": "1"}])
    await omegaai.create(other, status=422)
    authority = (await omegaai.create({"resourceType": "AssigningAuthority", "name": "OTHER", "system": system})).json()
    await omegaai.create(other)
    await omegaai.update({**authority, "active": False}, 1)
    await omegaai.create(other, status=422)
