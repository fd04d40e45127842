"""A patient of the suite: an opaque id of our own, found by identifier + issuer, as PowerServer's key is."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from enum import Enum
from typing import Any, Final, Literal, TypeVar
from uuid import UUID

from scheduler_sync.domain.replaced import replaced


class Unsaid(Enum):
    """A value that a message leaves out, in contrast to a deleted value (HL7's null)."""

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
class Guardian:
    """The person who answers for the patient. ``relationship`` is a code of HL7's table 0063: GRD, PAR, MTH, FTH."""

    family: str
    given: str
    middle: str | None = None
    relationship: str | None = None
    email: str | None = None
    phone: str | None = None


@dataclass(frozen=True, slots=True)
class PatientFacts:
    """The facts in one message about a patient: UNSAID keeps the known value, None (or an empty name) deletes it."""

    identifiers: tuple[PatientIdentifier, ...]
    family: str | Unsaid = UNSAID
    given: str | Unsaid = UNSAID
    middle: str | Unsaid | None = UNSAID
    birth_date: date | Unsaid | None = UNSAID
    sex: Sex | Unsaid = UNSAID
    email: str | Unsaid | None = UNSAID
    phone: str | Unsaid | None = UNSAID
    language: str | Unsaid = UNSAID
    address: Address | Unsaid | None = UNSAID
    guardian: Guardian | Unsaid | None = UNSAID


@dataclass(frozen=True, slots=True)
class NumberRole:
    """What the newest merge at ``at`` (PowerServer's time) made of a number: a former one, or the survivor's."""

    at: datetime
    is_former: bool


DETAILS: Final = (
    "family", "given", "middle", "birth_date", "sex", "email", "phone", "language", "address", "guardian",
)  # fmt: skip
"""Details that a message may leave out."""


@dataclass(frozen=True, slots=True)
class Patient:
    """A site's patient. ``revision`` counts published events.

    ``heard_at`` is PowerServer's time (MSH-7) of the newest message about them, whether or not it was news.
    ``details_heard_at`` holds the time of each detail that later messages left out; None for a detail that no message
    has given yet. ``identifiers`` begin with the present ones; ``roles`` has those that a merge has named.
    ``merged_into`` is the patient that this record ended in; such a patient has no identifiers.
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
    details_heard_at: Mapping[str, datetime | None] = field(default_factory=dict, hash=False)
    revision: int = 0
    fhir_id: str | None = None
    fhir_version: str | None = None
    roles: Mapping[PatientIdentifier, NumberRole] = field(default_factory=dict, hash=False)
    merged_into: UUID | None = None
    guardian: Guardian | None = None

    @classmethod
    def register(
        cls, patient_id: UUID, site: str, facts: PatientFacts, *, organization: str, said_at: datetime
    ) -> "Patient":
        """A patient whom the suite did not know."""
        return cls(
            id=patient_id,
            site=site,
            identifiers=facts.identifiers,
            family=_or(facts.family, ""),
            given=_or(facts.given, ""),
            middle=_or(facts.middle, None),
            birth_date=_or(facts.birth_date, None),
            sex=_or(facts.sex, "U"),
            email=_or(facts.email, None),
            phone=_or(facts.phone, None),
            language=_or(facts.language, "en"),
            address=_or(facts.address, None),
            organization=organization,
            heard_at=said_at,
            details_heard_at={name: None for name in DETAILS if getattr(facts, name) is UNSAID},
            revision=1,
            guardian=_or(facts.guardian, None),
        )

    def hear(self, facts: PatientFacts, *, said_at: datetime, latest: datetime | None = None) -> "Patient":
        """The patient after a message; ``self`` when the message is old or has no new facts.

        The message was made at ``said_at``, or between ``said_at`` and ``latest``: it is old only when it is certainly
        not the newer one. Messages overtake each other, and leave details out: of each detail the newest value holds,
        whatever other details have changed since. ``revision`` goes up by one when a published fact has changed.
        """
        latest = latest or said_at
        said = {name: value for name in DETAILS if (value := getattr(facts, name)) is not UNSAID}
        news: dict[str, Any] = {name: value for name, value in said.items() if self._is_news(name, latest)}
        heard_at = max(self.heard_at, said_at)
        times = {
            name: self._heard_again_at(name, said_at) if name in news else self._detail_heard_at(name)
            for name in DETAILS
        }
        if latest >= self.heard_at:
            known = set(self.identifiers)
            news["identifiers"] = self.identifiers + tuple(one for one in facts.identifiers if one not in known)
        changed = replaced(self, **news)
        after = replaced(
            changed,
            revision=self.revision + (changed != self),
            heard_at=heard_at,
            details_heard_at={name: at for name, at in times.items() if at != heard_at},
        )
        return self if after == self else after

    def _detail_heard_at(self, name: str) -> datetime | None:
        return self.details_heard_at.get(name, self.heard_at)

    def _heard_again_at(self, name: str, said_at: datetime) -> datetime:
        heard_at = self._detail_heard_at(name)
        return said_at if heard_at is None else max(said_at, heard_at)

    def is_said(self, name: str) -> bool:
        """Whether a message has ever given this detail, even as deleted."""
        return self.details_heard_at.get(name, self.heard_at) is not None

    def _is_news(self, name: str, said_at: datetime) -> bool:
        heard_at = self._detail_heard_at(name)
        return heard_at is None or said_at >= heard_at

    def with_numbers(
        self, current: Sequence[PatientIdentifier], former: Sequence[PatientIdentifier], *, at: datetime
    ) -> "Patient":
        """The patient after a merge at ``at`` of the ``former`` numbers' record into that of the ``current`` ones.

        Of each number the newest merge holds, whatever order merges arrive in. The revision stays.
        """
        roles = dict(self.roles)
        for some, is_former in ((current, False), (former, True)):
            for one in some:
                known = roles.get(one)
                if known is None or known.at <= at:
                    roles[one] = NumberRole(at, is_former)
        return replace(self, identifiers=in_order((*self.identifiers, *current, *former), roles), roles=roles)

    def absorb(self, other: "Patient") -> "Patient":
        """The patient after ``other`` turned out to be the same person: of each detail the newest value holds.

        The revision goes up by one: the merge is published.
        """
        news: dict[str, Any] = {}
        times = {name: self._detail_heard_at(name) for name in DETAILS}
        for name in DETAILS:
            ours, theirs = times[name], other._detail_heard_at(name)  # noqa: SLF001 - the same class
            if theirs is not None and (ours is None or theirs > ours):
                news[name], times[name] = getattr(other, name), theirs
        heard_at = max(self.heard_at, other.heard_at)
        roles = dict(self.roles)
        for one, role in other.roles.items():
            if one not in roles or roles[one].at < role.at:
                roles[one] = role
        return replace(
            self,
            **news,
            identifiers=in_order((*self.identifiers, *other.identifiers), roles),
            roles=roles,
            heard_at=heard_at,
            details_heard_at={name: at for name, at in times.items() if at != heard_at},
            revision=self.revision + 1,
        )

    def ended_in(self, survivor_id: UUID) -> "Patient":
        """The record after it was merged into another one: its numbers are the survivor's."""
        return replace(self, identifiers=(), roles={}, merged_into=survivor_id)

    @property
    def published(self) -> tuple[Any, ...]:
        """The facts that events carry."""
        return self.identifiers, *(getattr(self, name) for name in DETAILS)

    def told_omegaai(self, fhir_id: str, version: str) -> "Patient":
        """After OmegaAI took a write of ours."""
        return replace(self, fhir_id=fhir_id, fhir_version=version)


def _or(said: T | Unsaid, otherwise: T) -> T:
    return otherwise if isinstance(said, Unsaid) else said


def in_order(
    numbers: Iterable[PatientIdentifier], roles: Mapping[PatientIdentifier, NumberRole]
) -> tuple[PatientIdentifier, ...]:
    """Each number once, former ones last, otherwise in their order."""
    return tuple(sorted(dict.fromkeys(numbers), key=lambda one: one in roles and roles[one].is_former))
