"""A patient as the suite knows one: an opaque id of our own, found by identifier + issuer, as PowerServer's key is."""

from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import Enum
from typing import Final, Literal, TypeVar
from uuid import UUID


class Unsaid(Enum):
    """A value that a message leaves out, which is not the same as one that it deletes (HL7's null)."""

    UNSAID = "unsaid"


UNSAID: Final = Unsaid.UNSAID

T = TypeVar("T")
Sex = Literal["F", "M", "O", "U"]


@dataclass(frozen=True, slots=True)
class PatientIdentifier:
    """An identifier within its issuer (HL7 PID-3: id^^^issuer)."""

    issuer: str
    value: str


@dataclass(frozen=True, slots=True)
class Address:
    """A postal address in parts."""

    line: str | None = None
    city: str | None = None
    state: str | None = None
    postal_code: str | None = None
    country: str | None = None


@dataclass(frozen=True, slots=True)
class PatientFacts:
    """What one message says of a patient."""

    identifiers: tuple[PatientIdentifier, ...]
    family: str
    given: str
    middle: str | Unsaid | None = UNSAID
    birth_date: date | Unsaid | None = UNSAID
    sex: Sex | Unsaid = UNSAID
    email: str | Unsaid | None = UNSAID
    phone: str | Unsaid | None = UNSAID
    language: str | Unsaid = UNSAID
    address: Address | Unsaid | None = UNSAID


@dataclass(frozen=True, slots=True)
class Patient:
    """A site's patient. ``revision`` counts published events.

    ``heard_at`` is PowerServer's time (MSH-7) of the newest message that said what is kept, whether or not it was news.
    """

    id: UUID
    site: str
    identifiers: tuple[PatientIdentifier, ...]
    family: str
    given: str
    middle: str | None
    birth_date: date | None
    sex: Sex
    email: str | None
    phone: str | None
    language: str
    address: Address | None
    organization: str
    heard_at: datetime
    revision: int = 0
    fhir_id: str | None = None
    fhir_version: str | None = None

    @classmethod
    def register(
        cls, patient_id: UUID, site: str, facts: PatientFacts, *, organization: str, said_at: datetime
    ) -> "Patient":
        """A patient whom the suite did not know."""
        return cls(
            id=patient_id,
            site=site,
            identifiers=facts.identifiers,
            family=facts.family,
            given=facts.given,
            middle=_or(facts.middle, None),
            birth_date=_or(facts.birth_date, None),
            sex=_or(facts.sex, "U"),
            email=_or(facts.email, None),
            phone=_or(facts.phone, None),
            language=_or(facts.language, "en"),
            address=_or(facts.address, None),
            organization=organization,
            heard_at=said_at,
            revision=1,
        )

    def hear(self, facts: PatientFacts, *, said_at: datetime) -> "Patient":
        """The patient after a message; ``self`` when it is older than what is known or tells nothing of it.

        ``revision`` goes up by one when anything that others see has changed. A message that says once more all that is
        kept moves ``heard_at`` on, so that one which it overtook (A, B and A again) does not pass for news. One that
        leaves a detail out does not: of that detail the overtaken one is still the newest word.
        """
        if said_at < self.heard_at:
            return self
        known = set(self.identifiers)
        changed = replace(
            self,
            identifiers=self.identifiers + tuple(one for one in facts.identifiers if one not in known),
            family=facts.family,
            given=facts.given,
            middle=_or(facts.middle, self.middle),
            birth_date=_or(facts.birth_date, self.birth_date),
            sex=_or(facts.sex, self.sex),
            email=_or(facts.email, self.email),
            phone=_or(facts.phone, self.phone),
            language=_or(facts.language, self.language),
            address=_or(facts.address, self.address),
        )
        if changed != self:
            return replace(changed, revision=self.revision + 1, heard_at=said_at)
        return replace(self, heard_at=said_at) if said_at > self.heard_at and self._is_all_said_by(facts) else self

    def _is_all_said_by(self, facts: PatientFacts) -> bool:
        """Whether the message alone would make the patient that is kept."""
        alone = Patient.register(self.id, self.site, facts, organization=self.organization, said_at=self.heard_at)
        return self == replace(
            alone,
            identifiers=self.identifiers,
            revision=self.revision,
            fhir_id=self.fhir_id,
            fhir_version=self.fhir_version,
        )

    def told_omegaai(self, fhir_id: str, version: str) -> "Patient":
        """After OmegaAI took a write of ours."""
        return replace(self, fhir_id=fhir_id, fhir_version=version)


def _or(said: T | Unsaid, otherwise: T) -> T:
    return otherwise if isinstance(said, Unsaid) else said
