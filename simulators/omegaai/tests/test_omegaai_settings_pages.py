"""The staff's settings: services, organisations, issuers, study types. A bad entry gets a sentence, never a 5xx."""

import re
from dataclasses import dataclass

import httpx
import pytest

SERVICE = {
    "organization": "Northside Imaging", "active": "on", "colour": "#123abc", "name": "BLUME CT 2", "modality": "CT",
    "duration": "01:00", "self_scheduling": "on", "mon": "on", "tue": "on",
    **{f"{day}_{end}": clock for day in ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
       for end, clock in (("opens", "08:00"), ("closes", "17:00"))},
}  # fmt: skip
ORGANIZATION = {"name": "Bay Imaging", "zone": "America/Halifax", "active": "on", "modalities": "CT"}
ISSUER = {"name": "BAY", "system": "http://bay.example/id", "organization": "Northside Health", "active": "on"}
STUDY_TYPE = {"code": "CT-NECK", "description": "CT Neck", "modality": "CT", "laterality": "", "duration": "20"}
CODE = {"code": "70490", "display": "CT Neck"}
FORMS = {
    "/services/new": SERVICE,
    "/scheduler/settings/resources/new": SERVICE,
    "/organizations/new": ORGANIZATION,
    "/organizations/issuers/new": ISSUER,
    "/study-types/new": STUDY_TYPE,
    "/study-types/codes/new": CODE,
}


@dataclass
class Desk:
    """A browser of the staff's."""

    http: httpx.AsyncClient

    async def form(self, path: str) -> dict[str, str]:
        """The hidden fields of a page's form."""
        page = (await self.http.get(path)).text
        return dict(re.findall(r'name="(csrf|version)" value="([^"]*)"', page))

    async def save(self, path: str, **entries: object) -> httpx.Response:
        return await self.http.post(path, data={**await self.form(path), **entries})


@pytest.fixture
async def desk(omegaai):
    http = await omegaai.browser()
    await http.post("/login", data={"name": "admin", "password": "development"})
    return Desk(http)


async def test_a_new_service_is_stored_as_entered_and_shown_to_be(omegaai, desk):
    entries = {**SERVICE, "overbooking": "on", "departments": ["Radiology", "Emergency"], "users": ["admin"]}
    entries |= {"sun": "on", "sun_opens": "00:00", "sun_closes": "24:00"}
    answer = await desk.save("/services/new", **entries)
    assert answer.status_code == 303, answer.text
    page = (await desk.http.get(answer.headers["location"])).text
    assert "“BLUME CT 2” (CT, 01:00)" in page
    assert "Mon–Tue 08:00–17:00, Sun all day" in page
    stored = (await omegaai.get("HealthcareService", name="BLUME CT 2"))["entry"][0]["resource"]
    held = {one["url"].rpartition("Definition/")[2]: list(one.values())[1] for one in stored["extension"]}
    assert held == {
        "modality": "CT", "Duration": 60, "overBooking": True, "selfScheduling": True, "department": "Emergency",
        "healthcareservice/color": "#123abc", "assignedUser": "admin",
    }  # fmt: skip
    assert stored["providedBy"] == {"reference": "Organization/2"}
    assert stored["availableTime"] == [
        {"daysOfWeek": ["mon", "tue"], "availableStartTime": "08:00:00", "availableEndTime": "17:00:00"},
        {"daysOfWeek": ["sun"], "allDay": True},
    ]
    (row,) = await omegaai.ledger("HealthcareService.created")
    assert (row["subject"], row["detail"]["by"]) == (stored["id"], "admin")


async def test_the_form_shows_what_is_stored_and_saving_it_changes_nothing(omegaai, desk):
    before = await omegaai.get("HealthcareService/11")
    days = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    page = (await desk.http.get("/services/11")).text
    found = dict(re.findall(r'name="(\w+)" (?:type="\w+" )?value="([^"]*)"', page))
    shown = {name: value for name, value in found.items() if name not in {"departments", "users"}}
    assert (shown["organization"], shown["name"], shown["duration"]) == ("Northside Imaging", "BLUME CT", "00:30")
    entries = {**dict.fromkeys((*days, "active", "self_scheduling"), "on"), "modality": "CT"}
    assert (await desk.http.post("/services/11", data={**shown, **entries})).status_code == 303
    after = await omegaai.get("HealthcareService/11")
    assert {**after, "meta": None} == {**before, "meta": None}


async def test_a_service_that_somebody_changed_meanwhile_is_shown_anew(omegaai, desk):
    form = await desk.form("/services/11")
    stored = await omegaai.get("HealthcareService/11")
    await omegaai.update({**stored, "name": "BLUME CT 9"}, 1)
    answer = await desk.http.post("/services/11", data={**SERVICE, **form})
    assert answer.status_code == 422
    assert "Somebody changed this meanwhile" in answer.text
    assert "BLUME CT 9" in answer.text


WRONG_OF_A_SERVICE = [
    ("organization", "Nowhere", "There is no organisation of this name"),
    ("name", "", "Enter the resource name"),
    ("name", "BLUME CT", "has a resource of this name"),
    ("name", "x" * 201, "at most 200 characters"),
    ("name", "BLUME\x00CT", "characters that cannot be shown"),
    ("modality", "ZZ", "Choose the modality"),
    ("colour", "red", "The colour is a #"),
    ("duration", "1 hour", "The duration is HH:MM"),
    ("duration", "00:09", "from 00:10"),
    ("duration", "99:59", "to 12:00"),
    ("mon_opens", "8", "Monday: a time is HH:MM"),
    ("mon_closes", "25:00", "Monday: a time is HH:MM"),
    ("mon_closes", "08:00", "Monday: the end is not after the start"),
    ("mon_closes", "24:00", "Monday: 24:00 ends a whole day alone"),
]


async def test_a_wrong_entry_of_a_service_gets_a_sentence(omegaai, desk):
    for field, value, sentence in WRONG_OF_A_SERVICE:
        answer = await desk.save("/services/new", **{**SERVICE, field: value})
        assert (answer.status_code, sentence in answer.text) == (422, True), answer.text
        assert 'aria-invalid="true"' in answer.text
        assert (await omegaai.get("HealthcareService"))["total"] == 6


async def test_a_service_needs_a_day(desk):
    entries = {name: value for name, value in SERVICE.items() if name not in {"mon", "tue"}}
    assert "at least one day" in (await desk.save("/services/new", **entries)).text


async def test_near_misses_and_hours_that_powerserver_cannot_have_are_noted(desk):
    entries = {**SERVICE, "name": "Blume ct", "tue_closes": "12:00", "duration": "00:10"}
    page = (await desk.http.get((await desk.save("/services/new", **entries)).headers["location"])).text
    for words in ("nearly or exactly this name: “BLUME CT”", "hours differ by weekday", "PowerServer books 15"):
        assert words in page


async def test_an_organisation_keeps_its_switches(omegaai, desk):
    answer = await desk.save("/organizations/new", **ORGANIZATION, enablePublicBooking="on", radius="50")
    assert answer.status_code == 303, answer.text
    stored = (await omegaai.get("Organization", name="Bay Imaging"))["entry"][0]["resource"]
    held = {one["url"].rpartition("/")[2]: list(one.values())[1] for one in stored["extension"]}
    assert held == {
        "timezone": "Atlantic Standard Time", "timezoneIANA": "America/Halifax", "selfSchedulingRadius": 50,
        "selfSchedulingModalities": "CT", "enablePublicBooking": True, "IsRescheduleAllowed": False,
        "IsCancelledAllowed": False,
    }  # fmt: skip
    assert stored["partOf"] == {"reference": "Organization/1"}
    page = (await desk.http.get("/organizations")).text
    assert "all but rescheduling, cancelling" in page


WRONG_OF_OTHERS = [
    ("/organizations/new", "name", "Northside Imaging", "Another organisation has this name"),
    ("/organizations/new", "zone", "Mars/Olympus", "Choose the time zone"),
    ("/organizations/new", "latitude", "91", "from -90 to 90"),
    ("/organizations/new", "latitude", "nan", "from -90 to 90"),
    ("/organizations/new", "latitude", "43", "go together"),
    ("/organizations/new", "radius", "0", "from 1 to 20000"),
    ("/organizations/issuers/new", "name", "NORTHSIDE", "Another issuer has this name"),
    ("/organizations/issuers/new", "system", "no uri", "a URI without blanks"),
    ("/organizations/issuers/new", "system", "http://northside.example/patient-id", "of NORTHSIDE already"),
    ("/organizations/issuers/new", "organization", "", "Enter the organisation"),
    ("/study-types/new", "code", "CT-HEAD", "This code is in use"),
    ("/study-types/new", "code", "CT HEAD", "letters, digits"),
    ("/study-types/new", "duration", "9", "from 10 to 720"),
    ("/study-types/new", "duration", "٣٠", "from 10 to 720"),
    ("/study-types/new", "modality", "ZZ", "Choose the modality"),
    ("/study-types/codes/new", "code", "70450", "This code is in use"),
    ("/study-types/codes/new", "display", "", "Enter the description"),
]


async def test_a_wrong_entry_of_the_other_settings_gets_a_sentence(desk):
    for path, field, value, sentence in WRONG_OF_OTHERS:
        answer = await desk.save(path, **{**FORMS[path], field: value})
        assert (answer.status_code, sentence in answer.text) == (422, True), answer.text


async def test_an_issuer_made_on_the_page_lets_its_patients_in(omegaai, desk):
    other = omegaai.patient(
        identifier=[{"type": {"coding": [{"code": "MR"}]}, "system": ISSUER["system"], "value": "1"}]
    )
    await omegaai.create(other, status=422)
    assert (await desk.save("/organizations/issuers/new", **ISSUER)).status_code == 303
    await omegaai.create(other)


async def test_every_form_can_be_saved_and_saved_again(desk):
    for path, entries in FORMS.items():
        changed = {**entries, "name": f"{entries['name']} {path}"} if "name" in entries else entries
        if "system" in entries:
            changed = {**changed, "system": ISSUER["system"]}
        made = await desk.save(path, **changed)
        assert made.status_code == 303, made.text
        own = made.headers["location"].partition("?")[0]
        again = await desk.save(own, **changed)
        assert (again.status_code, again.headers.get("location")) == (303, made.headers["location"])


async def test_forms_are_the_staffs_alone(omegaai, desk):
    stranger = await omegaai.browser()
    for path, entries in FORMS.items():
        assert (await stranger.get(path)).headers["location"] == "/login"
        assert (await stranger.post(path, data=entries)).headers["location"] == "/login"
        assert (await desk.http.post(path, data=entries)).status_code == 403  # without the session's token
        form = await desk.form(path)
        elsewhere = {"Sec-Fetch-Site": "cross-site"}
        assert (await desk.http.post(path, data={**form, **entries}, headers=elsewhere)).status_code == 403
        missing = path.replace("/new", "/4711")
        assert (await desk.http.get(missing)).status_code == 404
        assert (await desk.http.post(missing, data={**form, **entries})).status_code == 404


LISTS = ("/services", "/scheduler/settings/resources", "/organizations", "/study-types")


async def test_pages_hold_nothing_inline(desk):
    for path in (*FORMS, *LISTS):
        page = (await desk.http.get(path)).text
        assert not re.search(r"<style|style=|onclick|<script(?![^>]*src=)", page)
