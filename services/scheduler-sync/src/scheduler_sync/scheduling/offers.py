"""Free slots in place of a refused time, looked for outside the transaction that found it taken."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from chassis.store import Store
from scheduler_sync.domain.appointment import AppointmentLink
from scheduler_sync.domain.slots import Slot
from scheduler_sync.ports import Offer
from scheduler_sync.rooms import Room, Rooms
from scheduler_sync.scheduling.problems import Code, Problem, Refused
from scheduler_sync.scheduling.rules import closed
from scheduler_sync.store.claims import offers_near

_MINUTE: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Near:
    """Where free slots are looked for in place of a refused one. ``moved_id``: the appointment that is to be moved."""

    facility: str
    resource: str
    slot: Slot
    moved_id: UUID | None


class TimeRefused(Refused):
    """A refused time. Free slots instead are looked for after the transaction, which would keep others waiting."""

    def __init__(self, *problems: Problem, near: Near) -> None:
        super().__init__(*problems, facility=near.facility)
        self.near = near


class Offers:
    """Looks for free slots. Callers who are refused the same time at once share one search."""

    def __init__(self, store: Store, rooms: Rooms) -> None:
        self._store = store
        self._rooms = rooms
        self._looking: dict[Near, asyncio.Task[Sequence[Offer]]] = {}

    async def beside(self, refused: TimeRefused) -> Refused:
        """The refusal with the free slots that its caller may book instead."""
        near = refused.near
        looking = self._looking.get(near)
        if looking is None:
            looking = self._looking[near] = asyncio.create_task(self._near(near))
            looking.add_done_callback(lambda done: self._end(near, done))
        offers = await asyncio.shield(looking)
        return Refused(*refused.problems, offers=offers, facility=near.facility)

    def _end(self, near: Near, done: "asyncio.Task[Sequence[Offer]]") -> None:
        del self._looking[near]
        if not done.cancelled():
            done.exception()  # callers who are gone leave nobody to see it

    async def _near(self, near: Near) -> Sequence[Offer]:
        """Free slots near the refused one; none where the resource is gone meanwhile."""
        room, slot, is_moving = self._rooms.of(near.facility, near.resource), near.slot, near.moved_id is not None
        if room is None:
            return ()
        now = self._rooms.now()
        rules = room.rules
        around = min(max(slot.start, now + rules.notice_minutes * _MINUTE), now + timedelta(days=rules.horizon_days))
        wanted = slot if around == slot.start else Slot(around, around + (slot.end - slot.start), slot.zone)
        found = await offers_near(
            self._store.pool, self._rooms, room.resource.facility, room.resource.name, wanted,
            without_links=[] if near.moved_id is None else [near.moved_id],
            may=lambda one: not closed(one, is_moving=is_moving)
            and (not is_moving or one.resource.id == room.resource.id),
        )  # fmt: skip
        first = now + rules.notice_minutes * _MINUTE
        return [one for one in found if one.slot.start >= first]


def near(room: Room, slot: Slot, moved: AppointmentLink | None) -> Near:
    return Near(room.resource.facility, room.resource.name, slot, None if moved is None else moved.id)


def taken(room: Room, slot: Slot, moved: AppointmentLink | None) -> TimeRefused:
    return TimeRefused(Problem(Code.CONFLICT, "the time has just been taken", "start"), near=near(room, slot, moved))
