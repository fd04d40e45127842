"""The effects of a partner's answer to a delivery."""

from dataclasses import replace
from uuid import UUID

from scheduler_sync.commands import Origin
from scheduler_sync.domain.appointment import WorkflowStep
from scheduler_sync.handlers.effects import note_answer
from scheduler_sync.ports import Work
from scheduler_sync.receipts import AppointmentAccepted, PatientAccepted, PatientsMerged


async def omegaai_accepted_patient(patient_id: UUID, accepted: PatientAccepted, *, work: Work) -> None:
    """A delivery put the patient into OmegaAI. Idempotent: the same id and version again change nothing."""
    patient = work.patients.by_id(patient_id)
    if patient is not None and (patient.fhir_id, patient.fhir_version) != (accepted.fhir_id, accepted.version):
        work.patients.save(patient.told_omegaai(accepted.fhir_id, accepted.version))


async def omegaai_merged_patients(ended_id: UUID, merged: PatientsMerged, *, work: Work) -> None:
    """OmegaAI merged an ended record's Patient. Late words about that record go to the Patient that remains there."""
    ended = work.patients.by_id(ended_id)
    if ended is not None and merged.fhir_id is not None and ended.fhir_id != merged.fhir_id:
        work.patients.save(replace(ended, fhir_id=merged.fhir_id, fhir_version=None))


async def omegaai_accepted_appointment(
    link_id: UUID, accepted: AppointmentAccepted, *, sent: str, work: Work, origin: Origin
) -> None:
    """A delivery put the appointment into OmegaAI. Idempotent: the same version again changes nothing.

    Where OmegaAI has another status than ``sent``, an act of the patient was left standing. Then the version does not
    become known, so that the act's own event is not mistaken for an echo; unless the act was known already, in the
    version that the write replaced.
    """
    link = work.links.by_id(link_id)
    if link is None:
        return
    after = link.told_omegaai(accepted.fhir_id, accepted.version, as_sent=accepted.status == sent, over=accepted.over)
    if after != link:
        note_answer(link, after, "accepted", work=work, origin=origin)


async def powerserver_acknowledged_status(link_id: UUID, step: WorkflowStep, *, work: Work, origin: Origin) -> None:
    """PowerServer acknowledged a status. Idempotent: the step is set to the same value again."""
    link = work.links.by_id(link_id)
    if link is not None:
        note_answer(link, link.told_powerserver(step, origin.received_at), "acknowledged", work=work, origin=origin)
