"""R4 for the resources that this stand-in keeps: unknown elements, wrong codes, dates and shapes are refused.

A table per type: element → check. It is written from the R4 definitions, not from what the suite happens to send.
"""

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any, Final

from omegaai_sim.fhir.outcome import invalid

Check = Callable[[Any, str], None]
_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_REFERENCE: Final = re.compile(r"([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})")
APPOINTMENT_STATUSES: Final = (
    "proposed", "pending", "booked", "arrived", "fulfilled", "cancelled", "noshow", "entered-in-error", "checked-in",
    "waitlist",
)  # fmt: skip
TASK_STATUSES: Final = (
    "draft", "requested", "received", "accepted", "rejected", "ready", "cancelled", "in-progress", "on-hold", "failed",
    "completed", "entered-in-error",
)  # fmt: skip


def _text(value: Any, path: str) -> None:
    if not isinstance(value, str) or not value.strip():
        raise invalid(path, "must be a text that is not empty")


def _boolean(value: Any, path: str) -> None:
    if not isinstance(value, bool):
        raise invalid(path, "must be true or false")


def _positive(value: Any, path: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise invalid(path, "must be a whole number from 1")


def _unsigned(value: Any, path: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise invalid(path, "must be a whole number from 0")


def _any(_value: Any, _path: str) -> None:
    """Not looked into."""


def _code(*known: str) -> Check:
    def check(value: Any, path: str) -> None:
        if value not in known:
            raise invalid(path, f"must be one of {', '.join(known)}")

    return check


def _instant(value: Any, path: str) -> None:
    try:
        zoned = datetime.fromisoformat(value).tzinfo is not None and "T" in value
    except (TypeError, ValueError):
        zoned = False
    if not zoned:
        raise invalid(path, "must be a date and time with a zone offset")


def _date(value: Any, path: str) -> None:
    try:
        parts = str(value).split("-")
        date(*(int(part) for part in [*parts, "1", "1"][:3]))
        right = isinstance(value, str) and re.fullmatch(r"\d{4}(-\d{2}(-\d{2})?)?", value)
    except ValueError:
        right = None
    if not right:
        raise invalid(path, "must be a date")


def _moment(value: Any, path: str) -> None:
    if isinstance(value, str) and "T" in value:
        _instant(value, path)
    else:
        _date(value, path)


def _several(check: Check) -> Check:
    def every(value: Any, path: str) -> None:
        if not isinstance(value, list) or not value:
            raise invalid(path, "must be a list that is not empty")
        for number, item in enumerate(value):
            check(item, f"{path}[{number}]")

    return every


def _shape(elements: Mapping[str, Check], *required: str) -> Check:
    known = {"id": _text, "extension": _any, **elements}

    def check(value: Any, path: str) -> None:
        if not isinstance(value, dict) or not value:
            raise invalid(path, "must be an object that is not empty")
        for name, item in value.items():
            if name not in known:
                raise invalid(f"{path}.{name}", "is not an element of R4 here")
            known[name](item, f"{path}.{name}")
        for name in required:
            if name not in value:
                raise invalid(f"{path}.{name}", "is required")

    return check


_CODING = _shape({"system": _text, "version": _text, "code": _text, "display": _text, "userSelected": _boolean})
_CONCEPT = _shape({"coding": _several(_CODING), "text": _text})
_PERIOD = _shape({"start": _moment, "end": _moment})
_IDENTIFIER = _shape(
    {"use": _code("usual", "official", "temp", "secondary", "old"), "type": _CONCEPT, "system": _text, "value": _text,
     "period": _PERIOD, "assigner": _any}
)  # fmt: skip


def _reference_text(value: Any, path: str) -> None:
    if not isinstance(value, str) or not _REFERENCE.fullmatch(value):
        raise invalid(path, "must be Type/id")


_REF = _shape({"reference": _reference_text, "type": _text, "display": _text, "identifier": _IDENTIFIER})
_NAME = _shape(
    {"use": _code("usual", "official", "temp", "nickname", "anonymous", "old", "maiden"), "text": _text,
     "family": _text, "given": _several(_text), "prefix": _several(_text), "suffix": _several(_text), "period": _PERIOD}
)  # fmt: skip
_TELECOM = _shape(
    {"system": _code("phone", "fax", "email", "pager", "url", "sms", "other"), "value": _text,
     "use": _code("home", "work", "temp", "old", "mobile"), "rank": _positive, "period": _PERIOD}
)  # fmt: skip
_ADDRESS = _shape(
    {"use": _code("home", "work", "temp", "old", "billing"), "type": _code("postal", "physical", "both"),
     "text": _text, "line": _several(_text), "city": _text, "district": _text, "state": _text, "postalCode": _text,
     "country": _text, "period": _PERIOD}
)  # fmt: skip
_META = _shape(
    {"versionId": _text, "lastUpdated": _instant, "source": _text, "profile": _any, "security": _any, "tag": _any}
)
_PARTICIPANT = _shape(
    {"type": _several(_CONCEPT), "actor": _REF, "required": _code("required", "optional", "information-only"),
     "status": _code("accepted", "declined", "tentative", "needs-action"), "period": _PERIOD},
    "status",
)  # fmt: skip
_COMMON: Final[dict[str, Check]] = {
    "resourceType": _text, "id": _text, "meta": _META, "implicitRules": _text, "language": _text, "text": _any,
    "contained": _any, "modifierExtension": _any, "identifier": _several(_IDENTIFIER),
}  # fmt: skip

TYPES: Final[dict[str, Check]] = {
    "Patient": _shape(
        _COMMON
        | {
            "active": _boolean, "name": _several(_NAME), "telecom": _several(_TELECOM),
            "gender": _code("male", "female", "other", "unknown"), "birthDate": _date, "deceasedBoolean": _boolean,
            "deceasedDateTime": _moment, "address": _several(_ADDRESS), "maritalStatus": _CONCEPT,
            "multipleBirthBoolean": _boolean, "multipleBirthInteger": _unsigned, "photo": _any, "contact": _any,
            "communication": _any, "generalPractitioner": _several(_REF), "managingOrganization": _REF, "link": _any,
        },
        "identifier",
    ),
    "Appointment": _shape(
        _COMMON
        | {
            "status": _code(*APPOINTMENT_STATUSES), "cancelationReason": _CONCEPT, "serviceCategory": _several(_CONCEPT),
            "serviceType": _several(_CONCEPT), "specialty": _several(_CONCEPT), "appointmentType": _CONCEPT,
            "reasonCode": _several(_CONCEPT), "reasonReference": _several(_REF), "priority": _unsigned,
            "description": _text, "supportingInformation": _several(_REF), "start": _instant, "end": _instant,
            "minutesDuration": _positive, "slot": _several(_REF), "created": _moment, "comment": _text,
            "patientInstruction": _text, "basedOn": _several(_REF), "participant": _several(_PARTICIPANT),
            "requestedPeriod": _several(_PERIOD),
        },
        "status",
        "participant",
    ),
    "Task": _shape(
        _COMMON
        | {
            "status": _code(*TASK_STATUSES), "statusReason": _CONCEPT, "businessStatus": _CONCEPT,
            "intent": _code("unknown", "proposal", "plan", "order", "original-order", "reflex-order", "filler-order",
                            "instance-order", "option"),
            "priority": _code("routine", "urgent", "asap", "stat"), "code": _CONCEPT, "description": _text,
            "focus": _REF, "for": _REF, "authoredOn": _moment, "lastModified": _moment, "reasonCode": _CONCEPT,
            "requester": _REF, "owner": _REF, "note": _any, "executionPeriod": _PERIOD,
        },
        "status",
        "intent",
    ),
}  # fmt: skip
"""What may be written. Organizations and HealthcareServices are the site's own and are only read."""


def validate(resource_type: str, body: Any) -> None:
    """Raises ``Refused`` (422, or 400 for something else than the type that the address names)."""
    if not isinstance(body, dict) or body.get("resourceType") != resource_type:
        raise invalid(f"{resource_type}.resourceType", f"must be {resource_type}")
    TYPES[resource_type](body, resource_type)
    if resource_type == "Appointment":
        _appointment(body)


def _appointment(body: dict[str, Any]) -> None:
    """The invariants app-1 to app-4 of R4's Appointment."""
    for number, participant in enumerate(body["participant"]):
        if "type" not in participant and "actor" not in participant:
            raise invalid(f"Appointment.participant[{number}]", "must have a type or an actor")
    if ("start" in body) != ("end" in body):
        raise invalid("Appointment.end" if "start" in body else "Appointment.start", "start and end come together")
    if "start" not in body and body["status"] not in {"proposed", "cancelled", "waitlist"}:
        raise invalid("Appointment.start", "is required in this status")
    if "start" in body and datetime.fromisoformat(body["start"]) >= datetime.fromisoformat(body["end"]):
        raise invalid("Appointment.end", "must be after the start")
    if "cancelationReason" in body and body["status"] not in {"cancelled", "noshow"}:
        raise invalid("Appointment.cancelationReason", "only goes with cancelled or noshow")


def references(body: Any) -> list[tuple[str, str, str]]:
    """Every literal reference as (type, id, path of the element that holds it)."""
    found: list[tuple[str, str, str]] = []

    def walk(value: Any, path: str) -> None:
        if isinstance(value, dict):
            text = value.get("reference")
            match = _REFERENCE.fullmatch(text) if isinstance(text, str) else None
            if match:
                found.append((match[1], match[2], f"{path}.reference"))
            for name, item in value.items():
                walk(item, f"{path}.{name}")
        elif isinstance(value, list):
            for number, item in enumerate(value):
                walk(item, f"{path}[{number}]")

    walk(body, str(body.get("resourceType")))
    return found


def is_id(text: str) -> bool:
    return bool(_ID.fullmatch(text))
