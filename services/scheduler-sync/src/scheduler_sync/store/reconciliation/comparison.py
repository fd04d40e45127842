"""The comparison of a whole side with the links, in the store."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import Final

import asyncpg

from chassis.store import Store, asking
from scheduler_sync.domain.reconciliation import Days
from scheduler_sync.store.reconciliation import statements

LONGEST_SECONDS: Final = 80.0
"""Of one statement over a whole side; a second suffices for 100,000 appointments."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What is compared: ``days`` in UTC. ``cut``: days that could not be read whole, of which absences say nothing.

    ``read``: the days of which the staged rows count.
    """

    days: Days
    read: Days
    began_at: datetime
    cut: frozenset[date] = field(default_factory=frozenset)

    @property
    def edges(self) -> tuple[datetime, datetime]:
        return _midnight(self.days.first), _midnight(self.days.end)


class Comparison:
    """Writes the differences of a run. Its methods raise ``StoreUnavailable``."""

    def __init__(self, store: Store, site: str) -> None:
        self._pool = store.pool
        self._site = site

    async def compared(self, what: Compared) -> int:
        """The number of links in the compared days."""
        with asking():
            number: int = await self._pool.fetchval(statements.COUNT_COMPARED, self._site, *what.edges)
        return number

    async def resources(self) -> list[tuple[str, str]]:
        """The (facility, name) pairs of resources that links have."""
        with asking():
            rows = await self._pool.fetch(statements.RESOURCES_OF_LINKS, self._site)
        return [(row["facility"], row["resource"]) for row in rows]

    async def omegaai(self, run_id: int, what: Compared, services: Mapping[tuple[str, str], str]) -> None:
        """``services``: the HealthcareService of each (facility, resource)."""
        facilities, names = [one for one, _ in services], [name for _, name in services]
        await self._compare(
            statements.COMPARE_OMEGAAI, run_id, what, facilities, names, list(services.values()), what.read.first,
            what.read.end,
        )  # fmt: skip

    async def powerserver(self, run_id: int, what: Compared) -> None:
        await self._compare(statements.COMPARE_POWERSERVER, run_id, what)

    async def worklist(self, run_id: int, what: Compared, facilities: Iterable[str]) -> None:
        await self._compare(
            statements.COMPARE_WORKLIST, run_id, what, list(facilities), what.read.first, what.read.end
        )  # fmt: skip

    async def _compare(self, statement: str, run_id: int, what: Compared, *more: object) -> None:
        given = (run_id, self._site, *what.edges, what.began_at, sorted(what.cut), *more)
        with asking():
            await self._pool.execute(statement, *given, timeout=LONGEST_SECONDS)

    async def sort_out(self, run_id: int) -> None:
        """Lists what only a person can settle: returning differences, refused deliveries, facts of PowerServer."""
        with asking():
            async with self._pool.acquire() as connection, connection.transaction():
                await _all(connection, run_id)


async def _all(connection: asyncpg.Connection, run_id: int) -> None:
    for statement in (statements.KNOWN_BEFORE, statements.LIST_REFUSED, statements.LIST_FOR_A_PERSON):
        await connection.execute(statement, run_id, timeout=LONGEST_SECONDS)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
