"""Sends again what Kafka has lost: sent outbox rows become unsent, and the relay sends them.

Rows go in the order of their ids, so older rows before new ones; the readers' inboxes drop what they know.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from chassis.store import Store
from chassis.store.rows import audit, notify, sql, tables
from chassis.store.transaction import OUTBOX_CHANNEL

LONGEST_SECONDS: Final = 900.0
"""A week's events of a large site are a million rows. One transaction, so that no row leaves before an older one."""


@dataclass(frozen=True, slots=True)
class Marked:
    """How many rows are unsent again; ``last_id`` is the id of the last of them."""

    number: int
    last_id: int


async def count(store: Store, since: datetime, topic: str | None = None) -> Mapping[str, int]:
    """How many rows of each topic were sent since then; ``topic`` without the installation's prefix."""
    async with store.session(statement_seconds=LONGEST_SECONDS) as session:
        outbox = tables.Outbox
        number = sql.select(outbox.topic, sql.func.count()).where(*_sent(since, topic)).group_by(outbox.topic)
        return dict((await session.exec(number.order_by(outbox.topic))).all())


async def resend(store: Store, since: datetime, topic: str | None = None, *, actor: str) -> Marked:
    """Marks the rows sent since then as unsent. Audited."""
    async with store.session(statement_seconds=LONGEST_SECONDS) as session:
        unsent = {"sent_at": None, "resend_at": sql.func.clock_timestamp()}
        outbox = tables.Outbox
        again = sql.update(outbox).where(*_sent(since, topic)).values(unsent).returning(outbox.id).cte("again")
        number, last_id = (await session.exec(sql.select(sql.func.count(), sql.func.max(again.c.id)))).one()
        detail = {"topic": topic, "number": number}
        await audit(session, actor=actor, action="outbox.resend", subject=since.isoformat(), detail=detail)
        await notify(session, OUTBOX_CHANNEL)
        await session.commit()
    return Marked(number, last_id or 0)


async def left(store: Store, marked: Marked) -> int:
    """How many rows up to the last of ``marked`` the relay has yet to send."""
    async with store.session() as session:
        outbox = tables.Outbox
        waiting = sql.select(sql.func.count()).where(sql.col(outbox.sent_at).is_(None), outbox.id <= marked.last_id)
        number: int = (await session.exec(waiting)).one()
    return number


def _sent(since: datetime, topic: str | None) -> list[Any]:
    """The conditions for rows sent since then, to ``topic`` where one is named."""
    sent_at = sql.col(tables.Outbox.sent_at)
    return [sent_at >= since] if topic is None else [sent_at >= since, tables.Outbox.topic == topic]
