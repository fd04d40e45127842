"""The recipient of messages: the few facts of a patient that a message needs."""

import re
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

# Addresses that mail servers take and that fit a header. RFC 5322's quoted local parts and comments are left out:
# nobody uses them, and they help header injection. Lengths follow RFC 5321 §4.5.3.1.
_ADDRESS = re.compile(
    r"(?=.{3,254}\Z)[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,64}(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,64})*"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)

_LONGEST_ADDRESS = 320  # before its domain is converted to ASCII; RFC 5321 allows far less


@dataclass(frozen=True, slots=True)
class Recipient:
    """The projection of a patient. ``email`` stands as the record has it; ``mail_address`` judges it.

    ``language`` is empty when it is not known. ``merged_into`` is the patient in whose record this one ended: messages
    go to that patient. ``merged_at`` is the time of the last merge with this patient on either side.
    """

    patient_id: UUID
    revision: int
    given_name: str
    email: str | None
    language: str
    merged_into: UUID | None = None
    merged_at: datetime | None = None

    @classmethod
    def unheard_of(cls, patient_id: UUID) -> "Recipient":
        """A patient whose record ended before any event about it came."""
        return cls(patient_id, 1, "", None, "")

    def with_merge_of(self, known: "Recipient") -> "Recipient":
        """These facts, which are newer, with what is known of a merge."""
        return replace(self, merged_into=known.merged_into, merged_at=known.merged_at)

    def ended(self, survivor_id: UUID, at: datetime) -> "Recipient":
        """After this record ended in another one's, unless a later merge is known already."""
        if self.merged_at is not None and self.merged_at > at:
            return self
        return replace(self, merged_into=survivor_id, merged_at=at)

    def survived(self, at: datetime) -> "Recipient":
        """After another record ended in this one: an earlier merge of this record is over."""
        if self.merged_at is not None and self.merged_at > at:
            return self
        return replace(self, merged_into=None, merged_at=at)

    @property
    def mail_address(self) -> str | None:
        """The address to send to, its domain in ASCII (RFC 5891); None without a valid one."""
        email = (self.email or "").strip()
        if len(email) > _LONGEST_ADDRESS:
            return None
        local_part, _, domain = email.rpartition("@")
        try:
            address = f"{local_part}@{domain.encode('idna').decode('ascii')}"
        except UnicodeError:
            return None
        return address if _ADDRESS.fullmatch(address) and len(local_part) <= 64 else None

    @property
    def why_no_mail(self) -> str:
        """The reason why ``mail_address`` is None, without the address itself."""
        return "the patient's e-mail address is not valid" if (self.email or "").strip() else "no e-mail address"
