"""A partner's answer to a delivery, as the senders write it and the settlement reads it.

The names in a stored receipt never change: during a rollout the present and the former code read each other's. A name
may be added; a reader ignores unknown names.
"""

from dataclasses import dataclass
from typing import Final

from chassis.deliveries import Receipt, UnreadableReceiptError
from scheduler_sync.domain.appointment import FhirStatus

NOT_SENT: Final = "not sent"
NOT_KNOWN: Final = "not known there"
"""Both replace an acknowledgement's code."""


NOT_ACKNOWLEDGED: Final = "not acknowledged: this station sends none"
"""Replaces an acknowledgement's code: the message was written to PowerServer's station."""


@dataclass(frozen=True, slots=True)
class PatientAccepted:
    """OmegaAI has the Patient under this id, in this version."""

    fhir_id: str
    version: str

    def to_receipt(self) -> Receipt:
        return Receipt({"resource": "Patient", "id": self.fhir_id, "version_id": self.version})

    @classmethod
    def of(cls, receipt: Receipt) -> "PatientAccepted":
        """UnreadableReceiptError."""
        return cls(_text(receipt, "id"), _text(receipt, "version_id"))


@dataclass(frozen=True, slots=True)
class PatientsMerged:
    """OmegaAI has one Patient of two, under this id; None where it never had the ended one, nor the other."""

    fhir_id: str | None

    def to_receipt(self) -> Receipt:
        return Receipt({"resource": "Patient", "id": self.fhir_id or ""})

    @classmethod
    def of(cls, receipt: Receipt) -> "PatientsMerged":
        return cls(receipt.detail.get("id") or None)


@dataclass(frozen=True, slots=True)
class AppointmentAccepted:
    """OmegaAI has the Appointment under this id, in this version, with this status.

    ``over`` is the version that the write replaced; None when nothing was there or nothing was written.
    """

    fhir_id: str
    version: str
    status: FhirStatus
    over: str | None = None

    def to_receipt(self) -> Receipt:
        detail = {
            "resource": "Appointment",
            "id": self.fhir_id,
            "version_id": self.version,
            "status": self.status.value,
        }
        return Receipt(detail if self.over is None else {**detail, "over": self.over})

    @classmethod
    def of(cls, receipt: Receipt) -> "AppointmentAccepted":
        """UnreadableReceiptError."""
        status = _text(receipt, "status")
        if status not in set(FhirStatus):
            raise UnreadableReceiptError("its status is no AppointmentStatus")
        over = _text(receipt, "over") if "over" in receipt.detail else None
        return cls(_text(receipt, "id"), _text(receipt, "version_id"), FhirStatus(status), over)


@dataclass(frozen=True, slots=True)
class StatusAnswered:
    """PowerServer acknowledged a status with ``code``; or it shows a later one, so the status was not sent."""

    code: str
    control_id: str = ""

    @property
    def was_sent(self) -> bool:
        return self.code not in {NOT_SENT, NOT_KNOWN}

    def to_receipt(self) -> Receipt:
        return Receipt({"ack": self.code, "control_id": self.control_id})

    @classmethod
    def of(cls, receipt: Receipt) -> "StatusAnswered":
        """UnreadableReceiptError."""
        return cls(_text(receipt, "ack"), receipt.detail.get("control_id", ""))


def _text(receipt: Receipt, name: str) -> str:
    value = receipt.detail.get(name)
    if not isinstance(value, str) or not value:
        raise UnreadableReceiptError(f"it has no {name}")
    return value
