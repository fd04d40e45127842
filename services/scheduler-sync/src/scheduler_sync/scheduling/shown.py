"""The scheduling API's answers as FHIR resources. They name patients by the suite's ids alone."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from scheduler_sync.adapters.omegaai.reader import LINK_SYSTEM, PLACER_SYSTEM
from scheduler_sync.domain.appointment import AppointmentLink, Study
from scheduler_sync.domain.slots import Slot
from scheduler_sync.ports import Offer
from scheduler_sync.rooms import Room
from scheduler_sync.scheduling.desk import Hold
from scheduler_sync.scheduling.problems import Refused

EXPIRES: Final = "urn:powerserver-blume-suite:scheduling:expires"
ALTERNATIVE: Final = "urn:powerserver-blume-suite:scheduling:alternative"

Resource = dict[str, Any]


def free_slot(number: int, room: Room, slot: Slot, studies: Sequence[Study] = ()) -> Resource:
    """A free slot, as an Appointment that nobody has made yet."""
    return {
        "resourceType": "Appointment",
        "id": f"free-{number}",
        "status": "proposed",
        **_times(slot, room.hours.zone),
        **_services(studies),
        "participant": _participants(None, room),
    }


def held(hold: Hold, room: Room | None, zone: ZoneInfo) -> Resource:
    """A hold: an Appointment ``pending``, with the instant at which it ends."""
    return {
        "resourceType": "Appointment",
        "id": str(hold.id),
        "status": "pending",
        "extension": [{"url": EXPIRES, "valueInstant": _instant(hold.expires_at, zone)}],
        **_times(hold.slot, zone),
        **_services(hold.studies),
        "participant": _participants(hold.patient_id, room),
    }


def released(hold: Hold, room: Room | None, zone: ZoneInfo) -> Resource:
    """A hold that was given back: an Appointment ``cancelled``."""
    body = held(hold, room, zone)
    del body["extension"]
    return {**body, "status": "cancelled"}


def held_until(hold: Hold, zone: ZoneInfo) -> Resource:
    """The outcome that says in words until when the time is held."""
    until = _instant(hold.expires_at, zone)
    text = f"The time is held until {until}. Book it before; afterwards others may have it."
    return {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "information", "code": "informational", "details": {"text": text}}],
    }


def appointment(link: AppointmentLink, room: Room | None, zone: ZoneInfo) -> Resource:
    """An appointment as both systems know it."""
    body: Resource = {
        "resourceType": "Appointment",
        "id": str(link.id),
        "identifier": [
            {"system": LINK_SYSTEM, "value": f"urn:uuid:{link.id}"},
            {"system": PLACER_SYSTEM, "value": link.placer_number},
        ],
        "status": link.fhir_status.value,
        **({} if link.slot is None else _times(link.slot, zone)),
        **_services(link.studies),
        "participant": _participants(link.patient_id, room),
    }
    if link.requested_slot is not None:
        wanted = link.requested_slot
        body["requestedPeriod"] = [{"start": _instant(wanted.start, zone), "end": _instant(wanted.end, zone)}]
    if link.reason:
        body["cancelationReason"] = {"text": link.reason}
    return body


def bundle(resources: Sequence[Resource], total: int, *, outcomes: Sequence[Resource] = ()) -> Resource:
    """A Bundle of matches; ``total`` counts all, also those that are left out."""
    entries = [{"resource": one, "search": {"mode": "match"}} for one in resources]
    entries += [{"resource": one, "search": {"mode": "outcome"}} for one in outcomes]
    return {"resourceType": "Bundle", "type": "searchset", "total": total, "entry": entries}


def outcome(refused: Refused, zones: Mapping[str, ZoneInfo]) -> Resource:
    """Every reason as an issue; each free slot as a contained Appointment."""
    body: Resource = {
        "resourceType": "OperationOutcome",
        "issue": [
            {
                "severity": "error" if refused.status == 400 else "fatal",
                "code": one.code.value,
                "details": {"text": f"{one.where}: {one.text}" if one.where else one.text},
                **({"expression": [one.where]} if one.where else {}),
            }
            for one in refused.problems
        ],
    }
    if refused.offers:
        zone = zones[refused.facility]
        body["contained"] = [_offer(number, one, zone) for number, one in enumerate(refused.offers, 1)]
        body["extension"] = [
            {"url": ALTERNATIVE, "valueReference": {"reference": f"#alternative-{number}"}}
            for number in range(1, len(refused.offers) + 1)
        ]
        times = ", ".join(f"{_instant(one.slot.start, zone)} ({one.resource})" for one in refused.offers)
        body["issue"].append(
            {"severity": "information", "code": "informational", "details": {"text": f"Free instead: {times}"}}
        )
    return body


def plain_outcome(code: str, text: str) -> Resource:
    """One issue without a place."""
    return {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "error", "code": code, "details": {"text": text}}],
    }


def _offer(number: int, offer: Offer, zone: ZoneInfo) -> Resource:
    return {
        "resourceType": "Appointment",
        "id": f"alternative-{number}",
        "status": "proposed",
        **_times(offer.slot, zone),
        "participant": [{"actor": {"display": offer.resource}, "status": "needs-action"}],
    }


def _times(slot: Slot, zone: ZoneInfo) -> Resource:
    return {
        "start": _instant(slot.start, zone),
        "end": _instant(slot.end, zone),
        "minutesDuration": slot.minutes,
    }


def _services(studies: Sequence[Study]) -> Resource:
    if not studies:
        return {}
    return {"serviceType": [{"coding": [{"code": one.code, "display": one.description}]} for one in studies]}


def _participants(patient_id: UUID | None, room: Room | None) -> list[Resource]:
    found: list[Resource] = []
    if patient_id is not None:
        found.append({"actor": {"reference": f"Patient/{patient_id}"}, "status": "accepted"})
    if room is not None:
        service = {"reference": f"HealthcareService/{room.resource.healthcare_service_id}"}
        found.append({"actor": {**service, "display": room.resource.name}, "status": "needs-action"})
        found.append({"actor": {"display": room.resource.facility}, "status": "accepted"})
    return found


def _instant(at: datetime, zone: ZoneInfo) -> str:
    return at.astimezone(zone).isoformat(timespec="seconds")
