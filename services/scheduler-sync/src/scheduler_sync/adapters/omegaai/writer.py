"""Strict R4 for OmegaAI: snapshots as Patient and Appointment, laid over what is there already.

An update replaces the whole resource, so what others put there (extensions, notes) is taken along; the elements that
the suite owns are its own.
"""

from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from scheduler_sync.adapters.omegaai.elements import Json
from scheduler_sync.adapters.omegaai.reader import LINK_SYSTEM, PLACER_SYSTEM
from scheduler_sync.domain.statuses import FhirStatus
from scheduler_sync.messages import AppointmentSnapshot, PatientSnapshot

_GENDER: Final = {"F": "female", "M": "male", "O": "other", "U": "unknown"}
_KEPT_OF_PATIENT: Final = ("extension", "active", "photo", "contact", "communication", "generalPractitioner", "link")
_KEPT_OF_APPOINTMENT: Final = (
    "extension", "comment", "patientInstruction", "supportingInformation", "basedOn", "priority", "created",
    "requestedPeriod", "slot", "reasonCode", "reasonReference", "appointmentType",
)  # fmt: skip
_MR: Final = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]}


def patient_query(snapshot: PatientSnapshot) -> str:
    """If-None-Exist for a patient: by the identifier that names one."""
    system, value = snapshot.identifiers[0]
    return f"identifier={quote(f'{system}|{value}', safe='')}"


def appointment_query(snapshot: AppointmentSnapshot) -> str:
    """If-None-Exist for an appointment: by our link's id."""
    return f"identifier={quote(f'{LINK_SYSTEM}|urn:uuid:{snapshot.link_id}', safe='')}"


def patient(snapshot: PatientSnapshot, existing: Json | None = None) -> Json:
    """The Patient to write."""
    body: Json = {"resourceType": "Patient", **_kept(existing, _KEPT_OF_PATIENT)}
    if existing is not None and existing.get("id"):
        body["id"] = str(existing["id"])
    body["identifier"] = [
        {"use": "usual", "type": _MR, "system": system, "value": value} for system, value in snapshot.identifiers
    ]
    given = [part for part in (snapshot.given, snapshot.middle) if part]
    name = _without_empty({"use": "official", "family": snapshot.family, "given": given})
    if len(name) > 1:
        body["name"] = [name]
    body["gender"] = _GENDER[snapshot.sex]
    if snapshot.birth_date is not None:
        body["birthDate"] = snapshot.birth_date.isoformat()
    telecom = []
    if snapshot.email:
        telecom.append({"system": "email", "value": snapshot.email, "rank": 1})
    if snapshot.phone:
        telecom.append({"system": "phone", "value": snapshot.phone, "rank": 2})
    if telecom:
        body["telecom"] = telecom
    if snapshot.address is not None:
        address = _without_empty(
            {
                "line": [snapshot.address["line"]] if snapshot.address.get("line") else None,
                "city": snapshot.address.get("city"),
                "state": snapshot.address.get("state"),
                "postalCode": snapshot.address.get("postal_code"),
                "country": snapshot.address.get("country"),
            }
        )
        if address:
            body["address"] = [{"use": "home", **address}]
    body["managingOrganization"] = {"reference": f"Organization/{snapshot.organization}"}
    return body


def appointment(
    snapshot: AppointmentSnapshot, patient_fhir_id: str, status: FhirStatus, existing: Json | None = None
) -> Json:
    """The Appointment to write, with ``status``."""
    body: Json = {"resourceType": "Appointment", **_kept(existing, _KEPT_OF_APPOINTMENT)}
    if existing is not None and existing.get("id"):
        body["id"] = str(existing["id"])
    body["identifier"] = [
        {"system": LINK_SYSTEM, "value": f"urn:uuid:{snapshot.link_id}"},
        {"system": PLACER_SYSTEM, "value": snapshot.placer_number},
    ]
    body["status"] = status.value
    body["start"], body["end"] = _instant(snapshot.start), _instant(snapshot.end)
    body["minutesDuration"] = snapshot.minutes
    if snapshot.studies:
        body["description"] = ", ".join(description for _, description in snapshot.studies)
        body["serviceType"] = [
            {"coding": [{"code": code, "display": description}], "text": description}
            for code, description in snapshot.studies
        ]
    awaits_patient = status in {FhirStatus.PENDING, FhirStatus.WAITLIST}
    awaits_staff = status is FhirStatus.PROPOSED
    body["participant"] = [
        {
            "actor": {"reference": f"Patient/{patient_fhir_id}"},
            "required": "required",
            "status": "needs-action" if awaits_patient else "accepted",
        },
        {
            "actor": {
                "reference": f"HealthcareService/{snapshot.healthcare_service_id}",
                "display": snapshot.resource,
            },
            "required": "required",
            "status": "needs-action" if awaits_staff else "accepted",
        },
    ]
    if status is FhirStatus.CANCELLED and snapshot.reason:
        body["cancelationReason"] = {"text": snapshot.reason}
    return body


def is_same(ours: Json, existing: Json) -> bool:
    """Whether a write of ``ours`` would change nothing, but for what the server adds (meta, text)."""
    return all(_equal(value, existing.get(name)) for name, value in ours.items())


def _equal(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, dict):
        return isinstance(theirs, dict) and all(_equal(value, theirs.get(name)) for name, value in ours.items())
    if isinstance(ours, list):
        return (
            isinstance(theirs, list)
            and len(ours) == len(theirs)
            and all(_equal(one, other) for one, other in zip(ours, theirs, strict=True))
        )
    if isinstance(ours, str) and isinstance(theirs, str) and ours != theirs:
        try:
            return datetime.fromisoformat(ours) == datetime.fromisoformat(theirs)
        except (ValueError, TypeError):
            return False
    return bool(ours == theirs)


def _instant(at: datetime) -> str:
    return at.isoformat(timespec="seconds")


def _kept(existing: Json | None, names: tuple[str, ...]) -> Json:
    return (
        {} if existing is None else {name: existing[name] for name in names if existing.get(name) not in ("", None, [])}
    )


def _without_empty(values: Json) -> Json:
    return {name: value for name, value in values.items() if value}
