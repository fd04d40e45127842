"""Free slots by bit masks against a slow model that looks at every minute, and the cases of the clock by hand."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis.testing.depth import DEPTH
from scheduler_sync.domain.slots import Busy, Hours, Length, Opening, busy_of, free_starts, is_free, openings_of
from scheduler_sync.domain.slots.hours import instant

MINUTE = timedelta(minutes=1)
TORONTO = ZoneInfo("America/Toronto")
ZONES = ("America/Toronto", "Asia/Kathmandu", "Australia/Lord_Howe", "Asia/Kolkata", "UTC")


# ---- the model


def first_minute_at(day: date, minute: int, zone: ZoneInfo) -> datetime:
    """The first minute at which the wall clock shows this time or a later one."""
    wall = datetime.combine(day, datetime.min.time()) + minute * MINUTE
    at = datetime.combine(wall.date(), datetime.min.time(), UTC) - timedelta(hours=15)
    while at.astimezone(zone).replace(tzinfo=None) < wall:
        at += MINUTE
    return at


def minutes(begin: datetime, end: datetime) -> Iterator[datetime]:
    while begin < end:
        yield begin
        begin += MINUTE


def cell(at: datetime) -> datetime:
    return at - timedelta(minutes=at.minute % 5, seconds=at.second, microseconds=at.microsecond)


@dataclass(frozen=True)
class Case:
    hours: Hours
    claims: list[tuple[datetime, datetime]]
    capacity: int
    length: Length
    begin: datetime
    end: datetime
    grid: int

    def open_minutes(self) -> set[datetime]:
        """The minutes of five-minute steps that are open as a whole."""
        zone, margin = self.hours.zone, timedelta(hours=26)
        opened: set[datetime] = set()
        day, last = (self.begin - margin).date(), (self.end + margin).date()
        while day <= last:
            for one in self.hours.openings:
                if one.weekday == day.weekday():
                    span = first_minute_at(day, one.opens, zone), first_minute_at(day, one.closes, zone)
                    opened.update(minutes(*span))
            day += timedelta(days=1)
        for closed in self.hours.closed:
            shut = minutes(first_minute_at(closed, 0, zone), first_minute_at(closed, 24 * 60, zone))
            opened -= {cell(at) + n * MINUTE for at in shut for n in range(5)}
        return {at for at in opened if all(cell(at) + n * MINUTE in opened for n in range(5))}

    def claimed_minutes(self) -> Counter[datetime]:
        """How many claims touch the five-minute step of each minute."""
        counts: Counter[datetime] = Counter()
        for start, until in self.claims:
            counts.update(minutes(cell(start), cell(until + 5 * MINUTE - timedelta(microseconds=1))))
        return counts

    def starts(self) -> list[datetime]:
        opened, counts, length = self.open_minutes(), self.claimed_minutes(), self.length
        found = []
        for start in minutes(self.begin.replace(second=0, microsecond=0), self.end):
            if start < self.begin or start.minute % 5 or start.astimezone(self.hours.zone).minute % self.grid:
                continue
            stop = start + up(length.minutes) * MINUTE
            needs = minutes(start - up(length.before) * MINUTE, stop + up(length.after) * MINUTE)
            is_open = stop <= self.end and all(at in opened for at in minutes(start, stop))
            if is_open and all(counts[at] < self.capacity for at in needs):
                found.append(start)
        return found


def up(count: int) -> int:
    return -(-count // 5) * 5


openings = st.builds(
    Opening, st.integers(0, 6), st.integers(0, 1439), st.integers(1, 24 * 60 + 300)
).filter(lambda one: one.closes > one.opens)  # fmt: skip
# Days around the changes of clocks, of both halves of the year and both hemispheres.
days = st.sampled_from([date(2026, 3, 7), date(2026, 10, 31), date(2026, 4, 4), date(2026, 10, 3), date(2028, 2, 28),
                        date(2026, 12, 31)])  # fmt: skip


@settings(max_examples=DEPTH.examples(60), deadline=None)
@given(data=st.data())
def test_the_masks_find_what_a_look_at_every_minute_finds(data: st.DataObject):
    zone = ZoneInfo(data.draw(st.sampled_from(ZONES)))
    day = data.draw(days)
    begin = datetime.combine(day, datetime.min.time(), UTC) + data.draw(st.integers(0, 1440)) * MINUTE
    end = begin + data.draw(st.integers(0, 2 * 1440)) * MINUTE
    hours = Hours(
        tuple(data.draw(st.lists(openings, max_size=5))), zone,
        frozenset(data.draw(st.lists(st.sampled_from([day, day + timedelta(days=1)]), max_size=1))),
    )  # fmt: skip
    claims = [
        (begin + start * MINUTE, begin + (start + length) * MINUTE)
        for start, length in data.draw(
            st.lists(st.tuples(st.integers(-120, 3000), st.integers(1, 180)), max_size=12)
        )
    ]  # fmt: skip
    capacity = data.draw(st.integers(1, 3))
    length = Length(data.draw(st.integers(1, 120)), data.draw(st.integers(0, 20)), data.draw(st.integers(0, 20)))
    grid = data.draw(st.sampled_from([5, 10, 15, 30, 60]))
    busy = busy_of(claims, capacity)
    found = free_starts(hours, busy, length, begin, end, grid_minutes=grid)
    assert found == Case(hours, claims, capacity, length, begin, end, grid).starts()
    for start in found[:2]:
        assert is_free(hours, busy, length, start, grid_minutes=grid)
    if claims and found:
        at = claims[0][0]
        assert is_free(hours, busy, length, at, grid_minutes=grid) == (at in found) or not (
            begin <= at and at + length.exam <= end
        )


# ---- the clock, by hand


def every_day(opens: str, closes: str) -> tuple[Opening, ...]:
    return openings_of([{"availableStartTime": opens, "availableEndTime": closes}])


def offered(hours: Hours, day: date) -> list[str]:
    """The starts of half-hour exams from the begin of ``day`` until six o'clock of the next, by the wall clock."""
    begin, end = instant(day, 0, hours.zone), instant(day + timedelta(days=1), 6 * 60, hours.zone)
    starts = free_starts(hours, Busy(), Length(30), begin, end)
    return [f"{one.astimezone(hours.zone):%d %H:%M%z}" for one in starts]


def test_22_59_offers_no_slot_that_ends_at_23_00():
    hours = Hours(every_day("22:00:00", "22:59:00"), TORONTO)
    assert offered(hours, date(2026, 6, 1)) == ["01 22:00-0400", "01 22:15-0400"]


def test_24_00_ends_the_day():
    hours = Hours(every_day("23:00:00", "24:00:00"), TORONTO)
    assert offered(hours, date(2026, 6, 1)) == ["01 23:00-0400", "01 23:15-0400", "01 23:30-0400"]


def test_hours_over_midnight_belong_to_the_day_on_which_they_begin():
    friday = Hours(openings_of([{"daysOfWeek": ["fri"], "availableStartTime": "23:30", "availableEndTime": "00:30"}]),
                   TORONTO)  # fmt: skip
    assert offered(friday, date(2026, 6, 5)) == ["05 23:30-0400", "05 23:45-0400", "06 00:00-0400"]
    assert offered(friday, date(2026, 6, 6)) == ["06 00:00-0400"]


def test_the_hour_that_the_clocks_skip_has_no_slots():
    hours = Hours(every_day("01:30", "04:00"), TORONTO)
    assert offered(hours, date(2026, 3, 8))[:6] == [
        "08 01:30-0500", "08 01:45-0500", "08 03:00-0400", "08 03:15-0400", "08 03:30-0400", "09 01:30-0400",
    ]  # fmt: skip


def test_hours_that_begin_in_the_gap_begin_at_its_end():
    hours = Hours(every_day("02:30", "04:00"), TORONTO)
    assert offered(hours, date(2026, 3, 8))[0] == "08 03:00-0400"


def test_the_hour_that_the_clocks_repeat_has_its_slots_twice():
    hours = Hours(every_day("01:00", "02:00"), TORONTO)
    assert offered(hours, date(2026, 11, 1))[:7] == [
        "01 01:00-0400", "01 01:15-0400", "01 01:30-0400", "01 01:45-0400", "01 01:00-0500", "01 01:15-0500",
        "01 01:30-0500",
    ]  # fmt: skip


@pytest.mark.parametrize(("day", "length"), [(date(2026, 3, 8), 23), (date(2026, 11, 1), 25), (date(2026, 6, 1), 24)])
def test_a_closed_date_is_the_facilitys_day(day: date, length: int):
    hours = Hours(openings_of([{"allDay": True}]), TORONTO, frozenset({day}))
    ((opens, closes),) = hours.closed_spans(instant(day, 0, TORONTO), instant(day, 60, TORONTO))
    assert closes - opens == timedelta(hours=length)
    found = free_starts(hours, Busy(), Length(30), opens - timedelta(hours=1), closes + timedelta(hours=1))
    assert all(one + timedelta(minutes=30) <= opens or one >= closes for one in found)
    assert closes in found


def test_two_neighbours_keep_both_buffers():
    hours = Hours(every_day("08:00", "12:00"), TORONTO)
    length = Length(30, before=5, after=10)
    first = instant(date(2026, 6, 1), 9 * 60, TORONTO)
    busy = busy_of([length.claimed(first)])
    found = free_starts(hours, busy, length, first - timedelta(hours=1), first + timedelta(hours=3), grid_minutes=5)
    # 5 minutes of its own before and 10 of the other after it: fifteen minutes stand between two exams.
    assert first + timedelta(minutes=45) in found
    assert first + timedelta(minutes=40) not in found
    assert first - timedelta(minutes=45) in found
    assert first - timedelta(minutes=40) not in found


def test_a_place_for_three_is_full_with_the_third():
    hours = Hours(every_day("09:00", "09:30"), TORONTO)
    start = instant(date(2026, 6, 1), 9 * 60, TORONTO)
    spans = [(start, start + timedelta(minutes=30))] * 3
    assert is_free(hours, busy_of(spans[:2], 3), Length(30), start)
    assert not is_free(hours, busy_of(spans, 3), Length(30), start)


@pytest.mark.parametrize(
    "available",
    [
        {"availableStartTime": "9", "availableEndTime": "10:00"},
        {"availableStartTime": "09:00", "availableEndTime": "09:00"},
        {"availableStartTime": "25:00", "availableEndTime": "26:00"},
        {"availableStartTime": "09:61", "availableEndTime": "10:00"},
        {"availableStartTime": None, "availableEndTime": "10:00"},
        {"availableStartTime": "09:00"},
        {"daysOfWeek": ["someday"], "allDay": True},
        {"daysOfWeek": [3], "allDay": True},
        {},
    ],
)
def test_hours_that_cannot_be_read_open_nothing(available: dict[str, object]):
    assert openings_of([available]) == ()


def test_no_day_named_means_every_day():
    assert {one.weekday for one in openings_of([{"allDay": True}])} == set(range(7))


def test_the_grid_follows_the_wall_clock_where_the_clocks_move_by_half_an_hour():
    hours = Hours(openings_of([{"allDay": True}]), ZoneInfo("Australia/Lord_Howe"))
    begin = instant(date(2026, 4, 5), 0, hours.zone)
    found = free_starts(hours, Busy(), Length(30), begin, begin + timedelta(hours=8), grid_minutes=60)
    assert {one.astimezone(hours.zone).minute for one in found} == {0}
    assert len(found) == 8  # the clocks show half past one twice, and no hour twice
