"""Blume's own way: it writes the Appointment, and the facility decides."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from omegaai_sim.blume import cards
from omegaai_sim.blume.onboarding.accounts import Account
from omegaai_sim.blume.portal import PATIENT
from omegaai_sim.blume.scheduling import slots
from omegaai_sim.fhir import records
from omegaai_sim.fhir.outcome import Refused
from omegaai_sim.fhir.ramsoft import value
from omegaai_sim.fhir.records import Resource
from omegaai_sim.organizations import switches
from omegaai_sim.study_types import catalogue
from omegaai_sim.study_types.catalogue import StudyType
from simulator_kit.store import Work

LONGEST_NOTE: Final = 500
LONGEST_REASON: Final = 200


@dataclass(frozen=True, slots=True)
class Wish:
    """What a patient books. `start` is an instant; `is_chosen`: from the free times, so it has to be free still."""

    patient: str
    service: str
    study: str
    start: str
    note: str = ""
    is_chosen: bool = False


@dataclass(frozen=True, slots=True)
class Checked:
    """A wish that Blume's rules allow."""

    service: Resource
    study: StudyType
    start: datetime
    minutes: int


def patients_of(work: Work, account: Account) -> list[dict[str, str]]:
    """The account's patients, `{id, name, city}`; one account may have several."""
    rows = work.all(
        "SELECT id FROM search_value WHERE type = 'Patient' AND parameter = 'email' AND value = ?", account.email
    )
    found = []
    for row in rows:
        patient = cards.body_of(work, "Patient", row["id"])
        if patient is not None and cards.primary_email(patient) == account.email:
            cities = [one["city"] for one in patient.get("address", []) if "city" in one]
            found.append({"id": row["id"], "name": cards.name_of(patient), "city": "".join(cities[:1])})
    return found


def why_not(work: Work, service: Resource) -> str:
    """Why patients cannot book the service online; empty when they can."""
    _, _, owner = service.get("providedBy", {}).get("reference", "").partition("/")
    organization = cards.body_of(work, "Organization", owner) or {}
    if not (service.get("active", True) and organization.get("active", True)):
        return "It is closed."
    if not switches.is_on(organization, switches.BOOKING):
        return "It takes no bookings online."
    modality = value(service, "modality", "")
    if not switches.is_open(organization, modality):
        return f"It takes no {modality} bookings online."
    return "" if value(service, "selfScheduling") is not False else "This service takes no bookings online."


def fits(service: Resource, study: StudyType) -> bool:
    return value(service, "modality") in {study.modality, None}


def checked(work: Work, account: Account, wish: Wish) -> Checked:
    """Raises ``Refused``: 404 another's patient or no service, 422 what cannot be booked, 409 a taken time."""
    if wish.patient not in {one["id"] for one in patients_of(work, account)}:
        raise Refused(404, "not-found", "The patient is not one of this account.")
    service = cards.body_of(work, "HealthcareService", wish.service)
    if service is None or why_not(work, service):
        raise Refused(404, "not-found", "This service takes no bookings online. Please call the facility.")
    study = next((one for one in catalogue.bookable(work) if one.code == wish.study), None)
    if study is None or not fits(service, study):
        raise Refused(422, "value", "Please choose a study of this service.", "Appointment.serviceType")
    check_note(wish.note)
    start, minutes = slots.moment(wish.start, "start"), slots.minutes_of(study, service)
    return Checked(service, study, start, minutes)


def check_note(note: str) -> None:
    if len(note) > LONGEST_NOTE:
        raise Refused(422, "too-long", f"Please write at most {LONGEST_NOTE} characters.", "Appointment.comment")
    if not note.replace("\n", " ").replace("\r", " ").isprintable():
        raise Refused(422, "value", "The note has characters that cannot be shown.", "Appointment.comment")


def book(work: Work, account: Account, wish: Wish) -> cards.Card:
    """An Appointment at ``proposed``. Raises ``Refused`` as `checked` does."""
    found = checked(work, account, wish)
    check = slots.check_free if wish.is_chosen else slots.check
    check(work, found.service, found.start, found.minutes)
    zone = ZoneInfo(cards.facility_of(work, found.service).zone)
    times = found.start.astimezone(zone), (found.start + timedelta(minutes=found.minutes)).astimezone(zone)
    body = _appointment(found, times, patient=wish.patient)
    if wish.note:
        body["comment"] = wish.note
    return cards.card(work, records.create(work, "Appointment", body, by=PATIENT).body)


def move(
    work: Work, account: Account, identifier: str, seen_start: str, wanted: str, *, note: str = "", chosen: bool = False
) -> cards.Card:
    """Asks for another time; the present one stands until the facility answers. Raises ``Refused``: 404, 409, 422."""
    stored, card = own_card(work, account, identifier, seen_start)
    start = movable(card, wanted)
    check_note(note)
    if card.start is None or card.end is None:
        raise Refused(409, "conflict", "This appointment has no time yet.")
    length = card.end - card.start
    service = cards.body_of(work, "HealthcareService", cards.actor(stored.body, "HealthcareService")) or {}
    minutes = int(length.total_seconds() // 60)
    if chosen:
        slots.check_free(work, service, start, minutes, identifier)
    else:
        slots.check(work, service, start, minutes)
    local, until = start.astimezone(card.start.tzinfo), (start + length).astimezone(card.start.tzinfo)
    period = {"start": local.isoformat(timespec="seconds"), "end": until.isoformat(timespec="seconds")}
    changes: dict[str, Any] = {"status": "proposed", "requestedPeriod": [period]}
    return save(work, stored, changes | ({"comment": note} if note else {}), "tentative")


def movable(card: cards.Card, wanted: str) -> datetime:
    """The wanted start of an appointment that may be moved. Raises ``Refused``: 409, 422."""
    check_movable(card)
    start = slots.moment(wanted, "requestedPeriod")
    if start == card.start:
        raise Refused(422, "value", "Please choose another time than the present one.")
    return start


def check_movable(card: cards.Card) -> None:
    if not card.can_be_moved or card.end is None:
        raise Refused(409, "conflict", "This appointment cannot be rescheduled here. Please call the facility.")


def cancel(work: Work, account: Account, identifier: str, seen_start: str, reason: str) -> cards.Card:
    """Cancels with a reason. Raises ``Refused``: 404, 409 not (or no longer) possible, 422 without a reason."""
    stored, card = own_card(work, account, identifier, seen_start)
    check_cancellation(card, reason)
    return save(work, stored, {"status": "cancelled", "cancelationReason": {"text": reason}}, "declined")


def check_cancellation(card: cards.Card, reason: str) -> None:
    if not reason:
        raise Refused(422, "required", "Please give a reason for cancelling.")
    if len(reason) > LONGEST_REASON:
        raise Refused(422, "too-long", f"Please give the reason in at most {LONGEST_REASON} characters.")
    if not card.can_be_cancelled:
        raise Refused(409, "conflict", "This appointment cannot be cancelled any more.")


def own_card(work: Work, account: Account, identifier: str, seen_start: str) -> tuple[records.Stored, cards.Card]:
    """An appointment of the account. Raises ``Refused``: 404 another's, 409 when it was moved since it was seen."""
    stored = records.read(work, "Appointment", identifier)
    if cards.email_of(work, stored.body) != account.email or stored.body["status"] == "entered-in-error":
        raise Refused(404, "not-found", "Appointment is not known")
    if seen_start and not _is_same_moment(seen_start, stored.body.get("start")):
        raise Refused(
            409, "conflict", "The facility moved this appointment meanwhile. Please look at the new time first."
        )
    return stored, cards.card(work, stored.body)


def save(work: Work, stored: records.Stored, changes: dict[str, Any], answer: str) -> cards.Card:
    """Writes a patient's act; `answer` is the patient's participation."""
    participants = [
        {**one, "status": answer} if one.get("actor", {}).get("reference", "").startswith("Patient/") else one
        for one in stored.body["participant"]
    ]
    body = {**stored.body, **changes, "participant": participants}
    changed = records.update(work, "Appointment", body["id"], body, by=PATIENT, expected=stored.version)
    return cards.card(work, changed.body)


def _is_same_moment(seen: str, start: str | None) -> bool:
    try:
        return start is not None and datetime.fromisoformat(seen) == datetime.fromisoformat(start)
    except (ValueError, TypeError):
        return False


def _appointment(found: Checked, times: tuple[datetime, datetime], *, patient: str) -> Resource:
    start, end = (at.isoformat(timespec="seconds") for at in times)
    study, service = found.study, found.service
    return {
        "resourceType": "Appointment",
        "status": "proposed",
        "serviceType": [{"coding": [{"code": study.code, "display": study.description}], "text": study.description}],
        "description": study.description,
        "start": start,
        "end": end,
        "minutesDuration": found.minutes,
        "participant": [
            {"actor": {"reference": f"Patient/{patient}"}, "required": "required", "status": "accepted"},
            {
                "actor": {"reference": f"HealthcareService/{service['id']}", "display": service["name"]},
                "required": "required",
                "status": "needs-action",
            },
        ],
    }
