"""Whole runs on a real Postgres against an OmegaAI on a socket: found, looked at again, corrected, asked, resumed."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from aiohttp import web
from fake_omegaai import FakeOmegaAI, client_of
from sync_harness import Harness
from sync_samples import PID, siu

from chassis.observe import Metrics
from chassis.store import Exclusive
from chassis.testing import eventually
from chassis.testing.depth import DEPTH
from scheduler_sync.adapters.omegaai.sender import OmegaAISender
from scheduler_sync.adapters.omegaai.view import AppointmentView
from scheduler_sync.bootstrap import RECONCILE_LOCK
from scheduler_sync.domain.reconciliation import Settled
from scheduler_sync.metrics import RECONCILER_ACTIVE
from scheduler_sync.reconciliation import correcting
from scheduler_sync.reconciliation.reconciler import Reconciler
from scheduler_sync.reconciliation.runner import ReconcileRunner
from scheduler_sync.settings import ReconciliationSettings, WorklistSettings
from scheduler_sync.store.queries import StoredIds
from scheduler_sync.store.reconciliation import Reports, Runs

pytestmark = pytest.mark.stack


class KilledError(BaseException):
    """Stands for the death of the process."""


class World:
    """scheduler-sync's store and OmegaAI, with runs at a time of the test's choosing."""

    def __init__(self, harness: Harness, omegaai: FakeOmegaAI, session: aiohttp.ClientSession) -> None:
        self.harness, self.omegaai = harness, omegaai
        self.client = client_of(omegaai.base_url, session)
        self.reports = Reports(harness.store)
        self.settings = ReconciliationSettings(page_size=50)
        self.tomorrow = (datetime.now(UTC) + timedelta(days=1)).date()
        self._made = 0

    async def book(self, number: int, status: str = "30^SCHEDULED^99PS", trigger: str = "S12") -> None:
        self._made += 1
        day = self.tomorrow + timedelta(days=number % 5)
        patient = PID.replace("4711", f"48{number:03}").replace("jane.roe", f"jane{number}")
        raw = siu(
            trigger, placer=f"P{number}", control_id=f"R{self._made}", pid=patient, status=status,
            start=f"{day:%Y%m%d}{9 + number % 8:02}{number // 8 % 4 * 15:02}00-0500",
            end=f"{day:%Y%m%d}{9 + number % 8:02}{number // 8 % 4 * 15 + 14:02}00-0500",
            made=f"20261125{9 + self._made // 3600:02}{self._made // 60 % 60:02}{self._made % 60:02}-0500",
        )  # fmt: skip
        assert await self.harness.hear(raw) == [None]

    async def settle(self) -> int:
        """Sends what waits for OmegaAI; PowerServer takes everything. Returns the number of deliveries."""
        sender = OmegaAISender(self.client, StoredIds(self.harness.store.pool))

        async def still_ours() -> bool:
            return True

        waiting = await self.harness.deliveries()
        for delivery in waiting:
            if delivery.destination == "omegaai":
                receipt = await sender.send(replace(delivery, still_ours=still_ours))
                await self.harness.settle(delivery, receipt)
            else:
                await self.harness.rows("UPDATE deliveries SET state = 'done' WHERE id = $1", delivery.id)
                await self.harness.rows(
                    "UPDATE appointment_links SET powerserver_step = CASE step WHEN 'requested' THEN 'scheduled' "
                    "ELSE step END WHERE id = $1",
                    delivery.key,
                )
        await self.quiet()
        return len(waiting)

    async def quiet(self) -> None:
        """Everything has happened a while ago."""
        await self.harness.rows("UPDATE appointment_links SET updated_at = now() - interval '1 hour'")

    def runs(self) -> Runs:
        return Runs(self.harness.store, uuid4())

    def reconciler(self, runs: Runs, **changes: Any) -> Reconciler:
        async def still_ours() -> None:
            pass

        given = {
            "store": self.harness.store, "site": self.harness.site.file, "omegaai": self.client,
            "effects": self.harness.effects, "open_work": self.harness.open_work, "runs": runs,
            "settings": self.settings, "worklist_settings": WorklistSettings(), "now": lambda: datetime.now(UTC),
            "still_ours": still_ours,
        }  # fmt: skip
        return Reconciler(**{**given, **changes})

    async def run(self, *, day: date | None = None, dry_run: bool = False, **changes: Any) -> dict[str, Any]:
        """A run from beginning to end: its row."""
        runs = self.runs()
        number = await runs.wish("test", day=day, dry_run=dry_run)
        return await self.go_on(number, runs, **changes)

    async def go_on(self, number: int, runs: Runs | None = None, **changes: Any) -> dict[str, Any]:
        runs = runs or self.runs()
        await runs.supersede_readers()
        one = self.reconciler(runs, **changes)
        while (run := await runs.take()) is not None:
            await one.run(run)
        row = await self.reports.run(number)
        assert row is not None
        return {"id": row.id, "state": row.state, "reason": row.reason, **row.counts}

    async def differences(self, number: int) -> list[tuple[str, str, str | None, tuple[str, ...], str]]:
        rows = await self.reports.differences(number, limit=1000)
        return [(one.side, one.kind, one.placer_number, tuple(one.fields), one.settled) for one in rows]

    def appointment(self, number: int) -> dict[str, Any]:
        return next(
            one for one in self.omegaai.all("Appointment")
            if any(name["value"] == f"P{number}" for name in one.get("identifier", []))
        )  # fmt: skip

    def plant(self, number: int, **changes: object) -> None:
        """Changes OmegaAI's Appointment so that nobody hears of it."""
        self.omegaai.makes_tasks = False
        self.omegaai.put_directly({**self.appointment(number), **changes})


@pytest.fixture
async def world(harness: Harness) -> AsyncIterator[World]:
    async with FakeOmegaAI().serving() as omegaai, aiohttp.ClientSession() as session:
        yield World(harness, omegaai, session)


async def filled(world: World, number: int = 12) -> World:
    for one in range(number):
        await world.book(one)
    await world.settle()
    return world


def later(moment: str, minutes: int) -> str:
    return (datetime.fromisoformat(moment) + timedelta(minutes=minutes)).isoformat()


async def test_what_agrees_has_no_difference_and_a_second_pass_reads_the_changes_alone(world: World) -> None:
    world.omegaai.tells_changes = True
    await filled(world)
    first = await world.run()
    assert (first["state"], first["differences"], first["compared"]) == ("done", 0, 12)
    assert first["omegaai"]["by"] == "days"
    world.omegaai.searched.clear()
    world.plant(3, status="booked")
    second = await world.run()
    assert second["omegaai"]["by"] == "changes"
    assert [next(iter(one)) for one in world.omegaai.searched] == ["_lastUpdated"]
    assert await world.differences(second["id"]) == [("omegaai", "differs", "P3", ("status",), "healed")]


async def test_each_kind_of_difference_is_found_and_corrected_or_listed(world: World) -> None:
    await filled(world)
    gone = world.appointment(0)
    del world.omegaai.resources["Appointment", gone["id"]]  # lost there
    world.plant(
        1, start=later(world.appointment(1)["start"], 15), end=later(world.appointment(1)["end"], 15)
    )  # moved there
    world.plant(2, status="booked")  # the patient confirmed, and nobody heard
    world.plant(3, status="arrived")  # a step that is PowerServer's own
    world.plant(4, participant=[{"actor": {"reference": "HealthcareService/hs-2"}},
                                *world.appointment(4)["participant"][:1]])  # fmt: skip
    stranger = {**world.appointment(5), "id": "stranger", "identifier": [], "status": "booked"}
    world.omegaai.put_directly(stranger)
    world.omegaai.put_directly({**world.appointment(6), "id": "second-of-6"})
    before = {number: world.appointment(number) for number in (1, 2, 3, 4)}
    run = await world.run()
    assert sorted(await world.differences(run["id"]), key=str) == sorted(
        [
            ("omegaai", "missing", "P0", (), "healed"),
            ("omegaai", "differs", "P1", ("starts", "ends"), "healed"),
            ("omegaai", "differs", "P2", ("status",), "healed"),
            ("omegaai", "differs", "P3", ("status",), "healed"),
            ("omegaai", "differs", "P4", ("resource",), "healed"),
            ("omegaai", "unknown", None, (), "listed"),
            ("omegaai", "double", "P6", (), "listed"),
        ],
        key=str,
    )
    assert (run["healed"], run["listed"]) == (5, 2)
    states = {row["placer_number"]: row["state"] for row in await world.harness.rows("SELECT * FROM appointment_links")}
    assert states["P2"] == "confirmed", "the patient's act was heard"
    assert states["P3"] == "staff-booked", "PowerServer owns the step"
    await world.settle()
    assert world.appointment(0)["status"] == "pending"
    assert datetime.fromisoformat(world.appointment(1)["start"]) == datetime.fromisoformat(
        before[1]["start"]
    ) - timedelta(minutes=15)
    assert world.appointment(3)["status"] == "pending"
    assert any("hs-1" in one["actor"]["reference"] for one in world.appointment(4)["participant"])
    again = await world.run()
    assert [one[4] for one in await world.differences(again["id"])] == ["listed", "listed"]
    conflicts = await world.harness.rows("SELECT why FROM conflicts")
    assert len(conflicts) == 3, "what OmegaAI showed otherwise is said: the time, the step, the resource"


async def test_both_values_and_since_when_stand_in_the_report(world: World) -> None:
    await filled(world, 3)
    world.plant(1, start=later(world.appointment(1)["start"], 30), end=later(world.appointment(1)["end"], 30))
    dry = await world.run(dry_run=True)
    [found] = await world.reports.differences(dry["id"])
    assert found.settled == Settled.FOUND
    link = await world.harness.row("SELECT * FROM appointment_links WHERE placer_number = 'P1'")
    assert datetime.fromisoformat(found.ours["starts"]) == link["slot_start"]
    assert datetime.fromisoformat(found.theirs["starts"]) == link["slot_start"] + timedelta(minutes=30)
    assert await world.harness.deliveries() == [], "a dry run corrects nothing"
    second = await world.run(dry_run=True)
    [again] = await world.reports.differences(second["id"])
    assert again.since == found.since < again.noted_at


async def test_powerserver_is_told_the_patients_act_again_and_keeps_its_own_steps(world: World) -> None:
    await filled(world, 4)
    await world.harness.rows(
        "UPDATE appointment_links SET state = 'confirmed', step = 'confirmed' WHERE placer_number IN ('P1', 'P2')"
    )
    await world.harness.rows(
        "UPDATE appointment_links SET state = 'done', step = 'completed' WHERE placer_number = 'P3'"
    )
    for number, status in ((1, "booked"), (2, "booked"), (3, "fulfilled")):
        world.plant(number, status=status)
    await world.harness.rows(
        "INSERT INTO deliveries (id, destination, key, kind, payload, headers, idempotency_key, subject, state) "
        "SELECT gen_random_uuid(), 'powerserver', id, 'status.confirmed', '', '{}', 'refused', id, 'dead' "
        "FROM appointment_links WHERE placer_number = 'P2'"
    )
    await world.quiet()
    run = await world.run()
    found = {one[2]: one[4] for one in await world.differences(run["id"]) if one[0] == "powerserver"}
    assert found == {"P1": "healed", "P2": "listed", "P3": "listed"}
    [told] = await world.harness.deliveries()
    assert (told.destination, told.kind) == ("powerserver", "status.confirmed")


async def test_what_changes_between_the_two_looks_is_left_alone(world: World) -> None:
    await filled(world, 3)
    for number in (0, 1, 2):
        world.plant(number, start=later(world.appointment(number)["start"], 15))
    is_first = asyncio.Event()

    async def still_ours() -> None:
        """Between reading and the second look: one is put right there, one is booked again here."""
        if not is_first.is_set():
            is_first.set()
            link = await world.harness.row("SELECT * FROM appointment_links WHERE placer_number = 'P0'")
            world.plant(0, start=link["slot_start"].isoformat())
            await world.book(1, status="50^CONFIRMED^99PS", trigger="S14")

    run = await world.run(still_ours=still_ours)
    settled = {one[2]: one[4] for one in await world.differences(run["id"]) if one[0] == "omegaai"}
    assert settled.pop("P0", "gone") == "gone", "where it was read before it was put right"
    assert settled == {"P1": "moving", "P2": "healed"}


async def test_what_changes_between_the_second_look_and_the_correction_is_left_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(world, 3)
    for number in (0, 1):
        world.plant(number, start=later(world.appointment(number)["start"], 15))
    real = correcting.Correcting._correct

    async def after_staff(*arguments: Any) -> None:
        await world.book(1, status="50^CONFIRMED^99PS", trigger="S14")
        await real(*arguments)

    monkeypatch.setattr(correcting.Correcting, "_correct", after_staff)
    run = await world.run()
    settled = {one[2]: one[4] for one in await world.differences(run["id"]) if one[0] == "omegaai"}
    assert settled == {"P0": "healed", "P1": "moving"}
    link = await world.harness.row("SELECT * FROM appointment_links WHERE placer_number = 'P1'")
    assert (link["state"], link["step"]) == ("confirmed", "confirmed")
    told = [one.subject for one in await world.harness.deliveries() if one.destination == "omegaai"]
    assert told.count(link["id"]) == 1, "of the staff's confirmation alone"


async def test_a_run_that_would_correct_too_much_asks_and_is_approved_or_declined(world: World) -> None:
    await filled(world)
    for number in range(11):
        world.plant(number, start=later(world.appointment(number)["start"], 15))
    run = await world.run()
    assert run["state"] == "asks"
    assert "11 of 12" in run["reason"]
    assert await world.harness.deliveries() == []
    assert not await world.runs().is_due(0.0), "the schedule waits for the answer"
    assert await world.reports.answer(run["id"], "declined", actor="somebody")
    assert {one[4] for one in await world.differences(run["id"])} == {"listed"}
    second = await world.run()
    assert second["state"] == "asks"
    assert await world.reports.answer(second["id"], "approved", actor="somebody")
    assert not await world.reports.answer(second["id"], "approved", actor="somebody"), "once"
    done = await world.go_on(second["id"])
    assert (done["state"], done["healed"]) == ("done", 11)
    audited = [row["action"] for row in await world.harness.rows("SELECT action FROM operator_audit ORDER BY id")]
    assert audited == ["reconcile.declined", "reconcile.approved"]


async def test_an_empty_answer_is_not_many_cancellations(world: World) -> None:
    await filled(world, 3)
    kept = {key: one for key, one in world.omegaai.resources.items() if key[0] == "Appointment"}
    for key in kept:
        del world.omegaai.resources[key]
    run = await world.run()
    assert (run["state"], run["reason"]) == ("asks", "OmegaAI showed no appointment at all")
    assert await world.harness.deliveries() == []


async def test_a_correction_that_does_not_last_is_listed(world: World) -> None:
    await filled(world, 2)
    world.plant(0, start=(moved := later(world.appointment(0)["start"], 15)))
    assert (await world.run())["healed"] == 1
    await world.settle()
    world.plant(0, start=moved)
    run = await world.run()
    assert (run["healed"], run["listed"]) == (0, 1)
    [found] = await world.reports.differences(run["id"])
    assert "came back" in str(found.why)


async def test_a_search_that_slips_is_read_again_and_a_day_that_stays_cut_says_nothing_of_absences(
    world: World,
) -> None:
    await filled(world, 10)
    world.settings = ReconciliationSettings(page_size=1)

    def lacks_one(request: web.Request) -> bool:
        return request.query.get("date") == world.tomorrow.isoformat() and "page" not in request.query

    def slipped(_: web.Request) -> web.Response:
        bundle = {"resourceType": "Bundle", "type": "searchset", "total": 2, "entry": []}
        return web.json_response(bundle, content_type="application/fhir+json")

    world.omegaai.answer_once(lacks_one, slipped)
    run = await world.run()
    assert (run["differences"], run["omegaai"]["cut_days"]) == (0, [])
    for _ in range(3):
        world.omegaai.answer_once(lacks_one, slipped)
    run = await world.run()
    assert (run["state"], run["differences"], run["omegaai"]["cut_days"]) == ("done", 0, [world.tomorrow.isoformat()])


async def test_an_unreadable_appointment_is_counted_listed_and_never_written_over(world: World) -> None:
    await filled(world, 3)
    world.plant(1, status="nonsense")
    run = await world.run()
    identifier = world.appointment(1)["id"]
    assert run["omegaai"]["unreadable_listed"] == [f"Appointment/{identifier}: Appointment.status"]
    assert [one[2:] for one in await world.differences(run["id"])] == [("P1", (), "listed")]
    assert await world.harness.deliveries() == []


async def test_a_partner_that_does_not_answer_fails_the_run_and_changes_nothing(world: World) -> None:
    await filled(world, 3)
    world.omegaai.closed_with = 503
    run = await world.run()
    assert run["state"] == "failed"
    assert await world.harness.deliveries() == []


def dies_at(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, *, nth: int, after: bool) -> None:
    """The ``nth`` call of ``owner.name`` ends the process, before or after its work."""
    real: Callable = getattr(owner, name)
    calls = iter(range(1, 1_000_000))

    async def dying(*arguments: Any, **options: Any) -> Any:
        number = next(calls)
        if number == nth and not after:
            raise KilledError
        found = await real(*arguments, **options)
        if number == nth:
            raise KilledError
        return found

    monkeypatch.setattr(owner, name, dying)


DEATHS = [
    (owner, name, nth, after)
    for owner, name, times in (
        (AppointmentView, "of_day", (1, 9)),
        (Runs, "move", (1, 2, 3, 4)),
        (correcting.Correcting, "_correct", (1, 2)),
        (correcting.Correcting, "_hear", (1, 2)),
        (Runs, "next_found", (1, 2, 3)),
    )
    for nth in times
    for after in (False, True)
]


@pytest.mark.parametrize("death", DEATHS[:: 1 if DEPTH.name == "full" else 3], ids=str)
async def test_a_death_anywhere_leaves_each_correction_made_once(
    world: World, monkeypatch: pytest.MonkeyPatch, death: tuple[object, str, int, bool]
) -> None:
    owner, name, nth, after = death
    await filled(world, 6)
    monkeypatch.setattr(correcting, "AT_ONCE", 2)
    for number in (0, 1):
        world.plant(number, start=later(world.appointment(number)["start"], 15))
    for number in (2, 3):
        world.plant(number, status="booked")
    number = await world.runs().wish("test")
    with monkeypatch.context() as dying:
        dies_at(dying, owner, name, nth=nth, after=after)
        with suppress(KilledError):
            await world.go_on(number)
    run = await world.go_on(number)
    if run["state"] == "superseded":
        run = await world.run()
    assert run["state"] == "done"
    told = await world.harness.rows("SELECT subject, count(*) AS number FROM deliveries WHERE state = 'pending' "
                                    "AND destination = 'omegaai' GROUP BY subject")  # fmt: skip
    links = {row["id"]: row["placer_number"] for row in await world.harness.rows("SELECT * FROM appointment_links")}
    assert {(links[row["subject"]], row["number"]) for row in told} == {("P0", 1), ("P1", 1)}
    heard = await world.harness.rows("SELECT * FROM outbox WHERE topic = 'appointment.confirmed'")
    assert len(heard) == 2
    await world.settle()
    assert (await world.run())["differences"] == 0


async def test_a_process_that_lost_the_run_corrects_nothing(world: World) -> None:
    await filled(world, 3)
    world.plant(0, start=later(world.appointment(0)["start"], 15))
    number = await world.runs().wish("test")

    real = AppointmentView.one

    async def steals(view: AppointmentView, fhir_id: str) -> Any:
        await world.harness.rows("UPDATE reconcile_runs SET holder = gen_random_uuid()")
        return await real(view, fhir_id)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(AppointmentView, "one", steals)
        with pytest.raises(Exception, match=str(number)):
            await world.go_on(number)
    assert await world.harness.deliveries() == []
    assert (await world.go_on(number))["healed"] == 1


async def test_a_worklist_that_is_away_leaves_the_rest_of_the_run(world: World) -> None:
    await filled(world, 2)
    run = await world.run(worklist_settings=WorklistSettings(host="127.0.0.1", port=9, timeout_seconds=5))
    assert run["state"] == "done"
    assert "no association" in run["worklist"]["away"]


@dataclass
class Replica:
    """A process that stands by or reconciles."""

    runner: ReconcileRunner
    running: "asyncio.Task[None]"


@asynccontextmanager
async def replicas(world: World, number: int) -> AsyncIterator[list[Replica]]:
    made = []
    for _ in range(number):
        runs, metrics = world.runs(), Metrics()
        exclusive = Exclusive(
            world.harness.store, lock=RECONCILE_LOCK, name="reconciler", metrics=metrics, gauge=RECONCILER_ACTIVE
        )

        def make(runner: ReconcileRunner, runs: Runs = runs) -> Reconciler:
            return world.reconciler(runs, still_ours=runner.still_ours)

        runner = ReconcileRunner(
            world.harness.store, runs, make, exclusive=exclusive, interval_seconds=3600, metrics=metrics
        )
        made.append(Replica(runner, asyncio.create_task(runner.run())))
    try:
        yield made
    finally:
        for one in made:
            await one.runner.stop()
        done, _ = await asyncio.wait({one.running for one in made}, timeout=60)
        assert len(done) == len(made)


async def test_of_two_replicas_one_reconciles_and_the_other_goes_on_with_its_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(world, 4)
    monkeypatch.setattr(correcting, "AT_ONCE", 1)
    for number in (0, 1):
        world.plant(number, start=later(world.appointment(number)["start"], 15))
    real, corrections = correcting.Correcting._correct, list[correcting.Correcting]()
    is_second, gate = asyncio.Event(), asyncio.Event()

    async def stalls(self: correcting.Correcting, *arguments: Any) -> None:
        corrections.append(self)
        if len(corrections) == 2:
            is_second.set()
            await gate.wait()
        await real(self, *arguments)

    monkeypatch.setattr(correcting.Correcting, "_correct", stalls)
    number = await world.runs().wish("test")
    async with replicas(world, 2) as both:
        async with asyncio.timeout(60):
            await is_second.wait()
        assert sorted(one.runner.role for one in both) == ["active", "standby"]
        assert len(set(corrections)) == 1
        first, second = sorted(both, key=lambda one: one.runner.role)
        first.running.cancel()  # its connection ends with it, as a killed process's does

        async def is_done() -> bool:
            row = await world.reports.run(number)
            return row is not None and row.state == "done"

        await eventually(is_done, what="the run, by the one that stood by")
        assert (first.runner.role, second.runner.role) == ("standby", "active")
    assert len(set(corrections)) == 2
    row = await world.reports.run(number)
    assert row is not None
    assert (row.counts["healed"], row.counts["differences"]) == (2, 2)
    told = Counter([one.subject for one in await world.harness.deliveries() if one.destination == "omegaai"])
    assert sorted(told.values()) == [1, 1], "each is corrected once"
    assert len(await world.harness.rows("SELECT * FROM reconcile_runs")) == 1
