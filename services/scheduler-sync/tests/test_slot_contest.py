"""R9: two hundred for one slot at once. Exactly as many win as may, facts are never refused, everybody is answered."""

import asyncio
import random
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from scheduling_stand import RULES, Stand, at, booked_by_staff, standing
from sync_samples import siu

from chassis.errors import StoreUnavailable
from chassis.testing import MACHINE_SECONDS
from chassis.testing.depth import DEPTH
from scheduler_sync.domain.appointment import Study
from scheduler_sync.scheduling.desk import Hold
from scheduler_sync.scheduling.parameters import PatientAsked, SlotAsked
from scheduler_sync.scheduling.problems import Refused

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1800)]
TASKS = 200
RUSH = TASKS if DEPTH.name == "full" else 60
"""So many come at once in the tests after the first two, which see all two hundred."""
ROUNDS = DEPTH.contest_rounds
HALF_AN_HOUR = timedelta(minutes=30)
MOST_ROUND_SECONDS = 1.0
OPEN_ALL_YEAR = RULES.replace("horizon_days: 60", "horizon_days: 400").replace("closed: [2026-12-25]", "closed: []")
"""Each round of the full depth has a time of its own, five on a day."""


@pytest.fixture
async def stand(migrated_url: str, tmp_path: Path) -> AsyncIterator[Stand]:
    async with standing(migrated_url, tmp_path, rules=OPEN_ALL_YEAR, patients=TASKS, pool_size=20) as opened:
        yield opened


@dataclass
class Answers:
    """What came of a round."""

    won: list[Hold] = field(default_factory=list)
    lost: list[Refused] = field(default_factory=list)
    seconds: float = 0.0


async def holds(stand: Stand, number: int, start: datetime, answers: Answers) -> None:
    asked = SlotAsked("hs-1", start, 30, (Study("CT-HEAD", "CT Head"),), PatientAsked(UUID(int=1000 + number)))
    try:
        answers.won.append(await stand.desk.hold(asked, client="blume", key=None, moves_id=None, patient=None))
    except Refused as refused:
        answers.lost.append(refused)


async def staff_book(stand: Stand, number: int, start: datetime) -> None:
    while True:
        try:
            assert await stand.sync.hear(booked_by_staff(number, start)) == [None]
        except StoreUnavailable:  # answered AE; PowerServer sends it again
            continue
        return


async def rush(stand: Stand, start: datetime, *, of: int, facts: int = 0, base: int = 0) -> Answers:
    """``of`` at once for ``start`` or a quarter of an hour beside it; some of them are PowerServer's bookings."""
    answers = Answers()
    shifts = [timedelta(minutes=random.choice((-15, 0, 0, 15))) for _ in range(of - facts)]
    tasks = [holds(stand, number, start + shift, answers) for number, shift in enumerate(shifts)]
    tasks += [staff_book(stand, base + number, start) for number in range(facts)]
    random.shuffle(tasks)
    began = time.perf_counter()
    await asyncio.gather(*tasks)
    answers.seconds = time.perf_counter() - began
    return answers


async def standing_at(stand: Stand, start: datetime, end: datetime) -> list[Any]:
    return await stand.sync.rows(
        "SELECT * FROM claims WHERE NOT released AND (expires_at IS NULL OR expires_at > now()) "
        "AND during && tstzrange($1, $2)", start, end,
    )  # fmt: skip


async def above_capacity(stand: Stand) -> list[Any]:
    """The promises that stand where more claims stand at once than may."""
    return await stand.sync.rows(
        "SELECT c.id FROM claims c JOIN calendars k USING (resource_id) WHERE NOT c.released AND c.kind <> 'fact' "
        "AND c.during && crowded(c.resource_id, c.during, k.capacity + 1)"
    )


async def deadlocks(stand: Stand) -> int:
    await stand.sync.store.pool.fetchval("SELECT pg_stat_force_next_flush()")
    row = await stand.sync.row("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    return int(row["deadlocks"])


async def capacity_of(stand: Stand, capacity: int) -> None:
    await stand.sync.store.pool.execute("UPDATE calendars SET capacity = $1::smallint", capacity)


def starts() -> list[datetime]:
    """A time of its own for each round, two hours from the next."""
    return [at(9) + timedelta(days=number // 5, hours=2 * (number % 5)) for number in range(ROUNDS)]


@pytest.mark.parametrize("capacity", [1, 3])
async def test_as_many_win_as_may_and_all_others_get_alternatives(stand: Stand, capacity: int):
    await capacity_of(stand, capacity)
    rounds = []
    for start in starts():
        answers = await rush(stand, start, of=TASKS)
        rounds.append(answers.seconds)
        assert len(answers.won) + len(answers.lost) == TASKS
        stood = await standing_at(stand, start - HALF_AN_HOUR / 2, start + 1.5 * HALF_AN_HOUR)
        assert len(stood) == len(answers.won)
        at_once = [one for one in stood if one["during"].lower <= start < one["during"].upper]
        assert len(at_once) <= capacity
        for refused in answers.lost:
            assert len(refused.offers) >= 3
    assert await above_capacity(stand) == []
    assert await deadlocks(stand) == 0
    print(f"capacity {capacity}: p50 {statistics.median(rounds):.3f} s, max {max(rounds):.3f} s")


async def test_exactly_the_capacity_wins_one_and_the_same_slot(stand: Stand):
    for capacity in (1, 3):
        await capacity_of(stand, capacity)
        for start in [one + timedelta(days=8 * capacity, minutes=15) for one in starts()]:
            answers = Answers()
            began = time.perf_counter()
            await asyncio.gather(*(holds(stand, number, start, answers) for number in range(TASKS)))
            answers.seconds = time.perf_counter() - began
            assert (len(answers.won), len(answers.lost)) == (capacity, TASKS - capacity)
            if DEPTH.name == "full":
                assert answers.seconds <= MOST_ROUND_SECONDS + MACHINE_SECONDS
    assert await deadlocks(stand) == 0


@pytest.mark.parametrize("capacity", [1, 3])
async def test_facts_are_never_refused_and_put_promises_out_of_their_place(stand: Stand, capacity: int):
    await capacity_of(stand, capacity)
    for number, start in enumerate(starts()):
        answers = await rush(stand, start, of=RUSH, facts=2, base=10 * number)
        stood = await standing_at(stand, start, start + HALF_AN_HOUR)
        facts = [one for one in stood if one["kind"] == "fact"]
        assert len(facts) == 2
        here = [one for one in stood if one["kind"] != "fact" and one["during"].lower == start]
        assert len(here) <= max(0, capacity - 2)
        held = [hold for hold in answers.won if hold.slot.start == start]
        assert len(held) >= len(here)
    assert await above_capacity(stand) == []
    assert await deadlocks(stand) == 0


async def test_hold_book_confirm_with_facts_among_the_rush_leaves_no_orphan_and_tells_the_displaced(stand: Stand):
    await capacity_of(stand, 3)
    for number, start in enumerate(starts()):
        answers = Answers()
        await asyncio.gather(*(holds(stand, one, start, answers) for one in range(RUSH // 2)))
        books = [stand.desk.book(client="blume", key=None, hold_id=hold.id) for hold in answers.won]
        booked = await asyncio.gather(*books)
        assert len(booked) == 3
        confirmed = booked[0]
        who = f"N{confirmed.patient_id.int - 1000}"
        message = siu(
            "S14", control_id=f"K{number}", placer=confirmed.placer_number, status="50^CONFIRMED^99PS",
            pid=f"PID|1|{who}^^^NORTHSIDE|{who}^^^NORTHSIDE||Roe^Jane",
            **_times(start),
        )  # fmt: skip
        assert await stand.sync.hear(message) == [None]
        await asyncio.gather(
            *(staff_book(stand, 1000 + 10 * number + one, start) for one in range(2)),
            *(holds(stand, one, start, answers) for one in range(RUSH // 2, RUSH)),
        )
        stood = await standing_at(stand, start, start + HALF_AN_HOUR)
        assert sorted(one["kind"] for one in stood) == ["fact"] * 3
        told = await stand.sync.rows(
            "SELECT link_id FROM conflicts WHERE link_id = ANY($1::uuid[])", [one.id for one in booked]
        )
        assert {row["link_id"] for row in told} == {one.id for one in booked[1:]}
        events = await stand.sync.rows(
            "SELECT convert_from(value, 'utf8')::json -> 'data' AS data FROM outbox WHERE topic = "
            "'appointment.requested' AND aggregate_id = ANY($1::uuid[]) AND revision = 2",
            [one.id for one in booked[1:]],
        )
        assert len(events) == 2
        assert all('"displaced":true' in row["data"] and row["data"].count('"resource"') >= 4 for row in events)
    assert await stand.sync.rows("SELECT * FROM claims WHERE NOT released AND kind = 'hold'") == []
    assert await above_capacity(stand) == []
    assert await deadlocks(stand) == 0


async def test_holds_that_expired_and_were_not_swept_stand_in_nobodys_way(stand: Stand):
    for start in starts():
        first = Answers()
        await holds(stand, 0, start, first)
        await stand.sync.store.pool.execute(
            "UPDATE claims SET expires_at = now() - interval '1 second' WHERE kind = 'hold' AND NOT released"
        )
        answers = Answers()
        await asyncio.gather(*(holds(stand, number, start, answers) for number in range(1, RUSH)))
        assert len(answers.won) == 1
        assert len(await standing_at(stand, start, start + HALF_AN_HOUR)) == 1
    assert await deadlocks(stand) == 0


async def test_a_booking_that_moves_away_meanwhile_frees_its_time_once(stand: Stand):
    for number, start in enumerate(starts()):
        await staff_book(stand, 500 + number, start)
        answers = Answers()
        moved = booked_by_staff(500 + number, start + 2 * HALF_AN_HOUR, trigger="S13", made="20261125093100-0500")

        async def move(raw: bytes = moved) -> None:
            assert await stand.sync.hear(raw) == [None]

        await asyncio.gather(move(), *(holds(stand, one, start, answers) for one in range(RUSH)))
        await holds(stand, 0, start, answers)  # whoever comes after the move finds the time free, or taken once
        stood = await standing_at(stand, start, start + HALF_AN_HOUR)
        assert [one["kind"] for one in stood] == ["hold"]
        assert len(answers.won) == 1
    assert await deadlocks(stand) == 0


def _times(start: datetime) -> dict[str, str]:
    form = "%Y%m%d%H%M%S+0000"
    return {"start": start.strftime(form), "end": (start + HALF_AN_HOUR).strftime(form)}
