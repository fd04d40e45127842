"""What a call asks for, read from FHIR's Parameters or from a query. What is not clear is refused with 400."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from scheduler_sync.domain.appointment import Study
from scheduler_sync.domain.patient import PatientIdentifier
from scheduler_sync.scheduling.problems import Code, Problem, Refused, invalid

Json = Mapping[str, Any]
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:\d{2})")
_ID: Final = re.compile(r"[A-Za-z0-9.-]{1,64}")
LONGEST_TEXT: Final = 1000
MOST_STUDIES: Final = 20
_YEARS: Final = (1990, 2200)
_PREFIXES: Final = ("ge", "gt", "le", "lt")


@dataclass(frozen=True, slots=True)
class PatientAsked:
    """A patient by the suite's id, or by a number and its issuer's system."""

    id: UUID | None = None
    identifier: PatientIdentifier | None = None


@dataclass(frozen=True, slots=True)
class SlotAsked:
    """The time that a caller wants, on a HealthcareService of OmegaAI's."""

    service_id: str
    start: datetime
    minutes: int | None
    studies: tuple[Study, ...]
    patient: PatientAsked | None


class Parameters:
    """The named values of a call; of several with one name, the first."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    @classmethod
    def of_resource(cls, body: Any) -> "Parameters":
        """FHIR's Parameters. Refused for anything else."""
        if not isinstance(body, dict) or body.get("resourceType") != "Parameters":
            raise invalid("Parameters", "the body is a FHIR resource of the type Parameters")
        found: dict[str, Any] = {}
        given = body.get("parameter", [])
        if not isinstance(given, list):
            raise invalid("Parameters.parameter", "is a list")
        for one in given:
            name = one.get("name") if isinstance(one, dict) else None
            if not isinstance(name, str):
                raise invalid("Parameters.parameter", "each has a name")
            value = one.get("resource", next((one[key] for key in one if key.startswith("value")), None))
            found.setdefault(name, value)
        return cls(found)

    def has(self, name: str) -> bool:
        return self._values.get(name) not in {None, ""} if _is_plain(self._values.get(name)) else True

    def text(self, name: str) -> str | None:
        value = self._values.get(name)
        if value is None or value == "":
            return None
        if not isinstance(value, str) or len(value) > LONGEST_TEXT or not storable(value):
            raise invalid(name, f"is a text of at most {LONGEST_TEXT} characters")
        return value

    def number(self, name: str, low: int, high: int) -> int | None:
        value = self._values.get(name)
        if value is None or value == "":
            return None
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len(str(high)):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise Refused(Problem(Code.VALUE, f"is a whole number from {low} to {high}", name))
        return value

    def degrees(self, name: str, most: int) -> float | None:
        value = self._values.get(name)
        if value is None or value == "":
            return None
        try:
            number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
        except (ValueError, OverflowError):
            number = None
        if number is None or not -most <= number <= most:
            raise Refused(Problem(Code.VALUE, f"is a number of degrees from -{most} to {most}", name))
        return number

    def instant(self, name: str) -> datetime | None:
        return instant(self._values.get(name), name)

    def link_id(self, name: str) -> UUID | None:
        """The id in a reference to an Appointment of this API, as a reference or a text."""
        return reference_id(self._values.get(name), "Appointment", name)

    def patient(self, name: str) -> PatientAsked | None:
        value = self._values.get(name)
        return None if value is None or value == "" else patient_asked(value, name)

    def appointment(self, name: str) -> "SlotAsked | None":
        value = self._values.get(name)
        return None if value is None else slot_asked(value, name)


def required(value: Any, name: str) -> Any:
    """``value``; Refused where it is missing."""
    if value is None:
        raise Refused(Problem(Code.REQUIRED, "is required", name))
    return value


def instant(value: Any, where: str) -> datetime | None:
    """An instant with its offset, to the minute and in UTC."""
    if value is None or value == "":
        return None
    if not isinstance(value, str) or _TIME.fullmatch(value.replace(" ", "+")) is None:
        raise invalid(where, "is an instant with an offset, such as 2026-12-01T14:30:00-05:00")
    try:
        found = datetime.fromisoformat(value.replace(" ", "+")).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise invalid(where, "is no possible instant") from error
    if not _YEARS[0] <= found.year <= _YEARS[1]:
        raise invalid(where, f"lies between the years {_YEARS[0]} and {_YEARS[1]}")
    return found


def span_of(dates: Sequence[str]) -> tuple[datetime, datetime]:
    """The span that FHIR's search parameter ``date`` gives, such as ge2026-12-01 with le2026-12-31."""
    begin, end = datetime(_YEARS[0], 1, 1, tzinfo=UTC), datetime(_YEARS[1], 1, 1, tzinfo=UTC)
    if not dates or len(dates) > len(_PREFIXES):
        raise Refused(Problem(Code.REQUIRED, "is required, once or as two bounds", "date"))
    for one in dates:
        prefix, value = (one[:2], one[2:]) if one[:2] in _PREFIXES else ("", one.removeprefix("eq"))
        if len(value) == len("2026-12-01"):
            first = instant(f"{value}T00:00:00Z", "date")
            last = None if first is None else first + timedelta(days=1)
        else:
            first = last = instant(value, "date")
        if first is None or last is None:
            raise invalid("date", "is a date or an instant, after ge, gt, le or lt if it is a bound")
        if prefix in {"", "ge", "gt"}:
            begin = max(begin, first if prefix != "gt" else last)
        if prefix in {"", "le", "lt"}:
            end = min(end, last if prefix != "lt" else first)
    return begin, end


def reference_id(value: Any, kind: str, where: str) -> UUID | None:
    """The id in ``Kind/id``, alone or in a Reference."""
    if isinstance(value, dict):
        value = value.get("reference")
    if value is None or value == "":
        return None
    found = value.removeprefix(f"{kind}/") if isinstance(value, str) else ""
    if _UUID.fullmatch(found) is None:
        raise invalid(where, f"is a reference such as {kind}/ with an id that this API gave")
    return UUID(found)


def patient_asked(value: Any, where: str) -> PatientAsked:
    """A patient: a reference by the suite's id, or an identifier with system and value."""
    given = value.get("identifier", value) if isinstance(value, dict) else value
    if isinstance(given, dict) and ("system" in given or "value" in given):
        system, number = given.get("system"), given.get("value")
        if not (isinstance(system, str) and isinstance(number, str) and _is_name(system) and _is_name(number)):
            raise invalid(where, "an identifier has a system and a value")
        return PatientAsked(identifier=PatientIdentifier(system, number))
    found = reference_id(value, "Patient", where)
    if found is None:
        raise invalid(where, "is a reference to a Patient, or its identifier")
    return PatientAsked(found)


def service_asked(value: Any, where: str) -> str | None:
    """The id in ``HealthcareService/id``, alone or in a Reference."""
    if isinstance(value, dict):
        value = value.get("reference")
    if value is None or value == "":
        return None
    found = value.removeprefix("HealthcareService/") if isinstance(value, str) else ""
    if _ID.fullmatch(found) is None:
        raise invalid(where, "is a reference such as HealthcareService/11")
    return found


def slot_asked(value: Any, where: str) -> SlotAsked:
    """The slot in an Appointment as a caller proposes it. Its status is not read: the operation decides it."""
    if not isinstance(value, dict) or value.get("resourceType") != "Appointment":
        raise invalid(where, "is a FHIR resource of the type Appointment")
    actors = [one.get("actor") for one in items(value, "participant", where)]
    services = [found for actor in actors if (found := _of_kind(actor, "HealthcareService")) is not None]
    patients = [actor for actor in actors if isinstance(actor, dict) and _is_patient(actor)]
    start, end = instant(value.get("start"), f"{where}.start"), instant(value.get("end"), f"{where}.end")
    service = service_asked(services[0], f"{where}.participant") if services else None
    missing = [
        Problem(Code.REQUIRED, text, f"{where}.{path}")
        for path, text, found in (
            ("participant", "names a HealthcareService", service), ("start", "is required", start),
        )
        if found is None
    ]  # fmt: skip
    if service is None or start is None:
        raise Refused(*missing)
    minutes = Parameters(value).number("minutesDuration", 1, 24 * 60)
    if end is not None:
        minutes = -((start - end) // timedelta(minutes=1))
        if not 1 <= minutes <= 24 * 60:
            raise invalid(f"{where}.end", "is after the start, and no more than a day")
    studies = studies_of(value, where)
    return SlotAsked(service, start, minutes, studies, patient_asked(patients[0], where) if patients else None)


def studies_of(value: Json, where: str) -> tuple[Study, ...]:
    """The study types: each coding of ``serviceType``."""
    found: list[Study] = []
    for kind in items(value, "serviceType", where):
        for coding in items(kind, "coding", f"{where}.serviceType"):
            code, display = coding.get("code"), coding.get("display")
            if not (isinstance(code, str) and _is_name(code)) or not (display is None or _is_name(display)):
                raise invalid(f"{where}.serviceType", "a coding has a code of at most 200 characters")
            found.append(Study(code, code if display is None else str(display)))
    if len(found) > MOST_STUDIES:
        raise invalid(f"{where}.serviceType", f"names at most {MOST_STUDIES} study types")
    return tuple(found)


def items(value: Json, name: str, where: str) -> list[Json]:
    found = value.get(name, [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise invalid(f"{where}.{name}", "is a list of elements")
    return found


def storable(text: str) -> bool:
    """Whether the store takes it: no NUL, and no half of a surrogate pair."""
    return "\x00" not in text and text.isprintable()


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 200 and storable(value)


def _is_patient(actor: Json) -> bool:
    reference = actor.get("reference")
    kind = actor.get("type")
    return (isinstance(reference, str) and reference.startswith("Patient/")) or kind == "Patient"


def _of_kind(actor: Any, kind: str) -> Any:
    reference = actor.get("reference") if isinstance(actor, dict) else None
    return actor if isinstance(reference, str) and reference.startswith(f"{kind}/") else None


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)
