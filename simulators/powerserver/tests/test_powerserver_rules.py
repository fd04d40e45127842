"""The scheduler's guards by themselves, with the days on which a clock changes."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from powerserver_sim import rules
from powerserver_sim.rules import Refused, WorkingHours

TORONTO = ZoneInfo("America/Toronto")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_only_below_scheduled_goes_on_the_calendar() -> None:
    for value in (15, 20, 29):
        rules.check_can_be_scheduled(value, "ANY")
    for value in (30, 50, 120):
        with pytest.raises(Refused, match="below SCHEDULED"):
            rules.check_can_be_scheduled(value, "ANY")


@pytest.mark.parametrize(
    ("start", "end", "fits"),
    [
        # 8 March 2026: 02:00 becomes 03:00. 1 November 2026: 02:00 becomes 01:00.
        ("2026-03-08T08:00:00-04:00", "2026-03-08T08:30:00-04:00", True),
        ("2026-03-08T07:00:00-05:00", "2026-03-08T07:30:00-05:00", True),
        ("2026-03-08T07:30:00-04:00", "2026-03-08T08:00:00-04:00", False),
        ("2026-11-01T08:00:00-05:00", "2026-11-01T08:30:00-05:00", True),
        ("2026-11-01T07:30:00-05:00", "2026-11-01T08:00:00-05:00", False),
        ("2026-11-01T22:30:00-05:00", "2026-11-01T23:00:00-05:00", True),
        ("2026-11-01T22:45:00-05:00", "2026-11-01T23:15:00-05:00", False),
        ("2026-12-02T04:00:00+00:00", "2026-12-02T04:30:00+00:00", False),
        ("2026-12-02T03:30:00+00:00", "2026-12-02T04:00:00+00:00", True),
    ],
)
def test_working_hours_are_wall_clock_hours_of_the_facility(start, end, fits) -> None:
    hours = WorkingHours("08:00", "23:00", TORONTO)
    if fits:
        rules.check_hours("BLUME CT", hours, at(start), at(end))
    else:
        with pytest.raises(Refused, match="works from 08:00 to 23:00"):
            rules.check_hours("BLUME CT", hours, at(start), at(end))


def test_a_day_may_end_at_24() -> None:
    hours = WorkingHours("00:00", "24:00", TORONTO)
    rules.check_hours("X", hours, at("2026-12-01T23:30:00-05:00"), at("2026-12-02T00:00:00-05:00"))


def test_lengths_are_at_least_a_quarter_hour_each() -> None:
    assert rules.booked_minutes([10, 45, None], 30) == [15, 45, 30]
    assert rules.booked_minutes([None], 5) == [15]


@pytest.mark.parametrize("text", ["8:00", "08:60", "24:15", "0800", "", "ab:cd", "08:00:00", "²³:00"])
def test_clock_times_are_written_hh_mm(text) -> None:
    with pytest.raises(Refused, match="HH:MM"):
        rules.check_clock(text, "opens")


async def test_a_new_booking_over_the_clock_change_keeps_its_length(bench) -> None:
    await bench.simulator.services.store.write(
        lambda work: work.run("UPDATE resource SET opens = '00:00', closes = '24:00'")
    )
    answer = await bench.try_to_book(
        resource="BLUME CT", start="2026-11-01T01:45:00-04:00", study_types=["CT-HEAD", "CT-CHEST"]
    )
    assert answer.json()["end"] == "2026-11-01T01:45:00-05:00"
    await bench.partner.has(1)
    message = bench.partner.received[0]
    assert (message.get("SCH-11.4"), message.get("SCH-11.5")) == ("20261101014500-0400", "20261101014500-0500")
    assert [segment.get("4") for segment in message.segments("AIS")] == ["20261101014500-0400", "20261101011500-0500"]
