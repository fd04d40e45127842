"""The operation `patient/merge`: one Patient ends in another, and its Appointments follow."""

from typing import Final

from omegaai_sim.fhir import records
from omegaai_sim.fhir.outcome import Refused, invalid
from omegaai_sim.fhir.records import Resource, Stored
from simulator_kit.store import Work

_MOST: Final = 10_000


def merge(work: Work, keep: str, replace: str, by: str) -> Stored:
    """Moves identifiers and Appointments of the Patient `replace` to `keep`, and shows it as replaced.

    Raises ``Refused``: 404 for a Patient that is not there or was replaced already, 422 for the same one twice.
    """
    if not keep or not replace or keep == replace:
        raise invalid("replacePatientId", "names no other patient than keepPatientId")
    kept, ended = records.read(work, "Patient", keep), records.read(work, "Patient", replace)
    if is_replaced(kept.body) or is_replaced(ended.body):
        raise Refused(404, "not-found", "Patient was replaced by another")
    link = [{"other": {"reference": f"Patient/{keep}"}, "type": "replaced-by"}]
    left = {name: value for name, value in ended.body.items() if name not in {"identifier", "telecom"}}
    records.update(work, "Patient", replace, {**left, "active": False, "link": link}, by=by, expected=ended.version)
    known = [(one.get("system"), one.get("value")) for one in kept.body.get("identifier", [])]
    more = [one for one in ended.body.get("identifier", []) if (one.get("system"), one.get("value")) not in known]
    if more:
        body = {**kept.body, "identifier": [*kept.body.get("identifier", []), *more]}
        kept = records.update(work, "Patient", keep, body, by=by, expected=kept.version)
    appointments, _ = records.search(work, "Appointment", {"patient": replace}, count=_MOST, page=1)
    for one in appointments:
        moved = [_moved(part, keep, replace) for part in one.body["participant"]]
        body = {**one.body, "participant": moved}
        records.update(work, "Appointment", one.body["id"], body, by=by, expected=one.version)
    return kept


def is_replaced(patient: Resource) -> bool:
    return any(one.get("type") == "replaced-by" for one in patient.get("link", []))


def _moved(participant: Resource, keep: str, replace: str) -> Resource:
    if participant.get("actor", {}).get("reference") != f"Patient/{replace}":
        return participant
    return {**participant, "actor": {**participant["actor"], "reference": f"Patient/{keep}"}}
