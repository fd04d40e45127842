"""A bookable resource."""

from dataclasses import dataclass
from uuid import UUID

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
