"""OmegaAI's Appointments as a comparison reads them: with the time of their change, their patient, their studies."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from omegaai import elements
from omegaai.client import Found
from scheduler_sync.adapters.omegaai import reader
from scheduler_sync.commands import ReceiveOmegaAIAppointment
from scheduler_sync.domain.appointment import AppointmentLink, FhirStatus, State, Study, WorkflowStep, requests
from scheduler_sync.domain.reconciliation import STATE_OF_UNANNOUNCED, Remote
from scheduler_sync.domain.resource import Resource
from scheduler_sync.domain.slots import Slot
from scheduler_sync.site import SiteFile

_STATES: Final[Mapping[FhirStatus, tuple[State, WorkflowStep]]] = {
    **STATE_OF_UNANNOUNCED,
    FhirStatus.PENDING: (State.STAFF_BOOKED, WorkflowStep.SCHEDULED),
    FhirStatus.WAITLIST: (State.STAFF_BOOKED, WorkflowStep.WAITLIST),
    FhirStatus.BOOKED: (State.CONFIRMED, WorkflowStep.CONFIRMED),
    FhirStatus.PROPOSED: (State.MOVE_REQUESTED, WorkflowStep.REQUESTED),
    FhirStatus.CANCELLED: (State.CANCELLED, WorkflowStep.CANCELLED),
    FhirStatus.ENTERED_IN_ERROR: (State.CANCELLED, WorkflowStep.CANCELLED),
}


@dataclass(frozen=True, slots=True)
class AppointmentThere:
    """One Appointment of OmegaAI that carries identifiers of ours."""

    command: ReceiveOmegaAIAppointment
    remote: Remote
    patient_fhir_id: str | None
    studies: tuple[Study, ...]

    @classmethod
    def of(cls, found: Found) -> "AppointmentThere":
        """Malformed where it cannot be read."""
        command = reader.appointment(found, "")
        # A store that was set back may not know the act that the suite's own write left standing.
        command = replace(command, facts=replace(command.facts, own_write=None))
        body = found.resource
        actors = (
            elements.reference(elements.child(participant, "actor"))
            for participant in elements.items(body, "participant")
        )
        studies = tuple(
            Study(study, elements.text(coding, "display") or study)
            for kind in elements.items(body, "serviceType")
            for coding in elements.items(kind, "coding")
            if (study := elements.text(coding, "code")) is not None
        )
        return cls(
            command=command,
            remote=Remote(
                command.facts,
                elements.instant(elements.child(body, "meta"), "lastUpdated", "Appointment.meta"),
            ),
            patient_fhir_id=next((actor[1] for actor in actors if actor is not None and actor[0] == "Patient"), None),
            studies=studies,
        )

    def link(
        self, patient_id: UUID, site: SiteFile, resources: Iterable[Resource], *, revision: int
    ) -> AppointmentLink | None:
        """A link made from the Appointment; None where it lacks our identifiers, a time or our service."""
        command, facts = self.command, self.command.facts
        resource = next((one for one in resources if one.healthcare_service_id == command.service_id), None)
        if command.link_id is None or command.placer_number is None or resource is None or facts.start is None:
            return None
        state, step = _STATES[facts.status]
        if state is State.MOVE_REQUESTED and requests.is_ours(command.placer_number) and facts.requested_start is None:
            state = State.PATIENT_BOOKED
        facility = site.facilities[resource.facility]
        return AppointmentLink(
            id=command.link_id,
            site=site.site,
            placer_number=command.placer_number,
            patient_id=patient_id,
            facility=resource.facility,
            resource=resource.name,
            modality=resource.modality,
            slot=None if facts.end is None else Slot(facts.start, facts.end, facility.time_zone),
            studies=self.studies,
            state=state,
            step=step,
            reason=facts.reason,
            omegaai_id=facts.fhir_id,
            omegaai_version=facts.version,
            omegaai_written_version=facts.version,
            revision=revision,
        )
