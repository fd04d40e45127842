"""What a product showed, a day at a time: a day is replaced as a whole, or left where its digest is the same."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

import asyncpg

from chassis.store import Store, asking
from scheduler_sync.domain.reconciliation import Days, Seen, Side
from scheduler_sync.store.reconciliation import statements

PAGE: Final = 1_000
_COLUMNS: Final = (
    statements.seen.side, statements.seen.day, statements.seen.key, statements.seen.link_id, statements.seen.placer,
    statements.seen.accession, statements.seen.status, statements.seen.starts, statements.seen.ends,
    statements.seen.resource, statements.seen.patient,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class KnownDays:
    """How many of the asked days were read; the oldest time at which one was read, and up to which it is known."""

    number: int
    read_at: datetime | None
    known_at: datetime | None


class Staging:
    """The staged views of one side. Its methods raise ``StoreUnavailable``."""

    def __init__(self, store: Store, side: Side) -> None:
        self._pool = store.pool
        self._side = side

    async def known(self, days: Days) -> KnownDays:
        with asking():
            row = await self._pool.fetchrow(statements.KNOWN_DAYS, self._side, days.first, days.end)
        return KnownDays(row["number"], row["read_at"], row["known_at"])

    async def digests(self) -> dict[date, str]:
        with asking():
            return {row["day"]: row["digest"] for row in await self._pool.fetch(statements.DIGESTS, self._side)}

    async def replace_day(self, day: date, found: Sequence[Seen], *, known: str | None, at: datetime) -> bool:
        """Returns whether the day has changed. ``known``: its digest so far."""
        digest = digest_of(found)
        with asking():
            async with self._pool.acquire() as connection, connection.transaction():
                if digest != known:
                    await connection.execute(statements.EMPTY_DAY, self._side, day)
                    await self._copy(connection, [(day, one) for one in found])
                await connection.execute(statements.OPEN_DAY, self._side, day, digest, at)
        return digest != known

    async def replace_keys(self, gone: Sequence[str], found: Sequence[tuple[date, Seen]]) -> None:
        """Of changed appointments: their former rows go, wherever their day was."""
        with asking():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(statements.DROP_KEYS, self._side, [*gone, *(one.key for _, one in found)])
                await self._copy(connection, found)

    async def move_known(self, days: Days, at: datetime) -> None:
        with asking():
            await self._pool.execute(statements.MOVE_KNOWN, self._side, days.first, days.end, at)

    async def forget_before(self, day: date) -> None:
        with asking():
            await self._pool.execute(statements.FORGET_DAYS, day)

    async def analyze(self) -> None:
        with asking():
            await self._pool.execute(statements.ANALYZE)

    async def _copy(self, connection: asyncpg.Connection, rows: Sequence[tuple[date, Seen]]) -> None:
        for first in range(0, len(rows), PAGE):
            await connection.copy_records_to_table(
                str(statements.seen),
                columns=_COLUMNS,
                records=[
                    (
                        self._side.value, day, one.key, one.link_id, one.placer, one.accession, one.status, one.starts,
                        one.ends, one.resource, one.patient,
                    )
                    for day, one in rows[first : first + PAGE]
                ],
            )  # fmt: skip


def digest_of(found: Iterable[Seen]) -> str:
    """The same for the same appointments in the same versions, in any order."""
    digest = hashlib.blake2b(digest_size=16)
    for line in sorted(f"{one.key}\0{one.version}" for one in found):
        digest.update(line.encode("utf-8", "replace") + b"\n")
    return digest.hexdigest()
