"""Patients who may be one person are listed, never joined, and decided once."""

import asyncio
from uuid import UUID

import httpx
import pytest
from merge_samples import merge, pid
from sync_harness import Harness, listening, send
from test_patients_without_appointment import adt

from chassis.errors import NeedsSetup
from chassis.hl7 import replay_message
from chassis.observe import Metrics
from chassis.settings import HttpSettings
from chassis.testing import eventually
from chassis.web.guard import Guard
from scheduler_sync import metrics as metrics_of_service
from scheduler_sync.metrics import REVIEWS_OPEN
from scheduler_sync.review_commands import compared
from scheduler_sync.reviews_upkeep import ReviewsUpkeep
from scheduler_sync.store.reviews import ALL, Reviews
from scheduler_sync.waiting import WaitingGauge
from scheduler_sync.web.review_pages import ReviewPages

pytestmark = pytest.mark.stack


def person(number: str, name: str, email: str | None = None, phone: str | None = None) -> bytes:
    return adt(control_id=number, pid=pid(number, name=name, email=email, phone=phone))


async def test_what_is_alike_is_listed_once_and_a_decision_is_remembered(harness: Harness) -> None:
    said = [
        person("1", "Roe^Jane", "jane@example.org", "(416)555-0100"), person("2", "ROE^Jane"),
        person("3", "Doe^Joan", "jane@example.org"), person("4", "Poe^Ann", phone="+1 416 555 0199"),
        person("5", "Poe^Ben", phone="14165550199"), person("6", "Alone^Al", "al@example.org", "123"),
        person("7", "Alone^Di", phone="123"),
    ]  # fmt: skip
    assert await harness.hear(*said) == [None] * len(said)
    reviews = Reviews(harness.store)
    await reviews.look()
    await reviews.look()
    found = await reviews.list()
    assert sorted(one.reasons for one in found) == [["e-mail"], ["name and birth date"], ["phone"]]
    assert len(await harness.rows("SELECT FROM patients WHERE merged_into IS NULL")) == 7
    first = found[0]
    assert await reviews.decide(first.id, "different", actor="ann")
    await reviews.look()
    assert first.id not in [one.id for one in await reviews.list()]
    audited = await harness.row("SELECT actor, action, subject FROM operator_audit")
    assert (audited["actor"], audited["action"], audited["subject"]) == ("ann", "review.different", str(first.id))


async def test_one_person_is_listed_until_powerserver_has_merged_the_records(harness: Harness) -> None:
    assert await harness.hear(person("4711", "Roe^Jane"), person("4712", "Roe^Jane")) == [None, None]
    reviews = Reviews(harness.store)
    await reviews.look()
    (found,) = await reviews.list()
    pair = await reviews.pair(found.id, actor="ann")
    assert pair is not None
    facts = {name: (one, other, verdict) for name, one, other, verdict in compared(pair[1], pair[2])}
    assert sorted(facts["record numbers"][:2]) == ["4711^NORTHSIDE", "4712^NORTHSIDE"]
    assert facts["family name"] == ("Roe", "Roe", "same")
    assert await reviews.decide(found.id, "same", actor="ann")
    assert [one.state for one in await reviews.list()] == ["same"]
    assert await harness.hear(merge("4711", "4712^^^NORTHSIDE")) == [None]
    await reviews.look()
    assert await reviews.list() == []
    assert not await reviews.decide(found.id, "different", actor="ann")
    assert [row["action"] for row in await harness.rows("SELECT action FROM operator_audit ORDER BY id")] == [
        "review.seen", "review.same",
    ]  # fmt: skip


async def test_the_pages_show_both_records_and_keep_the_decision(harness: Harness) -> None:
    said = [person("4711", "Roe^Jane", "a@example.org"), person("4712", "Roe^Jane", "b@example.org")]
    assert await harness.hear(*said) == [None, None]
    reviews = Reviews(harness.store)
    await reviews.look()
    (found,) = await reviews.list()
    app = Guard(ReviewPages(reviews).routes(), HttpSettings())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        client.headers["Origin"] = "http://127.0.0.1"
        listed = (await client.get("/reviews")).text
        assert f"/reviews/{found.id}" in listed
        assert "Roe" not in listed
        page = (await client.get(f"/reviews/{found.id}")).text
        for words in ("4711^NORTHSIDE", "4712^NORTHSIDE", "a@example.org", "<strong>differs</strong>", "Same person"):
            assert words in page
        assert (await client.post(f"/reviews/{found.id}/different")).status_code == 303
        assert (await client.get("/reviews/999")).status_code == 404
        assert (await client.post("/reviews/999/same")).status_code == 409
        assert (await client.get(f"/reviews/{10**30}")).status_code == 404
        assert (await client.post(f"/reviews/{10**30}/same")).status_code == 409
        assert "two people" in (await client.get("/reviews?all=1")).text
        assert "No review is open" in (await client.get("/reviews")).text


BOTH = "4711^^^NORTHSIDE~4712^^^NORTHSIDE"


def of_both(trigger: str = "A08", control_id: str = "N") -> bytes:
    return adt(trigger, made="20261125093600-0500", control_id=control_id, number=BOTH)


async def test_numbers_of_two_patients_in_one_message_are_decided_and_the_message_then_has_its_effect(
    harness: Harness,
) -> None:
    async with listening(harness.store.url) as (core, client):
        for raw in (person("4711", "Roe^Jane"), person("4712", "Poe^Ann"), of_both(), of_both(control_id="N2")):
            answer = await send(client, raw)
        assert (answer.code, "/reviews" in (answer.text or "")) == ("AE", True)
        reviews = Reviews(harness.store)
        (found,) = await reviews.list()
        assert (found.reasons, len(found.journal_ids)) == (["numbers in one message"], 2)

        async def replay(journal_id: UUID, actor: str) -> object:
            return await replay_message(core.store, core.listener.executor, journal_id, actor=actor)

        upkeep = ReviewsUpkeep(reviews, replay)
        assert await reviews.decide(found.id, "same", actor="ann")
        await upkeep.replay_merged()
        assert await states(harness) == ["needs_setup", "needs_setup"], "nothing is joined before PowerServer joins it"
        assert (await send(client, merge("4711", "4712^^^NORTHSIDE"))).code == "AA"
        await upkeep.replay_merged()
        await reviews.look()
        assert await states(harness) == ["replayed", "replayed"]
        assert [one.state for one in await reviews.list(ALL)] == ["merged"]
        await upkeep.replay_merged()
    acts = await harness.rows("SELECT action, actor FROM operator_audit ORDER BY id")
    assert [row["action"] for row in acts] == ["review.same", "hl7.replay", "hl7.replay"]
    assert acts[-1]["actor"] == f"scheduler-sync, review {found.id}"


async def states(harness: Harness) -> list[str]:
    """The states of the messages with both numbers."""
    rows = await harness.rows("SELECT state FROM hl7_journal WHERE control_id LIKE 'N%' ORDER BY id")
    return [row["state"] for row in rows]


async def test_two_people_are_asked_about_again_only_for_another_kind_of_doubt(harness: Harness) -> None:
    alike = [person("4711", "Roe^Jane"), person("4712", "Roe^Jane")]
    assert await harness.hear(*alike) == [None, None]
    reviews = Reviews(harness.store)
    await reviews.look()
    (found,) = await reviews.list()
    assert await reviews.decide(found.id, "different", actor="ann")
    (error,) = await harness.hear(of_both())
    assert isinstance(error, NeedsSetup)
    (again,) = await reviews.list()
    assert (again.id, again.reasons) == (found.id, ["name and birth date", "numbers in one message"])
    assert await reviews.decide(found.id, "different", actor="ann")
    await harness.hear(of_both(), of_both(control_id="N2"))
    await reviews.look()
    assert await reviews.list() == []


@pytest.mark.parametrize("message", [of_both("A28"), of_both("A23"), merge("4711", "4799^^^NORTHSIDE")])
async def test_every_message_with_numbers_of_two_patients_is_listed(harness: Harness, message: bytes) -> None:
    raw = message if b"MRG" not in message else message.replace(b"4711^^^NORTHSIDE", BOTH.encode())
    assert await harness.hear(person("4711", "Roe^Jane"), person("4712", "Poe^Ann")) == [None, None]
    (error,) = await harness.hear(raw)
    assert isinstance(error, NeedsSetup)
    (found,) = await Reviews(harness.store).list()
    assert found.reasons == ["numbers in one message"]


async def test_what_waits_for_a_decision_is_counted(harness: Harness) -> None:
    metrics = Metrics(metrics_of_service)
    assert await harness.hear(person("4711", "Roe^Jane"), person("4712", "Roe^Jane")) == [None, None]
    await Reviews(harness.store).look()
    gauge = WaitingGauge(harness.store, metrics)
    running = asyncio.create_task(gauge.run())

    async def counted() -> bool:
        return metrics.value(REVIEWS_OPEN) == 1

    await eventually(counted)
    await gauge.stop()
    await running
