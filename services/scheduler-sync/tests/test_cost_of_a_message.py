"""What a message of PowerServer's costs: statements of its batch on Postgres, and steps of Python.

A new feature that makes every message dearer changes a figure here, and says so in its commit.
"""

import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Any, Final

import pytest
from sync_harness import RECEIVED_AT, Harness, StoreUrl
from sync_samples import SITE_FILE, directory, siu

from chassis.hl7 import InboundHl7
from chassis.hl7.journal import JournalIntake
from chassis.messaging import BatchExecutor, Done
from chassis.observe import Metrics
from chassis.store import Store
from scheduler_sync.site import Site

pytestmark = pytest.mark.stack

BATCH: Final = 16
MOST_STEPS: Final = 19_500
"""Python's instructions for a booking of a new patient, in a batch of 16. Counted: 18,769 with CPython 3.11."""
NEW_PATIENT: Final = ["BEGIN", "INSERT INTO hl7_journal", "patients", "appointment_links", "write", "COMMIT"]
KNOWN_PATIENT: Final = [*NEW_PATIENT[:3], "patient_identifiers", *NEW_PATIENT[3:]]
FIRST_START: Final = datetime(2030, 12, 1, tzinfo=UTC)
HALF_AN_HOUR: Final = timedelta(minutes=30)
_OF_THE_LOOP: Final = ("/asyncio/", "/uvloop/", "/selectors.py", "/threading.py", "/logging/")


class Costs:
    """One connection to the store, so that every statement is seen."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.executor: BatchExecutor[InboundHl7, Any, Any] = BatchExecutor(
            harness.store,
            intake=JournalIntake(Metrics()),
            open_work=harness.open_work,
            prefetch=harness.inbound.prefetch,
            handle=harness.inbound.handle,
        )

    async def hear(self, raws: Sequence[bytes]) -> None:
        outcomes = await self.executor.run([InboundHl7.of(raw, RECEIVED_AT) for raw in raws])
        assert all(isinstance(one, Done) for one in outcomes), outcomes

    async def statements(self, *raws: bytes) -> list[str]:
        """What is asked of Postgres for one batch, one entry a round trip."""
        asked: list[str] = []

        def note(record: Any) -> None:
            asked.append(_kind(record.query))

        async with self.harness.store.pool.acquire() as connection:
            connection.add_query_logger(note)
        await self.hear(raws)
        async with self.harness.store.pool.acquire() as connection:
            connection.remove_query_logger(note)
        return asked


def _kind(query: str) -> str:
    """A statement by its first table, or by what it is."""
    if query.startswith("WITH write_1"):
        return "write"
    known = ("hl7_journal", "patient_identifiers AS found", "patient_identifiers", "patients", "appointment_links")
    if query.rstrip(";") in {"BEGIN", "COMMIT"}:
        return query.rstrip(";")
    found = next((table for table in known if f" {table}" in query), query)
    return {"hl7_journal": "INSERT INTO hl7_journal", "patient_identifiers AS found": "patients"}.get(found, found)


def booking(number: int, **more: str) -> bytes:
    pid = f"PID|1|{number}^^^NORTHSIDE|{number}^^^NORTHSIDE||Roe^Jane^A||19800229|F|||12 Elm St^^Toronto^ON^M5V1A1^CA"
    begin = FIRST_START + number * HALF_AN_HOUR
    start, end = (f"{at:%Y%m%d%H%M%S}+0000" for at in (begin, begin + HALF_AN_HOUR))
    given = {"control_id": f"C{number}", "placer": f"P{number}", "pid": pid, "start": start, "end": end, **more}
    return siu(**given)


def move(number: int, control_id: str) -> bytes:
    times = {"start": "20311220090000-0500", "end": "20311220093000-0500", "made": "20261125093100-0500"}
    return booking(number, trigger="S13", control_id=control_id, **times)


@pytest.fixture
async def costs(migrated_url: str) -> AsyncIterator[Costs]:
    """Messages have been handled before: every statement is prepared."""
    store = await Store.open(StoreUrl(migrated_url, pool_size=1))
    harness = Harness(store, Site(SITE_FILE), directory())
    for one in harness.resources.all_of("FAC01"):
        await store.pool.execute(
            "INSERT INTO resources (id, facility, organization, name, modality, healthcare_service_id, hours, "
            "overbooking, self_scheduling, active, aliases, seen_at) "
            "VALUES ($1, $2, '2', $3, $4, $5, '[]', true, true, true, '{}', now())",
            one.id, one.facility, one.name, one.modality, one.healthcare_service_id,
        )  # fmt: skip
    found = Costs(harness)
    for number in range(3):
        await found.hear([booking(number), booking(number + 3)])
        await found.hear([move(number, f"M{number}")])
    yield found
    await store.close()


@pytest.mark.parametrize("messages", [1, BATCH])
async def test_bookings_of_new_patients_take_six_round_trips(costs: Costs, messages: int) -> None:
    asked = await costs.statements(*(booking(100 + number) for number in range(messages)))
    assert asked == NEW_PATIENT
    assert await costs.harness.store.pool.fetchval("SELECT count(*) FROM claims WHERE kind = 'fact'") == 6 + messages


async def test_a_move_of_a_known_patient_takes_one_more(costs: Costs) -> None:
    assert await costs.statements(move(3, "M3"), move(4, "M4")) == KNOWN_PATIENT


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="another CPython has other instructions")
async def test_a_booking_takes_few_steps_of_python(costs: Costs) -> None:
    with counted() as steps:
        await costs.hear([booking(200 + number) for number in range(BATCH)])
    found = sum(steps.values()) // BATCH
    most = "\n".join(f"{number // BATCH:6} {where}" for where, number in steps.most_common(15))
    assert found <= MOST_STEPS, f"{found} steps a message:\n{most}"


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Counts the instructions by file, without those of the event loop."""
    steps: Counter[str] = Counter()

    def trace(frame: FrameType, event: str, _: object) -> object:
        path = frame.f_code.co_filename
        if event == "call" and any(part in path for part in _OF_THE_LOOP):
            return None
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        if event == "opcode":
            steps[path.partition("/src/")[2] or path] += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield steps
    finally:
        sys.settrace(before)
