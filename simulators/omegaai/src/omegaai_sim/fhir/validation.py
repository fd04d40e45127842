"""Strict R4: an unknown element is refused, and every issue has its path.

This module checks only the form. `records` checks what needs the store: targets of references, known issuers.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final

from omegaai_sim.fhir.definitions import DEFINITIONS, Element
from omegaai_sim.fhir.outcome import Issue, Refused, invalid

_MOST_ISSUES: Final = 50
_DEEPEST: Final = 24

_DATE = re.compile(r"\d{4}(-\d\d(-\d\d)?)?")
_DATE_TIME = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d))?)?)?")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_TIME = re.compile(r"\d\d:\d\d:\d\d(\.\d+)?")
_CODE = re.compile(r"\S+( \S+)*")
_ID = re.compile(r"[A-Za-z0-9.-]{1,64}")
_URI = re.compile(r"\S+")
_BASE64 = re.compile(r"(\s*[0-9A-Za-z+/=]{4}\s*)+")
_REFERENCE = re.compile(r"(?P<type>[A-Z][A-Za-z]+)/(?P<id>[A-Za-z0-9.-]{1,64})(/_history/[A-Za-z0-9.-]{1,64})?")


def reference_target(reference: str) -> tuple[str, str] | None:
    """Type and id of a relative reference; None for any other form."""
    found = _REFERENCE.fullmatch(reference)
    return None if found is None else (found["type"], found["id"])


def _real_date(value: str) -> bool:
    return bool(_DATE.fullmatch(value)) and _is_calendar(value)


def _is_calendar(value: str) -> bool:
    day = value[:10]
    try:
        date.fromisoformat((day + "-01-01")[:10])  # a year or a month alone is a date too
        if len(value) > 10:
            datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _real_time(value: str) -> bool:
    try:
        return bool(_TIME.fullmatch(value)) and bool(time.fromisoformat(value) or True)
    except ValueError:
        return False


def _is_integer(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= 2**31 - 1


def _text(check: Callable[[str], object]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and bool(value.strip()) and bool(check(value))


_PRIMITIVES: Final[Mapping[str, Callable[[object], bool]]] = {
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: _is_integer(value, -(2**31)),
    "unsignedInt": lambda value: _is_integer(value, 0),
    "positiveInt": lambda value: _is_integer(value, 1),
    "decimal": lambda value: isinstance(value, int | float | Decimal) and not isinstance(value, bool),
    "string": _text(lambda value: len(value) <= 1024 * 1024),
    "markdown": _text(bool),
    "xhtml": _text(lambda value: value.startswith("<div")),
    "code": _text(_CODE.fullmatch),
    "id": _text(_ID.fullmatch),
    "uri": _text(_URI.fullmatch),
    "url": _text(_URI.fullmatch),
    "canonical": _text(_URI.fullmatch),
    "oid": _text(re.compile(r"urn:oid:[0-2](\.(0|[1-9]\d*))+").fullmatch),
    "uuid": _text(re.compile(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch),
    "base64Binary": _text(_BASE64.fullmatch),
    "date": _text(_real_date),
    "dateTime": _text(lambda value: _DATE_TIME.fullmatch(value) and _is_calendar(value)),
    "instant": _text(lambda value: _INSTANT.fullmatch(value) and _is_calendar(value)),
    "time": _text(_real_time),
}


def check(resource: Mapping[str, Any], resource_type: str) -> None:
    """Raises ``Refused`` (422) with every issue, at most fifty, unless it is a well-formed resource of that type."""
    if resource.get("resourceType") != resource_type:
        raise invalid(f"{resource_type}.resourceType", f"must be {resource_type}")
    body = {name: value for name, value in resource.items() if name != "resourceType"}
    issues = []
    for issue in _object(body, resource_type, resource_type, 0):
        issues.append(issue)
        if len(issues) == _MOST_ISSUES:
            break
    if not issues and resource_type == "Appointment":
        issues += _appointment_invariants(resource)
    if issues:
        raise Refused(422, "invariant", f"{issues[0].expression}: {issues[0].diagnostics}", issues=issues)


def references(value: Any, path: str) -> Iterator[tuple[str, str, str]]:
    """Every relative reference below ``value`` as (type, id, path of the element)."""
    if isinstance(value, dict):
        target = reference_target(value["reference"]) if isinstance(value.get("reference"), str) else None
        if target is not None:
            yield (*target, f"{path}.reference")
        for name, item in value.items():
            yield from references(item, f"{path}.{name}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from references(item, f"{path}[{number}]")


def _object(value: object, type_name: str, path: str, depth: int) -> Iterator[Issue]:
    if not isinstance(value, dict):
        yield Issue("structure", f"must be a JSON object ({type_name})", path)
        return
    if not value:
        yield Issue("structure", "an object has at least one element", path)
    if depth > _DEEPEST:
        yield Issue("too-costly", "is nested too deeply", path)
        return
    elements = DEFINITIONS[type_name]
    for name, inner in value.items():
        element = elements.get(name)
        here = f"{path}.{name}"
        if element is not None:
            yield from _value(inner, element, here, depth)
        elif name.startswith("_") and (shadowed := elements.get(name[1:])) and shadowed.type in _PRIMITIVES:
            yield from _shadow(inner, here, depth)
        else:
            yield Issue("structure", f"R4 knows no element of this name in {type_name}", here)
    for element in elements.values():
        if element.is_required and element.name not in value and f"_{element.name}" not in value:
            yield Issue("required", "is missing", f"{path}.{element.name}")
    yield from _invariants(value, type_name, path)


def _invariants(value: Mapping[str, Any], type_name: str, path: str) -> Iterator[Issue]:
    if type_name in {"Extension", "Task.parameter"}:
        yield from _one_value(value, type_name, path)
    if type_name == "Period" and not _is_in_order(value):
        yield Issue("invariant", "start is after end (per-1)", path)


def _value(value: object, element: Element, path: str, depth: int) -> Iterator[Issue]:
    if not element.is_list:
        yield from _single(value, element, path, depth)
    elif not isinstance(value, list):
        yield Issue("structure", "must be a JSON array", path)
    elif not value:
        yield Issue("structure", "an array has at least one item", path)
    else:
        for number, one in enumerate(value):
            yield from _single(one, element, f"{path}[{number}]", depth)


def _single(value: object, element: Element, path: str, depth: int) -> Iterator[Issue]:
    primitive = _PRIMITIVES.get(element.type)
    if element.type == "Resource":
        if not isinstance(value, dict) or "resourceType" not in value:
            yield Issue("structure", "must be a resource", path)
    elif primitive is None:
        yield from _object(value, element.type, path, depth + 1)
        if element.type == "Reference" and isinstance(value, dict):
            yield from _reference(value, element, path)
    elif value == "":
        yield Issue("value", "is empty: leave the element out instead", path)
    elif not primitive(value):
        yield Issue("value", f"is no {element.type}", path)
    elif element.allowed and value not in element.allowed:
        yield Issue("code-invalid", f"is not one of {', '.join(sorted(element.allowed))}", path)


def _shadow(value: object, path: str, depth: int) -> Iterator[Issue]:
    """``_birthDate``: id and extensions of a primitive, or a list of them with nulls."""
    inner = Element("", "Extension", is_list=True, is_required=False, allowed=frozenset())
    for one in value if isinstance(value, list) else [value]:
        if one is None and isinstance(value, list):
            continue
        if not isinstance(one, dict) or not one or set(one) - {"id", "extension"}:
            yield Issue("structure", "holds only id and extension", path)
        elif "extension" in one:
            yield from _value(one["extension"], inner, f"{path}.extension", depth + 1)


def _reference(value: Mapping[str, Any], element: Element, path: str) -> Iterator[Issue]:
    reference = value.get("reference")
    if isinstance(reference, str) and reference:
        target = reference_target(reference)
        if target is None:
            yield Issue("value", "is not of the form Type/id", f"{path}.reference")
        elif element.allowed and target[0] not in element.allowed:
            yield Issue("value", f"may refer to {', '.join(sorted(element.allowed))} only", f"{path}.reference")


def _one_value(value: Mapping[str, Any], type_name: str, path: str) -> Iterator[Issue]:
    values = [name for name in value if name.startswith("value")]
    if type_name == "Extension" and bool(values) == ("extension" in value):
        yield Issue("invariant", "has either a value or extensions (ext-1)", path)
    if type_name == "Task.parameter" and not values:
        yield Issue("required", "is missing", f"{path}.value[x]")
    if len(values) > 1:
        yield Issue("structure", "has more than one value", path)


def _is_in_order(period: Mapping[str, Any]) -> bool:
    start, end = period.get("start"), period.get("end")
    if not isinstance(start, str) or not isinstance(end, str):
        return True
    if len(start) > 10 and len(end) > 10:
        try:
            return datetime.fromisoformat(start) <= datetime.fromisoformat(end)
        except (ValueError, TypeError):
            return True  # already reported at the value
    shortest = min(len(start), len(end), 10)
    return start[:shortest] <= end[:shortest]


def _appointment_invariants(resource: Mapping[str, Any]) -> Iterator[Issue]:
    """app-1 to app-4, and the end comes after the start."""
    start, end, status = resource.get("start"), resource.get("end"), resource["status"]
    for number, participant in enumerate(resource["participant"]):
        if "type" not in participant and "actor" not in participant:
            yield Issue("invariant", "has neither type nor actor (app-1)", f"Appointment.participant[{number}]")
    if (start is None) != (end is None):
        yield Issue(
            "invariant", "start and end come together (app-2)", "Appointment.end" if start else "Appointment.start"
        )
    elif start is None and status not in ("proposed", "cancelled", "waitlist"):
        yield Issue("invariant", f"is needed when the status is {status} (app-3)", "Appointment.start")
    elif start is not None and end is not None and datetime.fromisoformat(start) >= datetime.fromisoformat(end):
        yield Issue("invariant", "is not after start", "Appointment.end")
    if "cancelationReason" in resource and status not in ("cancelled", "noshow"):
        yield Issue("invariant", "only for cancelled and noshow (app-4)", "Appointment.cancelationReason")
