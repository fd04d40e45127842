"""What a store is: the one row that says whose it is, of which site and partners, and how often it was recovered.

The first start writes it. A later start with another site, partner or Kafka is refused, because two suites on one
store, or one suite that talks to another hospital's partner, mix patients.
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
"""So many revisions of one aggregate fit between two recoveries; 2,147 recoveries fit into a column of 32 bits."""

Offsets = Mapping[tuple[str, int], int]
"""The next offset by topic (without the installation's prefix) and partition."""


@dataclass(frozen=True, slots=True)
class Identity:
    """``belongs_to`` names what the store belongs to. ``epoch`` counts its recoveries.

    ``compared_to``: up to there a recovery or an adoption has looked at the topics; nobody need do it again.
    ``recovery_began_at`` of one that is not finished: until it is, the store is neither the old one nor the new one.
    """

    service: str
    belongs_to: Mapping[str, str]
    incarnation: UUID
    epoch: int
    compared_to: Offsets
    recovery_began_at: datetime | None
    created_at: datetime

    def differences(self, now: Mapping[str, str]) -> list[str]:
        """A sentence for each thing that is another one ``now``. What one of the two does not name is not compared."""
        return [
            f"{name} was {self.belongs_to[name]} and is {value}"
            for name, value in now.items()
            if name in self.belongs_to and self.belongs_to[name] != value
        ]


async def read(connection: "asyncpg.Connection | asyncpg.Pool") -> Identity | None:
    """None before the first start."""
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
    """The store's identity; written where there is none, so that of two first starts one writes it."""
    await connection.execute(statements.FOUND, service, _words(belongs_to), uuid4())
    identity = await read(connection)
    assert identity is not None  # noqa: S101 - it was just written
    return identity


async def complete(
    connection: "asyncpg.Connection | asyncpg.Pool", identity: Identity, belongs_to: Mapping[str, str]
) -> None:
    """Add what could not be named before: Kafka when it was away, or what a newer release compares."""
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
    """The store belongs to this from now on, and was compared with the topics up to ``compared_to``."""
    await found(connection, service, belongs_to)
    await connection.execute(statements.ADOPT, service, _words(belongs_to), offsets_text(compared_to), int(new_epoch))
    identity = await read(connection)
    assert identity is not None  # noqa: S101 - ``found`` wrote it
    return identity


async def begin_recovery(
    connection: "asyncpg.Connection | asyncpg.Pool", service: str, belongs_to: Mapping[str, str]
) -> Identity:
    """From now on no start is let through, until ``adopt``: a recovery that is killed is to be run again."""
    await found(connection, service, belongs_to)
    await connection.execute(statements.BEGIN_RECOVERY)
    identity = await read(connection)
    assert identity is not None  # noqa: S101 - ``found`` wrote it
    return identity


async def beat(connection: "asyncpg.Connection | asyncpg.Pool") -> int:
    """Counts up. Whoever has seen a higher number was there before the store was set back. 0 of an empty store."""
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
