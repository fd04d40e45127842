"""A message's patient: registered, or updated; and messages about the patient alone."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, TypeVar
from uuid import UUID

import contracts
from chassis.errors import NeedsSetup
from scheduler_sync.arrivals import Arrivals
from scheduler_sync.commands import BlockTime, ChangeAppointmentByStaff, ChangePatientByStaff, MergePatients, Origin
from scheduler_sync.domain.appointment import CLOCKS_DIFFER, Outcome
from scheduler_sync.domain.patient import Patient, PatientIdentifier
from scheduler_sync.handlers.effects import Effects
from scheduler_sync.ports import Clock, Meters, Work
from scheduler_sync.site import SiteFile

LARGEST_LEAD: Final = CLOCKS_DIFFER
"""Most lead of PowerServer's clock over ours. A message from farther ahead would make all true ones look old."""

Said = TypeVar("Said", ChangeAppointmentByStaff, ChangePatientByStaff, MergePatients, BlockTime)


def not_of_the_future(command: Said, origin: Origin, clock: Clock, meters: Meters) -> Said:
    """Limits the message's time to the latest possible one.

    It is set to the limit and not to the time of reception. So of two messages on both sides of the limit the later one
    stays later, and once the clock is corrected messages are ignored for no longer than the limit. A slow clock of ours
    must not make a true message old: in doubt the message counts.
    """
    latest = origin.received_at + LARGEST_LEAD
    if command.said_at <= latest or command.said_at <= (latest := latest + clock.doubt()):
        return command
    meters.clock_ahead(command.said_at - origin.received_at)
    return replace(command, said_at=latest, said_until=None)


async def change_patient(
    command: ChangePatientByStaff, *, work: Work, origin: Origin, site: SiteFile, arrivals: Arrivals, effects: Effects
) -> Patient:
    """Applies a message of PowerServer about a patient alone: the patient need not have an appointment.

    Idempotent by PowerServer's time of the message against the patient's; a message without news publishes and delivers
    nothing. NeedsSetup when the numbers in the message belong to several patients.
    """
    command = not_of_the_future(command, origin, effects.clock, effects.meters)
    patient, deliveries = hear_patient(command, work=work, origin=origin, site=site, arrivals=arrivals, effects=effects)
    if deliveries:
        outcome = Outcome.APPLIED
    else:
        outcome = Outcome.UNCHANGED if command.latest(command.said_at) >= patient.heard_at else Outcome.STALE
    effects.meters.outcome(origin.source, outcome)
    return patient


def hear_patient(
    command: ChangeAppointmentByStaff | ChangePatientByStaff,
    *,
    work: Work,
    origin: Origin,
    site: SiteFile,
    arrivals: Arrivals,
    effects: Effects,
) -> tuple[Patient, list[UUID]]:
    """The patient after the message, and the deliveries of its change.

    Idempotent by PowerServer's time of the message against the patient's. NeedsSetup when the numbers in the message
    belong to several patients.
    """
    known = only_patient(command.patient.identifiers, work, origin)
    if known is None:
        patient = Patient.register(
            contracts.uuid7(),
            site.site,
            command.patient,
            organization=site.organization.master,
            said_at=command.said_at,
        )
    else:
        said_at = arrivals.in_order(("patient", known.id), known.heard_at, command.said_at, origin.connection)
        patient = known.hear(command.patient, said_at=said_at, latest=command.latest(said_at))
    if known is None or command.latest(said_at) >= known.heard_at:
        arrivals.note(("patient", patient.id), origin.connection, patient.heard_at)
    if patient is not known:
        work.patients.save(patient)
    if known is not None and patient.revision == known.revision:
        return patient, []
    return patient, [effects.of_patient(patient, is_new=known is None, work=work, origin=origin)]


def only_patient(identifiers: Sequence[PatientIdentifier], work: Work, origin: Origin) -> Patient | None:
    """The patient with these numbers; NeedsSetup when they belong to several, whom the review list then shows."""
    known = {one.id: one for one in work.patients.all_identified_by(identifiers)}
    if len(known) > 1:
        work.patients.doubt(list(known.values()), origin.journal_id)
        raise NeedsSetup(
            "PID-3: its numbers belong to different patients of the site",
            setting="the review list (/reviews): merge the records in PowerServer if they are one person, else correct "
            "the numbers there",
            location="PID-3",
        )
    return next(iter(known.values()), None)
