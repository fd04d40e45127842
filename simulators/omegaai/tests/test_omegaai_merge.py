"""The operation `patient/merge`: identifiers and Appointments follow, once."""


async def merged(omegaai, keep, replace):
    return await omegaai.api.post("/fhir/patient/merge/", params={"keepPatientId": keep, "replacePatientId": replace})


async def test_appointments_and_identifiers_follow_and_the_ended_patient_says_so(omegaai):
    kept = (await omegaai.create(omegaai.patient())).json()
    other = omegaai.patient()
    other["identifier"] = [{**other["identifier"][0], "value": "4799"}]
    ended = (await omegaai.create(other)).json()
    booked = (await omegaai.create(omegaai.appointment(ended["id"]))).json()
    answer = await merged(omegaai, kept["id"], ended["id"])
    assert answer.status_code == 200
    shown = await omegaai.get(f"Patient/{kept['id']}")
    assert [one["value"] for one in shown["identifier"]][-1] == "4799"
    gone = await omegaai.get(f"Patient/{ended['id']}")
    assert (gone["active"], gone["link"][0]["type"], "identifier" in gone) == (False, "replaced-by", False)
    moved = await omegaai.get(f"Appointment/{booked['id']}")
    assert moved["participant"][0]["actor"]["reference"] == f"Patient/{kept['id']}"
    assert moved["meta"]["versionId"] == "2"
    assert (await merged(omegaai, kept["id"], ended["id"])).status_code == 404


async def test_what_cannot_be_merged_is_refused(omegaai):
    kept = (await omegaai.create(omegaai.patient())).json()
    assert (await merged(omegaai, kept["id"], kept["id"])).status_code == 422
    assert (await merged(omegaai, kept["id"], "")).status_code == 422
    assert (await merged(omegaai, kept["id"], "999999")).status_code == 404
    answer = await omegaai.api.post("/fhir/Appointment/merge/", params={"keepPatientId": "1", "replacePatientId": "2"})
    assert answer.status_code == 404
