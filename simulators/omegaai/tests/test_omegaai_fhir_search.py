"""Search: every key of the wire, pages and their links."""


async def _ids(omegaai, path, **query):
    bundle = await omegaai.get(path, **query)
    return [entry["resource"]["id"] for entry in bundle.get("entry", [])]


async def test_pages_follow_their_next_links_to_the_end(omegaai):
    created = [(await omegaai.create(omegaai.patient(f"p{n}@example.org"))).json()["id"] for n in range(7)]
    bundle = await omegaai.get("Patient", _count=3)
    assert (bundle["type"], bundle["total"]) == ("searchset", 7)
    seen = []
    while True:
        seen += [entry["resource"]["id"] for entry in bundle["entry"]]
        following = [link["url"] for link in bundle["link"] if link["relation"] == "next"]
        if not following:
            break
        assert following[0].startswith(f"{omegaai.base}/fhir/Patient?")
        bundle = (await omegaai.api.get(following[0])).json()
    assert seen == created


async def test_a_page_behind_the_last_is_empty(omegaai):
    await omegaai.create(omegaai.patient())
    bundle = await omegaai.get("Patient", page=5)
    assert bundle["total"] == 1
    assert "entry" not in bundle


async def test_patients_by_identifier_and_email(omegaai):
    stored = (await omegaai.create(omegaai.patient("Jane.Roe@Example.org"))).json()
    await omegaai.create(omegaai.patient("other@example.org"))
    number = stored["identifier"][0]["value"]
    assert await _ids(omegaai, "Patient", identifier=f"http://northside.example/patient-id|{number}") == [stored["id"]]
    assert await _ids(omegaai, "Patient", identifier=number) == [stored["id"]]
    assert await _ids(omegaai, "Patient", identifier=f"http://elsewhere.example|{number}") == []
    assert await _ids(omegaai, "Patient", email="jane.roe@example.org") == [stored["id"]]


async def test_appointments_by_identifier_patient_date_and_status(omegaai):
    first = await omegaai.book()
    second = await omegaai.book(
        status="booked", start="2036-12-02T09:00:00-08:00", end="2036-12-02T09:30:00-08:00", service="16"
    )
    link = first["identifier"][0]["value"]
    reference = second["participant"][0]["actor"]["reference"]
    both = [first["id"], second["id"]]
    assert await _ids(omegaai, "Appointment", identifier=f"urn:ietf:rfc:3986|{link}") == [first["id"]]
    assert await _ids(omegaai, "Appointment", patient=reference) == [second["id"]]
    assert await _ids(omegaai, "Appointment", patient=reference.split("/")[1]) == [second["id"]]
    assert await _ids(omegaai, "Appointment", status="booked") == [second["id"]]
    assert await _ids(omegaai, "Appointment", date="2036-12-02") == [second["id"]]
    assert await _ids(omegaai, "Appointment", date="ge2036-12-01T19:30:00Z") == both
    assert await _ids(omegaai, "Appointment", date="gt2036-12-01T19:30:00Z") == [second["id"]]
    assert await _ids(omegaai, "Appointment", date="2036-12-01T14:30:00-05:00") == [first["id"]]
    assert await _ids(omegaai, "Appointment", status="booked", date="2036-12-01") == []


async def test_the_site_is_there_from_the_start(omegaai):
    assert await _ids(omegaai, "HealthcareService", organization="Organization/2") == ["11", "12", "13", "14"]
    assert await _ids(omegaai, "HealthcareService", name="LAKE CT", active="true") == ["15"]
    assert await _ids(omegaai, "Organization", partof="1") == ["2", "3"]
    assert await _ids(omegaai, "organization", name="Northside Health") == ["1"]
    assert await _ids(omegaai, "HealthcareService", active="false") == []


async def test_what_is_not_understood_is_refused(omegaai):
    for query in ({"shoe": "44"}, {"_count": "0"}, {"_count": "many"}, {"page": "-1"}):
        outcome = await omegaai.get("Patient", expect=400, **query)
        assert outcome["resourceType"] == "OperationOutcome"
    for date in ("soon", "ne2036-12-01", "2036-13-01"):
        await omegaai.get("Appointment", expect=400, date=date)


async def test_tasks_by_their_last_change_and_in_its_order(omegaai):
    """A changed Task goes to the end; one that says an earlier time stands where that time belongs."""
    tell = omegaai.api.post
    given = [
        (await tell(f"{omegaai.base}/control/tasks", json={"type": "ImagingStudy", "updated": at})).json()[0]
        for at in ("2026-11-30T12:00:02Z", "2026-11-30T12:00:01.500Z", "2026-11-30T07:00:03-05:00")
    ]
    first, second, third = given[1], given[0], given[2]
    query = {"status": "ready", "reasoncode": "mirthoutbound"}
    assert await _ids(omegaai, "Task", _sort="_lastUpdated", **query) == [first, second, third]
    assert await _ids(omegaai, "Task", _sort="-_lastUpdated", **query) == [third, second, first]
    assert await _ids(omegaai, "Task", _lastUpdated="ge2026-11-30T12:00:02Z", _sort="_lastUpdated") == [second, third]
    assert await _ids(omegaai, "Task", _lastUpdated="lt2026-11-30T12:00:02Z", **query) == [first]
    bundle = await omegaai.get("Task", _sort="_lastUpdated", _count="2", _lastUpdated="ge2026-11-30T12:00:01Z", **query)
    following = next(link["url"] for link in bundle["link"] if link["relation"] == "next")
    assert [one["resource"]["id"] for one in (await omegaai.api.get(following)).json()["entry"]] == [third]


async def test_an_order_that_is_not_known_is_refused(omegaai):
    for sort in ("status", "", "_lastUpdated,status"):
        assert (await omegaai.api.get(f"{omegaai.base}/fhir/Task", params={"_sort": sort})).status_code == 400
    assert (await omegaai.api.get(f"{omegaai.base}/fhir/Task?_lastUpdated=ge")).status_code == 400
