"""Versioned messages that the services exchange on Kafka: the only knowledge that services share about each other.

``parse`` reads bytes of any kept version as the newest one; ``new_message`` and ``Message.to_bytes`` write;
``topics.TOPICS`` lists the topics. The package depends on pydantic alone.
"""

from contracts import topics
from contracts.appointment import (
    Alternative,
    AnsweredAppointmentData,
    AppointmentCancelled,
    AppointmentConfirmed,
    AppointmentData,
    AppointmentProgressed,
    AppointmentRequested,
    AppointmentRescheduled,
    AppointmentScheduled,
    AppointmentStatus,
    CancelledAppointmentData,
    Facility,
    Physician,
    RequestedAppointmentData,
    RescheduledAppointmentData,
    Study,
)
from contracts.catalogue import REGISTRY, parse
from contracts.envelope import Message, Payload, header_values, headers, new_message
from contracts.errors import ContractError
from contracts.identifiers import uuid7
from contracts.patient import (
    Guardian,
    MergedPatientData,
    PatientData,
    PatientDataV1,
    PatientIdentifier,
    PatientMerged,
    PatientRegistered,
    PatientRegisteredV1,
    PatientUpdated,
    PatientUpdatedV1,
    PersonName,
    PostalAddress,
)
from contracts.registry import Registry
from contracts.resource import Difference, ResourceData, ResourceDrifted, ResourceLinked

__all__ = [
    "REGISTRY",
    "Alternative",
    "AnsweredAppointmentData",
    "AppointmentCancelled",
    "AppointmentConfirmed",
    "AppointmentData",
    "AppointmentProgressed",
    "AppointmentRequested",
    "AppointmentRescheduled",
    "AppointmentScheduled",
    "AppointmentStatus",
    "CancelledAppointmentData",
    "ContractError",
    "Difference",
    "Facility",
    "Guardian",
    "MergedPatientData",
    "Message",
    "PatientData",
    "PatientDataV1",
    "PatientIdentifier",
    "PatientMerged",
    "PatientRegistered",
    "PatientRegisteredV1",
    "PatientUpdated",
    "PatientUpdatedV1",
    "Payload",
    "PersonName",
    "Physician",
    "PostalAddress",
    "Registry",
    "RequestedAppointmentData",
    "RescheduledAppointmentData",
    "ResourceData",
    "ResourceDrifted",
    "ResourceLinked",
    "Study",
    "header_values",
    "headers",
    "new_message",
    "parse",
    "topics",
    "uuid7",
]
