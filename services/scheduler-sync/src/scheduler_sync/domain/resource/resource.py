"""A bookable resource, and what each side says of it."""

from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from scheduler_sync.domain.resource.hours import Hours
from scheduler_sync.domain.slots import Opening


@dataclass(frozen=True, slots=True)
class Resource:
    """A bookable resource of a facility, as OmegaAI's HealthcareService describes it."""

    id: UUID
    facility: str
    name: str
    modality: str | None
    healthcare_service_id: str
    duration_minutes: int | None = None
    overbooking: bool = False
    active: bool = True
    aliases: tuple[str, ...] = ()
    hours: tuple[Opening, ...] = ()
    self_scheduling: bool = False


@dataclass(frozen=True, slots=True)
class Description:
    """What one side says of a resource. None: the side does not say it, and nothing is compared.

    ``organization``: OmegaAI's organisation; of PowerServer's side the one that the site file maps the facility to.
    """

    name: str
    modality: str | None = None
    hours: Hours | None = None
    duration_minutes: int | None = None
    overbooking: bool | None = None
    active: bool | None = None
    organization: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GridFacts:
    """The columns of PowerServer's resource grid. None: it was not said.

    ``key``: PowerServer's own id of the row; it stays the same when the resource gets another name.
    """

    key: str | None = None
    kind: str | None = None
    modality: str | None = None
    department: str | None = None
    room: str | None = None
    category: str | None = None
    hours: Hours | None = None
    duration_minutes: int | None = None
    overbooking: bool | None = None


@dataclass(frozen=True, slots=True)
class GridRow(GridFacts):
    """A row of the grid as it was heard, from a CSV export or an MFN message. ``at``: when PowerServer said it.

    None: the source has no such column or field, and the known value stays.
    """

    facility: str
    name: str
    at: datetime
    source: str
    active: bool | None = None


@dataclass(frozen=True, slots=True)
class PowerServerResource(GridFacts):
    """A resource of PowerServer, as far as it was heard."""

    id: UUID
    facility: str
    name: str
    heard_at: datetime
    source: str
    active: bool = True

    def heard(self, row: GridRow) -> "PowerServerResource":
        """The resource after ``row``; unchanged where the row is older than what is known."""
        if row.at < self.heard_at:
            return self
        said = {name: value for name in _FACTS if (value := getattr(row, name)) is not None}
        return replace(self, **said, name=row.name, heard_at=row.at, source=row.source)

    def without_key(self, row: GridRow) -> "PowerServerResource":
        """The resource after its key went to another name: it is off."""
        return replace(self, key=None, active=False, heard_at=row.at, source=row.source)

    def switched_off(self, at: datetime) -> "PowerServerResource":
        """The resource after a complete export did not name it."""
        return replace(self, active=False, heard_at=max(at, self.heard_at))

    @classmethod
    def first_heard(cls, row: GridRow, new_id: UUID) -> "PowerServerResource":
        """A resource that nobody knew. It is active unless the row says otherwise."""
        known = cls(new_id, row.facility, row.name, row.at, row.source)
        return known.heard(row)

    def changed(self, before: "PowerServerResource | None") -> dict[str, tuple[str | None, str | None]]:
        """The facts that differ from ``before``, each with both values in words."""
        found = {}
        for name in ("name", *_FACTS):
            was, now = None if before is None else _words(getattr(before, name)), _words(getattr(self, name))
            if was != now:
                found[name] = was, now
        return found

    def description(self, organization: str) -> Description:
        """What PowerServer says, for the comparison. ``organization``: the site file's, for the facility."""
        return Description(
            self.name, self.modality, self.hours, self.duration_minutes, self.overbooking, self.active, organization
        )


_FACTS: Final = (*(one.name for one in fields(GridFacts)), "active")


def _words(value: object) -> str | None:
    if isinstance(value, Hours):
        return value.words()
    if isinstance(value, bool):
        return "on" if value else "off"
    return None if value is None else str(value)
