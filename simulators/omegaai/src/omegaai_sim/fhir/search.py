"""Search: which values a resource is found by, and a query as SQL over them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qsl

from omegaai_sim.fhir.outcome import refusal
from omegaai_sim.store import Work

DEFAULT_COUNT: Final = 50
LARGEST_COUNT: Final = 500

SEARCH_KEYS: Final[Mapping[str, Mapping[str, str]]] = {
    "Patient": {"identifier": "token", "email": "token"},
    "Appointment": {"identifier": "token", "patient": "reference", "date": "date", "status": "token"},
    "HealthcareService": {"organization": "reference", "name": "string", "active": "token"},
    "Organization": {"identifier": "token", "name": "string", "partof": "reference"},
    "Task": {"reasoncode": "token", "status": "token", "focus": "reference"},
}
_TARGET: Final = {"patient": "Patient", "organization": "Organization", "partof": "Organization"}
# The first of these that a query has drives it; the rest only filter.
_MOST_SELECTIVE_FIRST: Final = ("_id", "identifier", "focus", "email", "patient", "partof", "name", "organization", "status")
_IGNORED: Final = frozenset({"_format", "_pretty"})
_HIGHEST: Final = "\U0010ffff"

PRIMARY_EMAIL: Final = "primary-email"
"""A key of the simulator's own: the e-mail that ties a patient to a portal account."""


def primary_email(patient: Mapping[str, Any]) -> str | None:
    """The lowest-ranked e-mail, in lower case; without ranks the first one."""
    emails = [one for one in patient.get("telecom", ()) if one.get("system") == "email" and one.get("value")]
    if not emails:
        return None
    return str(min(emails, key=lambda one: one.get("rank", 2**31))["value"]).lower()


def keys_of(resource: Mapping[str, Any]) -> set[tuple[str, str]]:
    """The (key, value) pairs by which ``resource`` is found."""
    return set(_keys_of(resource))


def _keys_of(resource: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    resource_type = resource["resourceType"]
    for identifier in resource.get("identifier", ()):
        value, system = identifier.get("value", ""), identifier.get("system", "")
        yield from (("identifier", text) for text in (value, f"{system}|{value}", f"{system}|" if system else "|" + value))
    if resource_type == "Patient":
        for telecom in resource.get("telecom", ()):
            if telecom.get("system") == "email" and telecom.get("value"):
                yield "email", telecom["value"].lower()
        if email := primary_email(resource):
            yield PRIMARY_EMAIL, email
    elif resource_type == "Appointment":
        yield "status", resource["status"]
        for participant in resource["participant"]:
            reference = participant.get("actor", {}).get("reference", "")
            if reference.startswith("Patient/"):
                yield "patient", reference
    elif resource_type == "Task":
        yield "status", resource["status"]
        for coding in resource.get("reasonCode", {}).get("coding", ()):
            yield "reasoncode", coding.get("code", "")
        yield "focus", resource.get("focus", {}).get("reference", "")
    else:
        name = resource.get("name", "")
        yield "name", name.lower()
        yield "name:exact", name
        if resource_type == "HealthcareService":
            yield "active", "true" if resource.get("active", True) else "false"
            yield "organization", resource.get("providedBy", {}).get("reference", "")
        else:
            yield "partof", resource.get("partOf", {}).get("reference", "")


@dataclass(slots=True)
class Query:
    """A search's conditions, and which page of it is asked for (from 1)."""

    resource_type: str
    conditions: list[tuple[str, list[str]]] = field(default_factory=list)
    moments: list[tuple[str, int]] = field(default_factory=list)
    page: int = 1
    count: int = DEFAULT_COUNT
    given: list[tuple[str, str]] = field(default_factory=list)

    def link(self, page: int) -> str:
        """The query string of another page of the same search."""
        from urllib.parse import urlencode  # noqa: PLC0415

        return urlencode([*self.given, ("page", page), ("_count", self.count)])


def parse(resource_type: str, query: str) -> Query:
    """Read a query string; FhirError 400 names a key or value that cannot be used."""
    keys = SEARCH_KEYS[resource_type]
    parsed = Query(resource_type)
    for key, text in parse_qsl(query, keep_blank_values=True):
        if key in ("page", "_count"):
            number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
            if number < (1 if key == "page" else 0):
                raise refusal(400, "value", f"{key} is a whole number", key)
            if key == "page":
                parsed.page = number
            else:
                parsed.count = min(number, LARGEST_COUNT)
            continue
        if key in _IGNORED:
            continue
        parsed.given.append((key, text))
        kind = "id" if key == "_id" else keys.get(key.removesuffix(":exact"))
        if kind is None or (key.endswith(":exact") and kind != "string"):
            raise refusal(400, "not-supported", f"{resource_type} has no search key of this name", key)
        if not text:
            raise refusal(400, "value", f"{key} has no value", key)
        if kind == "date":
            parsed.moments += _moments(text)
        else:
            parsed.conditions.append((key, [_value(key, kind, one) for one in text.split(",")]))
    return parsed


def _value(key: str, kind: str, text: str) -> str:
    if kind == "string":
        return text if key.endswith(":exact") else text.lower()
    if key == "email":
        return text.lower()
    if kind == "reference":
        given_type, slash, rest = text.rpartition("/")
        if not slash and key in _TARGET:
            return f"{_TARGET[key]}/{text}"
        return f"{given_type[:1].upper()}{given_type[1:]}/{rest}"
    if key in ("status", "reasoncode", "active"):
        return text.rpartition("|")[2]
    return text


def _moments(text: str) -> list[tuple[str, int]]:
    prefix, value = (text[:2], text[2:]) if text[:2].isalpha() else ("eq", text)
    try:
        if len(value) > 10:
            at = datetime.fromisoformat(value.replace(" ", "+"))
            first = (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
            after = first + timedelta(seconds=1)
        else:
            day = date.fromisoformat(value)
            first = datetime(day.year, day.month, day.day, tzinfo=UTC)
            after = first + timedelta(days=1)
    except ValueError:
        raise refusal(400, "value", "date is a day, or an instant with its offset, after a prefix such as ge", "date") from None
    start, end = int(first.timestamp()), int(after.timestamp())
    found = {
        "eq": [(">=", start), ("<", end)],
        "ge": [(">=", start)],
        "gt": [(">=", end)],
        "sa": [(">=", end)],
        "lt": [("<", start)],
        "eb": [("<", start)],
        "le": [("<", end)],
    }.get(prefix)
    if found is None:
        raise refusal(400, "not-supported", "date takes the prefixes eq, ge, gt, sa, le, lt and eb", "date")
    return found


def run(work: Work, query: Query) -> tuple[int, list[str]]:
    """The number of matches, and the bodies of the asked page, lowest id (oldest) first."""
    where, values = _where(query)
    total = work.row(f"SELECT count(*) AS n FROM resource r WHERE {where}", *values)  # noqa: S608 - keys are bound
    rows = work.rows(
        f"SELECT body FROM resource r WHERE {where} ORDER BY id LIMIT ? OFFSET ?",  # noqa: S608 - keys are bound
        *values,
        query.count,
        (query.page - 1) * query.count,
    )
    return 0 if total is None else int(total["n"]), [row["body"] for row in rows]


def _where(query: Query) -> tuple[str, list[object]]:
    parts, values = ["r.type = ?"], [query.resource_type]
    bound: list[object] = [*values]
    order = {key: rank for rank, key in enumerate(_MOST_SELECTIVE_FIRST)}
    conditions = sorted(query.conditions, key=lambda one: order.get(one[0], len(order)))
    for number, (key, wanted) in enumerate(conditions):
        if key == "_id":
            parts.append(f"r.id IN ({_marks(wanted)})")
            bound += [int(one) if one.isdigit() and len(one) < 19 else -1 for one in wanted]
            continue
        matches, texts = _matches(key, wanted)
        found = f"SELECT id FROM search s WHERE s.type = ? AND s.key = ? AND ({matches})"  # noqa: S608 - keys are bound
        # The first condition drives, the rest are looked up for each of its rows.
        parts.append(f"r.id IN ({found})" if number == 0 else f"EXISTS ({found} AND s.id = r.id)")
        bound += [query.resource_type, key, *texts]
    for comparison, moment in query.moments:
        parts.append(f"r.moment {comparison} ?")
        bound.append(moment)
    return " AND ".join(parts), bound


def _matches(key: str, wanted: Sequence[str]) -> tuple[str, list[str]]:
    if key == "name":  # R4: a string search finds what begins with the value, in any case
        return " OR ".join("s.value >= ? AND s.value < ?" for _ in wanted), [
            bound for one in wanted for bound in (one, one + _HIGHEST)
        ]
    return f"s.value IN ({_marks(wanted)})", list(wanted)


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" for _ in values)
