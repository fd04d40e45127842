"""A message's patient: registered, or updated."""

from uuid import UUID

import contracts
from chassis.errors import NeedsSetup
from scheduler_sync.arrivals import Arrivals
from scheduler_sync.commands import ChangeAppointmentByStaff, Origin
from scheduler_sync.domain.patient import Patient
from scheduler_sync.handlers.effects import Effects
from scheduler_sync.ports import Work
from scheduler_sync.site import SiteFile


def hear_patient(
    command: ChangeAppointmentByStaff,
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
    known = _one_patient(command, work)
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


def _one_patient(command: ChangeAppointmentByStaff, work: Work) -> Patient | None:
    known = {one.id: one for one in work.patients.all_identified_by(command.patient.identifiers)}
    if len(known) > 1:
        raise NeedsSetup(
            "PID-3: its numbers belong to different patients of the site",
            setting="PowerServer and OmegaAI: find out whether they are one person, and merge them in both",
        )
    return next(iter(known.values()), None)
