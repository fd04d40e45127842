"""Resources in the store: PowerServer's grid as a participant of a transaction, and rows as the domain's facts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import orjson

import contracts
from chassis.store import Transaction
from chassis.store.aggregates import Undoable, lists_of
from scheduler_sync.domain.resource import (
    Description,
    FieldDrift,
    GridRow,
    Hours,
    NearMiss,
    Nearness,
    PowerServerResource,
    Side,
    hours_of_available_time,
)
from scheduler_sync.resources import statements


class HistoryLine(NamedTuple):
    """One change or decision. ``detail``: names of fields and their values, nothing of a patient."""

    facility: str
    name: str
    at: datetime
    actor: str
    what: str
    detail: Mapping[str, object]


class ResourceRecords:
    """PowerServer's resources of one transaction, and the lines of history that it writes.

    Locks resources against other writers when it first loads; so it is loaded after patients and links.
    """

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._connection = transaction.connection
        self._grid: Undoable[UUID, PowerServerResource] = Undoable()
        self._by_name: dict[tuple[str, str], UUID] = {}
        self._by_key: dict[tuple[str, str], UUID] = {}
        self._history: list[HistoryLine] = []
        self._is_locked = False

    async def lock(self) -> None:
        if not self._is_locked:
            await self._connection.execute(statements.LOCK)
            self._is_locked = True

    async def load(self, rows: Iterable[GridRow]) -> None:
        """Loads the resources that these rows may mean."""
        asked = {(row.facility, row.name, row.key or "") for row in rows}
        if asked:
            await self.lock()
            self._take(await self._connection.fetch(statements.GRID_ASKED, *lists_of(list(asked))))

    async def load_facilities(self, facilities: Sequence[str]) -> None:
        await self.lock()
        self._take(await self._connection.fetch(statements.GRID_OF_FACILITIES, list(facilities)))

    def of_facility(self, facility: str) -> list[PowerServerResource]:
        return [one for one in self._grid.now.values() if one.facility == facility]

    def hear(self, row: GridRow, *, actor: str, now: datetime, is_newest: bool = False) -> bool:
        """Takes a row over; False when it changes nothing. ``is_newest``: whatever time PowerServer has said before.

        The key tells the resource, else its name. A name that another row has goes to that row, and the row that had
        the key becomes inactive: PowerServer has one resource of a name.
        """
        holder = self._known(self._by_key.get((row.facility, row.key))) if row.key is not None else None
        if not row.name:  # a deletion may give the key alone
            if holder is None:
                return False
            row = replace(row, name=holder.name)
        namesake = self._known(self._by_name.get((row.facility, row.name)))
        before = namesake or holder
        if before is not None and row.at < before.heard_at:
            if not is_newest:
                return False
            row = replace(row, at=before.heard_at)
        if holder is not None and namesake is not None and holder.id != namesake.id:
            self.put(holder.without_key(row), before=holder, actor=actor, now=now)
        after = PowerServerResource.first_heard(row, contracts.uuid7()) if before is None else before.heard(row)
        return self.put(after, before=before, actor=actor, now=now)

    def put(self, after: PowerServerResource, *, before: PowerServerResource | None, actor: str, now: datetime) -> bool:
        """Saves a resource, with a line of history where a fact has changed."""
        if after == before:
            return False
        self._grid.put(after.id, after)
        if before is not None:
            self._forget(before)
        self._index(after)
        changed = after.changed(before)
        if changed:
            what = "powerserver.new" if before is None else "powerserver.changed"
            self.note(HistoryLine(after.facility, after.name, now, actor, what, changed))
        return bool(changed)

    def note(self, line: HistoryLine) -> None:
        self._history.append(line)

    def mark(self) -> object:
        return self._grid.mark(), len(self._history)

    def rollback_to(self, mark: object) -> None:
        assert isinstance(mark, tuple)  # noqa: S101 - what mark() gave
        self._grid.rollback_to(mark[0])
        del self._history[mark[1] :]
        self._by_name, self._by_key = {}, {}
        for one in self._grid.now.values():
            self._index(one)

    async def flush(self, connection: asyncpg.Connection) -> None:
        del connection  # staged, to go out with all the rest
        changed = self._grid.take_changed()
        if changed:
            self._transaction.write(statements.WRITE_GRID, *lists_of([_grid_row(one) for one in changed]))
        if self._history:
            lines = [(*line[:-1], _json(line.detail)) for line in self._history]
            self._transaction.write(statements.WRITE_HISTORY, *lists_of(lines))
        self._history = []

    def _known(self, resource_id: UUID | None) -> PowerServerResource | None:
        return None if resource_id is None else self._grid.now.get(resource_id)

    def _take(self, rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows:
            self._grid.load(row["id"], grid_of(row))
            self._index(self._grid.now[row["id"]])

    def _index(self, one: PowerServerResource) -> None:
        self._by_name[one.facility, one.name] = one.id
        if one.key is not None:
            self._by_key[one.facility, one.key] = one.id

    def _forget(self, one: PowerServerResource) -> None:
        if self._by_name.get((one.facility, one.name)) == one.id:
            del self._by_name[one.facility, one.name]
        if one.key is not None and self._by_key.get((one.facility, one.key)) == one.id:
            del self._by_key[one.facility, one.key]


def _grid_row(one: PowerServerResource) -> tuple[object, ...]:
    hours = None if one.hours is None else _json({"spans": one.hours.spans, "has_weekdays": one.hours.has_weekdays})
    return (
        one.id, one.facility, one.name, one.key, one.kind, one.modality, one.department, one.room, one.category, hours,
        one.duration_minutes, one.overbooking, one.active, one.heard_at, one.source,
    )  # fmt: skip


def grid_of(row: Mapping[str, Any]) -> PowerServerResource:
    """A row of ``powerserver_resources``."""
    hours = parsed(row["hours"])
    facts = {name: row[name] for name in statements.GRID if name != "hours"}
    if hours is not None:
        spans = tuple(tuple((start, end) for start, end in day) for day in hours["spans"])
        return PowerServerResource(**facts, hours=Hours(spans, hours["has_weekdays"]))
    return PowerServerResource(**facts)


def side_of_service(row: Mapping[str, Any]) -> Side:
    """A row of ``resources`` as OmegaAI's side."""
    description = Description(
        name=row["name"],
        modality=row["modality"],
        hours=hours_of_available_time(parsed(row["hours"])),
        duration_minutes=row["duration_minutes"],
        overbooking=row["overbooking"],
        active=row["active"],
        organization=row["organization"],
    )
    return Side(row["id"], description, tuple(row["aliases"]))


def drift_json(drift: Sequence[FieldDrift]) -> str:
    return _json([[one.field, one.powerserver, one.omegaai, one.can_apply] for one in drift])


def drift_of_json(kept: Any) -> tuple[FieldDrift, ...]:
    return tuple(FieldDrift(*one) for one in parsed(kept))


def near_json(near: Sequence[NearMiss]) -> str:
    return _json([[one.name, one.by.value] for one in near])


def near_of_json(kept: Any) -> tuple[NearMiss, ...]:
    return tuple(NearMiss(name, Nearness(by)) for name, by in parsed(kept))


def parsed(kept: Any) -> Any:
    return orjson.loads(kept) if isinstance(kept, str) else kept


def _json(value: object) -> str:
    return orjson.dumps(value, default=str).decode()
