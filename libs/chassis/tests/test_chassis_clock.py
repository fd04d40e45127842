"""A service's time is its store's; what cannot be taken back is decided only when its clocks agree about it."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import time_machine
from test_chassis_deliveries import Partner, all_are, stage, states, working

from chassis.clock import utc_now
from chassis.deliveries import Delivery, Receipt
from chassis.errors import StoreUnavailable, Withheld
from chassis.observe import Metrics
from chassis.settings import BreakerSettings, ClockSettings
from chassis.store import StoreClock
from chassis.store import clock as clock_module
from chassis.testing import MACHINE_SECONDS, eventually

pytestmark = pytest.mark.stack
ROOT = Path(__file__).resolve().parents[3]
HOUR = timedelta(hours=1)
TOLERANCE = timedelta(seconds=MACHINE_SECONDS)
"""What this machine may need between two readings."""


class Machine:
    """A machine whose clock differs from the store's, which may jump as well."""

    def __init__(self, store, **settings: float) -> None:
        self.off = timedelta()
        self.monotonic_seconds = 1000.0
        self.store_at = datetime.now(UTC)
        self.metrics = Metrics()
        self.clock = StoreClock(
            store, ClockSettings(**settings), self.metrics, wall=self.wall, monotonic=lambda: self.monotonic_seconds
        )

    def wall(self) -> datetime:
        return self.true() + self.off

    def true(self) -> datetime:
        return self.store_at + timedelta(seconds=self.monotonic_seconds - 1000)

    def passes(self, seconds: float) -> None:
        self.monotonic_seconds += seconds


@pytest.fixture
def machine(store, monkeypatch) -> Machine:
    one = Machine(store)

    async def asked() -> datetime:
        return one.true() + one.store_jumped

    one.store_jumped = timedelta()

    async def ask(_self: StoreClock):
        return clock_module._Line(await asked(), one.monotonic_seconds), 0.0

    monkeypatch.setattr(StoreClock, "_ask", ask)
    return one


async def test_it_is_the_stores_time_whatever_the_machines_clock_says(store) -> None:
    with time_machine.travel(datetime.now(UTC) + timedelta(days=8), tick=True):
        metrics = Metrics()
        clock = StoreClock(store, ClockSettings(), metrics)
        await clock.start()
        at = await store.now()
        assert abs(clock.now() - at) < TOLERANCE
        span = clock.span()
        assert abs(span.earliest - at) < TOLERANCE
        assert abs(span.latest - at - timedelta(days=8)) < TOLERANCE
        assert metrics.value("clock_uncertain") == 1
        assert metrics.value("clock_offset_seconds") == pytest.approx(8 * 86400, abs=MACHINE_SECONDS)
    assert abs(clock.now() - utc_now()) < TOLERANCE


async def test_while_the_clocks_agree_a_span_is_a_moment(store) -> None:
    metrics = Metrics()
    clock = StoreClock(store, ClockSettings(), metrics)
    await clock.start()
    assert clock.span().width == timedelta()
    assert clock.doubt() < timedelta(milliseconds=100)
    assert metrics.value("clock_uncertain") == 0
    assert abs(metrics.value("clock_offset_seconds")) < MACHINE_SECONDS


async def test_the_machines_clock_set_between_two_looks_does_not_move_the_time_and_is_in_the_span(machine) -> None:
    await machine.clock.look()
    for off in (HOUR, -HOUR):
        machine.off = off
        machine.passes(10)
        assert machine.clock.now() == machine.true()
        assert {machine.clock.span().earliest, machine.clock.span().latest} == {machine.true(), machine.wall()}
    assert machine.clock.doubt() == timedelta()
    machine.off = HOUR
    assert machine.clock.doubt() == HOUR
    machine.off = timedelta(seconds=4)
    assert machine.clock.span().width == timedelta(), "within the limit the store's time stands"


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
async def test_a_jump_of_the_stores_clock_is_counted_and_both_times_count_for_an_hour(machine, jump) -> None:
    """Also when the machine's clock jumps along: they may be one machine."""
    await machine.clock.look()
    machine.passes(15)
    machine.store_jumped = machine.off = jump
    await machine.clock.look()
    assert machine.metrics.value("clock_jumps_total") == 1
    assert machine.metrics.value("clock_offset_seconds") == 0
    for _ in range(3):
        machine.passes(15)
        await machine.clock.look()
        span = machine.clock.span()
        assert {span.earliest, span.latest} == {machine.true(), machine.true() + jump}
        assert machine.metrics.value("clock_uncertain") == 1
    machine.passes(3600)
    await machine.clock.look()
    assert machine.clock.span().width == timedelta()
    assert machine.metrics.value("clock_uncertain") == 0
    assert machine.metrics.value("clock_jumps_total") == 1


async def test_a_jump_that_is_met_when_the_former_was_held_long_enough_is_held_as_well(machine) -> None:
    await machine.clock.look()
    machine.store_jumped = HOUR
    await machine.clock.look()
    machine.passes(3601)
    machine.store_jumped = 3 * HOUR
    await machine.clock.look()
    assert machine.metrics.value("clock_jumps_total") == 2
    span = machine.clock.span()
    assert (span.earliest, span.latest) == (machine.true(), machine.true() + 3 * HOUR)


async def test_a_store_that_jumps_back_ends_the_doubt_at_once(machine) -> None:
    await machine.clock.look()
    machine.store_jumped = HOUR
    await machine.clock.look()
    machine.passes(15)
    machine.store_jumped = timedelta()
    await machine.clock.look()
    assert machine.clock.span().width == timedelta()
    assert machine.clock.now() == machine.true()


async def test_before_the_first_look_and_long_after_the_last_nothing_is_certain(machine) -> None:
    with pytest.raises(Withheld, match="not known"):
        machine.clock.span()
    assert machine.clock.now() == machine.wall()
    await machine.clock.look()
    machine.passes(clock_module.STALE_SECONDS + 1)
    with pytest.raises(Withheld, match="not known"):
        machine.clock.span()


async def test_an_answer_that_took_too_long_says_nothing(machine, monkeypatch) -> None:
    await machine.clock.look()

    async def slow(_self: StoreClock):
        return clock_module._Line(machine.true() + HOUR, machine.monotonic_seconds), 60.0

    monkeypatch.setattr(StoreClock, "_ask", slow)
    await machine.clock.look()
    assert machine.clock.now() == machine.true()
    assert machine.metrics.value("clock_jumps_total") == 0


async def test_half_the_way_of_the_quickest_answer_is_taken_off(store) -> None:
    clock = StoreClock(store, ClockSettings(), Metrics())
    before = await store.now()
    line, trip_seconds = await clock._ask()
    after = await store.now()
    assert before - TOLERANCE < line.at < after
    assert 0 < trip_seconds < MACHINE_SECONDS


async def test_it_looks_again_and_again_and_goes_on_when_the_store_was_away(store, monkeypatch) -> None:
    monkeypatch.setattr(clock_module, "LOOK_SECONDS", 0.01)
    clock = StoreClock(store, ClockSettings(), Metrics())
    looks, asked = 0, clock._ask

    async def ask():
        nonlocal looks
        looks += 1
        if looks == 2:
            raise ConnectionRefusedError
        return await asked()

    monkeypatch.setattr(clock, "_ask", ask)
    running = asyncio.create_task(clock.run())

    async def has_looked() -> bool:
        return looks >= 4

    await eventually(has_looked)
    await clock.stop()
    await running
    assert clock.span().width == timedelta()


async def test_a_store_that_is_away_at_the_start_is_said_so(store, monkeypatch) -> None:
    async def ask(_self: StoreClock):
        raise ConnectionRefusedError

    monkeypatch.setattr(StoreClock, "_ask", ask)
    with pytest.raises(StoreUnavailable):
        await StoreClock(store, ClockSettings(), Metrics()).start()


async def test_what_we_withhold_is_tried_again_and_no_fault_of_the_partner(store) -> None:
    """A breaker that opens for it would hold everything else up."""
    withheld = 0

    class InDoubt(Partner):
        async def __call__(self, delivery: Delivery) -> Receipt:
            nonlocal withheld
            if delivery.attempt <= 3:
                withheld += 1
                raise Withheld("our clocks differ")
            return await super().__call__(delivery)

    await stage(store, *((uuid4(), b"1") for _ in range(4)))
    async with working(store, InDoubt(), breaker=BreakerSettings(failures=1, open_seconds=3600)):
        await all_are(store, "done")
    assert withheld == 12
    assert set(await states(store)) == {"done"}


def test_the_machines_clock_is_asked_where_it_decides_nothing_and_nowhere_else() -> None:
    """Whoever needs the time is given the store's; ``now: Clock = utc_now`` is what tests and tools take."""
    asks = re.compile(r"datetime\.now\(|datetime\.utcnow\(|\btime\.time(_ns)?\(|date\.today\(|\butc_now\(\)")
    sources = [path for member in ("libs", "services") for path in (ROOT / member).glob("*/src/**/*.py")]
    assert len(sources) > 50
    found = {"/".join(path.parts[-2:]) for path in sources if asks.search(path.read_text())}
    assert found == {
        "chassis/clock.py",
        "scheduler_sync/__main__.py",  # `explain` reads a file, without a store to ask
        "scheduler_sync/bootstrap.py",  # `unclaimed-tasks` asks OmegaAI alone, without a store
        "hl7v2/ack.py",  # the time in an acknowledgement's header
        "chassis/http.py",  # where a server that asks for a pause until a date does not say what time it has
        "contracts/identifiers.py",  # ids, by whose order nothing is decided
        "store/transaction.py",  # whether a word wakes the timers' worker: it looks by itself too
        "resources/importing.py",  # whether two zones are alike about now
        "web/explain_page.py",  # explains a message, and stores nothing
        "preflight/run.py",  # when the store does not say its time
        "web/console.py",  # the colour of a tile
        "oidc/provider.py",  # a log-in's times are the provider's: the store has nothing to say about them
        "testing/__init__.py",
        "testing/certificates.py",
    }
