"""Events of an appointment. One revision counter per appointment counts them over all event types.

Every event carries the whole appointment, so that a reader needs no other event to act.
"""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field

from contracts.envelope import Message, Payload
from contracts.patient import PersonName

AppointmentStatus = Literal[
    "ordered",
    "requested",
    "scheduled",
    "waitlist",
    "confirmed",
    "arrived",
    "ready-for-scan",
    "completed",
    "cancelled",
    "no-show",
]


class Facility(Payload):
    """The imaging facility where the exam takes place."""

    code: str = Field(min_length=1, description="Facility code of the scheduling system (HL7 AIL-3.4).")
    name: str = Field(description="Name as a patient reads it.")
    time_zone: str = Field(min_length=1, description="IANA time zone of the facility, for example America/Toronto.")
    phone: str | None = Field(default=None, description="Phone number for patients.")
    address: str | None = Field(default=None, description="Address in one line, for patients.")


class Study(Payload):
    """One study of the appointment. Null and empty: the suite does not know the fact."""

    code: str = Field(min_length=1, description="Study type code.")
    description: str = Field(description="Study type as a person reads it.")
    start: AwareDatetime | None = Field(default=None, description="Start of this study within the appointment.")
    end: AwareDatetime | None = Field(default=None, description="End of this study within the appointment.")
    modality: str | None = Field(default=None, description="DICOM modality of the study, for example CT.")
    procedure_codes: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        default=(), description="Codes of the procedures that the study type stands for."
    )
    accession_number: str | None = Field(default=None, description="Accession number of the study's order.")
    study_uid: str | None = Field(default=None, description="DICOM Study Instance UID.")


class Physician(Payload):
    """A physician, with the identifier that the scheduling system uses."""

    identifier: str | None = Field(default=None, description="Number of the physician (HL7 XCN-1), for example an NPI.")
    issuer: str | None = Field(default=None, description="Assigning authority of the number (HL7 XCN-9).")
    name: PersonName = Field(description="Name of the physician.")


class Alternative(Payload):
    """A slot that is free when the event is made. Nothing holds it for the patient."""

    resource: str = Field(min_length=1, description="Resource by its exact name.")
    start: AwareDatetime = Field(description="Start, with the facility's offset.")
    end: AwareDatetime = Field(description="End, with the facility's offset.")


class AppointmentData(Payload):
    """The whole appointment, not the difference from the state before."""

    patient_id: UUID = Field(description="aggregate_id of the patient.")
    site: str = Field(min_length=1, description="Site, as its site file names it.")
    facility: Facility = Field(description="Where the exam takes place.")
    resource: str = Field(min_length=1, description="Resource that is booked, by its exact name.")
    modality: str | None = Field(default=None, description="DICOM modality of the resource, for example CT.")
    start: AwareDatetime = Field(description="Start of the appointment, with its offset.")
    end: AwareDatetime = Field(description="End of the appointment, with its offset.")
    studies: Annotated[tuple[Study, ...], Field(strict=False)] = Field(description="The studies booked together.")
    status: AppointmentStatus = Field(description="Workflow step after this event.")
    who_acts_next: Literal["patient", "staff", "nobody"] = Field(description="Whose move the appointment waits for.")
    placer_number: str = Field(min_length=1, description="Placer number of the order (HL7 SCH-1, ORC-2).")
    filler_id: str | None = Field(default=None, description="The scheduling system's appointment id (HL7 SCH-2).")
    accession_numbers: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        default=(), description="Accession numbers of the studies, as far as they are known."
    )
    by: Literal["staff", "patient", "system"] = Field(description="Who brought the event about.")
    organization: str | None = Field(
        default=None, min_length=1, description="Imaging organisation in OmegaAI, by its id there."
    )
    referring_physician: Physician | None = Field(default=None, description="Who referred the patient.")


_DISPLACED = (
    "True when a booking of the scheduling system took the place that was held for the patient; alternatives says "
    "what is free instead."
)
_ALTERNATIVES = (
    "Free slots in place of the lost one, best first: three or more where the facility has as many; empty unless the "
    "patient did not get the time that was asked for."
)


class AnsweredAppointmentData(AppointmentData):
    """An appointment with its time. With ``refused_start`` it answers a wish: the appointment stays as it was."""

    refused_start: AwareDatetime | None = Field(
        default=None, description="Start that the patient asked for and does not get; null when there was no such wish."
    )
    refused_end: AwareDatetime | None = Field(default=None, description="End that goes with refused_start.")
    alternatives: Annotated[tuple[Alternative, ...], Field(strict=False)] = Field(default=(), description=_ALTERNATIVES)


class RequestedAppointmentData(AppointmentData):
    """An appointment that the patient asked for, or asked to move.

    ``displaced``: the request is still open, but the slot that is asked for is no longer held.
    """

    requested_start: AwareDatetime | None = Field(
        default=None, description="Start that the patient asks for; null when start itself is what is asked for."
    )
    requested_end: AwareDatetime | None = Field(default=None, description="End that goes with requested_start.")
    displaced: bool = Field(default=False, description=_DISPLACED)
    alternatives: Annotated[tuple[Alternative, ...], Field(strict=False)] = Field(default=(), description=_ALTERNATIVES)


class RescheduledAppointmentData(AppointmentData):
    """An appointment that has another time or resource than before; ``status`` and ``who_acts_next`` are kept."""

    former_start: AwareDatetime = Field(description="Start before the move.")
    former_end: AwareDatetime = Field(description="End before the move.")
    former_resource: str = Field(min_length=1, description="Resource before the move; equal to resource if kept.")
    former_facility: Facility | None = Field(default=None, description="Facility before the move; null if kept.")


class CancelledAppointmentData(AppointmentData):
    """An appointment that will not take place. ``displaced``: start and end are those of the lost slot."""

    reason: str | None = Field(default=None, description="Reason as it was given.")
    no_show: bool = Field(default=False, description="True when the patient did not come.")
    displaced: bool = Field(default=False, description=_DISPLACED)
    alternatives: Annotated[tuple[Alternative, ...], Field(strict=False)] = Field(default=(), description=_ALTERNATIVES)


class AppointmentScheduled(Message):
    """Staff gave an appointment its time; the patient has not confirmed it."""

    type: Literal["appointment.scheduled"]
    version: Literal[1]
    data: AnsweredAppointmentData = Field(description="The appointment.")


class AppointmentRequested(Message):
    """The patient asked for an appointment or for another time; staff decide."""

    type: Literal["appointment.requested"]
    version: Literal[1]
    data: RequestedAppointmentData = Field(description="The appointment and the time that is asked for.")


class AppointmentConfirmed(Message):
    """The appointment is agreed by both sides."""

    type: Literal["appointment.confirmed"]
    version: Literal[1]
    data: AnsweredAppointmentData = Field(description="The appointment.")


class AppointmentRescheduled(Message):
    """Staff moved an appointment to another time or resource. Whose move it is stays as it was."""

    type: Literal["appointment.rescheduled"]
    version: Literal[1]
    data: RescheduledAppointmentData = Field(description="The appointment after the move, and its former place.")


class AppointmentProgressed(Message):
    """The day of the exam: the patient arrived, is ready for the scan, or the exam is completed."""

    type: Literal["appointment.progressed"]
    version: Literal[1]
    data: AppointmentData = Field(description="The appointment; status says which step.")


class AppointmentCancelled(Message):
    """The appointment was cancelled, or the patient did not come."""

    type: Literal["appointment.cancelled"]
    version: Literal[1]
    data: CancelledAppointmentData = Field(description="The appointment and why it is off.")
