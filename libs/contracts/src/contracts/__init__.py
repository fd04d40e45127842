"""Versioned messages that the services exchange on Kafka: the only knowledge that services share about each other.

``parse`` reads bytes of any kept version as the newest one; ``new_message`` and ``Message.to_bytes`` write;
``topics.TOPICS`` lists the topics. The package depends on pydantic alone.
"""

from contracts import topics
from contracts.appointment import (
    AppointmentCancelled,
    AppointmentConfirmed,
    AppointmentData,
    AppointmentRequested,
    AppointmentScheduled,
    AppointmentStatus,
    CancelledAppointmentData,
    Facility,
    RequestedAppointmentData,
    Study,
)
from contracts.catalogue import REGISTRY, parse
from contracts.envelope import Message, Payload, header_values, headers, new_message
from contracts.errors import ContractError
from contracts.identifiers import uuid7
from contracts.patient import (
    PatientData,
    PatientIdentifier,
    PatientRegistered,
    PatientUpdated,
    PersonName,
    PostalAddress,
)
from contracts.registry import Registry

__all__ = [
    "REGISTRY",
    "AppointmentCancelled",
    "AppointmentConfirmed",
    "AppointmentData",
    "AppointmentRequested",
    "AppointmentScheduled",
    "AppointmentStatus",
    "CancelledAppointmentData",
    "ContractError",
    "Facility",
    "Message",
    "PatientData",
    "PatientIdentifier",
    "PatientRegistered",
    "PatientUpdated",
    "Payload",
    "PersonName",
    "PostalAddress",
    "Registry",
    "RequestedAppointmentData",
    "Study",
    "header_values",
    "headers",
    "new_message",
    "parse",
    "topics",
    "uuid7",
]
