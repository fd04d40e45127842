"""Claims on resources: kept in step with the links of a transaction, and read as what is free.

A link's claims follow from the link alone (``domain.claims``), so whoever saves a link keeps them. They are written by
one function for the whole batch, which locks the resources in one order. It runs in the statement that writes the
links' own rows, before them.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from heapq import nsmallest
from itertools import chain
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID, uuid5

import asyncpg

from chassis.store import Transaction, collision
from scheduler_sync.domain.appointment import AppointmentLink
from scheduler_sync.domain.claims import Kind, Wanted, wanted_by
from scheduler_sync.domain.slots import Busy, Slot, busy_of
from scheduler_sync.ports import Displaced, Offer
from scheduler_sync.rooms import Room, Rooms
from scheduler_sync.store import statements
from scheduler_sync.store.blocks import BlockRepository
from scheduler_sync.store.repositories import LinkRepository

MOST_OFFERS: Final = 5
NEAR: Final = timedelta(days=1)
AROUND: Final = timedelta(days=7)
_DAY: Final = timedelta(days=1)


class Claim(NamedTuple):
    """One claim, in the order of the statement's columns."""

    id: UUID
    link_id: UUID
    resource_id: UUID
    start: datetime
    end: datetime
    kind: str


Tell: TypeAlias = Callable[[Sequence[Displaced]], Awaitable[None]]


async def busy_between(
    connection: "asyncpg.Connection | asyncpg.Pool",
    resource_ids: Sequence[UUID],
    start: datetime,
    end: datetime,
    *,
    without_links: Collection[UUID] = (),
    without_claims: Collection[UUID] = (),
) -> Mapping[UUID, Busy]:
    """What stands on each resource between two instants. A resource that the store does not have is left out."""
    rows = await connection.fetch(
        statements.BUSY, resource_ids, start - _DAY, end + _DAY, list(without_links), list(without_claims)
    )
    return {row["resource_id"]: _busy(row) for row in rows}


def _busy(row: Mapping[str, Any]) -> Busy:
    """A block takes all places of its resource."""
    starts, ends, capacity = row["starts"], row["ends"], row["capacity"]
    if capacity > 1 and row["block_starts"]:
        starts, ends = starts + (capacity - 1) * row["block_starts"], ends + (capacity - 1) * row["block_ends"]
    return Busy(starts, ends, capacity)


async def offers_near(
    connection: "asyncpg.Connection | asyncpg.Pool",
    rooms: Rooms,
    facility: str,
    resource: str,
    asked: Slot,
    *,
    without_links: Collection[UUID] = (),
    may: Callable[[Room], bool] = lambda _: True,
) -> Sequence[Offer]:
    """At most five free slots in place of ``asked``, the nearest first: of the resource, then of its modality.

    Only of resources that ``may`` be offered.
    """
    now, found = rooms.now(), list[Offer]()
    length = timedelta(minutes=max(asked.minutes, 1))
    for alike in rooms.alike(facility, resource):
        group = [room for room in alike if may(room)]
        near: list[tuple[timedelta, datetime, str]] = []
        for around in (NEAR, AROUND) if group else ():
            begin, end = max(asked.start - around, now), asked.end + around
            if end <= begin:
                begin, end = now, now + 2 * around
            busy = await busy_between(
                connection, [room.resource.id for room in group], begin, end, without_links=without_links
            )
            near = [
                (abs(start - asked.start), start, room.resource.name)
                for room in group
                if room.resource.id in busy
                for start in room.free_starts(busy[room.resource.id], room.length(minutes=asked.minutes), begin, end)
                if start != asked.start or room.resource.name != resource
            ]
            if len(near) >= MOST_OFFERS:
                break
        for _, start, name in nsmallest(MOST_OFFERS - len(found), near):
            found.append(Offer(name, Slot(start, start + length, asked.zone)))
        if len(found) == MOST_OFFERS:
            break
    return found


class ClaimRepository:
    """The claims of a transaction's links. Joins the transaction before the links do."""

    def __init__(self, transaction: Transaction, links: LinkRepository, rooms: Rooms) -> None:
        self._transaction = transaction
        self._connection = transaction.connection
        self._links = links
        self._rooms = rooms
        self._looked_at: set[UUID] = set()
        self._ended_holds: list[UUID] = []
        self._without_room: set[UUID] = set()
        self._expired: list[UUID] = []
        self._missing: list[AppointmentLink] = []
        self.blocks: BlockRepository | None = None
        """Set for a batch that speaks of blocked times; flushed before the claims."""
        self.tell: Tell | None = None

    def end_hold(self, hold_id: UUID) -> None:
        """Ends a hold in favour of a link that this transaction saves."""
        self._ended_holds.append(hold_id)

    def release_expired(self, hold_id: UUID) -> None:
        """Releases a hold that nobody has booked, if it is over by the store's clock."""
        self._expired += [hold_id, uuid5(hold_id, "1")]

    def claim_missing(self, link: AppointmentLink) -> None:
        """Claims the booked time of a stored link that claims nothing."""
        self._missing.append(link)

    async def has_room(self, link: AppointmentLink) -> bool:
        """Whether the time that the link's patient asks for is free, beside all other links of this unit of work."""
        asked = next((one for one in wanted_by(link) if one.kind is Kind.REQUEST), None)
        place = None if asked is None else self._rooms.place(asked)
        if place is None:
            return True
        self._looked_at.add(link.id)
        changed = {after.id: after for _, after in self._links.changes()}
        changed.pop(link.id, None)
        found = await busy_between(
            self._connection, [place.resource_id], place.start, place.end,
            without_links=[link.id, *changed], without_claims=self._ended_holds,
        )  # fmt: skip
        busy = found.get(place.resource_id)
        if busy is None:
            return True
        of_links = (one for other in changed.values() for one in self._claims_of(other))
        of_blocks = (one for one in self._blocked() for _ in range(busy.capacity))
        staged = busy_of(
            (one.start, one.end) for one in chain(of_links, of_blocks) if one.resource_id == place.resource_id
        )
        both = Busy([*busy.starts, *staged.starts], [*busy.ends, *staged.ends], busy.capacity)
        has_room = both.has_room(place.start, place.end)
        (self._without_room.discard if has_room else self._without_room.add)(link.id)
        return has_room

    async def alternatives(self, link: AppointmentLink, asked: Slot) -> Sequence[Offer]:
        """Free slots in place of ``asked``, the nearest first: of the resource, then of others of its modality."""
        return await offers_near(
            self._connection, self._rooms, link.facility, link.resource, asked, without_links=[link.id]
        )

    def mark(self) -> object:
        return len(self._ended_holds)

    def rollback_to(self, mark: object) -> None:
        assert isinstance(mark, int)  # noqa: S101 - what mark() gave
        del self._ended_holds[mark:]

    async def flush(self, connection: "asyncpg.Connection") -> None:
        """Stages the claims and releases; then the promises that have lost their place are told.

        The flush raises an error that runs the batch again when another transaction was first: it took a place that
        ``has_room`` had found free, or it is changing an appointment that loses its place.
        """
        if self._expired:
            await connection.execute(statements.RELEASE_EXPIRED, self._expired)
        gone, coming = [*self._ended_holds], list[Claim]()
        for link in self._missing:
            coming += [one for one in self._claims_of(link) if one.kind == Kind.FACT]
        for before, after in self._links.changes():
            if before is None:
                coming += self._kept(after)
            elif wanted_by(before) != wanted_by(after) or after.id in self._without_room:
                old, new = self._claims_of(before), self._kept(after)
                gone += {one.id for one in (*old, *new) if one not in old or one not in new}
                coming += [one for one in new if one not in old]
        if self.blocks is not None:
            gone += [one.id for one in self.blocks.changed()]
            coming += self._blocked()
        if not gone and not coming:
            return
        columns = list(zip(*coming, strict=True)) or [()] * len(Claim._fields)
        self._transaction.ask(statements.CLAIM_LINKS, gone, *columns, then=self._settle)

    def _blocked(self) -> list[Claim]:
        """The claims of the blocks that this transaction saves: the blocked time alone, without buffers."""
        found = []
        for one in () if self.blocks is None else self.blocks.changed():
            if one.slot is None:
                continue
            place = self._rooms.place(Wanted(one.id, Kind.BLOCK, one.facility, one.resource, one.slot))
            if place is not None:
                claim = Claim(one.id, one.id, place.resource_id, one.slot.start, one.slot.end, Kind.BLOCK.value)
                found.append(claim)
        return found

    def _kept(self, link: AppointmentLink) -> list[Claim]:
        """The claims that a link shall have: no request for a time that was found taken."""
        found = self._claims_of(link)
        if link.id in self._without_room:
            found = [one for one in found if one.kind != Kind.REQUEST]
        return found

    def _claims_of(self, link: AppointmentLink) -> list[Claim]:
        """The claims of a link; none on a resource that OmegaAI does not have.

        A wanted time that runs into the link's own booked time claims only the rest: the patient has the other part.
        """
        found: list[Claim] = []
        for one in wanted_by(link):
            place = self._rooms.place(one)
            if place is None:
                continue
            spans = [(place.start, place.end)]
            for own in found:
                if own.resource_id == place.resource_id:
                    spans = [part for start, end in spans for part in ((start, own.start), (own.end, end))]
                    spans = [(max(start, place.start), min(end, place.end)) for start, end in spans]
            for number, (start, end) in enumerate(span for span in spans if span[0] < span[1]):
                claim_id = uuid5(one.id, str(number)) if number else one.id
                found.append(Claim(claim_id, link.id, place.resource_id, start, end, one.kind))
        return found

    async def _settle(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Tells the links whose requests have no place. A hold that was displaced is known by its claim alone."""
        causes = {row["link_id"]: row["by_link_id"] for row in rows if row["link_id"] is not None}
        raced = [row for row in rows if row["outcome"] == "taken" and row["link_id"] in self._looked_at]
        if raced or not await self._links.take_over(causes):
            raise collision("another transaction was first at a resource")
        if self.tell is None or not causes:
            return
        lost = []
        for link_id, cause in causes.items():
            link = self._links.by_id(link_id)
            if link is not None:
                entry = None if cause is None else self._links.last_entry(cause)
                block = None if cause is None or self.blocks is None else self.blocks.origin_of(cause)
                lost.append(Displaced(link, entry, block))
        await self.tell(lost)
        await self._links.flush(self._connection)  # what telling them has changed
