"""What people ask of the store: typed rows through a session, and the audit of what they do."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from chassis.store.lazily import lazily

if TYPE_CHECKING:
    from sqlmodel.ext.asyncio.session import AsyncSession

    from chassis.store import tables
else:
    (tables,) = lazily("chassis.store.tables")

__all__ = ["audit", "columns", "fixed", "is_any", "notify", "postgresql", "rows", "sql", "tables"]

sql: Any
postgresql: Any
sql, postgresql = lazily("sqlmodel", "sqlalchemy.dialects.postgresql")
"""SQLModel and what Postgres adds. Their types cannot say what a query of ours is; the models' names are checked."""

R = TypeVar("R")


def columns(model: Any, row: type[Any]) -> Sequence[Any]:
    """The columns of ``model`` that the fields of the dataclass ``row`` are named for, in their order."""
    return [getattr(model, field.name) for field in fields(row)]


async def rows(session: "AsyncSession", row: type[R], statement: Any) -> list[R]:
    """What ``statement`` finds; each line as a ``row``, by position."""
    return [row(*found) for found in await session.exec(statement)]


def fixed(value: str) -> Any:
    """A value that stands in the statement's text: a partial index is used only where its condition is read there."""
    return sql.literal(value, literal_execute=True)


def is_any(column: Any, values: Sequence[Any]) -> Any:
    """Whether ``column`` is one of ``values``: one parameter, however many they are."""
    return sql.col(column) == sql.func.any(sql.cast(list(values), postgresql.ARRAY(sql.col(column).type)))


async def audit(
    session: "AsyncSession", *, actor: str, action: str, subject: str, detail: Mapping[str, object] | None = None
) -> None:
    """Writes a row of the operator's audit: opaque ids only, no patient's data."""
    words = json.dumps(dict(detail or {}), default=str)
    row = {"actor": actor, "action": action, "subject": subject, "detail": words}
    await session.exec(sql.insert(tables.OperatorAudit).values(row))


async def notify(session: "AsyncSession", channel: str) -> None:
    """Wakes who listens, when the session commits."""
    await session.exec(sql.select(sql.func.pg_notify(channel, "")))
