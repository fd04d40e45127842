"""The patient acted in Blume, so OmegaAI's Appointment changed; and Tasks that cannot be processed."""

from chassis.errors import Permanent, Transient
from omegaai.tasks import ParkedTask
from scheduler_sync.commands import Origin, ReceiveOmegaAIAppointment
from scheduler_sync.domain.appointment import Decision, Outcome
from scheduler_sync.handlers.effects import Effects
from scheduler_sync.handlers.requests import answered, book_for_patient
from scheduler_sync.ports import Resources, Work
from scheduler_sync.site import SiteFile


async def receive_appointment(
    command: ReceiveOmegaAIAppointment,
    *,
    work: Work,
    origin: Origin,
    site: SiteFile,
    resources: Resources,
    effects: Effects,
) -> Decision | None:
    """OmegaAI's Appointment has changed: the patient acted, or it is the echo of our own write.

    Idempotent by the Appointment's version and content against the link's. None when it is no appointment of ours. A
    request that began in Blume becomes an appointment (``requests``). Transient while a write of ours with the same
    status is under way: only its settlement shows whose act it is.
    """
    link = None if command.link_id is None else work.links.by_id(command.link_id)
    if link is None and command.placer_number is not None:
        link = work.links.by_placer_number(command.placer_number)
    link = link or work.links.by_omegaai_id(command.facts.fhir_id)
    if link is None:
        if not command.may_begin_in_blume:
            return None
        return await book_for_patient(
            command, work=work, origin=origin, site=site, resources=resources, effects=effects
        )
    patient = work.patients.by_id(link.patient_id)
    if patient is None:
        raise Permanent("the appointment's patient is not in the store")
    decision = link.hear_omegaai(command.facts)
    is_known = decision.outcome in {Outcome.ECHO, Outcome.STALE}
    if not is_known and work.links.is_being_written(link.id, command.facts.status):
        raise Transient(
            "OmegaAI shows what a delivery of ours is writing; it is looked at again when that is settled",
            retry_after_seconds=0.5,
        )
    decision, refusal = await answered(link, decision, work, effects.clock.now(), site=site)
    effects.of_decision(
        link,
        decision,
        patient,
        by="patient",
        work=work,
        origin=origin,
        lost=None if refusal is None else refusal.lost,
        offers=() if refusal is None else refusal.offers,
    )
    return decision


async def park_task(task: ParkedTask, *, work: Work) -> None:
    """Keeps a Task that could not be processed, with the faulty element, for a person to replay.

    Idempotent by the Task's id: the row is replaced.
    """
    work.links.park(task)
