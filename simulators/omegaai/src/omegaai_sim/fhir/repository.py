"""Resources in the store: each write checks, makes the next version, its search values, its Task, the portal's part and
the ledger's row, all in the caller's transaction.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from omegaai_sim.blume import effects
from omegaai_sim.fhir import search
from omegaai_sim.fhir.definitions import RESOURCE_TYPES
from omegaai_sim.fhir.outcome import FhirError, Issue, refusal
from omegaai_sim.fhir.validation import reference_target
from omegaai_sim.store import Change, Json, Work

LINK_SYSTEM: Final = "urn:ietf:rfc:3986"
PLACER_SYSTEM: Final = "urn:powerserver:placer"
OUTBOUND_REASON: Final = "mirthoutbound"
_FIRST_IDS: Final = {"Patient": 1000, "Appointment": 5000}
_QUEUED: Final = frozenset({"Patient", "Appointment"})
_TOLD: Final = frozenset({"Patient", "Appointment", "HealthcareService", "Organization"})
_FINAL_TASK_STATUSES: Final = frozenset({"completed", "cancelled", "rejected", "entered-in-error"})
# A failed Task may be retried; what is over stays over.
_TASK_MOVES_FROM_FAILED: Final = frozenset({"failed", "ready", "cancelled", "entered-in-error"})


@dataclass(frozen=True, slots=True)
class Found:
    """A resource, and whether this request created it."""

    resource: Json
    was_created: bool = False

    @property
    def version(self) -> str:
        return str(self.resource["meta"]["versionId"])


def identifier(resource: Mapping[str, Any], system: str) -> str | None:
    """The value of the first identifier of ``system``."""
    return next((one.get("value") for one in resource.get("identifier", ()) if one.get("system") == system), None)


def read(work: Work, resource_type: str, resource_id: str) -> Json:
    """The newest version; FhirError 404."""
    if resource_id.isascii() and resource_id.isdigit() and len(resource_id) < 19:
        row = work.row("SELECT body FROM resource WHERE type = ? AND id = ?", resource_type, int(resource_id))
        if row is not None:
            body: Json = json.loads(row["body"])
            return body
    raise refusal(404, "not-found", f"there is no {resource_type} with this id")


def find(work: Work, query: search.Query) -> tuple[int, list[Json]]:
    total, bodies = search.run(work, query)
    return total, [json.loads(body) for body in bodies]


def create(work: Work, resource_type: str, body: Json, *, by: str, if_none_exist: str | None = None) -> Found:
    """Create; with ``if_none_exist`` only when nothing matches: the one match as it is, or FhirError 412 for several."""
    if if_none_exist is not None:
        query = search.parse(resource_type, if_none_exist)
        if not query.conditions and not query.moments:
            raise refusal(400, "required", "If-None-Exist has no search key", "If-None-Exist")
        total, found = find(work, query)
        if total > 1:
            raise refusal(412, "multiple-matches", "If-None-Exist matches several resources", "If-None-Exist")
        if total == 1:
            return Found(found[0])
    _check_against_store(work, resource_type, body)
    number = work.next_id(resource_type) + _FIRST_IDS.get(resource_type, 0)
    return Found(put(work, {**body, "resourceType": resource_type, "id": str(number)}, by=by), was_created=True)


def update(work: Work, resource_type: str, resource_id: str, body: Json, *, version: str, by: str) -> Found:
    """Replace version ``version``; FhirError 404, 412."""
    before = read(work, resource_type, resource_id)
    if before["meta"]["versionId"] != version:
        raise refusal(412, "conflict", "the resource has another version by now", "If-Match")
    if resource_type == "Task":
        _check_task_move(before["status"], body["status"])
    _check_against_store(work, resource_type, body)
    return Found(put(work, {**body, "resourceType": resource_type, "id": resource_id}, by=by, before=before))


def put(work: Work, resource: Json, *, by: str, before: Json | None = None) -> Json:
    """Store ``resource`` as the version after ``before``, with all that follows from it."""
    resource_type, number = resource["resourceType"], int(resource["id"])
    version = 1 if before is None else int(before["meta"]["versionId"]) + 1
    kept_meta = {name: value for name, value in resource.get("meta", {}).items() if name not in ("versionId", "lastUpdated")}
    meta = {**kept_meta, "versionId": str(version), "lastUpdated": instant(work.now)}
    head = {"resourceType": resource_type, "id": str(number), "meta": meta}
    body = {**head, **{name: value for name, value in resource.items() if name not in head}}
    start = body.get("start") if resource_type == "Appointment" else None
    moment = None if start is None else int(datetime.fromisoformat(start).timestamp())
    work.run(
        "INSERT INTO resource VALUES (?, ?, ?, ?, ?) ON CONFLICT (type, id) DO UPDATE SET version = excluded.version, "
        "moment = excluded.moment, body = excluded.body",
        resource_type,
        number,
        version,
        moment,
        json.dumps(body, ensure_ascii=False),
    )
    _index(work, body, before)
    emails: tuple[str, ...] = ()
    if resource_type in _QUEUED:
        emails = effects.follow(work, body, before, by=by)
        _enqueue(work, body)
        _record(work, body, is_new=before is None, by=by)
    if resource_type in _TOLD or resource_type == "Task":
        work.changes.append(Change(resource_type, str(number), str(version), emails))
    return body


def instant(moment: datetime) -> str:
    """A FHIR instant in UTC with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _index(work: Work, body: Json, before: Json | None) -> None:
    resource_type, number = body["resourceType"], int(body["id"])
    now, then = search.keys_of(body), set() if before is None else search.keys_of(before)
    for key, value in then - now:
        work.run("DELETE FROM search WHERE type = ? AND key = ? AND value = ? AND id = ?", resource_type, key, value, number)
    for key, value in now - then:
        work.run("INSERT INTO search VALUES (?, ?, ?, ?)", resource_type, key, value, number)


def _enqueue(work: Work, body: Json) -> None:
    """Put a Task about the new version into the outbound queue."""
    resource_type = body["resourceType"]
    put(
        work,
        {
            "resourceType": "Task",
            "id": str(work.next_id("Task")),
            "status": "ready",
            "intent": "order",
            "priority": "routine",
            "description": f"{resource_type} version {body['meta']['versionId']} goes out",
            "focus": {"reference": f"{resource_type}/{body['id']}"},
            "authoredOn": instant(work.now),
            "reasonCode": {"coding": [{"code": OUTBOUND_REASON}]},
        },
        by="omegaai",
    )


def _record(work: Work, body: Json, *, is_new: bool, by: str) -> None:
    detail = {"versionId": body["meta"]["versionId"], "by": by}
    if body["resourceType"] == "Appointment":
        link = identifier(body, LINK_SYSTEM)
        detail |= {
            "status": body["status"],
            "link id": None if link is None else link.removeprefix("urn:uuid:"),
            "placer number": identifier(body, PLACER_SYSTEM),
            "start": body.get("start"),
        }
    work.record("effect", f"{body['resourceType']}.{'created' if is_new else 'updated'}", body["id"], detail)


def _check_task_move(before: str, after: str) -> None:
    if before in _FINAL_TASK_STATUSES and after != before:
        raise refusal(422, "business-rule", f"a {before} Task stays {before}", "Task.status")
    if before == "failed" and after not in _TASK_MOVES_FROM_FAILED:
        raise refusal(422, "business-rule", "a failed Task can only be made ready again or given up", "Task.status")


def _check_against_store(work: Work, resource_type: str, body: Json) -> None:
    """References lead somewhere, issuers are known, an appointment is of one patient at one healthcare service."""
    issues = [
        Issue("not-found", "refers to nothing that is here", f"{path}.reference")
        for path, reference in _references(body, resource_type)
        if not _exists(work, reference)
    ]
    if resource_type == "Patient":
        issues += _patient_issues(work, body)
    elif resource_type == "Appointment":
        issues += _appointment_issues(body)
    if issues:
        raise FhirError(422, issues)


def _references(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        reference = value.get("reference")
        if isinstance(reference, str):
            yield path, reference
        for name, inner in value.items():
            if name != "contained":
                yield from _references(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _references(one, f"{path}[{number}]")


def _exists(work: Work, reference: str) -> bool:
    target = reference_target(reference)
    if target is None or target[0] not in RESOURCE_TYPES or not target[1].isdigit() or len(target[1]) > 18:
        return False
    return work.row("SELECT 1 FROM resource WHERE type = ? AND id = ?", target[0], int(target[1])) is not None


def _patient_issues(work: Work, body: Json) -> Iterator[Issue]:
    has_record_number = False
    for number, one in enumerate(body.get("identifier", ())):
        path = f"Patient.identifier[{number}]"
        codes = {coding.get("code") for coding in one.get("type", {}).get("coding", ())}
        has_record_number |= "MR" in codes and "value" in one
        if "system" not in one:
            yield Issue("required", "is missing: an identifier needs its assigning authority", f"{path}.system")
        elif work.row("SELECT 1 FROM assigning_authority WHERE system = ?", one["system"]) is None:
            yield Issue("code-invalid", "is no assigning authority of the master organisation", f"{path}.system")
    if not has_record_number:
        yield Issue("required", "needs one of type MR with a value", "Patient.identifier")
    if "name" not in body:
        yield Issue("required", "is missing", "Patient.name")


def _appointment_issues(body: Json) -> Iterator[Issue]:
    actors = [one.get("actor", {}).get("reference", "").partition("/")[0] for one in body["participant"]]
    for wanted in ("Patient", "HealthcareService"):
        if actors.count(wanted) != 1:
            yield Issue("business-rule", f"has one {wanted} as an actor, no more and no fewer", "Appointment.participant")
