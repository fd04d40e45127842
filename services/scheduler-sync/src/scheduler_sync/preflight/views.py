"""What the store shows to the preflight: messages, answers, resources, confirmations; nothing of a patient."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from chassis.store import Store
from chassis.store.lazily import lazily
from chassis.store.rows import audit, fixed, postgresql, sql
from chassis.store.rows import tables as chassis_tables
from hl7v2 import Hl7Error, Message, parse_timestamp
from scheduler_sync.handlers.effects import REQUEST_NEW

if TYPE_CHECKING:
    from scheduler_sync.store import tables
else:
    (tables,) = lazily("scheduler_sync.store.tables")

_MESSAGES = 100
_LARGEST_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Heard:
    """A message of PowerServer; ``ahead_seconds``: MSH-7 after its reception."""

    received_at: datetime
    sender: str
    raw: bytes = field(repr=False)
    ahead_seconds: float | None = None


def ahead_seconds(raw: bytes, received_at: datetime) -> float | None:
    """How much later than its reception MSH-7 says that the message was made; None without an offset in it."""
    try:
        made = (Message.parse(raw).segments()[0].parts(7) or [""])[0]
        at = parse_timestamp(made, UTC, location="MSH-7") if made[-5:-4] in {"+", "-"} else None
    except Hl7Error:
        return None
    return None if at is None else (at - received_at).total_seconds()


class PreflightViews:
    """Each method is one session."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def heard(self) -> list[Heard]:
        """The newest messages, without the large ones."""
        journal = chassis_tables.Hl7Journal
        async with self._store.session() as session:
            found = sql.select(journal.received_at, journal.sender, sql.func.substring(journal.raw, 1, _LARGEST_BYTES))
            newest = found.order_by(sql.col(journal.received_at).desc()).limit(_MESSAGES)
            rows = (await session.exec(newest)).all()
        return [Heard(at, sender, bytes(raw), ahead_seconds(bytes(raw), at)) for at, sender, raw in rows]

    async def newest_answer(self, destination: str) -> datetime | None:
        """When the partner last took a delivery."""
        deliveries = chassis_tables.Deliveries
        async with self._store.session() as session:
            found = sql.select(sql.func.max(deliveries.done_at)).where(
                deliveries.destination == destination, deliveries.state == fixed("done")
            )
            newest: datetime | None = (await session.exec(found)).one()
        return newest

    async def priority_answered(self) -> tuple[datetime, bool] | None:
        """PowerServer's newest answer to a patient's request: its time, and whether it took the request."""
        deliveries = chassis_tables.Deliveries
        async with self._store.session() as session:
            found = (
                sql.select(deliveries.done_at, deliveries.state)
                .where(
                    deliveries.destination == "powerserver", deliveries.kind == REQUEST_NEW,
                    sql.col(deliveries.state).in_(["done", "dead"]), sql.col(deliveries.done_at).is_not(None),
                )
                .order_by(sql.col(deliveries.sequence).desc())
                .limit(1)
            )  # fmt: skip
            newest = (await session.exec(found)).first()
        return None if newest is None else (newest[0], newest[1] == "done")

    async def facilities(self) -> Mapping[str, datetime]:
        """The facilities that PowerServer has named, in an appointment or in its grid, and when last."""
        links, grid = tables.AppointmentLinks, tables.PowerServerResources
        found: dict[str, datetime] = {}
        async with self._store.session() as session:
            for model, at in ((links, links.updated_at), (grid, grid.heard_at)):
                asked = sql.select(model.facility, sql.func.max(at)).group_by(model.facility)
                for code, newest in await session.exec(asked):
                    found[code] = max(newest, found.get(code, newest))
        return found

    async def pairs(self) -> Mapping[str, Mapping[str, int]]:
        """The number of resources by facility and state."""
        pairs = tables.ResourcePairs
        found: dict[str, dict[str, int]] = {}
        async with self._store.session() as session:
            asked = sql.select(pairs.facility, pairs.state, sql.func.count()).group_by(pairs.facility, pairs.state)
            for code, state, number in await session.exec(asked):
                found.setdefault(code, {})[state] = number
        return found

    async def grid(self) -> Mapping[str, datetime]:
        """The facilities whose grid was read, and when last."""
        grid = tables.PowerServerResources
        async with self._store.session() as session:
            asked = sql.select(grid.facility, sql.func.max(grid.heard_at)).group_by(grid.facility)
            return dict((await session.exec(asked)).all())

    async def confirmed(self) -> Mapping[str, tuple[datetime, str]]:
        """What people have confirmed: when, and who."""
        model = tables.PreflightConfirmations
        async with self._store.session() as session:
            asked = sql.select(model.check_id, model.confirmed_at, model.actor)
            return {check_id: (at, actor) for check_id, at, actor in await session.exec(asked)}

    async def confirm(self, check_id: str, *, actor: str, at: datetime | None) -> None:
        """Keeps that a person has seen it; ``at`` None takes the confirmation back. Audited."""
        model = tables.PreflightConfirmations
        async with self._store.session() as session:
            await session.exec(sql.delete(model).where(model.check_id == check_id))
            if at is not None:
                row = {"check_id": check_id, "confirmed_at": at, "actor": actor}
                await session.exec(postgresql.insert(model).values(row).on_conflict_do_nothing())
            action = "preflight.confirm" if at is not None else "preflight.take-back"
            await audit(session, actor=actor, action=action, subject=check_id)
            await session.commit()
