"""A resource as it can be booked: its hours in its facility's zone, its buffers, its grid."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

from scheduler_sync.domain.appointment.requests import shortest_minutes
from scheduler_sync.domain.claims import Wanted
from scheduler_sync.domain.resource import Resource
from scheduler_sync.domain.slots import Busy, Hours, Length, free_starts, is_free
from scheduler_sync.site import FacilityScheduling, SiteFile

USUAL_MINUTES: Final = 60
"""OmegaAI's length where a service says none."""


@dataclass(frozen=True, slots=True)
class Room:
    """A resource with the rules of its facility."""

    resource: Resource
    hours: Hours
    rules: FacilityScheduling
    study_minutes: Mapping[str, int]

    def length(self, studies: Sequence[str] = (), minutes: int | None = None) -> Length:
        """How long these studies take here, at least as long as both products want; or ``minutes``, if given."""
        usual = self.resource.duration_minutes or USUAL_MINUTES
        of_studies = [self.study_minutes.get(code, usual) for code in studies]
        wanted = minutes or sum(of_studies) or usual
        return Length(max(wanted, shortest_minutes()), self.rules.before_minutes, self.rules.after_minutes)

    def free_starts(self, busy: Busy, length: Length, begin: datetime, end: datetime) -> list[datetime]:
        """The starts that are free, on the facility's grid."""
        return free_starts(self.hours, busy, length, begin, end, grid_minutes=self.rules.grid_minutes)

    def is_free(self, busy: Busy, length: Length, start: datetime) -> bool:
        """Whether ``free_starts`` offers ``start``."""
        return is_free(self.hours, busy, length, start, grid_minutes=self.rules.grid_minutes)


@dataclass(frozen=True, slots=True)
class Place:
    """What a claim takes of a resource: its time, widened by the buffers."""

    resource_id: UUID
    start: datetime
    end: datetime


class KnownResources(Protocol):
    """OmegaAI's resources, held in memory."""

    def find(self, facility: str, name: str) -> Resource | None: ...
    def all_of(self, facility: str) -> Sequence[Resource]: ...


class Rooms:
    """The resources of the site file's facilities, as they can be booked now."""

    def __init__(self, site: Callable[[], SiteFile], resources: KnownResources, now: Callable[[], datetime]) -> None:
        self._site = site
        self._resources = resources
        self.now = now

    def of(self, facility: str, name: str) -> Room | None:
        """None for a resource that OmegaAI does not have."""
        found = self._resources.find(facility, name)
        return None if found is None else self._room(found)

    def place(self, wanted: Wanted) -> Place | None:
        """The claim's place; None for a resource that OmegaAI does not have: nothing can be claimed there."""
        resource = self._resources.find(wanted.facility, wanted.resource)
        if resource is None:
            return None
        rules, slot = self._site().scheduling_of(wanted.facility), wanted.slot
        before, after = timedelta(minutes=rules.before_minutes), timedelta(minutes=rules.after_minutes)
        return Place(resource.id, slot.start - before, slot.end + after)

    def alike(self, facility: str, name: str) -> Iterator[list[Room]]:
        """The resource itself, then those of its modality at the facility."""
        room = self.of(facility, name)
        if room is None:
            return
        yield [room]
        modality = room.resource.modality
        others = [one for one in self._resources.all_of(facility) if one.id != room.resource.id]
        yield [self._room(one) for one in others if modality is not None and one.modality == modality]

    def all_of(self, facility: str) -> list[Room]:
        return [self._room(one) for one in self._resources.all_of(facility)]

    def _room(self, resource: Resource) -> Room:
        site = self._site()
        rules = site.scheduling_of(resource.facility)
        hours = Hours(resource.hours, site.facilities[resource.facility].zone, rules.closed)
        return Room(resource, hours, rules, site.study_minutes)
