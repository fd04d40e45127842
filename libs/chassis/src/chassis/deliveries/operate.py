"""The operator's commands on deliveries: list them, send one or many again, drop one. Every act is audited."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from chassis.store import Store
from chassis.store.rows import audit, columns, fixed, notify, rows, sql, tables
from chassis.store.transaction import DELIVERIES_CHANNEL

ROWS_A_STEP: Final = 1000


@dataclass(frozen=True, slots=True)
class Selection:
    """Dead deliveries to ``destination`` that died from ``since`` to ``until`` with ``reason`` in their last answer."""

    destination: str
    since: datetime | None = None
    reason: str | None = None
    until: datetime | None = None

    def conditions(self) -> list[Any]:
        """The condition of the selection's rows."""
        deliveries = tables.Deliveries
        found = [deliveries.state == fixed("dead"), deliveries.destination == self.destination]
        if self.since is not None:
            found.append(sql.col(deliveries.done_at) >= self.since)
        if self.until is not None:
            found.append(sql.col(deliveries.done_at) <= self.until)
        if self.reason is not None:
            answer = sql.func.lower(sql.func.coalesce(deliveries.last_error, ""))
            found.append(sql.func.strpos(answer, sql.func.lower(self.reason)) > 0)
        return found


@dataclass(frozen=True, slots=True)
class Count:
    """The size of a selection, and when its first and last died; ``now`` is the store's time."""

    number: int
    oldest: datetime | None
    newest: datetime | None
    now: datetime


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A delivery as lists show it: without its payload, headers and receipt."""

    id: UUID
    destination: str
    key: UUID
    kind: str
    state: str
    attempts: int
    next_attempt_at: datetime
    last_error: str | None
    created_at: datetime
    done_at: datetime | None


async def list_deliveries(store: Store, *, state: str | None, destination: str | None, limit: int) -> list[DeliveryRow]:
    """The newest deliveries."""
    async with store.session() as session:
        deliveries = tables.Deliveries
        found = sql.select(*columns(deliveries, DeliveryRow)).order_by(sql.col(deliveries.sequence).desc())
        if state is not None:
            found = found.where(deliveries.state == fixed(state))
        if destination is not None:
            found = found.where(deliveries.destination == destination)
        return await rows(session, DeliveryRow, found.limit(limit))


async def retry_delivery(store: Store, delivery_id: UUID, *, actor: str) -> bool:
    """Sends a waiting or dead delivery at once, with the same idempotency key. Audited. False when there is none."""
    again = {"state": "pending", "next_attempt_at": sql.func.clock_timestamp(), "done_at": None}
    return await _act(store, delivery_id, again, actor=actor, action="delivery.retry")


async def drop_delivery(store: Store, delivery_id: UUID, *, actor: str) -> bool:
    """Drops a waiting or dead delivery. Audited. False when there is none."""
    dropped = {"state": "dropped", "done_at": sql.func.clock_timestamp()}
    return await _act(store, delivery_id, dropped, actor=actor, action="delivery.drop")


async def _act(store: Store, delivery_id: UUID, values: Mapping[str, Any], *, actor: str, action: str) -> bool:
    async with store.session() as session:
        deliveries = tables.Deliveries
        is_open = sql.col(deliveries.state).in_(["pending", "dead"])
        changed = sql.update(deliveries).where(deliveries.id == delivery_id, is_open).values(values)
        if not (await session.exec(changed)).rowcount:
            return False
        await audit(session, actor=actor, action=action, subject=str(delivery_id))
        await notify(session, DELIVERIES_CHANNEL)
        await session.commit()
    return True


async def count_dead(store: Store, selection: Selection) -> Count:
    """The number of dead deliveries in the selection."""
    async with store.session() as session:
        died = sql.col(tables.Deliveries.done_at)
        found = sql.select(sql.func.count(), sql.func.min(died), sql.func.max(died), sql.func.clock_timestamp())
        return Count(*(await session.exec(found.where(*selection.conditions()))).one())


async def list_dead(store: Store, selection: Selection, *, limit: int) -> list[DeliveryRow]:
    """The newest of the selection."""
    async with store.session() as session:
        deliveries = tables.Deliveries
        found = sql.select(*columns(deliveries, DeliveryRow)).where(*selection.conditions())
        return await rows(session, DeliveryRow, found.order_by(sql.col(deliveries.done_at).desc()).limit(limit))


async def retry_selected(
    store: Store, selection: Selection, *, actor: str, told: Callable[[int], None] = lambda _number: None
) -> int:
    """Makes the selection's dead deliveries pending again, each at its own place in its key's line. Returns the number.

    One transaction and one audit row, in steps; ``told`` receives the sum after each step. With several transactions, a
    key's later delivery could pass an earlier one of a later step.
    """
    number, last = 0, -1
    async with store.session() as session:
        deliveries = tables.Deliveries
        selected = sql.select(deliveries.id).where(*selection.conditions())
        again = {"state": "pending", "next_attempt_at": sql.func.clock_timestamp(), "done_at": None}
        while True:
            behind = selected.where(deliveries.sequence > last).order_by(deliveries.sequence)
            step = behind.limit(ROWS_A_STEP).with_for_update().cte("step")
            update = sql.update(deliveries).where(deliveries.id == step.c.id).values(again)
            done = update.returning(deliveries.sequence).cte("done")
            changed, newest = (await session.exec(sql.select(sql.func.count(), sql.func.max(done.c.sequence)))).one()
            if not changed:
                break
            number, last = number + changed, newest
            told(number)
        if number:
            detail = {
                "number": number, "since": selection.since, "until": selection.until, "reason": selection.reason,
            }  # fmt: skip
            await audit(session, actor=actor, action="delivery.retry-all", subject=selection.destination, detail=detail)
            await notify(session, DELIVERIES_CHANNEL)
        await session.commit()
    return number
