"""Strict R4 for OmegaAI: snapshots as Patient and Appointment, merged into the existing resource.

An update replaces the whole resource, so others' elements (extensions, notes) are copied; the elements that the suite
owns are its own.
"""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Final
from urllib.parse import quote

from omegaai.elements import Json, child, clean, code, items, reference, text, without_empty
from scheduler_sync.adapters.omegaai.reader import LINK_SYSTEM, PLACER_SYSTEM
from scheduler_sync.domain.appointment import FhirStatus, requests
from scheduler_sync.snapshots import AppointmentSnapshot, PatientSnapshot

_GENDER: Final = {"F": "female", "M": "male", "O": "other", "U": "unknown"}
_KEPT_OF_PATIENT: Final = ("extension", "active", "photo", "contact", "communication", "generalPractitioner", "link")
_KEPT_OF_APPOINTMENT: Final = (
    "extension", "comment", "supportingInformation", "basedOn", "priority", "created",
    "slot", "reasonCode", "reasonReference", "appointmentType",
)  # fmt: skip
_INSTANTS: Final = frozenset({"start", "end"})
_CASELESS: Final = frozenset({"status", "gender", "use", "system", "required", "reference", "resourceType"})
"""Elements that the vendor's dialect spells in another case."""
_TAKEN_AWAY: Final = frozenset({
    "name", "family", "given", "birthDate", "telecom", "address", "line", "city", "state", "postalCode", "country",
    "description", "serviceType", "minutesDuration", "cancelationReason", "requestedPeriod",
    "patientInstruction", "contact",
})  # fmt: skip
"""Elements of the suite that it writes at some times and omits at others."""
GUARDIAN: Final = "urn:powerserver:guardian"
"""The system of a contact's relationship that the suite writes, with HL7's code (table 0063)."""
RAMSOFT: Final = "http://www.ramsoft.com/fhir/StructureDefinition"
_REFERRER: Final = {
    "coding": [
        {
            "system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType",
            "code": "REF",
            "display": "referrer",
        }
    ]
}
_MR: Final = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]}


def patient_query(snapshot: PatientSnapshot) -> str:
    """If-None-Exist for a patient: by the identifier of record."""
    system, value = snapshot.identifiers[0]
    return f"identifier={quote(f'{system}|{value}', safe='')}"


def appointment_query(snapshot: AppointmentSnapshot, patient_fhir_id: str) -> str:
    """If-None-Exist for an appointment: by the placer number and the patient.

    A store that was set back gives the link a new id; the placer number stays. The number alone does not identify an
    appointment where several PowerServers write into one OmegaAI.
    """
    placer = quote(f"{PLACER_SYSTEM}|{snapshot.placer_number}", safe="")
    return f"identifier={placer}&patient={quote(f'Patient/{patient_fhir_id}', safe='')}"


def patient(snapshot: PatientSnapshot, existing: Json | None = None) -> Json:
    """The Patient to write."""
    body: Json = {"resourceType": "Patient", **_kept(existing, _KEPT_OF_PATIENT)}
    if existing is not None and existing.get("id"):
        body["id"] = str(existing["id"])
    body["identifier"] = [
        {"use": "usual", "type": _MR, "system": system, "value": value} for system, value in snapshot.identifiers
    ]
    theirs = existing or {}
    _put(body, "name", _name(snapshot, theirs))
    if snapshot.sex:
        body["gender"] = _GENDER[snapshot.sex]
    else:
        _put(body, "gender", code(theirs, "gender") or "unknown")
    birth_date = theirs.get("birthDate") if snapshot.birth_date is None else snapshot.birth_date
    _put(body, "birthDate", birth_date.isoformat() if isinstance(birth_date, date) else birth_date)
    _put(body, "telecom", _telecom(snapshot, theirs))
    _put(body, "address", _address(snapshot, theirs))
    if snapshot.guardian is not None:
        others = [clean(one) for one in items(theirs, "contact") if not _is_guardian(one)]
        body.pop("contact", None)
        _put(body, "contact", [*others, *_guardian(snapshot.guardian)])
    body["managingOrganization"] = {"reference": f"Organization/{snapshot.organization}"}
    return body


def _guardian(guardian: Mapping[str, str | None]) -> list[Json]:
    """The guardian as a contact; none where PowerServer has deleted it."""
    if not guardian:
        return []
    given = [one for one in (guardian["given"], guardian["middle"]) if one]
    telecom = [
        {"system": system, "value": value}
        for system, value in (("email", guardian["email"]), ("phone", guardian["phone"]))
        if value
    ]
    relationship = {"coding": [{"system": GUARDIAN, "code": guardian["relationship"]}], "text": "Guardian"}
    contact = {
        "relationship": [relationship],
        "name": {"family": guardian["family"], "given": given},
        "telecom": telecom,
    }
    return [without_empty(contact)]


def _is_guardian(contact: Json) -> bool:
    """Whether the suite wrote the contact. Others' contacts stay."""
    codings = (coding for kind in items(contact, "relationship") for coding in items(kind, "coding"))
    return any(code(coding, "system") == GUARDIAN for coding in codings)


def _put(body: Json, name: str, value: Any) -> None:
    if value not in (None, "", [], {}):
        body[name] = value


def _name(snapshot: PatientSnapshot, theirs: Json) -> list[Json] | None:
    if snapshot.family is None and snapshot.given is None and snapshot.middle is None:
        return clean(theirs.get("name"))  # type: ignore[no-any-return]
    known = next(iter(items(theirs, "name")), {})
    known_given = [one for one in known.get("given") or [] if isinstance(one, str) and one]
    first = known_given[:1] if snapshot.given is None else [snapshot.given]
    second = known_given[1:] if snapshot.middle is None and snapshot.given is None else [snapshot.middle]
    family = text(known, "family") if snapshot.family is None else snapshot.family
    name = without_empty({"family": family, "given": [one for one in (*first, *second) if one]})
    return [{"use": "official", **name}] if name else None


def _telecom(snapshot: PatientSnapshot, theirs: Json) -> list[Json]:
    """Our contact points, the e-mail first. Existing ones stay where PowerServer has never sent any."""
    found: list[Json] = []
    known = [one for one in items(theirs, "telecom") if text(one, "value")]
    for system, value, rank in (("email", snapshot.email, 1), ("phone", snapshot.phone, 2)):
        if value:
            found.append({"system": system, "value": value, "rank": rank})
        elif value is None:
            found += [_contact(one) for one in known if code(one, "system") == system]
    return found + [_contact(one) for one in known if code(one, "system") not in {"email", "phone"}]


def _contact(theirs: Json) -> Json:
    codes = {name: code(theirs, name) for name in ("system", "use")}
    return without_empty({**clean(theirs), **codes})


def _address(snapshot: PatientSnapshot, theirs: Json) -> Any:
    ours = snapshot.address
    if ours is None:
        return clean(theirs.get("address"))
    address = without_empty(
        {
            "line": [ours["line"]] if ours.get("line") else None,
            "city": ours.get("city"),
            "state": ours.get("state"),
            "postalCode": ours.get("postal_code"),
            "country": ours.get("country"),
        }
    )
    return [{"use": "home", **address}] if address else None


def appointment(
    snapshot: AppointmentSnapshot,
    patient_fhir_id: str,
    status: FhirStatus,
    existing: Json | None = None,
    *,
    keeps_wish: bool = False,
    practitioner_id: str | None = None,
) -> Json:
    """The Appointment to write, with ``status``. ``keeps_wish``: its requestedPeriod may be news, and stays.

    ``practitioner_id``: OmegaAI's id of the referring physician; without it the Appointment only names them.

    Where the Appointment has that status already, its participants' answers and its cancellation reason stay unchanged:
    they belong to the act that led there.
    """
    stays = existing is not None and code(existing, "status") == status.value
    answers = _answers(existing) if existing is not None and stays else {}
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
        body["serviceType"] = _service_types(snapshot)
    awaits_patient = status in {FhirStatus.PENDING, FhirStatus.WAITLIST}
    awaits_staff = status is FhirStatus.PROPOSED
    body["participant"] = [
        {
            "actor": {"reference": f"Patient/{patient_fhir_id}"},
            "required": "required",
            "status": answers.get("patient") or ("needs-action" if awaits_patient else "accepted"),
        },
        {
            "actor": {
                "reference": f"HealthcareService/{snapshot.healthcare_service_id}",
                "display": snapshot.resource,
            },
            "required": "required",
            "status": answers.get("healthcareservice") or ("needs-action" if awaits_staff else "accepted"),
        },
    ]
    if snapshot.physician is not None:
        body["participant"].append(_referrer(snapshot.physician, practitioner_id))
    if awaits_staff and snapshot.wanted is not None and not keeps_wish:
        start, end = snapshot.wanted
        body["requestedPeriod"] = [{"start": _instant(start), "end": _instant(end)}]
    elif awaits_staff and stays:
        body.update(_kept(existing, ("requestedPeriod",)))
    _put(body, "patientInstruction", _instruction(snapshot, existing or {}, stays=stays))
    if status in {FhirStatus.CANCELLED, FhirStatus.NOSHOW} and snapshot.reason:
        body["cancelationReason"] = {"text": snapshot.reason}
    elif existing is not None and stays and snapshot.reason is None:
        body.update(_kept(existing, ("cancelationReason",)))
    return body


def _service_types(snapshot: AppointmentSnapshot) -> list[Json]:
    """A study with its own time carries it as OmegaAI's orders do: in extensions of its coding."""
    found = []
    for place, (study, description) in enumerate(snapshot.studies):
        coding: Json = {"code": study, "display": description}
        if place < len(snapshot.study_times):
            start, minutes = snapshot.study_times[place]
            coding["extension"] = [{"url": f"{RAMSOFT}/studyDateTime", "valueDateTime": _instant(start)}]
            if minutes is not None:
                coding["extension"].append({"url": f"{RAMSOFT}/Duration", "valueInteger": minutes})
        found.append({"coding": [coding], "text": description})
    return found


def _referrer(physician: Mapping[str, str | None], practitioner_id: str | None) -> Json:
    names = (physician["family"], " ".join(one for one in (physician["given"], physician["middle"]) if one))
    actor: Json = {"display": ", ".join(one for one in names if one) or physician["number"]}
    if practitioner_id is not None:
        actor = {"reference": f"Practitioner/{practitioner_id}", **actor}
    return {"type": [_REFERRER], "actor": actor, "required": "information-only", "status": "accepted"}


def practitioner(physician: Mapping[str, str | None]) -> Json:
    """The Practitioner to create for a physician with a number."""
    given = [one for one in (physician["given"], physician["middle"]) if one]
    name = without_empty({"family": physician["family"], "given": given})
    return without_empty(
        {
            "resourceType": "Practitioner",
            "identifier": [{"system": physician["system"], "value": physician["number"]}],
            "active": True,
            "name": [name] if name else None,
        }
    )


def practitioner_query(physician: Mapping[str, str | None]) -> str:
    """If-None-Exist for a practitioner: by the number and its system."""
    number = quote(f"{physician['system']}|{physician['number']}", safe="")
    return f"identifier={number}"


def _instruction(snapshot: AppointmentSnapshot, existing: Json, *, stays: bool) -> str | None:
    """The text on the card: a facility's own instruction stays, an answer of ours ends with the status."""
    theirs = text(existing, "patientInstruction")
    is_ours = theirs is not None and theirs.startswith(requests.ANSWER)
    if snapshot.answer is not None and (theirs is None or is_ours):
        return snapshot.answer
    return None if is_ours and not stays else theirs


def _answers(existing: Json) -> dict[str, str]:
    """The participants' statuses, by the lower-case type of their actor."""
    found = {}
    for participant in items(existing, "participant"):
        actor, answer = reference(child(participant, "actor")), code(participant, "status")
        if actor is not None and answer is not None:
            found[actor[0].lower()] = answer
    return found


def is_same(ours: Json, existing: Json) -> bool:
    """Whether writing ``ours`` would change nothing, apart from the server's own elements (meta, text).

    An element of the suite that exists and that ``ours`` omits is a difference: the write removes it.
    """
    return _equal(ours, existing)


def _equal(ours: Any, theirs: Any, name: str = "") -> bool:
    if isinstance(ours, dict):
        return (
            isinstance(theirs, dict)
            and all(_equal(value, theirs.get(key), key) for key, value in ours.items())
            and not any(theirs.get(key) not in (None, "", [], {}) for key in _TAKEN_AWAY - ours.keys())
        )
    if isinstance(ours, list):
        return (
            isinstance(theirs, list)
            and len(ours) == len(theirs)
            and all(_equal(one, other, name) for one, other in zip(ours, theirs, strict=True))
        )
    if not (isinstance(ours, str) and isinstance(theirs, str)) or ours == theirs:
        return bool(ours == theirs)
    if name in _INSTANTS:
        return _moment(ours) == _moment(theirs)
    if name in _CASELESS:
        ours, theirs = ours.lower(), theirs.lower()
    return bool(ours == theirs.replace("urn:uuid", "urn:uuid:").replace("urn:uuid::", "urn:uuid:"))


def _moment(value: str) -> datetime | str:
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return value


def _instant(at: datetime) -> str:
    return at.isoformat(timespec="seconds")


def _kept(existing: Json | None, names: tuple[str, ...]) -> Json:
    return {} if existing is None else without_empty({name: clean(existing.get(name)) for name in names})
