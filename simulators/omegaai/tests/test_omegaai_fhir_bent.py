"""Whatever is bent in a resource, the answer is a FHIR answer: taken or refused, never a failure of the simulator."""

import copy
import json

import pytest

BENT = (None, "", "x", 5, [], [{}], {"value": "x"})

PAGES = {"Appointment": ("/", "/appointments/5001"), "Patient": ("/patients", "/"), "Task": ("/tasks",)}


def paths_of(value, path=()):
    """Every place in a JSON value."""
    if path == ("meta",):
        return
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield from paths_of(inner, (*path, name))


def bent_ones(body):
    for path in paths_of(body):
        for bent in ("gone", *BENT):
            changed = copy.deepcopy(body)
            *way, last = path
            place = changed
            for name in way:
                place = place[name]
            if bent == "gone":
                del place[last]
            else:
                place[last] = bent
            yield path, bent, changed


@pytest.mark.parametrize("dialect", ["strict", "vendor"])
async def test_nothing_bent_breaks_the_simulator(omegaai, dialect):
    stored = await omegaai.book()
    person = await omegaai.get(stored["participant"][0]["actor"]["reference"])
    task = (await omegaai.get("Task"))["entry"][0]["resource"]
    await omegaai.api.post("/control/dialect", json={"dialect": dialect})
    portal = await omegaai.portal("jane.roe@example.org")
    staff = await omegaai.browser()
    await staff.post("/login", data={"name": "admin", "password": "development"})
    for body in (stored, person, task) if dialect == "strict" else (person,):
        address, version = f"/fhir/{body['resourceType']}/{body['id']}", 1
        for path, bent, changed in bent_ones(body):
            headers = {"Content-Type": "application/fhir+json", "If-Match": f'W/"{version}"'}
            answer = await omegaai.api.put(address, content=json.dumps(changed), headers=headers)
            assert answer.status_code in {200, 400, 422}, (path, bent, answer.status_code)
            version += answer.status_code == 200
            if answer.status_code == 200:
                assert (await portal.http.get("/blume")).status_code == 200, (path, bent)
                for page in PAGES[body["resourceType"]]:
                    assert (await staff.get(page)).status_code == 200, (path, bent, page)


async def test_json_that_is_too_deep_is_refused(omegaai):
    answer = await omegaai.api.post(
        "/fhir/Patient", content=b"[" * 100_000, headers={"Content-Type": "application/fhir+json"}
    )
    assert answer.status_code == 400
