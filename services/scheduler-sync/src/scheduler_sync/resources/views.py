"""Resources as pages and commands show them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from chassis.store import Store
from chassis.store.lazily import lazily
from chassis.store.rows import columns as columns_of
from chassis.store.rows import rows, sql
from chassis.store.rows import tables as chassis_tables
from scheduler_sync.adapters.omegaai.services import RESOURCE_FIX
from scheduler_sync.domain.resource import FieldDrift, NearMiss
from scheduler_sync.resources.records import drift_of_json, grid_of, near_of_json, side_of_service

if TYPE_CHECKING:
    from scheduler_sync.store import tables
else:
    (tables,) = lazily("scheduler_sync.store.tables")

MOST_SHOWN = 5_000


@dataclass(frozen=True, slots=True)
class PairRow:
    """A resource in the list. ``is_being_fixed``: a fix is on its way to OmegaAI."""

    id: UUID
    facility: str
    name: str
    state: str
    drift: tuple[FieldDrift, ...]
    near: tuple[NearMiss, ...]
    changed_at: datetime
    powerserver_id: UUID | None
    resource_id: UUID | None
    revision: int
    is_being_fixed: bool = False

    @property
    def can_fix(self) -> bool:
        return any(one.can_apply for one in self.drift)


@dataclass(frozen=True, slots=True)
class SideValues:
    """One side's values in words, by field; and when they were heard or seen."""

    values: dict[str, str | None]
    seen_at: datetime
    source: str


@dataclass(frozen=True, slots=True)
class ResourceLine:
    """A line of a resource's history."""

    id: int
    facility: str
    name: str
    at: datetime
    actor: str
    what: str
    detail: dict[str, Any]

    @property
    def words(self) -> str:
        """The values of the line: before → after, or the fields that differ. The state before is the line before."""
        return "; ".join(
            f"{name.replace('_', ' ')}: {', '.join(value) if name == 'fields' else _changed(value)}"
            for name, value in self.detail.items()
            if value not in (None, []) and name != "before"
        )


@dataclass(frozen=True, slots=True)
class FixRow:
    """A fix that was sent, or waits, and the partner's answer."""

    id: UUID
    state: str
    attempts: int
    last_error: str | None
    created_at: datetime
    done_at: datetime | None


@dataclass(frozen=True, slots=True)
class Shown:
    """Everything about one resource."""

    pair: PairRow
    powerserver: SideValues | None
    omegaai: SideValues | None
    healthcare_service_id: str | None
    aliases: Sequence[str] = ()
    fixes: Sequence[FixRow] = ()
    history: Sequence[ResourceLine] = field(default_factory=list)


class ResourceViews:
    """Each method is one session."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def pairs(
        self, *, facility: str | None = None, state: str | None = None, name: str | None = None, limit: int = MOST_SHOWN
    ) -> list[PairRow]:
        """The resources by facility and name."""
        pairs, deliveries = tables.ResourcePairs, chassis_tables.Deliveries
        async with self._store.session() as session:
            is_being_fixed = sql.exists().where(
                deliveries.destination == "omegaai", deliveries.key == pairs.id, deliveries.kind == RESOURCE_FIX,
                deliveries.state == "pending",
            )  # fmt: skip
            found = sql.select(pairs, is_being_fixed).order_by(pairs.facility, pairs.name, pairs.id).limit(limit)
            # A resource that nobody has any more stands for the revision of its events alone.
            found = found.where(
                sql.or_(sql.col(pairs.powerserver_id).is_not(None), sql.col(pairs.resource_id).is_not(None))
            )
            for column, wanted in ((pairs.facility, facility), (pairs.state, state), (pairs.name, name)):
                if wanted:
                    found = found.where(column == wanted)
            return [_pair(row, is_being_fixed=fixing) for row, fixing in await session.exec(found)]

    async def pair(self, pair_id: UUID) -> Shown | None:
        """One resource with both sides, its fixes and its history."""
        pairs, grid, services = tables.ResourcePairs, tables.PowerServerResources, tables.Resources
        async with self._store.session() as session:
            row = (await session.exec(sql.select(pairs).where(pairs.id == pair_id))).first()
            if row is None:
                return None
            ours = (await session.exec(sql.select(grid).where(grid.id == row.powerserver_id))).first()
            theirs = (await session.exec(sql.select(services).where(services.id == row.resource_id))).first()
            deliveries, history = chassis_tables.Deliveries, tables.ResourceHistory
            sent = sql.select(*columns_of(deliveries, FixRow)).where(
                deliveries.destination == "omegaai", deliveries.key == pair_id, deliveries.kind == RESOURCE_FIX
            )
            fixes = await rows(session, FixRow, sent.order_by(sql.col(deliveries.sequence).desc()).limit(20))
            names = {row.name, *([] if ours is None else [ours.name])}
            lines = sql.select(*columns_of(history, ResourceLine)).where(
                history.facility == row.facility, sql.col(history.name).in_(names)
            )
            told = await rows(session, ResourceLine, lines.order_by(sql.col(history.id).desc()).limit(100))
        return Shown(
            pair=_pair(row, is_being_fixed=any(one.state == "pending" for one in fixes)),
            powerserver=None if ours is None else _grid_values(ours),
            omegaai=None if theirs is None else _service_values(theirs),
            healthcare_service_id=None if theirs is None else theirs.healthcare_service_id,
            aliases=() if theirs is None else theirs.aliases,
            fixes=fixes,
            history=told,
        )

    async def history(self, *, facility: str | None, name: str | None, limit: int) -> list[ResourceLine]:
        """The newest first."""
        history = tables.ResourceHistory
        async with self._store.session() as session:
            found = sql.select(*columns_of(history, ResourceLine)).order_by(sql.col(history.id).desc()).limit(limit)
            if facility:
                found = found.where(history.facility == facility)
            if name:
                found = found.where(history.name == name)
            return await rows(session, ResourceLine, found)

    async def counts(self) -> dict[str, int]:
        """The number of resources in each state."""
        pairs = tables.ResourcePairs
        async with self._store.session() as session:
            is_somebodys = sql.or_(sql.col(pairs.powerserver_id).is_not(None), sql.col(pairs.resource_id).is_not(None))
            found = sql.select(pairs.state, sql.func.count()).where(is_somebodys).group_by(pairs.state)
            return dict((await session.exec(found)).all())

    async def version(self) -> str:
        """A value that changes whenever a page of resources may change."""
        deliveries = chassis_tables.Deliveries
        async with self._store.session() as session:
            fixes = sql.select(sql.func.count(), sql.func.max(deliveries.done_at)).where(
                deliveries.destination == "omegaai", deliveries.kind == RESOURCE_FIX, deliveries.state != "done"
            )
            waiting = (await session.exec(fixes)).one()
            newest = (await session.exec(sql.select(sql.func.max(tables.ResourceHistory.id)))).one()
        return f"{newest}-{waiting[0]}-{waiting[1]}"


def _changed(value: object) -> str:
    """A pair of values as before → after, without what was unknown before; a list of drifts with both values."""
    if not isinstance(value, list):
        return _said(value)
    if value and isinstance(value[0], list):
        return ", ".join(f"{name} PowerServer {_said(ours)}, OmegaAI {_said(theirs)}" for name, ours, theirs in value)
    return " → ".join(_said(one) for place, one in enumerate(value) if place or one is not None)


def _said(value: object) -> str:
    words = {"None": "–", "True": "on", "False": "off"}  # switches of OmegaAI are kept as text
    return words.get(str(value), str(value))


def _pair(row: Any, *, is_being_fixed: bool) -> PairRow:
    return PairRow(
        id=row.id, facility=row.facility, name=row.name, state=row.state, drift=drift_of_json(row.drift),
        near=near_of_json(row.near), changed_at=row.changed_at, powerserver_id=row.powerserver_id,
        resource_id=row.resource_id, revision=row.revision, is_being_fixed=is_being_fixed,
    )  # fmt: skip


def _grid_values(row: Any) -> SideValues:
    known = grid_of(row.model_dump())
    values = {
        "name": known.name, "modality": known.modality, "hours": None if known.hours is None else known.hours.words(),
        "duration": _minutes(known.duration_minutes), "overbooking": _switch(known.overbooking),
        "active": _switch(known.active), "organization": None, "department": known.department, "room": known.room,
        "type": known.kind, "class": known.category,
    }  # fmt: skip
    return SideValues(values, known.heard_at, known.source)


def _service_values(row: Any) -> SideValues:
    known = side_of_service(row.model_dump()).description
    values = {
        "name": known.name, "modality": known.modality, "hours": None if known.hours is None else known.hours.words(),
        "duration": _minutes(known.duration_minutes), "overbooking": _switch(known.overbooking),
        "active": "gone" if row.is_gone else _switch(known.active), "organization": known.organization,
    }  # fmt: skip
    return SideValues(values, row.seen_at, "OmegaAI")


def _minutes(value: int | None) -> str | None:
    return None if value is None else f"{value} min"


def _switch(value: bool | None) -> str | None:  # noqa: FBT001 (a value of three states)
    return None if value is None else "on" if value else "off"
