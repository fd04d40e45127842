"""The physician who referred the patient."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Physician:
    """A person of a clinic (HL7 XCN). ``number`` is theirs within ``issuer``; either part may be unknown, not both."""

    family: str
    given: str
    middle: str | None = None
    number: str | None = None
    issuer: str | None = None
