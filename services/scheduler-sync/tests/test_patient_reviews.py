"""Patients who may be one person are listed, never joined, and decided once."""

import httpx
import pytest
from merge_samples import merge, pid
from sync_harness import Harness
from test_patients_without_appointment import adt

from chassis.settings import HttpSettings
from chassis.web.guard import Guard
from scheduler_sync.review_commands import compared
from scheduler_sync.store.reviews import Reviews
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
    facts = {name: (one, other) for name, one, other in compared(pair[1], pair[2])}
    assert sorted(facts["numbers"]) == ["4711^NORTHSIDE", "4712^NORTHSIDE"]
    assert facts["family"] == ("Roe", "Roe")
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
        assert "No patients are alike" in (await client.get("/reviews")).text
