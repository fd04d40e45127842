"""The Task queue, which misses nothing, and the ledger, which tells what happened."""

import itertools
from datetime import datetime, timedelta


async def _ready(omegaai):
    bundle = await omegaai.get("Task", reasoncode="mirthoutbound", status="ready", _count=50)
    return [entry["resource"] for entry in bundle.get("entry", [])]


async def test_each_change_makes_a_task_oldest_first(omegaai):
    stored = await omegaai.book()
    person = stored["participant"][0]["actor"]["reference"]
    await omegaai.update({**stored, "status": "booked"}, 1)
    tasks = await _ready(omegaai)
    here = f"Appointment/{stored['id']}"
    assert [task["focus"]["reference"] for task in tasks] == [person, here, here]
    assert {(task["intent"], task["reasonCode"]["coding"][0]["code"]) for task in tasks} == {("order", "mirthoutbound")}
    assert [task["authoredOn"] for task in tasks] == sorted(task["authoredOn"] for task in tasks)
    assert [task["id"] for task in tasks] == sorted((task["id"] for task in tasks), key=int)


async def test_a_completed_task_leaves_the_queue_for_good(omegaai):
    await omegaai.book()
    first, second = await _ready(omegaai)
    await omegaai.update({**first, "status": "completed"}, 1)
    assert [task["id"] for task in await _ready(omegaai)] == [second["id"]]
    await omegaai.update({**first, "status": "completed"}, 1, status=412)  # somebody else did it already
    await omegaai.update({**first, "status": "ready"}, 2, status=422)


async def test_a_patients_own_change_makes_a_task_too(omegaai):
    stored = await omegaai.book()
    portal = await omegaai.portal("jane.roe@example.org")
    before = len(await _ready(omegaai))
    await portal.act(stored["id"], "confirm")
    assert len(await _ready(omegaai)) == before + 1


async def test_tasks_are_not_created_by_clients(omegaai):
    answer = await omegaai.api.post(
        "/fhir/Task",
        json={"resourceType": "Task", "status": "ready", "intent": "order"},
        headers={"Content-Type": "application/fhir+json"},
    )
    assert answer.status_code == 405


async def test_the_ledger_tells_effects_and_requests(omegaai):
    stored = await omegaai.book()
    link, placer = (one["value"] for one in stored["identifier"])
    await omegaai.update({**stored, "status": "booked"}, 1)
    await omegaai.update({**stored, "status": "booked"}, 1, status=412)
    rows = await omegaai.ledger()
    effects = [(row["kind"], row["subject"]) for row in rows if row["direction"] == "effect"]
    person = stored["participant"][0]["actor"]["reference"].split("/")[1]
    assert effects == [
        ("Patient.created", person),
        ("Appointment.created", stored["id"]),
        ("Appointment.updated", stored["id"]),
    ]
    detail = (await omegaai.ledger("Appointment.updated"))[0]["detail"]
    assert detail == {"versionId": "2", "by": "suite", "status": "booked", "link_id": link, "placer_number": placer}
    requests = [(row["subject"], row["detail"]) for row in rows if row["kind"] == "http"]
    assert requests[-1] == (f"/fhir/Appointment/{stored['id']}", {"method": "PUT", "status": 412})
    assert all(one["seq"] < two["seq"] for one, two in itertools.pairwise(rows))
    assert all(row["at"].endswith("Z") and len(row["at"]) == 27 for row in rows)


async def test_the_ledger_is_read_in_pieces(omegaai):
    await omegaai.book()
    whole = await omegaai.ledger()
    first = (await omegaai.api.get("/ledger", params={"after": 0, "limit": 2})).json()
    rest = (await omegaai.api.get("/ledger", params={"after": first["rows"][-1]["seq"]})).json()
    assert first["rows"] + rest["rows"] == whole
    assert first["last"] == rest["last"] == whole[-1]["seq"]
    assert (await omegaai.api.get("/ledger", params={"after": "x"})).status_code == 422
    filtered = (await omegaai.api.get("/ledger", params={"kind": "Appointment.created", "subject": "5001"})).json()
    assert filtered["rows"] == [row for row in whole if row["kind"] == "Appointment.created"]


async def test_no_row_names_a_patient(omegaai):
    await omegaai.book("secret.person@example.org")
    portal = await omegaai.portal("secret.person@example.org")
    await portal.cards()
    text = (await omegaai.api.get("/ledger")).text
    assert "secret.person" not in text
    assert "Roe" not in text


async def test_healthz(omegaai):
    answer = await omegaai.api.get("/healthz")
    assert (answer.status_code, answer.json()["resources"]) == (200, 23)


async def test_a_drifted_appointment_has_moved_and_nobody_is_told(omegaai):
    stored = await omegaai.book()
    before = (await omegaai.get("Task"))["total"]
    address = f"{omegaai.base}/control/drift"
    answer = await omegaai.api.post(address, json={"appointment": stored["id"], "minutes": 15})
    assert answer.status_code == 201
    moved = await omegaai.get(f"Appointment/{stored['id']}")
    shift = timedelta(minutes=15)
    assert datetime.fromisoformat(moved["start"]) - datetime.fromisoformat(stored["start"]) == shift
    assert datetime.fromisoformat(moved["end"]) - datetime.fromisoformat(stored["end"]) == shift
    assert moved["meta"]["versionId"] == "2"
    assert (await omegaai.get("Task"))["total"] == before
    assert (await omegaai.api.post(address, json={"appointment": "nobody"})).status_code == 404
    for wrong in ({}, {"appointment": 5}, {"appointment": stored["id"], "minutes": 0}):
        assert (await omegaai.api.post(address, json=wrong)).status_code == 400
