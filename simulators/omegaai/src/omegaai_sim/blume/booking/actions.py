"""A patient books: an Appointment at ``proposed`` on a HealthcareService; the facility decides."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from omegaai_sim.blume import cards
from omegaai_sim.blume.booking import slots
from omegaai_sim.blume.booking.study_types import STUDY_TYPES, StudyType, study_type
from omegaai_sim.blume.onboarding.accounts import Account
from omegaai_sim.blume.portal import PATIENT
from omegaai_sim.fhir import records
from omegaai_sim.fhir.outcome import Refused
from omegaai_sim.organizations import switches
from simulator_kit.store import Work

LONGEST_NOTE = 500
RAMSOFT = "http://www.ramsoft.com/fhir/StructureDefinition/"


def patients_of(work: Work, account: Account) -> list[dict[str, str]]:
    """The account's patients, `{id, name}`; one account may have several."""
    rows = work.all(
        "SELECT id FROM search_value WHERE type = 'Patient' AND parameter = 'email' AND value = ?", account.email
    )
    found = []
    for row in rows:
        patient = cards.body_of(work, "Patient", row["id"])
        if patient is not None and cards.primary_email(patient) == account.email:
            found.append({"id": row["id"], "name": cards.name_of(patient)})
    return found


def offers(work: Work) -> list[dict[str, Any]]:
    """The bookable services, `{id, name, facility, zone, studies}`, of facilities that take bookings online."""
    found = []
    for row in work.all("SELECT id FROM resource WHERE type = 'HealthcareService' ORDER BY CAST(id AS INTEGER)"):
        service = cards.body_of(work, "HealthcareService", row["id"]) or {}
        if _is_bookable(work, service):
            facility = cards.facility_of(work, service)
            studies = [{"code": one.code, "display": one.display} for one in STUDY_TYPES if _fits(service, one)]
            found.append(
                {"id": row["id"], "name": service["name"], "facility": facility.name, "zone": facility.zone,
                 "studies": studies}
            )  # fmt: skip
    return found


def book(
    work: Work, account: Account, *, patient: str, service: str, study: str, start: str, note: str = ""
) -> cards.Card:
    """Asks for an appointment. Raises ``Refused``: 404 another's patient or no service, 422 what cannot be booked."""
    if patient not in {one["id"] for one in patients_of(work, account)}:
        raise Refused(404, "not-found", "The patient is not one of this account.")
    found = cards.body_of(work, "HealthcareService", service)
    if found is None or not _is_bookable(work, found):
        raise Refused(404, "not-found", "This service takes no bookings online. Please call the facility.")
    wanted = study_type(study)
    if wanted is None or not _fits(found, wanted):
        raise Refused(422, "value", "Please choose a study of this service.", "Appointment.serviceType")
    if len(note) > LONGEST_NOTE:
        raise Refused(422, "too-long", f"Please write at most {LONGEST_NOTE} characters.", "Appointment.comment")
    begins, minutes = slots.moment(start, "start"), max(wanted.minutes, slots.SHORTEST_MINUTES)
    slots.check(work, found, begins, minutes)
    zone = ZoneInfo(cards.facility_of(work, found).zone)
    times = begins.astimezone(zone), (begins + timedelta(minutes=minutes)).astimezone(zone)
    body = _appointment(wanted, times, minutes, patient=patient, service=(service, found["name"]))
    if note:
        body["comment"] = note
    stored = records.create(work, "Appointment", body, by=PATIENT)
    return cards.card(work, stored.body)


def _is_bookable(work: Work, service: Mapping[str, Any]) -> bool:
    _, _, owner = service.get("providedBy", {}).get("reference", "").partition("/")
    organization = cards.body_of(work, "Organization", owner) or {}
    is_offered = _extension(service, "selfScheduling", "valueBoolean") is not False
    return bool(service.get("active")) and is_offered and switches.is_on(organization, switches.BOOKING)


def _fits(service: Mapping[str, Any], study: StudyType) -> bool:
    return _extension(service, "modality", "valueCode") in {study.modality, None}


def _extension(service: Mapping[str, Any], name: str, value: str) -> Any:
    return next((one.get(value) for one in service.get("extension", []) if one.get("url") == RAMSOFT + name), None)


def _appointment(
    study: StudyType, times: tuple[datetime, datetime], minutes: int, *, patient: str, service: tuple[str, str]
) -> dict[str, Any]:
    start, end = (at.isoformat(timespec="seconds") for at in times)
    identifier, name = service
    return {
        "resourceType": "Appointment",
        "status": "proposed",
        "serviceType": [{"coding": [{"code": study.code, "display": study.display}], "text": study.display}],
        "description": study.display,
        "start": start,
        "end": end,
        "minutesDuration": minutes,
        "participant": [
            {"actor": {"reference": f"Patient/{patient}"}, "required": "required", "status": "accepted"},
            {
                "actor": {"reference": f"HealthcareService/{identifier}", "display": name},
                "required": "required",
                "status": "needs-action",
            },
        ],
    }
