"""The staff's pages: behind a login, and true to what is kept."""

import json

import pytest


@pytest.fixture
async def staff(omegaai):
    http = await omegaai.browser()
    answer = await http.post("/login", data={"name": "admin", "password": "development"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    return http


async def test_each_page_is_behind_the_login(omegaai):
    http = await omegaai.browser()
    for path in ("/", "/patients", "/services", "/tasks", "/appointments/5001", "/events"):
        answer = await http.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    wrong = await http.post("/login", data={"name": "admin", "password": "wrong"})
    assert wrong.status_code == 401
    assert "set-cookie" not in wrong.headers


async def test_a_patients_session_is_not_the_staffs(omegaai):
    await omegaai.create(omegaai.patient())
    portal = await omegaai.portal("jane.roe@example.org")
    portal.http.cookies.set("omegaai_session", portal.http.cookies["blume_session"])
    assert (await portal.http.get("/patients")).status_code == 303


async def test_empty_lists_say_how_they_fill(staff):
    for path in ("/", "/patients", "/tasks"):
        assert 'class="empty"' in (await staff.get(path)).text


async def test_appointments_are_listed_filtered_and_told(omegaai, staff):
    stored = await omegaai.book()
    await omegaai.book("other@example.org", status="booked")
    page = (await staff.get("/")).text
    assert page.index("P100046") < page.index("P100045")
    assert "Mon Dec 1, 2036, 14:30 EST" in page
    filtered = (await staff.get("/", params={"status": "booked"})).text
    assert "P100046" in filtered
    assert "P100045" not in filtered
    await omegaai.update({**stored, "status": "booked"}, 1)
    one = (await staff.get(f"/appointments/{stored['id']}")).text
    assert "Created as pending by suite, version 1" in one
    assert "Changed as booked by suite, version 2" in one
    assert one.count("<code>ready</code>") == 2
    assert (await staff.get("/appointments/1")).status_code == 404


async def test_an_appointment_shows_its_referring_physician_and_each_studys_own_time(omegaai, staff):
    body = {
        "resourceType": "Practitioner",
        "identifier": [{"system": "urn:powerserver:physician:northside", "value": "1001"}],
        "name": [{"family": "Miller", "given": ["Ann"]}],
    }
    condition = "identifier=urn:powerserver:physician:northside|1001"
    practitioner = (await omegaai.create(body, condition)).json()
    again = (await omegaai.create(body, condition, status=200)).json()
    assert again["id"] == practitioner["id"]
    root = "http://www.ramsoft.com/fhir/StructureDefinition/"

    def study(code: str, at: str) -> dict:
        told = [
            {"url": f"{root}studyDateTime", "valueDateTime": f"2036-12-01T{at}:00-05:00"},
            {"url": f"{root}Duration", "valueInteger": 15},
        ]
        return {"coding": [{"code": code, "display": code.title(), "extension": told}], "text": code}

    stored = await omegaai.book(serviceType=[study("CT-HEAD", "14:30"), study("CT-CHEST", "14:45")])
    referrer = {
        "type": [{"coding": [{"code": "REF"}]}],
        "actor": {"reference": f"Practitioner/{practitioner['id']}"},
        "status": "accepted",
    }
    await omegaai.update({**stored, "participant": [*stored["participant"], referrer]}, 1)
    page = (await staff.get(f"/appointments/{stored['id']}")).text
    assert "Miller, Ann" in page
    assert page.index("14:30, 15 min") < page.index("14:45, 15 min")


async def test_a_participant_that_is_no_practitioner_here_is_refused(omegaai):
    stored = await omegaai.book()
    stranger = {"actor": {"reference": "Practitioner/4711"}, "status": "accepted"}
    answer = await omegaai.update({**stored, "participant": [*stored["participant"], stranger]}, 1, status=422)
    assert "Practitioner that is not known" in answer.text


async def test_patients_show_how_far_the_invitation_got(omegaai, staff):
    await omegaai.create(omegaai.patient(None))
    assert ">Unknown<" in (await staff.get("/patients")).text
    await omegaai.create(omegaai.patient())
    assert ">Invite Sent<" in (await staff.get("/patients")).text
    await omegaai.portal("jane.roe@example.org")
    page = (await staff.get("/patients")).text
    assert ">Active<" in page
    assert ">Invite Sent<" not in page


async def test_services_show_hours_and_minutes(staff):
    page = (await staff.get("/services")).text
    for words in ("BLUME CT", "08:00–23:00", "LAKE MR", "America/Vancouver"):
        assert words in page


async def test_the_task_log_shows_status_reason_focus_and_times(omegaai, staff):
    stored = await omegaai.book()
    page = (await staff.get("/tasks", params={"status": "ready"})).text
    assert f'href="/appointments/{stored["id"]}"' in page
    assert "mirthoutbound" in page
    tasks = (await omegaai.get("Task"))["entry"]
    for task in tasks:
        await omegaai.update({**task["resource"], "status": "completed"}, 1)
    assert 'class="empty"' in (await staff.get("/tasks", params={"status": "ready"})).text
    assert (await staff.get("/tasks", params={"status": "completed"})).text.count(">completed<") == 2


async def test_long_lists_have_pages(omegaai, staff):
    for number in range(51):
        await omegaai.create(omegaai.patient(None, name=[{"family": f"Number{number:02}"}]))
    first, second = (await staff.get("/patients")).text, (await staff.get("/patients?page=2")).text
    assert "Number50" in first
    assert "Number00" not in first
    assert 'href="/patients?page=2"' in first
    assert "Number00" in second
    assert 'href="/patients"' in second
    assert (await staff.get("/patients?page=x")).status_code == 200


async def test_events_name_kinds_and_ids_only(omegaai, staff):
    async with staff.stream("GET", "/events?kinds=Task", timeout=60) as stream:
        lines = stream.aiter_lines()
        assert await anext(lines) == "retry: 1000"
        await omegaai.create(omegaai.patient())
        async for line in lines:
            if line.startswith("data: "):
                assert json.loads(line[6:]) == {"kind": "Task", "id": "1"}
                break
