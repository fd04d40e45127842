"""P14: free slots from the store to the list of starts; every look reads the claims anew, and no mask is kept.

Twenty resources with hours in a zone with a change of the clocks, 22,000 claims in the table. Floor: the one statement
that reads the claims, without the masks.
"""

import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.harness import empty_database, main, progress, row
from chassis.settings import StoreSettings
from chassis.store import Store, migrations
from scheduler_sync.bootstrap import MIGRATIONS
from scheduler_sync.domain.slots import Hours, Length, Opening, free, free_starts
from scheduler_sync.store.claims import busy_between

RESOURCES: Final = 20
DAYS_CLAIMED: Final = 60
TURNS: Final = 40
FIRST: Final = datetime(2030, 10, 10, tzinfo=UTC)
HOURS: Final = Hours(
    tuple(Opening(day, 8 * 60, (23 if day % 2 else 20) * 60 - 1) for day in range(7)), ZoneInfo("America/Toronto")
)
LENGTH: Final = Length(30, after=5)
_RESOURCE: Final = """
INSERT INTO resources (id, facility, organization, name, modality, healthcare_service_id, duration_minutes, hours,
    overbooking, self_scheduling, active, aliases, seen_at)
VALUES ($1, 'FAC01', '2', $2, 'CT', $2, 30, '[]', true, true, true, '{}', now())
"""


async def fill(store: Store) -> list[UUID]:
    """Resources, and bookings over their days: half hours, most of a day's."""
    ids = [uuid4() for _ in range(RESOURCES)]
    await store.pool.executemany(_RESOURCE, [(one, str(number)) for number, one in enumerate(ids)])
    made = [
        (uuid4(), one, FIRST - timedelta(days=5) + half_hour * timedelta(minutes=30))
        for one in ids
        for half_hour in range(DAYS_CLAIMED * 48)
        if random.random() < 0.38
    ]
    ends = [start + timedelta(minutes=random.choice((20, 25, 30))) for _, _, start in made]
    claims, resources, starts = zip(*made, strict=True)
    await store.pool.fetch(
        "SELECT * FROM claim_links('{}', $1::uuid[], $1::uuid[], $2::uuid[], $3::timestamptz[], $4::timestamptz[], "
        "array_fill('fact'::text, ARRAY[cardinality($1::uuid[])]))",
        claims, resources, starts, ends, timeout=120,
    )  # fmt: skip
    await store.pool.execute("VACUUM ANALYZE claims")
    return ids


async def look(store: Store, ids: list[UUID], days: int) -> int:
    """The number of free starts. The masks of the hours are made anew, as for a window that nobody asked for before."""
    free.forget()
    begin, end = FIRST, FIRST + timedelta(days=days)
    busy = await busy_between(store.pool, ids, begin, end)
    return sum(len(free_starts(HOURS, busy[one], LENGTH, begin, end)) for one in ids)


async def read(store: Store, ids: list[UUID], days: int) -> int:
    return len(await busy_between(store.pool, ids, FIRST, FIRST + timedelta(days=days)))


async def median(
    do: Callable[[Store, list[UUID], int], Awaitable[int]], store: Store, ids: list[UUID], days: int
) -> float:
    taken = []
    for _ in range(TURNS):
        started = time.perf_counter()
        await do(store, ids, days)
        taken.append((time.perf_counter() - started) * 1000)
    return statistics.median(taken)


async def rows() -> list[dict[str, Any]]:
    found = []
    async with empty_database() as url:
        await migrations.run(MIGRATIONS, url)
        store = await Store.open(StoreSettings(url=url, pool_size=2))
        ids = await fill(store)
        claims = await store.pool.fetchval("SELECT count(*) FROM claims")
        progress(f"{claims:,} claims")
        for name, number, days, most in (("P14a", 1, 14, 5.0), ("P14b", RESOURCES, 30, 30.0)):
            slots = await look(store, ids[:number], days)
            ours, floor = await median(look, store, ids[:number], days), await median(read, store, ids[:number], days)
            what = f"{slots:,} free slots of {number} resources over {days} days among {claims:,} claims, ms"
            ratio = ours / floor
            found.append(
                row(name, f"{what} (floor: the read)", (ours, floor, ratio), f"≤ {most:g} ms", met=ours <= most)
            )
        await store.close()
    return found


if __name__ == "__main__":
    main(rows)
