"""OmegaAI's resources as the domain's facts: Appointment, HealthcareService, Organization."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from omegaai import elements
from omegaai.client import Found, TooDeep
from omegaai.elements import Json, malformed
from scheduler_sync.adapters.omegaai import marks
from scheduler_sync.commands import ReceiveOmegaAIAppointment
from scheduler_sync.domain.appointment import FhirStatus, RemoteFacts, Study
from scheduler_sync.domain.resource import hours_of_available_time

LINK_SYSTEM: Final = "urn:ietf:rfc:3986"
PLACER_SYSTEM: Final = "urn:powerserver:placer"
_LONGEST_REASON: Final = 1000
_LONGEST_MINUTES: Final = 31 * 24 * 60
_SPELLINGS: Final = {"checkedin": "checked-in", "no-show": "noshow", "canceled": "cancelled", "complete": "fulfilled"}


@dataclass(frozen=True, slots=True)
class ServiceFound:
    """A HealthcareService: the facts that the suite compares, and those that it needs for booking."""

    id: str
    name: str
    organization: str
    is_active: bool
    modality: str | None
    duration_minutes: int | None
    allows_overbooking: bool
    allows_self_scheduling: bool
    available_time: list[Json]

    @property
    def hours_in_words(self) -> str | None:
        hours = hours_of_available_time(self.available_time)
        return None if hours is None else hours.words()


@dataclass(frozen=True, slots=True)
class OrganizationFound:
    """An Organization of the customer's tree."""

    id: str
    name: str
    part_of: str | None
    time_zone: str | None


def appointment(found: Found, task_id: str) -> ReceiveOmegaAIAppointment:
    """An Appointment as a command. Malformed, with the element's path, where it cannot be read."""
    body = found.resource
    status = elements.code(body, "status")
    status = _SPELLINGS.get(status or "", status)
    if status is None or status not in set(FhirStatus):
        raise malformed("Appointment.status", "is missing" if status is None else "is not an AppointmentStatus")
    if not found.id:
        raise malformed("Appointment.id", "is missing")
    if not found.version:
        raise malformed("Appointment.meta.versionId", "is missing, and there is no ETag")
    elements.identifier(found.id, "Appointment.id")
    elements.identifier(found.version, "Appointment.meta.versionId")
    kept = {name: body.get(name) for name in ("identifier", "participant", "cancelationReason", "serviceType")}
    elements.storable([found.id, found.version, kept], "Appointment")
    link_id: UUID | None = None
    placer: str | None = None
    for identifier in elements.items(body, "identifier"):
        value = elements.text(identifier, "value")
        if elements.text(identifier, "system") == PLACER_SYSTEM:
            placer = value
        else:
            link_id = link_id or elements.uuid(value)
    period = next(iter(elements.items(body, "requestedPeriod")), {})
    return ReceiveOmegaAIAppointment(
        task_id=task_id,
        link_id=link_id,
        placer_number=placer,
        facts=RemoteFacts(
            fhir_id=found.id,
            version=found.version,
            status=FhirStatus(status),
            start=elements.instant(body, "start", "Appointment"),
            end=elements.instant(body, "end", "Appointment"),
            requested_start=elements.instant(period, "start", "Appointment.requestedPeriod[0]"),
            requested_end=elements.instant(period, "end", "Appointment.requestedPeriod[0]"),
            reason=_reason(body),
            own_write=marks.of(body),
        ),
        service_id=_actor(body, "HealthcareService"),
        patient_fhir_id=_actor(body, "Patient"),
        studies=_studies(body),
        minutes=_minutes(body),
    )


def patient_numbers(body: Json) -> list[tuple[str, str]]:
    """The (system, value) pairs of a Patient's identifiers, without those that are out of use."""
    found = []
    for one in elements.items(body, "identifier"):
        system, value = elements.text(one, "system"), elements.text(one, "value")
        if system and value and elements.code(one, "use") != "old":
            found.append((system, elements.identifier(value, "Patient.identifier.value")))
    elements.storable(found, "Patient.identifier")
    return found


def _studies(body: Json) -> tuple[Study, ...]:
    """The study types; of a code alone, the code is its description."""
    codings = [coding for kind in elements.items(body, "serviceType") for coding in elements.items(kind, "coding")]
    found = [(code, elements.text(one, "display") or code) for one in codings if (code := elements.text(one, "code"))]
    return tuple(Study(code, description) for code, description in found)


def _minutes(body: Json) -> int | None:
    """minutesDuration; None where it is missing or no possible length."""
    minutes = elements.integer(body.get("minutesDuration"))
    return minutes if minutes is not None and 0 < minutes <= _LONGEST_MINUTES else None


def _reason(body: Json) -> str | None:
    """The reason for the cancellation; of a long text its beginning."""
    reason = elements.child(body, "cancelationReason")
    coded = next(iter(elements.items(reason, "coding")), {})
    found = elements.text(reason, "text") or elements.text(coded, "display") or elements.text(coded, "code")
    return found if found is None or len(found) <= _LONGEST_REASON else f"{found[: _LONGEST_REASON - 1]}…"


def _actor(body: Json, kind: str) -> str | None:
    """The id of the first participant of ``kind``."""
    return next((actor[1] for actor in _actors(body) if actor[0] == kind), None)


def _actors(body: Json) -> Iterator[tuple[str, str]]:
    for participant in elements.items(body, "participant"):
        actor = elements.reference(elements.child(participant, "actor"))
        if actor is not None:
            yield actor


def healthcare_service(found: Found) -> ServiceFound:
    """A HealthcareService. Its name is taken unchanged: an extra blank is a difference that the user must see."""
    body = found.resource
    name = body.get("name")
    if not isinstance(name, str) or not name:
        raise malformed("HealthcareService.name", "is missing")
    owner = elements.reference(elements.child(body, "providedBy"))
    if not found.id or owner is None:
        raise malformed("HealthcareService.providedBy" if found.id else "HealthcareService.id", "is missing")
    modality = elements.extension(body, "modality")
    given = elements.extension(body, "Duration")
    minutes = elements.integer(given)
    if given not in (None, "") and (minutes is None or not 0 <= minutes <= _LONGEST_MINUTES):
        raise malformed("HealthcareService.extension[Duration]", "is no duration in minutes")
    for element, value in body.items():
        if isinstance(value, TooDeep):
            raise malformed(f"HealthcareService.{elements.shown(element)}", "nests too deeply")
    available_time = elements.items(body, "availableTime")
    elements.identifier(name, "HealthcareService.name")
    elements.identifier(found.id, "HealthcareService.id")
    elements.storable([name, found.id, owner[1], modality, available_time], "HealthcareService")
    return ServiceFound(
        id=found.id,
        name=name,
        organization=owner[1],
        is_active=elements.boolean(body.get("active")) is not False,
        modality=modality.upper() if isinstance(modality, str) and modality else None,
        duration_minutes=minutes,
        allows_overbooking=elements.boolean(elements.extension(body, "overBooking")) is True,
        allows_self_scheduling=elements.boolean(elements.extension(body, "selfScheduling")) is True,
        available_time=available_time,
    )


def organization(found: Found) -> OrganizationFound:
    """An Organization of the tree, with its zone where it has one: IANA's name, else Windows' name as it stands."""
    body = found.resource
    parent = elements.reference(elements.child(body, "partOf"))
    zone = elements.extension(body, "timezoneIANA") or elements.extension(body, "timezone")
    return OrganizationFound(
        id=found.id,
        name=elements.text(body, "name") or "",
        part_of=None if parent is None else parent[1],
        time_zone=zone if isinstance(zone, str) else None,
    )
