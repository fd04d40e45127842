"""Free time: bookable, non-overlapping slots, in time order over all resources."""

import heapq
import sqlite3
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from powerserver_sim import rules
from powerserver_sim.settings import reservations
from powerserver_sim.settings.catalogue import UNMAPPED
from simulator_kit.store import Work

GRID_MINUTES: Final = 15
MOST_SLOTS: Final = 50_000
_DAYS_AHEAD: Final = 3650


class Slot(NamedTuple):
    """A free stretch of a resource that one study of the type fills; slots order by time, then resource."""

    start: datetime
    resource: str
    end: datetime
    study_type: str
    facility: str


def free_slots(work: Work, facilities: Sequence[str], count: int, after: datetime) -> list[Slot]:
    """The facilities' first `count` free slots from `after` on. Booking any of them leaves the others free.

    Resources of class UNMAPPED are left out: the partner cannot process bookings on them.
    """
    resources = [
        row
        for row in work.all(
            "SELECT r.*, f.time_zone FROM resource r JOIN facility f ON f.code = r.facility "
            "WHERE r.class <> ? ORDER BY r.name",
            UNMAPPED,
        )
        if row["facility"] in facilities
    ]
    streams = []
    for resource in resources:
        types = work.all("SELECT code, minutes FROM study_type WHERE modality = ? ORDER BY code", resource["modality"])
        if not types:
            continue
        taken = work.all(
            'SELECT start_at, end_at FROM "order" WHERE resource = ? AND start_at > ? AND status NOT IN (?, ?) '
            "ORDER BY start_at",
            resource["id"], int(after.timestamp()) - 24 * 3600, rules.CANCELLED, rules.NO_SHOW,
        )  # fmt: skip
        lengths = [(row["code"], rules.booked_minutes([row["minutes"]], resource["slot_minutes"])[0]) for row in types]
        reserved = reservations.of_resource(work, resource["id"])
        times = [(row["start_at"], row["end_at"]) for row in taken]
        streams.append(_slots_of(resource, lengths, times, reserved, after))
    return list(islice(heapq.merge(*streams), count))


def _slots_of(
    resource: sqlite3.Row,
    lengths: list[tuple[str, int]],
    taken: list[tuple[int, int]],
    reserved: list[sqlite3.Row],
    after: datetime,
) -> Iterator[Slot]:
    hours = rules.WorkingHours(resource["opens"], resource["closes"], ZoneInfo(resource["time_zone"]))
    starts = [start for start, _ in taken]
    kinds = cycle(lengths)
    code, minutes = next(kinds)
    first_day = after.astimezone(hours.zone).replace(hour=12)
    for ahead in range(_DAYS_AHEAD):
        blocked = reservations.on_day(reserved, (first_day + timedelta(days=ahead)).date(), hours.zone)
        opens, closes = (moment.astimezone(UTC) for moment in hours.on(first_day + timedelta(days=ahead)))
        begins = max(opens, _on_grid(after))
        while begins + timedelta(minutes=minutes) <= closes:
            ends = begins + timedelta(minutes=minutes)
            before = bisect_right(starts, int(ends.timestamp()) - 1)
            # Bookings of one resource do not overlap unless overbooked; the last few before `ends` decide.
            busy_until = max((end for _, end in taken[max(0, before - 8) : before]), default=0)
            for starts_at, ends_at, _ in blocked:
                if starts_at < ends and begins < ends_at:
                    busy_until = max(busy_until, int(ends_at.timestamp()))
            if busy_until > begins.timestamp():
                begins = _on_grid(datetime.fromtimestamp(busy_until, UTC))
                continue
            yield Slot(
                begins.astimezone(hours.zone), resource["name"], ends.astimezone(hours.zone), code, resource["facility"]
            )
            begins = _on_grid(ends)
            code, minutes = next(kinds)


def _on_grid(moment: datetime) -> datetime:
    """The moment itself on the quarter-hour grid, else the next grid line."""
    step = GRID_MINUTES * 60
    return datetime.fromtimestamp(-(-moment.timestamp() // step) * step, UTC)
