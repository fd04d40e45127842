"""States are words in the store. A store of numbers is rewritten while services of both kinds work on it."""

from dataclasses import replace
from uuid import UUID

import asyncpg
import pytest
from sync_harness import open_harness
from sync_samples import siu

from chassis.store import Transaction, migrations
from scheduler_sync.bootstrap import MIGRATIONS
from scheduler_sync.domain.appointment import State
from scheduler_sync.store import columns

pytestmark = pytest.mark.stack
WORDS = {
    "L0": "unscheduled", "L1": "staff-booked", "L2": "confirmed", "L3": "move-requested", "L4": "patient-booked",
    "L5": "arrived", "L6": "done", "L7": "cancelled",
}  # fmt: skip
"""What stood in the store before, and what stands there now."""
_A_PATIENT = """
INSERT INTO patients (id, site, family, given, sex, language, organization, heard_at, details_heard_at, revision)
VALUES ($1, 'northside', 'Roe', 'Jane', 'F', 'en', '1', now(), '{}', 1)"""
_A_LINK = """
INSERT INTO appointment_links AS l (id, site, placer_number, patient_id, facility, resource, studies, state, step,
    who_acts_next, accession_numbers, revision)
VALUES ($1, 'northside', $2, $3, 'FAC01', 'BLUME CT', '[]', $4, 'scheduled', 'patient', '{}', 1)
ON CONFLICT (id) DO UPDATE SET state = excluded.state"""
_A_LINE = """
INSERT INTO link_history (link_id, at, source, message, cause_id, outcome, state_before, state_after, revision, changed,
    delivery_ids)
VALUES ($1, now(), 'powerserver', 'SIU^S12', $1, 'applied', $2, $3, 1, '{}', '{}')"""
_A_CONFLICT = """
INSERT INTO conflicts (link_id, at, source, cause_id, why)
VALUES ($1, now(), 'powerserver', $1, $2)"""

_STATE_OF = "SELECT state FROM appointment_links WHERE placer_number = $1"
_STATE_AFTER = "SELECT state_after FROM link_history WHERE id = $1"


async def _as_the_former_code_writes(connection: asyncpg.Connection) -> None:
    """A link of each state, the line of history that led there, and a conflict that names it."""
    await connection.execute(_A_PATIENT, UUID(int=99))
    for number, state in enumerate(WORDS):
        await connection.execute(_A_LINK, UUID(int=number + 1), f"P{number}", UUID(int=99), state)
        await connection.execute(_A_LINE, UUID(int=number + 1), "new", state)
        await connection.execute(
            _A_CONFLICT, UUID(int=number + 1), f"staff-scheduled refused in state {state}: it is L7"
        )


async def _states(connection: asyncpg.Connection) -> list[tuple[str, str, str, str]]:
    rows = await connection.fetch(
        "SELECT l.state, state_before, state_after, why FROM appointment_links l "
        "JOIN link_history h ON h.link_id = l.id JOIN conflicts c ON c.link_id = l.id ORDER BY l.id"
    )
    return [tuple(row) for row in rows]


async def test_every_state_of_a_store_of_numbers_is_rewritten(database_url: str):
    await migrations.run(MIGRATIONS, database_url, "before")
    connection = await asyncpg.connect(database_url)
    await _as_the_former_code_writes(connection)
    assert [row[0] for row in await _states(connection)] == list(WORDS)
    await migrations.run(MIGRATIONS, database_url, "after")
    assert await _states(connection) == [
        (word, "new", word, f"staff-scheduled refused in state {word}: it is L7") for word in WORDS.values()
    ]
    with pytest.raises(asyncpg.CheckViolationError):
        await connection.execute("UPDATE appointment_links SET state = 'L2'")
    await connection.close()


async def test_services_of_both_kinds_work_on_one_store_during_a_rollout(database_url: str):
    await migrations.run(MIGRATIONS, database_url, "before")
    connection = await asyncpg.connect(database_url)
    await _as_the_former_code_writes(connection)
    harness = await open_harness(database_url)
    # The present code reads what the former code wrote, and changes it.
    async with harness.store.pool.acquire() as other, other.transaction():
        transaction = Transaction(other)
        work = harness.open_work(transaction)
        await work.links.load_by_id([UUID(int=number + 1) for number in range(8)])
        for number, word in enumerate(WORDS.values()):
            link = work.links.by_id(UUID(int=number + 1))
            assert link is not None
            assert link.state == State(word)
            work.links.save(replace(link, reason="changed"))
        await transaction.flush()
    assert await harness.hear(siu(placer="P100045")) == [None]
    # The former code reads what the present code wrote: in the column, and in the line of history.
    rows = await connection.fetch("SELECT state, reason FROM appointment_links ORDER BY placer_number")
    assert [tuple(row) for row in rows] == [
        ("L0", "changed"), ("L1", "changed"), ("L1", None), *((state, "changed") for state in list(WORDS)[2:]),
    ]  # fmt: skip
    assert await connection.fetchval(_STATE_AFTER, 9) == "L1"
    await connection.execute(_A_LINK, UUID(int=2), "P1", UUID(int=99), "L2")  # and it changes what it reads
    # The last former process is gone.
    await migrations.run(MIGRATIONS, database_url, "after")
    found = await connection.fetchval("SELECT array_agg(DISTINCT state) FROM appointment_links")
    assert set(found) == set(WORDS.values())
    assert await connection.fetchval(_STATE_OF, "P1") == "confirmed"
    assert await connection.fetchval(_STATE_AFTER, 9) == "staff-booked"
    gone = siu("S15", placer="P100045", status="80^CANCELLED^99PS", made="20261125093100-0500")
    assert await harness.hear(gone) == [None]
    assert await connection.fetchval(_STATE_OF, "P100045") == "cancelled"
    await harness.store.close()
    await connection.close()


def test_the_number_of_a_former_version_is_read_as_its_word():
    assert {number: State(number).value for number in WORDS} == WORDS
    with pytest.raises(ValueError, match="L8"):
        State("L8")


def test_a_filter_finds_both_spellings_while_both_can_stand_in_the_store():
    assert columns.spellings("confirmed") == ["confirmed", "L2"]
    assert columns.spellings("") == columns.spellings("nonsense") == []
