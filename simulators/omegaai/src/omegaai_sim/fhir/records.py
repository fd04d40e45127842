"""Resources in the store: create, update, read, search; each change with its ledger row, its Task and its notice."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from omegaai_sim.fhir.definitions import CUSTOM_TYPES, RESOURCE_TYPES
from omegaai_sim.fhir.outcome import Refused, invalid
from omegaai_sim.fhir.validation import check, references
from simulator_kit.store import Work, stamp

Resource = dict[str, Any]
KINDS: Final = RESOURCE_TYPES
BY_LOWER: Final = {kind.lower(): kind for kind in KINDS}
QUEUED: Final = ("Patient", "Appointment")
"""A change of one of these makes a Task for the outbound queue."""
LINK_SYSTEM: Final = "urn:ietf:rfc:3986"
PLACER_SYSTEM: Final = "urn:powerserver:placer"
TASK_REASON: Final = "mirthoutbound"
_MANAGING: Final = "managingorganization"
_TASK_MOVES: Final[Mapping[str, tuple[str, ...]]] = {
    "ready": ("ready", "in-progress", "completed", "failed", "cancelled", "on-hold"),
    "in-progress": ("in-progress", "ready", "completed", "failed", "cancelled", "on-hold"),
    "on-hold": ("on-hold", "ready", "in-progress", "cancelled"),
    "failed": ("failed", "ready"),
}
_FIRST_NUMBER: Final = {"Patient": 1000, "Appointment": 5000, "Task": 0}
"""Ids of other types begin at 100: those of the development site are lower."""
_FIRST_OTHER_NUMBER: Final = 99


@dataclass(frozen=True, slots=True)
class Stored:
    """A resource as it is kept."""

    body: Resource
    version: int
    was_created: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """A resource that was created or updated. Hooks get it under its kind, in the transaction of the change."""

    body: Resource
    before: Resource | None
    by: str
    """The client id, or `blume` for a change that the patient made."""


def read(work: Work, kind: str, identifier: str) -> Stored:
    """Raises ``Refused`` (404)."""
    row = work.one("SELECT version, body FROM resource WHERE type = ? AND id = ?", kind, identifier)
    if row is None:
        raise Refused(404, "not-found", f"{kind} is not known")
    return Stored(json.loads(row["body"]), row["version"])


def create(work: Work, kind: str, body: Resource, by: str, if_none_exist: Mapping[str, str] | None = None) -> Stored:
    """Creates, or gives the one that ``if_none_exist`` matches. Raises ``Refused`` (412 where several match)."""
    check(body, kind)
    if if_none_exist is not None:
        matches, _ = search(work, kind, if_none_exist, count=2, page=1)
        if len(matches) > 1:
            raise Refused(412, "multiple-matches", "If-None-Exist matches several")
        if matches:
            return matches[0]
    _check_context(work, kind, body)
    number = work.next_number(kind) + _FIRST_NUMBER.get(kind, _FIRST_OTHER_NUMBER)
    stored = save(work, kind, {**body, "id": str(number)}, 1)
    _changed(work, kind, stored, None, by)
    return Stored(stored.body, 1, was_created=True)


def update(work: Work, kind: str, identifier: str, body: Resource, *, by: str, expected: int | None) -> Stored:
    """Replaces the resource if it has the ``expected`` version. Raises ``Refused`` (404, 412, 428)."""
    before = read(work, kind, identifier)
    if expected is None:
        raise Refused(428, "required", "If-Match is required")
    if expected != before.version:
        raise Refused(412, "conflict", f"{kind} has another version now")
    check(body, kind)
    if body.get("id") != identifier:
        raise Refused(400, "invalid", f"{kind}.id differs from the address", f"{kind}.id")
    if kind == "Task":
        was, now = before.body["status"], body["status"]
        if now not in _TASK_MOVES.get(was, (was,)):
            raise invalid("Task.status", f"cannot go from {was} to {now}")
    else:
        _check_context(work, kind, body)
    stored = save(work, kind, body, before.version + 1)
    _changed(work, kind, stored, before.body, by)
    return stored


def save(work: Work, kind: str, body: Resource, version: int, *, updated: str | None = None) -> Stored:
    """Writes the row and its search values; ``updated``: a stamp to say instead of now."""
    now = updated or stamp(datetime.now(UTC))
    meta = {**body.get("meta", {}), "versionId": str(version), "lastUpdated": now}
    body = {
        "resourceType": kind,
        "id": body["id"],
        "meta": meta,
        **{k: v for k, v in body.items() if k not in {"resourceType", "id", "meta"}},
    }
    work.run(
        "INSERT OR REPLACE INTO resource VALUES (?, ?, ?, ?, ?)",
        kind,
        body["id"],
        version,
        json.dumps(body, ensure_ascii=False),
        now,
    )
    work.run("DELETE FROM search_value WHERE type = ? AND id = ?", kind, body["id"])
    number = int(body["id"]) if str(body["id"]).isdigit() else 0
    rows = {(kind, parameter, value, body["id"], number) for parameter, value in _search_values(kind, body)}
    work.connection.executemany("INSERT INTO search_value VALUES (?, ?, ?, ?, ?)", sorted(rows))
    return Stored(body, version)


def _check_context(work: Work, kind: str, body: Resource) -> None:
    """What the rest of the store must know: references, and a patient's assigning authority; what a type needs here."""
    if kind == "HealthcareService":
        for needed in ("name", "providedBy"):
            if needed not in body:
                raise invalid(f"HealthcareService.{needed}", "is missing")
    if kind == "Organization" and "name" not in body:
        raise invalid("Organization.name", "is missing")
    for referred, identifier, path in references(body, kind):
        if (
            referred in KINDS
            and work.one("SELECT 1 FROM resource WHERE type = ? AND id = ?", referred, identifier) is None
        ):
            raise invalid(path, f"refers to a {referred} that is not known")
    if kind == "Patient":
        for number, identifier_ in enumerate(body.get("identifier", [])):
            codes = [coding.get("code") for coding in identifier_.get("type", {}).get("coding", [])]
            system = identifier_.get("system")
            known = work.one("SELECT 1 FROM assigning_authority WHERE system = ?", system)
            if "MR" in codes and known is None:
                raise invalid(
                    f"Patient.identifier[{number}].system", "no assigning authority of the master organisation"
                )


def _search_values(kind: str, body: Resource) -> list[tuple[str, str]]:
    found = [("_any", ""), (_UPDATED, body["meta"]["lastUpdated"])]
    for identifier in body.get("identifier", []):
        value = identifier.get("value", "")
        found += [("identifier", f"{identifier.get('system', '')}|{value}"), ("identifier", value)]
    if kind == "Patient":
        found += [
            ("email", telecom["value"].strip().lower())
            for telecom in body.get("telecom", [])
            if telecom.get("system") == "email" and "value" in telecom
        ]
    elif kind == "Appointment":
        found += _values_of_appointment(body)
    elif kind == "Practitioner":
        found += [("family", name["family"]) for name in body.get("name", []) if "family" in name]
    elif kind == "HealthcareService":
        owner = body["providedBy"]["reference"]
        found += [
            ("organization", owner),
            ("organization", owner.removeprefix("Organization/")),
            ("name", body["name"]),
            ("active", str(body.get("active", True)).lower()),
        ]
    elif kind == "Organization":
        found.append(("name", body["name"]))
        if "partOf" in body:
            owner = body["partOf"]["reference"]
            found += [("partof", owner), ("partof", owner.removeprefix("Organization/"))]
    elif kind in CUSTOM_TYPES:
        found += _values_of_custom(body)
    else:
        found += [("status", body["status"]), ("focus", body.get("focus", {}).get("reference", ""))]
        found += [("reasoncode", coding.get("code", "")) for coding in body.get("reasonCode", {}).get("coding", [])]
    return found


def _values_of_appointment(body: Resource) -> list[tuple[str, str]]:
    found = [("status", str(body["status"]))]
    if "start" in body:
        found.append(("date", stamp(datetime.fromisoformat(body["start"]))))
    for participant in body["participant"]:
        reference = participant.get("actor", {}).get("reference", "")
        found.append(("actor", reference))
        if reference.startswith("Patient/"):
            found += [("patient", reference), ("patient", reference.removeprefix("Patient/"))]
    return found


def _values_of_custom(body: Resource) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name in ("name", "system", "code", "modality"):
        found += [(name, str(body[name]))] if name in body else []
    owner = body.get("managingOrganization", {}).get("reference")
    return found if owner is None else [*found, (_MANAGING, owner), (_MANAGING, owner.removeprefix("Organization/"))]


_PARAMETERS: Final[Mapping[str, frozenset[str]]] = {
    "Patient": frozenset({"identifier", "email"}),
    "Appointment": frozenset({"identifier", "patient", "actor", "date", "status"}),
    "Practitioner": frozenset({"identifier", "family"}),
    "HealthcareService": frozenset({"identifier", "organization", "name", "active"}),
    "Organization": frozenset({"identifier", "name", "partof"}),
    "Task": frozenset({"identifier", "reasoncode", "status", "focus"}),
    "AssigningAuthority": frozenset({"name", "system", "managingorganization"}),
    "StudyType": frozenset({"code", "modality"}),
    "ProcedureCode": frozenset({"code"}),
}


_UPDATED: Final = "_lastUpdated"
_OF_ALL: Final = frozenset({_UPDATED, "_sort"})
"""Parameters of every type."""
_ORDERS: Final[Mapping[str, str]] = {"": "s.number", _UPDATED: "{}, s.number", f"-{_UPDATED}": "{} DESC, s.number DESC"}
_BEST_FIRST: Final = ("identifier", "email", "focus", "patient", "actor", _UPDATED, "status", "date")
"""What matches few comes first: it is scanned, the others are looked up for each match."""


def search(work: Work, kind: str, query: Mapping[str, str], *, count: int, page: int) -> tuple[list[Stored], int]:
    """One page and the number of all matches, in the order of creation or of ``_sort``.

    Raises ``Refused`` (400) for an unknown parameter or order.
    """
    for parameter in query:
        if parameter not in _PARAMETERS[kind] | _OF_ALL:
            raise Refused(400, "not-supported", f"{kind} cannot be searched by {parameter}")
    sort, names = query.get("_sort", ""), [name for name in query if name != "_sort"]
    if sort not in _ORDERS or ("_sort" in query and not sort):
        raise Refused(400, "not-supported", f"_sort: {kind} can be sorted by {_UPDATED} and -{_UPDATED} alone")
    wanted = sorted(names, key=lambda name: _BEST_FIRST.index(name) if name in _BEST_FIRST else len(_BEST_FIRST))
    scanned, *looked_up = [_test(name, query[name]) for name in wanted] or [("_any", "{}.value = ''", [])]
    conditions, values = ["s.type = ?", "s.parameter = ?", scanned[1].format("s")], [kind, scanned[0], *scanned[2]]
    for parameter, test, bound in looked_up:
        conditions.append(
            "EXISTS (SELECT 1 FROM search_value x WHERE x.type = s.type AND x.parameter = ? AND "  # noqa: S608 (fixed words)
            f"{test.format('x')} AND x.number = s.number AND x.id = s.id)"
        )
        values += [parameter, *bound]
    where = " AND ".join(conditions)
    order = _ORDERS[sort].format("s.value" if scanned[0] == _UPDATED else "r.updated")
    total = work.one(f"SELECT count(*) AS n FROM search_value s WHERE {where}", *values)  # noqa: S608 (values are bound)
    rows = work.all(
        f"SELECT r.version, r.body FROM search_value s JOIN resource r ON r.type = s.type AND r.id = s.id "  # noqa: S608
        f"WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?",
        *values, count, (page - 1) * count,
    )  # fmt: skip
    return [Stored(json.loads(row["body"]), row["version"]) for row in rows], int(total["n"]) if total else 0


def _test(parameter: str, wanted: str) -> tuple[str, str, list[str]]:
    """The parameter, its condition (for a table to be filled in), the values to bind."""
    if parameter not in {"date", _UPDATED}:
        return parameter, "{}.value = ?", [wanted.lower() if parameter == "email" else wanted]
    operator, low, high = _date_range(wanted, parameter)
    if operator == "eq":
        return parameter, "{0}.value >= ? AND {0}.value < ?", [low, high]
    return parameter, f"{{}}.value {_OPERATORS[operator]} ?", [low]


_OPERATORS: Final = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


def _date_range(text: str, name: str) -> tuple[str, str, str]:
    operator, rest = (text[:2], text[2:]) if text[:2].isalpha() else ("eq", text)
    try:
        low = datetime.fromisoformat(rest)
    except ValueError:
        raise Refused(400, "invalid", f"{name}: must be a date, or a date and time with a zone offset") from None
    low = low if low.tzinfo else low.replace(tzinfo=UTC)
    if operator not in {"eq", *_OPERATORS}:
        raise Refused(400, "not-supported", f"{name}: the prefix {operator} is not supported")
    return operator, stamp(low), stamp(low + timedelta(days=0 if "T" in rest else 1, seconds=1 if "T" in rest else 0))


def _changed(work: Work, kind: str, stored: Stored, before: Resource | None, by: str) -> None:
    body, verb = stored.body, "created" if before is None else "updated"
    if kind in QUEUED:
        detail: dict[str, object] = {"versionId": str(stored.version), "by": by}
        if kind == "Appointment":
            detail |= {
                "status": body["status"],
                "link_id": identifier_of(body, LINK_SYSTEM),
                "placer_number": identifier_of(body, PLACER_SYSTEM),
            }
        work.record("effect", f"{kind}.{verb}", body["id"], detail)
        queue_task(work, f"{kind}/{body['id']}")
    work.changed(kind, Change(body, before, by))
    work.notice(kind, id=body["id"], version=str(stored.version))


def queue_task(work: Work, focus: str, *, updated: str | None = None) -> str:
    """Makes a Task about ``focus`` (Type/id) for the outbound queue; its id."""
    number = work.next_number("Task") + _FIRST_NUMBER["Task"]
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    task: Resource = {
        "id": str(number),
        "status": "ready",
        "intent": "order",
        "reasonCode": {"coding": [{"code": TASK_REASON}]},
        "focus": {"reference": focus},
        "authoredOn": now,
    }
    save(work, "Task", task, 1, updated=updated)
    work.notice("Task", id=str(number), version="1")
    return str(number)


def identifier_of(body: Resource, system: str) -> str | None:
    """The value of the identifier of ``system``."""
    return next((one.get("value") for one in body.get("identifier", []) if one.get("system") == system), None)
