"""The console's whole lists: filtered in the address, page by page, each empty one with a word of what to do next."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy.dialects.postgresql import asyncpg

from chassis.host import Service
from chassis.observe import Metrics
from chassis.settings import HttpSettings
from chassis.store import tables
from chassis.web import lists
from chassis.web.console import Console
from chassis.web.inbox_desk import InboxDesk
from chassis.web.lists import LISTS

pytestmark = pytest.mark.stack
BEGAN = datetime(2026, 11, 30, 12, tzinfo=UTC)


def browser(store) -> httpx.AsyncClient:
    service = Service(
        "demo", HttpSettings(), Metrics(), {}, {}, console=Console(store, "demo", desks=[InboxDesk(store)])
    )
    return httpx.AsyncClient(transport=httpx.ASGITransport(service.app()), base_url="http://demo")


async def letter(store, number: int, *, state: str = "open", topic: str = "appointment.scheduled") -> str:
    identifier = uuid4()
    await store.pool.execute(
        "INSERT INTO dead_letters (id, consumer, kind, reason, topic, headers, attempts, state, created_at)"
        " VALUES ($1, 'c', 'permanent', $2, $3, '{}', 1, $4, $5)",
        identifier, f"reason {number}", topic, state, BEGAN + timedelta(seconds=number // 3),
    )  # fmt: skip
    return str(identifier)


def test_every_name_of_a_list_is_a_column_of_its_table() -> None:
    for listed in LISTS:
        model = getattr(tables, listed.model)
        names = [one.name for one in (*listed.columns, *listed.choices)] + [name for name, _ in listed.keys]
        assert all(hasattr(model, name) for name in [*names, listed.when]), listed.name


@pytest.mark.parametrize("listed", LISTS, ids=lambda one: one.name)
async def test_an_empty_list_says_what_would_be_there(store, listed) -> None:
    async with browser(store) as page:
        answer = await page.get(listed.path)
        assert answer.status_code == 200
        assert f"There are no {listed.noun}." in answer.text
        assert listed.empty.split(".")[0] in answer.text
        for choice in listed.choices:
            value = choice.values[0] if choice.values else str(uuid4()) if choice.type is UUID else "x"
            filtered = await page.get(listed.path, params={choice.name: value})
            assert "Nothing fits the filter." in filtered.text
            if choice.type is UUID:
                mistaken = await page.get(listed.path, params={choice.name: "x"})
                assert (mistaken.status_code, f"{choice.name} is no UUID." in mistaken.text) == (400, True)
            wrong = await page.get(listed.path, params={choice.name: "\x00"})
            assert wrong.status_code == 400


async def test_the_filter_chooses_and_the_pages_hold_each_row_once(store, monkeypatch) -> None:
    monkeypatch.setattr(lists, "ROWS", 4)
    wanted = [await letter(store, number) for number in range(11)]
    await letter(store, 99, state="dropped")
    await letter(store, 98, topic="other")
    seen: list[str] = []
    address: str | None = "/console/dead-letters?state=open&topic=appointment.scheduled"
    async with browser(store) as page:
        while address is not None:
            text = (await page.get(address)).text
            seen += [row.split('data-copy="')[1].split('"')[0] for row in text.split("<tr data-key=")[1:]]
            older = text.partition('rel="next" href="')[2].partition('"')[0].replace("&amp;", "&")
            address = older or None
            if older:
                assert parse_qs(urlsplit(older).query)["state"] == ["open"]
    assert sorted(seen) == sorted(wanted)
    assert len(seen) == len(set(seen)) == 11


@pytest.mark.parametrize("before", ["", "x", "[]", '["2026-11-30"]', '["x", "y"]', "[" * 5000, "[1, 2]", '{"a": 1}'])
async def test_a_place_that_means_nothing_is_the_first_page(store, before: str) -> None:
    await letter(store, 1)
    async with browser(store) as page:
        answer = await page.get("/console/dead-letters", params={"before": before})
    assert answer.status_code == 200
    assert "reason 1" in answer.text


PLACES = {
    "acts": ['["2026-11-30T12:00:00Z", "99999999999999999999"]'],
    "parked": [
        '["2026-11-30T12:00:00Z", "00000000-0000-0000-0000-000000000000", "a\\u0000"]',
        '["2026-11-30T12:00:00Z", "00000000-0000-0000-0000-000000000000", "\\ud800"]',
        '["0001-01-01T00:00:00+14:00", "00000000-0000-0000-0000-000000000000", "a"]',
    ],
}


@pytest.mark.parametrize(("name", "before"), [(name, one) for name, all_of in PLACES.items() for one in all_of])
async def test_a_place_that_postgres_does_not_take_is_the_first_page(store, name: str, before: str) -> None:
    async with browser(store) as page:
        assert (await page.get(f"/console/{name}", params={"before": before})).status_code == 200


async def test_no_word_of_the_address_reaches_the_page_as_markup(store) -> None:
    async with browser(store) as page:
        answer = await page.get("/console/dead-letters", params={"topic": "<script>alert(1)</script>"})
    assert "<script>alert" not in answer.text


async def test_all_that_the_console_counts_as_missed_stands_in_one_of_two_lists(store) -> None:
    """A revision that did not come is no record: a list of records alone would say that nothing is missed."""
    key = uuid4()
    await store.pool.execute(
        "INSERT INTO revision_gaps (consumer, aggregate_id, revision, type, noticed_at, counted_at)"
        " VALUES ('c', $1, 4, 'appointment.confirmed', $2, $2)", key, BEGAN,
    )  # fmt: skip
    async with browser(store) as page:
        assert "/console/gaps" in (await page.get("/console")).text
        records = (await page.get("/console/missed")).text
        assert "There are no records." in records
        assert '<a href="/console/gaps">missing revisions</a>' in records
        gaps = (await page.get("/console/gaps", params={"aggregate_id": str(key)})).text
    assert str(key) in gaps
    assert "appointment.confirmed" in gaps


GROWING = {
    "timers": "INSERT INTO timers (kind, key, name, revision, state, due_at, next_attempt_at, payload)"
    " SELECT 'k', gen_random_uuid(), 'n', 1, 'fired', now() - n * interval '1 second', now(), '{}'"
    " FROM generate_series(1, 20000) n",
    "acts": "INSERT INTO operator_audit (actor, action, subject, detail)"
    " SELECT 'olga', 'hl7.show', n, '{}' FROM generate_series(1, 20000) n",
}


@pytest.mark.parametrize("name", GROWING)
async def test_a_list_that_grows_reads_its_pages_by_an_index(store, name: str) -> None:
    listed = next(one for one in LISTS if one.name == name)
    await store.pool.execute(GROWING[name])
    async with store.session() as session:
        connection = await session.connection()
        await connection.exec_driver_sql(f"ANALYZE {getattr(tables, listed.model).__tablename__}")
        rows = (await session.exec(lists.statement(listed, {}, None))).mappings().all()
        before = [rows[-1][column] for column in listed.by]
        for place in (None, before):
            asked = lists.statement(listed, {}, place).compile(dialect=asyncpg.dialect())
            values = tuple(asked.params[parameter] for parameter in asked.positiontup)
            plan = "\n".join(line for (line,) in await connection.exec_driver_sql(f"EXPLAIN {asked}", values))
            assert "Index" in plan, plan
            assert "Seq Scan" not in plan, plan
