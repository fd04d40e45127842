"""The store's identity: one row with the service, the site, the partners, and the number of recoveries.

The first start writes the row. A later start with another site, partner or Kafka is refused: two suites on one store,
or one suite connected to another hospital's partner, would mix patients.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

import asyncpg

from chassis.store import statements

KAFKA: Final = "kafka"
TOPIC_PREFIX: Final = "topic prefix"
ROOM_OF_AN_EPOCH: Final = 1_000_000
"""Revisions of one aggregate that fit between two recoveries. A column of 32 bits holds 2,147 recoveries."""

Offsets = Mapping[tuple[str, int], int]
"""The next offset by partition; the topic is named without the installation's prefix."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity row.

    ``belongs_to``: what the store belongs to. ``epoch``: the number of recoveries. ``compared_to``: the offsets up to
    which a recovery or an adoption has compared the topics; nothing before them needs comparing. ``recovery_began_at``:
    the start of an unfinished recovery, during which the store is neither the old one nor the new one.
    """

    service: str
    belongs_to: Mapping[str, str]
    incarnation: UUID
    epoch: int
    compared_to: Offsets
    recovery_began_at: datetime | None
    created_at: datetime

    def differences(self, now: Mapping[str, str]) -> list[str]:
        """A sentence for each name whose value ``now`` differs. Names that only one side has are not compared."""
        return [
            f"{name} was {self.belongs_to[name]} and is {value}"
            for name, value in now.items()
            if name in self.belongs_to and self.belongs_to[name] != value
        ]


async def read(connection: "asyncpg.Connection | asyncpg.Pool") -> Identity | None:
    """The identity, or None before the first start."""
    row = await connection.fetchrow(statements.READ_IDENTITY)
    if row is None:
        return None
    return Identity(
        row["service"],
        json.loads(row["belongs_to"]),
        row["incarnation"],
        row["epoch"],
        _offsets(row["compared_to"]),
        row["recovery_began_at"],
        row["created_at"],
    )


async def found(
    connection: "asyncpg.Connection | asyncpg.Pool", service: str, belongs_to: Mapping[str, str]
) -> Identity:
    """The store's identity. Writes it where none exists; of two simultaneous first starts, one writes."""
    await connection.execute(statements.FOUND, service, _words(belongs_to), uuid4())
    identity = await read(connection)
    assert identity is not None  # noqa: S101 - it was just written
    return identity


async def complete(
    connection: "asyncpg.Connection | asyncpg.Pool", identity: Identity, belongs_to: Mapping[str, str]
) -> None:
    """Adds names that were unknown before: Kafka when it was away, or a name that a newer release compares."""
    if any(name not in identity.belongs_to for name in belongs_to):
        await connection.execute(statements.COMPLETE, _words({**belongs_to, **identity.belongs_to}))


async def adopt(
    connection: "asyncpg.Connection | asyncpg.Pool",
    service: str,
    belongs_to: Mapping[str, str],
    *,
    compared_to: Offsets,
    new_epoch: bool,
) -> Identity:
    """Assigns the store to ``belongs_to``, and records that it was compared with the topics up to ``compared_to``."""
    await found(connection, service, belongs_to)
    await connection.execute(statements.ADOPT, service, _words(belongs_to), offsets_text(compared_to), int(new_epoch))
    identity = await read(connection)
    assert identity is not None  # noqa: S101 - ``found`` wrote it
    return identity


async def begin_recovery(
    connection: "asyncpg.Connection | asyncpg.Pool", service: str, belongs_to: Mapping[str, str]
) -> Identity:
    """Refuses every start until ``adopt``. A recovery that is killed must run again."""
    await found(connection, service, belongs_to)
    await connection.execute(statements.BEGIN_RECOVERY)
    identity = await read(connection)
    assert identity is not None  # noqa: S101 - ``found`` wrote it
    return identity


async def beat(connection: "asyncpg.Connection | asyncpg.Pool") -> int:
    """Counts up and returns the beat. A process that has seen a higher beat knows that the store was set back.

    Returns 0 for an empty store.
    """
    found: int | None = await connection.fetchval(statements.BEAT)
    return found or 0


def offsets_text(offsets: Offsets) -> str:
    return json.dumps({f"{topic}/{partition}": offset for (topic, partition), offset in sorted(offsets.items())})


def _offsets(text: str) -> Offsets:
    found: dict[tuple[str, int], int] = {}
    for name, offset in json.loads(text).items():
        topic, _, partition = name.rpartition("/")
        found[topic, int(partition)] = offset
    return found


def _words(belongs_to: Mapping[str, str]) -> str:
    return json.dumps(dict(belongs_to), sort_keys=True)
