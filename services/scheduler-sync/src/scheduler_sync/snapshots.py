"""The content of a delivery to OmegaAI: the Patient or Appointment that OmegaAI should hold.

A snapshot is taken in the transaction of the decision. At sending, only the ids that OmegaAI gave meanwhile are read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, Literal
from urllib.parse import quote
from uuid import UUID

import orjson

from scheduler_sync.domain.appointment import AppointmentLink
from scheduler_sync.domain.patient import Patient

NPI: Final = "http://hl7.org/fhir/sid/us-npi"
PHYSICIAN_SYSTEM: Final = "urn:powerserver:physician"
"""The systems of physicians' numbers; of another issuer than NPI, its name follows."""
PATIENT_UPSERT: Final = "patient.upsert"
APPOINTMENT_UPSERT: Final = "appointment.upsert"
"""The kinds of deliveries with a snapshot."""
PATIENT_MERGE: Final = "patient.merge"


@dataclass(frozen=True, slots=True)
class PatientSnapshot:
    """The Patient that OmegaAI should hold. ``identifiers`` are (system, value) pairs; the first one identifies.

    None: PowerServer has never sent the detail, and OmegaAI's own stays. Empty: PowerServer has deleted it. A sex that
    it has never sent is ``""``.
    """

    patient_id: UUID
    identifiers: tuple[tuple[str, str], ...]
    family: str | None
    given: str | None
    middle: str | None
    birth_date: date | Literal[""] | None
    sex: str
    email: str | None
    phone: str | None
    language: str
    address: Mapping[str, str | None] | None
    organization: str
    guardian: Mapping[str, str | None] | None = None

    @classmethod
    def of(cls, patient: Patient, systems: Mapping[str, str]) -> "PatientSnapshot":
        """``systems`` maps an issuer to OmegaAI's system; identifiers of other issuers stay here."""
        address = patient.address
        no_address: dict[str, str | None] | None = {} if patient.is_said("address") else None
        return cls(
            patient_id=patient.id,
            identifiers=tuple((systems[one.issuer], one.value) for one in patient.identifiers if one.issuer in systems),
            family=patient.family if patient.is_said("family") else None,
            given=patient.given if patient.is_said("given") else None,
            middle=_said(patient, "middle"),
            birth_date=_said(patient, "birth_date"),
            sex=patient.sex if patient.is_said("sex") else "",
            email=_said(patient, "email"),
            phone=_said(patient, "phone"),
            language=patient.language,
            address=no_address
            if address is None
            else {
                "line": address.line,
                "city": address.city,
                "state": address.state,
                "postal_code": address.postal_code,
                "country": address.country,
            },
            organization=patient.organization,
            guardian=_guardian(patient),
        )

    def to_bytes(self) -> bytes:
        values = dict(zip(self.__slots__, _PATIENTS_VALUES(self), strict=True))
        if self.guardian is None:
            del values["guardian"]  # former code does not know the name
        return orjson.dumps(values, default=str)  # asyncpg's UUIDs are a class of their own

    @classmethod
    def from_bytes(cls, payload: bytes) -> "PatientSnapshot":
        values: dict[str, Any] = orjson.loads(payload)
        values["patient_id"] = UUID(values["patient_id"])
        values["identifiers"] = tuple((system, value) for system, value in values["identifiers"])
        values["birth_date"] = (
            date.fromisoformat(values["birth_date"]) if values["birth_date"] else values["birth_date"]
        )
        return cls(**values)


def _guardian(patient: Patient) -> Mapping[str, str | None] | None:
    guardian = patient.guardian
    if guardian is None:
        return {} if patient.is_said("guardian") else None
    return {
        "family": guardian.family,
        "given": guardian.given,
        "middle": guardian.middle,
        "relationship": guardian.relationship,
        "email": guardian.email,
        "phone": guardian.phone,
    }


def _said(patient: Patient, name: str) -> Any:
    """The detail; empty when it was deleted, None when no message has given it."""
    value = getattr(patient, name)
    return "" if value is None and patient.is_said(name) else value


@dataclass(frozen=True, slots=True)
class AppointmentSnapshot:
    """The Appointment that OmegaAI should hold; ``start`` and ``end`` have the facility's offset.

    When the snapshot was taken, ``base_version`` was the newest known version, ``written_version`` our own newest.
    """

    link_id: UUID
    patient_id: UUID
    placer_number: str
    status: str
    start: datetime
    end: datetime
    minutes: int
    studies: tuple[tuple[str, str], ...]
    resource: str
    healthcare_service_id: str
    reason: str | None
    base_version: str | None
    written_version: str | None
    wanted: tuple[datetime, datetime] | None = None
    """Start and end of the time that the patient asks for instead, while that is open."""
    answer: str | None = None
    """A sentence for the patient."""
    study_times: tuple[tuple[datetime, int | None], ...] = ()
    """Each study's own start and length in minutes; empty unless each of several studies has a start."""
    physician: Mapping[str, str | None] | None = None
    """Who referred the patient: family, given, middle name; number, and the system of the number."""

    @classmethod
    def of(
        cls,
        link: AppointmentLink,
        start: datetime,
        end: datetime,
        healthcare_service_id: str,
        answer: str | None = None,
    ) -> "AppointmentSnapshot":
        wanted = link.requested_slot
        own = link.studies if len(link.studies) > 1 else ()  # the only study has the appointment's time
        times = [(one.start.astimezone(start.tzinfo), one.minutes) for one in own if one.start is not None]
        return cls(
            link_id=link.id,
            patient_id=link.patient_id,
            placer_number=link.placer_number,
            status=link.fhir_status.value,
            start=start,
            end=end,
            minutes=0 if link.slot is None else link.slot.minutes,
            studies=tuple((study.code, study.description) for study in link.studies),
            resource=link.resource,
            healthcare_service_id=healthcare_service_id,
            reason=link.reason,
            base_version=link.omegaai_version,
            written_version=link.omegaai_written_version,
            wanted=None
            if wanted is None
            else (wanted.start.astimezone(start.tzinfo), wanted.end.astimezone(start.tzinfo)),
            answer=answer,
            study_times=tuple(times) if len(times) == len(own) else (),
            physician=_physician(link),
        )

    def to_bytes(self) -> bytes:
        values = dict(zip(self.__slots__, _VALUES(self), strict=True))
        for name in _LATER:
            if not values[name]:
                del values[name]
        return orjson.dumps(values, default=str)  # asyncpg's UUIDs are a class of their own

    @classmethod
    def from_bytes(cls, payload: bytes) -> "AppointmentSnapshot":
        values: dict[str, Any] = orjson.loads(payload)
        for name in ("link_id", "patient_id"):
            values[name] = UUID(values[name])
        for name in ("start", "end"):
            values[name] = datetime.fromisoformat(values[name])
        values["studies"] = tuple((code, description) for code, description in values["studies"])
        if "wanted" in values:
            start, end = values["wanted"]
            values["wanted"] = datetime.fromisoformat(start), datetime.fromisoformat(end)
        times = values.get("study_times", ())
        values["study_times"] = tuple((datetime.fromisoformat(start), minutes) for start, minutes in times)
        return cls(**values)


_PATIENTS_VALUES: Final = attrgetter(*PatientSnapshot.__slots__)
_VALUES: Final = attrgetter(*AppointmentSnapshot.__slots__)
_LATER: Final = ("wanted", "answer", "study_times", "physician")
"""Values that former code does not know: they are left out where they say nothing."""


@dataclass(frozen=True, slots=True)
class PatientMergeOrder:
    """The content of a delivery that has OmegaAI merge two Patients."""

    survivor_id: UUID
    ended_id: UUID

    def to_bytes(self) -> bytes:
        return orjson.dumps({"survivor_id": str(self.survivor_id), "ended_id": str(self.ended_id)})

    @classmethod
    def from_bytes(cls, payload: bytes) -> "PatientMergeOrder":
        values = orjson.loads(payload)
        return cls(UUID(values["survivor_id"]), UUID(values["ended_id"]))


def _physician(link: AppointmentLink) -> Mapping[str, str | None] | None:
    """A number without an issuer is the site's own."""
    one = link.referring_physician
    if one is None:
        return None
    system = _system_of(one.issuer or link.site)
    return {
        "family": one.family,
        "given": one.given,
        "middle": one.middle,
        "number": one.number,
        "system": system,
    }


@lru_cache(maxsize=500)
def _system_of(issuer: str) -> str:
    """The system of the numbers that ``issuer`` gives to physicians."""
    return NPI if issuer.upper() == "NPI" else f"{PHYSICIAN_SYSTEM}:{quote(issuer, safe='')}"
