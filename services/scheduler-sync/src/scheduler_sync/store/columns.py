"""Rows from and to aggregates: for each table one place that maps columns to values."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import orjson

from scheduler_sync.domain.appointment import FORMER, AppointmentLink, Physician, State, Study, WorkflowStep
from scheduler_sync.domain.patient import Address, Guardian, NumberRole, Patient, PatientIdentifier, in_order
from scheduler_sync.domain.slots import Slot

PATIENT: Final = {
    "id": "uuid", "site": "text", "family": "text", "given": "text", "middle": "text", "birth_date": "date",
    "sex": "text", "email": "text", "phone": "text", "language": "text", "address": "jsonb", "organization": "text",
    "heard_at": "timestamptz", "details_heard_at": "jsonb", "revision": "int", "fhir_id": "text",
    "fhir_version": "text", "number_roles": "jsonb", "merged_into": "uuid", "guardian": "jsonb",
}  # fmt: skip
LINK: Final = {
    "id": "uuid", "site": "text", "placer_number": "text", "patient_id": "uuid", "facility": "text", "resource": "text",
    "modality": "text", "slot_start": "timestamptz", "slot_end": "timestamptz", "slot_zone": "text", "studies": "jsonb",
    "study_details": "jsonb", "state": "text", "step": "text", "who_acts_next": "text", "filler_id": "text",
    "accession_numbers": "jsonb",
    "requested_start": "timestamptz", "requested_end": "timestamptz", "requested_zone": "text", "reason": "text",
    "powerserver_step": "text", "powerserver_heard_at": "timestamptz", "powerserver_told_at": "timestamptz",
    "omegaai_id": "text", "omegaai_version": "text", "omegaai_written_version": "text", "revision": "int",
    "referring_physician": "jsonb", "study_facts": "jsonb",
}  # fmt: skip
HISTORY: Final = {
    "link_id": "uuid", "at": "timestamptz", "source": "text", "message": "text", "cause_id": "uuid", "trigger": "text",
    "outcome": "text", "state_before": "text", "state_after": "text", "revision": "int", "changed": "jsonb",
    "delivery_ids": "jsonb",
}  # fmt: skip
CONFLICT: Final = {"link_id": "uuid", "at": "timestamptz", "source": "text", "cause_id": "uuid", "why": "text"}
IDENTIFIER: Final = {"site": "text", "issuer": "text", "value": "text", "patient_id": "uuid", "position": "int"}
PARKED: Final = {
    "task_id": "text", "focus": "text", "expression": "text", "reason": "text", "parked_at": "timestamptz",
}  # fmt: skip
ARRAYS: Final = {"accession_numbers": "text", "changed": "text", "delivery_ids": "uuid"}
"""Array columns: several lists of different lengths cannot go through unnest, so they travel as JSON."""


def spellings(state: str) -> list[str]:
    """The stored text of a state; none for an unknown state.

    A store that a former version wrote has numbers until the migration after the code has run.
    """
    if state not in set(State):
        return []
    return [state, *(number for number, former in FORMER.items() if former == state)]


def patient_row(patient: Patient) -> tuple[Any, ...]:
    address, guardian = patient.address, patient.guardian
    return (
        patient.id, patient.site, patient.family, patient.given, patient.middle, patient.birth_date, patient.sex,
        patient.email, patient.phone, patient.language,
        None if address is None else encoded(
            {"line": address.line, "city": address.city, "state": address.state,
             "postal_code": address.postal_code, "country": address.country}
        ),
        patient.organization, patient.heard_at, encoded(patient.details_heard_at), patient.revision, patient.fhir_id,
        patient.fhir_version,
        encoded([[one.issuer, one.value, role.at, role.is_former] for one, role in patient.roles.items()]),
        patient.merged_into,
        None if guardian is None else encoded(
            {"family": guardian.family, "given": guardian.given, "middle": guardian.middle,
             "relationship": guardian.relationship, "email": guardian.email, "phone": guardian.phone}
        ),
    )  # fmt: skip


def patient(row: Mapping[str, Any], identifiers: tuple[PatientIdentifier, ...]) -> Patient:
    address, guardian, roles = row["address"], row["guardian"], _roles(row["number_roles"])
    return Patient(
        id=row["id"], site=row["site"], identifiers=in_order(identifiers, roles) if roles else identifiers,
        family=row["family"], given=row["given"],
        middle=row["middle"], birth_date=row["birth_date"], sex=row["sex"], email=row["email"], phone=row["phone"],
        language=row["language"], address=None if address is None else Address(**_json(address)),
        organization=row["organization"], heard_at=row["heard_at"], details_heard_at=_times(row["details_heard_at"]),
        revision=row["revision"],
        fhir_id=row["fhir_id"], fhir_version=row["fhir_version"], roles=roles, merged_into=row["merged_into"],
        guardian=None if guardian is None else Guardian(**_json(guardian)),
    )  # fmt: skip


def link_row(link: AppointmentLink) -> tuple[Any, ...]:
    slot, requested, physician = link.slot, link.requested_slot, link.referring_physician
    return (
        link.id, link.site, link.placer_number, link.patient_id, link.facility, link.resource, link.modality,
        None if slot is None else slot.start, None if slot is None else slot.end, None if slot is None else slot.zone,
        encoded([[study.code, study.description] for study in link.studies]),
        encoded([[one.code, one.start, one.minutes, one.order_number, one.is_done] for one in link.studies]),
        link.state, link.step, link.who_acts_next, link.filler_id,
        encoded(link.accession_numbers),
        None if requested is None else requested.start, None if requested is None else requested.end,
        None if requested is None else requested.zone, link.reason,
        link.powerserver_step, link.powerserver_heard_at,
        link.powerserver_told_at, link.omegaai_id, link.omegaai_version, link.omegaai_written_version, link.revision,
        None if physician is None else encoded(
            {"family": physician.family, "given": physician.given, "middle": physician.middle,
             "number": physician.number, "issuer": physician.issuer}
        ),
        encoded([[one.code, one.procedure_codes, one.study_uid] for one in link.studies]),
    )  # fmt: skip


def link(row: Mapping[str, Any]) -> AppointmentLink:
    step, physician = row["powerserver_step"], row["referring_physician"]
    return AppointmentLink(
        id=row["id"], site=row["site"], placer_number=row["placer_number"], patient_id=row["patient_id"],
        facility=row["facility"], resource=row["resource"], modality=row["modality"],
        slot=_slot(row["slot_start"], row["slot_end"], row["slot_zone"]),
        studies=_studies(_json(row["studies"]), _json(row["study_details"]), _json(row["study_facts"])),
        state=State(row["state"]), step=WorkflowStep(row["step"]), filler_id=row["filler_id"],
        accession_numbers=tuple(row["accession_numbers"]),
        requested_slot=_slot(row["requested_start"], row["requested_end"], row["requested_zone"]),
        reason=row["reason"], powerserver_step=None if step is None else WorkflowStep(step),
        powerserver_heard_at=row["powerserver_heard_at"], powerserver_told_at=row["powerserver_told_at"],
        omegaai_id=row["omegaai_id"], omegaai_version=row["omegaai_version"],
        omegaai_written_version=row["omegaai_written_version"], revision=row["revision"],
        referring_physician=None if physician is None else Physician(**_json(physician)),
    )  # fmt: skip


def _studies(shown: list[list[str]], details: list[list[Any]], facts: list[list[Any]]) -> tuple[Study, ...]:
    """Adds ``details`` and ``facts`` to ``shown``.

    Those of another study are from before a change by code that did not know them.
    """
    found = []
    for place, (code, description) in enumerate(shown):
        study = Study(code, description)
        if place < len(details) and details[place][0] == code:
            _, start, minutes, number, is_done = details[place]
            at = None if start is None else datetime.fromisoformat(start)
            study = Study(code, description, at, minutes, number, is_done)
        if place < len(facts) and facts[place][0] == code:
            _, procedure_codes, study_uid = facts[place]
            study = replace(study, procedure_codes=tuple(procedure_codes), study_uid=study_uid)
        found.append(study)
    return tuple(found)


def _slot(start: Any, end: Any, zone: str | None) -> Slot | None:
    return None if start is None else Slot(start, end, zone or "UTC")


def _roles(value: Any) -> dict[PatientIdentifier, NumberRole]:
    return {
        PatientIdentifier(issuer, number): NumberRole(datetime.fromisoformat(at), is_former)
        for issuer, number, at, is_former in _json(value)
    }


def _times(value: Any) -> dict[str, datetime | None]:
    return {name: None if at is None else datetime.fromisoformat(at) for name, at in _json(value).items()}


def encoded(value: object) -> str:
    """JSON for a column, or for a list within one."""
    return orjson.dumps(value, default=str).decode()  # asyncpg's UUIDs are a class of their own


def decoded(value: Any) -> Any:
    """A JSON column's value."""
    return _json(value)


def _json(value: Any) -> Any:
    return orjson.loads(value) if isinstance(value, str) else value
