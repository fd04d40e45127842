"""Create and update: conditions, versions, and what strict R4 refuses."""

import asyncio
from uuid import uuid4


async def test_create_answers_with_location_and_version(omegaai):
    answer = await omegaai.create(omegaai.patient())
    body = answer.json()
    assert answer.headers["Location"] == f"{omegaai.base}/fhir/Patient/{body['id']}/_history/1"
    assert answer.headers["ETag"] == 'W/"1"'
    assert answer.headers["Content-Type"].startswith("application/fhir+json")
    assert body["meta"]["versionId"] == "1"
    assert (await omegaai.get(f"patient/{body['id']}"))["name"] == body["name"]  # names in any case


async def test_of_many_conditional_creates_exactly_one_creates(omegaai):
    person = (await omegaai.create(omegaai.patient())).json()
    body = omegaai.appointment(person["id"])
    condition = f"identifier=urn:ietf:rfc:3986|{body['identifier'][0]['value']}"
    headers = {"Content-Type": "application/fhir+json", "If-None-Exist": condition}
    posts = [omegaai.api.post("/fhir/Appointment", json=body, headers=headers) for _ in range(20)]
    answers = await asyncio.gather(*posts)
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert (await omegaai.get("Appointment"))["total"] == 1
    assert len(await omegaai.ledger("Appointment.created")) == 1


async def test_conditional_create_refuses_when_several_match(omegaai):
    for _ in range(2):
        await omegaai.create(omegaai.patient())
    answer = await omegaai.create(omegaai.patient(), "?email=jane.roe@example.org", status=412)
    assert answer.json()["issue"][0]["code"] == "multiple-matches"


async def test_conditional_create_needs_a_known_parameter(omegaai):
    await omegaai.create(omegaai.patient(), "shoe-size=44", status=400)


async def test_update_needs_the_version_that_is_there(omegaai):
    stored = await omegaai.book()
    await omegaai.update(stored, None, status=428)
    await omegaai.update(stored, 2, status=412)
    changed = await omegaai.update({**stored, "status": "booked"}, 1)
    assert changed.headers["ETag"] == 'W/"2"'
    await omegaai.update(stored, 1, status=412)
    assert (await omegaai.get(f"Appointment/{stored['id']}"))["status"] == "booked"


async def test_of_many_updates_of_one_version_exactly_one_wins(omegaai):
    stored = await omegaai.book()
    headers = {"Content-Type": "application/fhir+json", "If-Match": 'W/"1"'}
    path = f"/fhir/Appointment/{stored['id']}"
    puts = [omegaai.api.put(path, json={**stored, "description": f"try {n}"}, headers=headers) for n in range(10)]
    statuses = sorted(answer.status_code for answer in await asyncio.gather(*puts))
    assert statuses == [200] + [412] * 9
    assert len(await omegaai.ledger("Appointment.updated")) == 1


BROKEN = (
    ({"status": "PENDING"}, "Appointment.status"),
    ({"priorityId": 2}, "Appointment.priorityId"),
    ({"description": ""}, "Appointment.description"),
    ({"start": "2036-12-01T14:30:00"}, "Appointment.start"),
    ({"end": "2036-12-01T14:00:00-05:00"}, "Appointment.end"),
    ({"minutesDuration": "30"}, "Appointment.minutesDuration"),
    ({"participant": []}, "Appointment.participant"),
    ({"participant": [{"status": "accepted"}]}, "Appointment.participant[0]"),
    ({"cancelationReason": {"text": "ill"}}, "Appointment.cancelationReason"),
    ({"serviceType": [{"coding": {"code": "CT"}}]}, "Appointment.serviceType[0].coding"),
)


async def test_what_is_not_r4_is_refused_with_its_path(omegaai):
    person = (await omegaai.create(omegaai.patient())).json()
    for change, expression in BROKEN:
        answer = await omegaai.create(omegaai.appointment(person["id"], **change), status=422)
        outcome = answer.json()
        assert outcome["resourceType"] == "OperationOutcome"
        assert expression in [path for issue in outcome["issue"] for path in issue.get("expression", [])]
    assert await omegaai.ledger("Appointment.created") == []


async def test_references_have_to_lead_somewhere(omegaai):
    answer = await omegaai.create(omegaai.appointment("987654"), status=422)
    assert answer.json()["issue"][0]["expression"] == ["Appointment.participant[0].actor.reference"]


async def test_an_unknown_assigning_authority_is_refused_without_telling_the_number(omegaai):
    body = omegaai.patient()
    body["identifier"][0] |= {"system": "http://elsewhere.example/id", "value": "SECRET4711"}
    answer = await omegaai.create(body, status=422)
    assert answer.json()["issue"][0]["expression"] == ["Patient.identifier[0].system"]
    assert "SECRET4711" not in answer.text


async def test_what_cannot_be_done_at_all(omegaai):
    assert (await omegaai.get("Appointment/1", expect=404))["issue"][0]["code"] == "not-found"
    await omegaai.get("Medication", expect=404)
    await omegaai.update({**omegaai.patient(), "id": "1"}, 1, status=404)
    post = omegaai.api.post
    fhir = {"Content-Type": "application/fhir+json"}
    assert (await post("/fhir/Patient", content=b"{", headers=fhir)).status_code == 400
    assert (await post("/fhir/Patient", content=b"[]", headers=fhir)).status_code == 400
    assert (await post("/fhir/Patient", content=b"a=b", headers={"Content-Type": "text/plain"})).status_code == 415
    assert (await post("/fhir/Organization", json={"resourceType": "Organization"}, headers=fhir)).status_code == 422
    wrong = await omegaai.api.post("/fhir/Appointment", json=omegaai.patient(), headers=fhir)
    assert wrong.status_code == 422


async def test_an_update_keeps_to_the_id_of_its_address(omegaai):
    stored = await omegaai.book()
    headers = {"Content-Type": "application/fhir+json", "If-Match": 'W/"1"'}
    answer = await omegaai.api.put(f"/fhir/Appointment/{stored['id']}", json={**stored, "id": "5"}, headers=headers)
    assert answer.status_code == 400


async def test_metadata_says_what_is_kept(omegaai):
    statement = await omegaai.get("metadata")
    kept = {one["type"]: {i["code"] for i in one["interaction"]} for one in statement["rest"][0]["resource"]}
    assert kept["Appointment"] == {"read", "search-type", "create", "update"}
    assert "StudyType" not in kept, "a CapabilityStatement names R4's types alone"


async def test_ids_are_never_given_twice(omegaai):
    bodies = [omegaai.patient(f"{uuid4().hex}@example.org") for _ in range(30)]
    answers = await asyncio.gather(*(omegaai.create(body) for body in bodies))
    assert len({answer.json()["id"] for answer in answers}) == 30
