"""Staff booked or changed an appointment in PowerServer."""

import contracts
from chassis.errors import NeedsSetup
from scheduler_sync.arrivals import Arrivals
from scheduler_sync.commands import ChangeAppointmentByStaff, Origin
from scheduler_sync.domain.appointment import (
    AppointmentLink,
    Decision,
    Outcome,
    StaffFacts,
    State,
    unknown_removals,
)
from scheduler_sync.domain.patient import Patient
from scheduler_sync.domain.slots import Slot
from scheduler_sync.handlers.effects import Effects
from scheduler_sync.handlers.patients import hear_patient, not_of_the_future
from scheduler_sync.ports import Clock, Meters, Work
from scheduler_sync.site import SiteFile


async def change_appointment(
    command: ChangeAppointmentByStaff,
    *,
    work: Work,
    origin: Origin,
    site: SiteFile,
    clock: Clock,
    meters: Meters,
    arrivals: Arrivals,
    effects: Effects,
) -> Decision:
    """Applies a message of PowerServer about an appointment and its patient.

    Idempotent by PowerServer's time of the message against the link's and the patient's; a message without a change
    publishes and delivers nothing. Raises NeedsSetup, also for conflicts that a person has to settle.
    """
    command = not_of_the_future(command, origin, clock, meters)
    patient, deliveries = hear_patient(command, work=work, origin=origin, site=site, arrivals=arrivals, effects=effects)
    link = work.links.by_placer_number(command.placer_number)
    facts = command.appointment
    if link is None:
        link = _new_link(command, patient, site)
    else:
        _check_is_of(link, patient, facts)
    key = ("link", link.id)
    said_at = arrivals.in_order(key, link.powerserver_heard_at, command.said_at, origin.connection)
    decision = link.hear_powerserver(facts, said_at=said_at, latest=command.latest(said_at))
    after = decision.link
    is_told = decision.announces is not None or bool(decision.tells)
    if decision.outcome is Outcome.APPLIED and is_told and after.slot is not None and not after.resource:
        raise NeedsSetup(
            "the message names no resource, and none is known of this appointment",
            setting="siu.resource or orm.resource in the mapping file",
        )
    declined = _declined(link, decision)
    offers = () if declined is None else await work.claims.alternatives(after, declined)
    effects.of_decision(
        link,
        decision,
        patient,
        by="staff",
        work=work,
        origin=origin,
        deliveries=deliveries,
        declined=declined,
        offers=offers,
    )
    if decision.outcome is not Outcome.STALE:
        arrivals.note(key, origin.connection, after.powerserver_heard_at)
    return decision


def _declined(before: AppointmentLink, decision: Decision) -> Slot | None:
    """The time that the patient asked for, where staff decline it: they keep the booked time, or cancel the request."""
    after = decision.link
    if decision.outcome is not Outcome.APPLIED or decision.announces is None:
        return None
    if before.state is State.MOVE_REQUESTED and after.state is State.CONFIRMED and after.slot == before.slot:
        return None if before.requested_slot == after.slot else before.requested_slot
    is_off = before.state is State.PATIENT_BOOKED and after.state is State.CANCELLED
    return before.requested_slot or before.slot if is_off else None


def _new_link(command: ChangeAppointmentByStaff, patient: Patient, site: SiteFile) -> AppointmentLink:
    return AppointmentLink(
        id=contracts.uuid7(),
        site=site.site,
        placer_number=command.placer_number,
        patient_id=patient.id,
        facility=command.appointment.facility,
        resource="",
        modality=None,
        slot=None,
        studies=(),
    )


def _check_is_of(link: AppointmentLink, patient: Patient, facts: StaffFacts) -> None:
    """NeedsSetup when the message names another patient, or cancels an order of another appointment."""
    if link.patient_id != patient.id:
        raise NeedsSetup(
            "PID-3: the placer number belongs to an appointment of a patient with other numbers",
            setting="PowerServer: send the patient's new number together with the one before (PID-3 repeats)",
        )
    if facts.is_of_orders and _takes_off_what_is_not_of(link, facts):
        raise NeedsSetup(
            "ORC-3: the order that is cancelled is not known of this appointment",
            setting="PowerServer: send the appointment's orders as they are now",
        )


def _takes_off_what_is_not_of(link: AppointmentLink, facts: StaffFacts) -> bool:
    """Whether an order of another appointment is cancelled, and this appointment is not closed."""
    if link.state in {State.CANCELLED, State.DONE}:
        return False
    return unknown_removals(link.studies, link.accession_numbers, facts.study_changes)
