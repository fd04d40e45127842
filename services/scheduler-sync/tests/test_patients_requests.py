"""What patients ask for in Blume, from OmegaAI's Task to the message for PowerServer, on a real Postgres."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from fake_omegaai import FakeOmegaAI
from sync_harness import Harness, task_queue
from sync_samples import siu

from chassis import failpoints
from chassis.deliveries import Delivery
from chassis.errors import NeedsSetup, Permanent, Transient
from chassis.testing import DEATHS_AT_EACH_POINT, Deaths, eventually
from hl7v2 import Ack, AckError, Message
from scheduler_sync import replay
from scheduler_sync.adapters.omegaai.tasks import TaskQueue
from scheduler_sync.adapters.powerserver.sender import PowerServerSender, Shown
from scheduler_sync.domain.appointment import WorkflowStep, requests
from scheduler_sync.store.views import Views

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
SYSTEM = "http://northside.example/patient-id"
START = (datetime.now(UTC) + timedelta(days=7)).replace(hour=15, minute=0, second=0, microsecond=0)


def at(minutes: int = 0) -> str:
    return (START + timedelta(minutes=minutes)).isoformat()


def patient(identifier: str = "p1", number: str = "4711", system: str = SYSTEM) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": identifier, "identifier": [{"system": system, "value": number}]}


def asked(identifier: str = "9", **changes: Any) -> dict[str, Any]:
    """An Appointment as Blume makes it: nothing of the suite's is in it."""
    body = {
        "resourceType": "Appointment", "id": identifier, "status": "proposed", "start": at(), "end": at(30),
        "serviceType": [{"coding": [{"code": "CT-HEAD", "display": "CT Head"}]}],
        "participant": [
            {"actor": {"reference": "Patient/p1"}, "status": "accepted"},
            {"actor": {"reference": "HealthcareService/hs-1"}, "status": "needs-action"},
        ],
    }  # fmt: skip
    return {name: value for name, value in {**body, **changes}.items() if value is not None}


def participants(**actors: str) -> list[dict[str, Any]]:
    return [{"actor": {"reference": f"{kind}/{identifier}"}} for kind, identifier in actors.items()]


@asynccontextmanager
async def reading(harness: Harness) -> AsyncIterator[tuple[FakeOmegaAI, TaskQueue]]:
    """A reader of the queue of an OmegaAI with one patient of the site's."""
    assert await harness.hear(siu(control_id="known", placer="P1")) == [None]
    async with FakeOmegaAI().serving() as server, aiohttp.ClientSession() as session:
        server.makes_tasks = False
        server.put_directly(patient())
        server.makes_tasks = True
        yield server, task_queue(harness, session, server.base_url)


async def taken(harness: Harness) -> list[Any]:
    """The links that began in Blume."""
    rows = await harness.rows("SELECT * FROM appointment_links ORDER BY placer_number")
    return [row for row in rows if requests.is_ours(row["placer_number"])]


async def to_powerserver(harness: Harness) -> list[Delivery]:
    return [one for one in await harness.deliveries() if one.destination == "powerserver"]


async def parked(harness: Harness) -> list[Any]:
    return await harness.rows("SELECT * FROM parked_tasks WHERE replayed_at IS NULL ORDER BY task_id")


async def test_a_request_becomes_an_appointment_that_waits_for_staff(harness: Harness) -> None:
    async with reading(harness) as (server, queue):
        server.put_directly(asked())
        await queue.read_once()
        assert not server.open_tasks()
    (link,) = await taken(harness)
    assert (link["state"], link["step"], link["who_acts_next"]) == ("patient-booked", "requested", "staff")
    assert link["id"] == requests.link_id("northside", "9")
    assert (link["omegaai_id"], link["resource"], link["slot_start"]) == ("9", "BLUME CT", START)
    event = await harness.event("appointment.requested")
    assert (event["data"]["by"], event["data"]["requested_start"]) == ("patient", None)
    (delivery,) = await to_powerserver(harness)
    message = Message.parse(delivery.payload)
    assert (delivery.kind, message.type, message.trigger) == ("request.new", "SIU", "S12")
    assert (message.get("SCH-1.1"), message.get("SCH-1.2")) == (link["placer_number"], "SUITE")
    assert (message.get("SCH-11.6"), message.get("SCH-25.1")) == ("SCHEDULED STATUS", "30")
    assert (message.get("PID-3.1"), message.get("AIG-3.1"), message.get("AIS-3.1")) == ("4711", "BLUME CT", "CT-HEAD")


async def test_the_same_request_again_has_no_second_effect(harness: Harness) -> None:
    async with reading(harness) as (server, queue):
        for _ in range(3):
            server.put_directly(asked())
            await queue.read_once()
    assert len(await taken(harness)) == 1
    assert len(await to_powerserver(harness)) == 1
    assert [topic for topic, _ in await harness.events()].count("appointment.requested") == 1


@pytest.mark.parametrize(
    ("minutes", "wanted"), [(5, 15), (15, 15), (30, 30), (90, 90)], ids=["short", "shortest", "usual", "long"]
)
async def test_a_request_is_as_long_as_both_products_need_it(harness: Harness, minutes: int, wanted: int) -> None:
    async with reading(harness) as (server, queue):
        server.put_directly(asked(end=at(minutes)))
        await queue.read_once()
    (link,) = await taken(harness)
    assert link["slot_end"] - link["slot_start"] == timedelta(minutes=wanted)


async def test_a_request_without_an_end_is_as_long_as_the_resource_says(harness: Harness) -> None:
    async with reading(harness) as (server, queue):
        server.put_directly(asked(end=None))
        server.put_directly(asked("10", end=None, start=at(60), minutesDuration=45))
        await queue.read_once()
    links = {row["omegaai_id"]: row["slot_end"] - row["slot_start"] for row in await taken(harness)}
    assert links == {"9": timedelta(minutes=30), "10": timedelta(minutes=45)}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"participant": participants(HealthcareService="hs-1")}, "names no Patient"),
        ({"participant": participants(Patient="p1")}, "names no HealthcareService"),
        ({"start": None, "end": None}, "Appointment.start: is missing"),
        ({"end": at(-30)}, "Appointment.end: is not after the start"),
        ({"end": at(3000)}, "more than a day"),
        ({"start": "soon"}, "is not an instant"),
        ({"participant": participants(Patient="p9", HealthcareService="hs-1")}, "no patient with the numbers"),
        ({"participant": participants(Patient="p2", HealthcareService="hs-1")}, "no patient with the numbers"),
        ({"participant": participants(Patient="p3", HealthcareService="hs-1")}, "no patient with the numbers"),
        ({"participant": participants(Patient="p1", HealthcareService="hs-8")}, "is not bookable here"),
    ],
)
async def test_what_cannot_be_taken_over_is_kept_with_its_reason(harness: Harness, change: dict, why: str) -> None:
    async with reading(harness) as (server, queue):
        server.makes_tasks = False
        server.put_directly(patient("p2", "no-such-number"))
        server.put_directly({**patient("p3", "4711", "http://another.example/numbers"),
                             "telecom": [{"system": "email", "value": "jane.roe@example.org"}]})  # fmt: skip
        new = {**server.resources["HealthcareService", "hs-1"], "id": "hs-8", "name": "NEW CT"}
        server.put_directly(new)
        server.makes_tasks = True
        server.put_directly(asked(**change))
        await queue.read_once()
        assert not server.open_tasks()
    assert await taken(harness) == []
    (row,) = await parked(harness)
    assert why in row["reason"]
    assert "4711" not in row["reason"]
    assert "jane" not in row["reason"].lower()


@pytest.mark.parametrize("organization", ["1", "77"])
async def test_a_request_on_a_foreign_organisations_service_is_not_ours(harness: Harness, organization: str) -> None:
    async with reading(harness) as (server, queue):
        foreign = {**server.resources["HealthcareService", "hs-1"], "id": "f-1"}
        server.put_directly({**foreign, "providedBy": {"reference": f"Organization/{organization}"}})
        server.put_directly(asked(participant=participants(Patient="p1", HealthcareService="f-1")))
        await queue.read_once()
        assert not server.open_tasks()
    assert await taken(harness) == []
    assert await parked(harness) == []


async def test_a_request_of_two_patients_numbers_is_for_a_person(harness: Harness) -> None:
    other = siu(control_id="other", placer="P2", pid="PID|1||4712^^^NORTHSIDE||Roe^Joan")
    async with reading(harness) as (server, queue):
        assert await harness.hear(other) == [None]
        both = [{"system": SYSTEM, "value": one} for one in ("4711", "4712")]
        server.resources["Patient", "p1"]["identifier"] = both
        server.put_directly(asked())
        await queue.read_once()
    assert await taken(harness) == []
    assert "different patients" in (await parked(harness))[0]["reason"]


async def test_a_kept_request_is_replayed_when_the_patient_is_known(harness: Harness) -> None:
    async with reading(harness) as (server, queue):
        server.makes_tasks = False
        server.put_directly(patient("p2", "4799"))
        server.makes_tasks = True
        server.put_directly(asked(participant=participants(Patient="p2", HealthcareService="hs-1")))
        await queue.read_once()
        (row,) = await parked(harness)
        assert await harness.hear(siu(control_id="n", placer="P9", pid="PID|1||4799^^^NORTHSIDE||Roe^Jo")) == [None]
        done = await replay.replay_tasks(harness.store, queue, harness.tasks, [row["task_id"]], actor="test")
    assert [one.is_processed for one in done.values()] == [True]
    assert len(await taken(harness)) == 1
    assert await parked(harness) == []


async def test_a_time_that_is_past_is_answered_at_once(harness: Harness) -> None:
    async with reading(harness) as (server, queue):
        server.put_directly(asked(start="2021-12-01T15:00:00+00:00", end="2021-12-01T15:30:00+00:00"))
        await queue.read_once()
    (link,) = await taken(harness)
    assert (link["state"], link["step"]) == ("cancelled", "cancelled")
    assert "past" in link["reason"]
    assert await to_powerserver(harness) == []
    event = await harness.event("appointment.cancelled")
    assert (event["data"]["by"], "past" in event["data"]["reason"]) == ("system", True)
    upserts = [
        one for one in await harness.deliveries() if one.kind == "appointment.upsert" and one.subject == link["id"]
    ]
    assert len(upserts) == 1


async def test_a_patient_who_gives_a_request_up_before_it_was_read_asks_for_nothing(harness: Harness) -> None:
    async with reading(harness) as (server, queue):
        server.put_directly(asked())
        server.patient_sets("9", "cancelled")
        await queue.read_once()
        assert not server.open_tasks()
    assert await taken(harness) == []


async def test_a_cancellation_is_known_by_the_appointments_id_before_our_numbers_are_in_it(harness: Harness) -> None:
    async with reading(harness) as (server, queue):
        server.put_directly(asked())
        await queue.read_once()
        server.patient_sets("9", "cancelled", cancelationReason={"text": "found another place"})
        await queue.read_once()
    (link,) = await taken(harness)
    assert (link["state"], link["reason"]) == ("cancelled", "found another place")
    kinds = [one.kind for one in await to_powerserver(harness)]
    assert kinds == ["request.new", "status.cancelled"]
    assert Message.parse((await to_powerserver(harness))[1].payload).get("SCH-6.2") == "found another place"


async def test_an_appointment_of_ours_that_lost_its_numbers_is_no_new_request(harness: Harness) -> None:
    async with reading(harness) as (server, queue):
        await harness.store.pool.execute("UPDATE appointment_links SET omegaai_id = '9', omegaai_version = '0'")
        server.put_directly(asked())
        await queue.read_once()
    assert await taken(harness) == []
    (link,) = await harness.rows("SELECT state FROM appointment_links")
    assert link["state"] == "move-requested"


async def test_a_hundred_requests_at_once_each_have_one_effect(harness: Harness) -> None:
    async with reading(harness) as (server, queue):
        for number in range(100):
            server.put_directly(asked(f"a{number}", start=at(30 * number), end=at(30 * number + 30)))
        while await queue.read_once():
            pass
        assert not server.open_tasks()
    assert len({row["placer_number"] for row in await taken(harness)}) == 100
    assert len(await to_powerserver(harness)) == 100


async def test_deaths_between_a_requests_commit_and_its_tasks_completion(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = "tasks.after-commit-before-complete"
    deaths = Deaths(point)
    monkeypatch.setattr(failpoints, "hit", deaths.hit)
    assert await harness.hear(siu(control_id="known", placer="P1")) == [None]
    async with FakeOmegaAI().serving() as server, aiohttp.ClientSession() as session:
        server.put_directly(patient())
        asks: list[str] = []

        async def a_patient_asks() -> None:
            asks.append(f"a{len(asks)}")
            server.put_directly(asked(asks[-1], start=at(30 * len(asks)), end=at(30 * len(asks) + 30)))

        def queue() -> TaskQueue:
            return task_queue(harness, session, server.base_url, poll_seconds=0.02)

        async def no_task_is_open() -> bool:
            return not server.open_tasks()

        await deaths.lives(queue, a_patient_asks)
        assert deaths.at[point] == DEATHS_AT_EACH_POINT
        last = queue()
        running = asyncio.create_task(last.run())
        await eventually(no_task_is_open, what="every Task completed")
        await last.stop()
        await asyncio.wait_for(running, 60)
    links = await taken(harness)
    assert sorted(row["omegaai_id"] for row in links) == sorted(asks)
    assert {(row["state"], row["revision"]) for row in links} == {("patient-booked", 1)}
    sent = await to_powerserver(harness)
    assert len({one.key for one in sent}) == len(sent) == len(asks)


# ---- PowerServer's answers


class Answering:
    """PowerServer's side of one connection."""

    def __init__(self, ack: Ack) -> None:
        self.ack, self.sent = ack, 0

    async def send(self, message: bytes, *, control_id: str) -> Ack:
        del message, control_id
        self.sent += 1
        return self.ack

    async def close(self) -> None: ...


class Standing:
    """The step of every appointment."""

    def __init__(self, step: WorkflowStep, shown: WorkflowStep | None) -> None:
        self.shown = Shown(step, shown)

    async def of_link(self, link_id: object) -> Shown:
        del link_id
        return self.shown


async def sends(delivery: Delivery, ack: Ack, shown: Standing) -> Any:
    return await PowerServerSender([Answering(ack)], shown).send(delivery)


REQUESTED = Standing(WorkflowStep.REQUESTED, None)


async def a_request(harness: Harness) -> Delivery:
    async with reading(harness) as (server, queue):
        server.put_directly(asked())
        await queue.read_once()
    return (await to_powerserver(harness))[0]


def refusal(code: str, place: str) -> Ack:
    return Ack("AE", "x", None, (AckError(code, place, "Roe is not to be shown"),))


@pytest.mark.parametrize(
    ("code", "place", "error", "said"),
    [
        ("103", "SCH[1]-11", NeedsSetup, "Priority"),
        ("103", "TQ1[1]-9", NeedsSetup, "Priority"),
        ("103", "ORC-7", NeedsSetup, "Priority"),
        ("204", "AIG[1]-3", NeedsSetup, "Resources"),
        ("204", "PID[1]-3", NeedsSetup, "add the patient"),
        ("204", "AIS[1]-3", NeedsSetup, "study type"),
        ("207", "SCH[1]-11", Permanent, "refuses SCH-11"),
        ("207", "AIG[1]-3", Permanent, "refuses AIG-3"),
        ("206", "SCH[1]-1", Transient, "AE"),
        ("207", "MSH[1]-10", Transient, "AE"),
    ],
)
async def test_a_refused_request_says_what_a_person_has_to_do(
    harness: Harness, code: str, place: str, error: type[Exception], said: str
) -> None:
    delivery = await a_request(harness)
    with pytest.raises(error) as refused:
        await sends(delivery, refusal(code, place), REQUESTED)
    assert said in str(refused.value)
    assert "Roe" not in str(refused.value)


async def test_what_powerserver_never_took_has_nothing_to_be_taken_back(harness: Harness) -> None:
    delivery = await a_request(harness)
    cancel = Delivery(
        delivery.id, "powerserver", delivery.key, "status.cancelled", b"", "x", {}, 1, datetime.now(UTC), subject=None
    )  # fmt: skip
    unknown = refusal("204", "SCH[1]-1")
    never = await sends(cancel, unknown, Standing(WorkflowStep.CANCELLED, None))
    assert never.detail["ack"] == "not known there"
    with pytest.raises(Transient):  # one that PowerServer has shown must be there
        await sends(cancel, unknown, Standing(WorkflowStep.CANCELLED, WorkflowStep.SCHEDULED))


async def test_a_refused_request_is_among_what_needs_set_up(harness: Harness) -> None:
    delivery = await a_request(harness)
    assert await Views(harness.store).refused_requests() == []
    dead = "UPDATE deliveries SET state = 'dead', last_error = 'no such priority' WHERE id = $1"
    await harness.store.pool.execute(dead, delivery.id)
    (row,) = await Views(harness.store).refused_requests()
    (link,) = await taken(harness)
    assert (row.delivery_id, row.placer_number, row.reason) == (delivery.id, link["placer_number"], "no such priority")


async def test_a_request_that_was_given_up_is_not_sent_later(harness: Harness) -> None:
    delivery = await a_request(harness)
    gone = Standing(WorkflowStep.CANCELLED, WorkflowStep.CANCELLED)
    answer = await sends(delivery, Ack("AA", "x"), gone)
    assert answer.detail["ack"] == "not sent"


# ---- claims


async def with_resources(harness: Harness) -> None:
    """The resources in the store, where requests claim their times."""
    for one in harness.resources.all_of("FAC01"):
        await harness.store.pool.execute(
            "INSERT INTO resources (id, facility, organization, name, modality, healthcare_service_id, hours, "
            "overbooking, self_scheduling, active, aliases, seen_at) "
            "VALUES ($1, $2, '2', $3, $4, $5, '[]', false, true, true, '{}', now())",
            one.id, one.facility, one.name, one.modality, one.healthcare_service_id,
        )  # fmt: skip


async def test_of_two_requests_for_one_time_the_second_is_answered_with_its_reason(harness: Harness) -> None:
    await with_resources(harness)
    async with reading(harness) as (server, queue):
        server.put_directly(asked("first"))
        server.put_directly(asked("second", start=at(15), end=at(45)))
        await queue.read_once()
        assert not server.open_tasks()
    links = {row["omegaai_id"]: row for row in await taken(harness)}
    assert links["first"]["state"] == "patient-booked"
    assert links["second"]["state"] == "cancelled"
    assert "is taken" in links["second"]["reason"]
    assert [one.key for one in await to_powerserver(harness)] == [links["first"]["id"]]
    event = await harness.event("appointment.cancelled")
    assert (event["aggregate_id"], event["data"]["displaced"]) == (str(links["second"]["id"]), True)
    assert len(await harness.rows("SELECT 1 FROM claims WHERE NOT released AND kind = 'request'")) == 1


async def test_a_wish_for_a_taken_time_leaves_the_appointment_as_it_is(harness: Harness) -> None:
    await with_resources(harness)
    begins = START.strftime("%Y%m%d%H%M%S+0000")
    ends = (START + timedelta(minutes=30)).strftime("%Y%m%d%H%M%S+0000")
    async with reading(harness) as (server, queue):
        confirmed = siu(control_id="c1", placer="P5", status="50^CONFIRMED^99PS")
        assert await harness.hear(confirmed, siu(control_id="c2", placer="P6", start=begins, end=ends)) == [None, None]
        link = await harness.row("SELECT * FROM appointment_links WHERE placer_number = 'P5'")
        await harness.store.pool.execute(
            "UPDATE appointment_links SET omegaai_id = 'a5', omegaai_version = '0' WHERE id = $1", link["id"]
        )
        wish = {"status": "proposed", "requestedPeriod": [{"start": at(), "end": at(30)}]}
        body = {**asked("a5"), "start": link["slot_start"].isoformat(), "end": link["slot_end"].isoformat(), **wish}
        server.put_directly(body)
        await queue.read_once()
    after = await harness.row("SELECT * FROM appointment_links WHERE id = $1", link["id"])
    assert (after["state"], after["requested_start"], after["slot_start"]) == ("confirmed", None, link["slot_start"])
    (conflict,) = await harness.rows("SELECT why FROM conflicts WHERE link_id = $1", link["id"])
    assert "is taken" in conflict["why"]
    last = [one for one in await harness.deliveries() if one.subject == link["id"]][-1]
    assert b"is taken" in last.payload
    assert await to_powerserver(harness) == []
