"""PowerServer merged records of one person, or deleted a record."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

import contracts
from chassis.errors import NeedsSetup
from scheduler_sync.arrivals import Arrivals
from scheduler_sync.commands import DeletePatient, Merge, MergePatients, Origin
from scheduler_sync.domain.appointment import AppointmentLink, Decision, Outcome, State
from scheduler_sync.domain.patient import Patient, PatientIdentifier
from scheduler_sync.handlers.effects import Effects, history_entry
from scheduler_sync.handlers.patients import not_of_the_future, only_patient
from scheduler_sync.ports import Work
from scheduler_sync.site import SiteFile

MOVED = "patient-merged"
"""The outcome in an appointment's history when its patient's record ended in another one."""


async def merge_patients(
    command: MergePatients, *, work: Work, origin: Origin, site: SiteFile, arrivals: Arrivals, effects: Effects
) -> None:
    """Applies a merge: numbers and appointments of the ended record are the survivor's, also those of later messages.

    Idempotent, and independent of the order in which messages and merges arrive: of each number the newest merge holds,
    of each detail the newest value. NeedsSetup when the survivor's numbers belong to several patients.
    """
    command = not_of_the_future(command, origin, effects.clock, effects.meters)
    for one in command.merges:
        _merge(one, command, work=work, origin=origin, site=site, arrivals=arrivals, effects=effects)


def _merge(
    merge: Merge,
    command: MergePatients,
    *,
    work: Work,
    origin: Origin,
    site: SiteFile,
    arrivals: Arrivals,
    effects: Effects,
) -> None:
    numbers = merge.survivor.identifiers
    known = only_patient(numbers, work, origin)
    ended = _owners(merge.former, work, besides=known)
    if known is None and ended:
        known, ended = ended[0], ended[1:]  # the suite's record goes on under the survivor's number
    is_new = known is None
    if known is None:
        at = command.said_at
        master = site.organization.master
        known = Patient.register(contracts.uuid7(), site.site, merge.survivor, organization=master, said_at=at)
        heard = known
    else:
        at = arrivals.in_order(("patient", known.id), known.heard_at, command.said_at, origin.connection)
        heard = known.hear(merge.survivor, said_at=at, latest=command.latest(at))
    patient = replace(heard.with_numbers(numbers, merge.former, at=at), revision=known.revision)
    arrivals.note(("patient", patient.id), origin.connection, patient.heard_at)
    moved: list[AppointmentLink] = []
    for one in ended:
        patient = patient.absorb(one)
        work.patients.save(one.ended_in(patient.id))
        work.patients.save(patient)
        effects.of_merge(patient, one.id, work=work, origin=origin)
        moved += [_moved(link, patient.id, work, origin) for link in work.links.of_patient(one.id)]
    if ended:
        effects.tell_omegaai_of_patient(patient, work, about=str(patient.revision))
        for link in moved:
            if link.slot is not None and link.resource:
                effects.tell_omegaai(link, work)
        effects.meters.outcome(origin.source, Outcome.APPLIED)
        return
    has_news = is_new or patient.published != known.published
    if has_news and not is_new:
        patient = replace(patient, revision=known.revision + 1)
    if patient != known or is_new:
        work.patients.save(patient)
    if has_news:
        effects.of_patient(patient, is_new=is_new, work=work, origin=origin)
    effects.meters.outcome(origin.source, Outcome.APPLIED if has_news else Outcome.UNCHANGED)


def _owners(numbers: Sequence[PatientIdentifier], work: Work, *, besides: Patient | None) -> list[Patient]:
    found = {one.id: one for one in work.patients.all_identified_by(numbers)}
    if besides is not None:
        found.pop(besides.id, None)
    return sorted(found.values(), key=lambda one: one.id)


def _moved(link: AppointmentLink, patient_id: UUID, work: Work, origin: Origin) -> AppointmentLink:
    after = replace(link, patient_id=patient_id)
    work.links.save(after)
    decision = Decision(after, Outcome.APPLIED, changed=("patient_id",))
    work.links.note(history_entry(link, decision, origin, outcome=MOVED))
    return after


async def delete_patient(command: DeletePatient, *, work: Work, origin: Origin, effects: Effects) -> None:
    """Takes note that PowerServer deleted a record. Nothing is deleted here: history, mails and logs refer to it.

    NeedsSetup while the patient has appointments to come: PowerServer has to cancel them, and says so for each.
    """
    patient = only_patient(command.patient.identifiers, work, origin)
    links = [] if patient is None else work.links.of_patient(patient.id)
    if any(_is_to_come(link, origin) for link in links):
        raise NeedsSetup(
            "PID-3: the deleted patient has appointments to come",
            setting="PowerServer: cancel them, or merge the record instead of deleting it",
            location="PID-3",
        )
    effects.meters.outcome(origin.source, Outcome.UNCHANGED)


def _is_to_come(link: AppointmentLink, origin: Origin) -> bool:
    if link.state in {State.CANCELLED, State.DONE}:
        return False
    return link.slot is None or link.slot.end > origin.received_at
