"""Queries of people: typed rows through a session, and the audit of their actions."""

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
"""SQLModel and Postgres types, for typing only. SQLModel cannot type these queries; the model names are checked."""

R = TypeVar("R")


def columns(model: Any, row: type[Any]) -> Sequence[Any]:
    """The columns of ``model`` that have the names of the fields of the dataclass ``row``, in their order."""
    return [getattr(model, field.name) for field in fields(row)]


async def rows(session: "AsyncSession", row: type[R], statement: Any) -> list[R]:
    """The result of ``statement``, each line as a ``row`` by position."""
    return [row(*found) for found in await session.exec(statement)]


def fixed(value: str) -> Any:
    """A literal in the statement's text: Postgres uses a partial index only where its condition is written out."""
    return sql.literal(value, literal_execute=True)


def is_any(column: Any, values: Sequence[Any]) -> Any:
    """Whether ``column`` is one of ``values``, as one parameter for any number of values."""
    return sql.col(column) == sql.func.any(sql.cast(list(values), postgresql.ARRAY(sql.col(column).type)))


async def audit(
    session: "AsyncSession", *, actor: str, action: str, subject: str, detail: Mapping[str, object] | None = None
) -> None:
    """Writes an audit row: opaque ids only, no patient data."""
    words = json.dumps(dict(detail or {}), default=str)
    row = {"actor": actor, "action": action, "subject": subject, "detail": words}
    await session.exec(sql.insert(tables.OperatorAudit).values(row))


async def notify(session: "AsyncSession", channel: str) -> None:
    """Notifies the listeners when the session commits."""
    await session.exec(sql.select(sql.func.pg_notify(channel, "")))
