"""The list of appointments leaves nothing out; an appointment's page shows both sides and what is behind them."""

from datetime import date
from types import SimpleNamespace
from uuid import UUID, uuid4

import httpx
import pytest
from sync_harness import listening, send
from sync_samples import siu

from chassis.settings import HttpSettings
from chassis.store import Store
from chassis.web.guard import Guard
from scheduler_sync.store.views import LinkFilter, LinkPlace, Views
from scheduler_sync.web.pages import Pages

pytestmark = pytest.mark.stack
PATIENT = uuid4()
MANY = 120
LINKS = f"""
INSERT INTO patients (id, site, family, given, sex, language, organization, heard_at, revision)
VALUES ('{PATIENT}', 'S', 'Roe', 'Jane', 'F', 'en', 'O', now(), 1);
INSERT INTO appointment_links (id, site, placer_number, patient_id, facility, resource, studies, study_details, state,
    step, who_acts_next, accession_numbers, revision, slot_start, slot_end, slot_zone, updated_at)
SELECT gen_random_uuid(), 'S', 'P-' || n, '{PATIENT}', 'FAC01', 'CT ' || n % 3, '[]', '[]', 'staff-booked', 'SCHEDULED',
    CASE n % 2 WHEN 0 THEN 'patient' ELSE 'staff' END, '{{}}', 1, '2026-11-30T23:30Z', '2026-12-01T00:00Z',
    CASE n % 3 WHEN 0 THEN 'America/Toronto' ELSE 'Europe/Vienna' END, now() - interval '1 second' * (n / 70)
FROM generate_series(1, {MANY}) n;
"""


@pytest.fixture
async def store(migrated_url: str):
    opened = await Store.open(SimpleNamespace(url=migrated_url, pool_size=2))
    yield opened
    await opened.close()


async def walked(views: Views, **wanted: object) -> list[UUID]:
    """The ids of all pages, in order."""
    seen: list[UUID] = []
    after = None
    while rows := await views.links(LinkFilter(**wanted, after=after)):
        seen += [row.id for row in rows]
        last = rows[-1]
        after = LinkPlace(last.slot_start if wanted.get("day") else last.updated_at, last.id)
    return seen


async def test_pages_leave_out_none_of_the_appointments_that_changed_at_one_time(store: Store):
    await store.pool.execute(LINKS)
    views = Views(store)
    everything = await walked(views)
    assert len(everything) == len(set(everything)) == MANY
    assert len(await walked(views, who_acts_next="staff")) == MANY / 2
    assert len(await walked(views, facility="FAC01", resource="CT 1")) == MANY / 3
    # 23:30 UTC is the 30th in Toronto, and the 1st in Vienna
    assert len(await walked(views, day=date(2026, 11, 30))) == MANY / 3
    assert len(await walked(views, day=date(2026, 12, 1))) == 2 * MANY / 3
    assert await walked(views, day=date(2026, 11, 29)) == await walked(views, day=date(2026, 12, 2)) == []


async def test_an_appointment_needs_attention_by_its_own_delivery_its_patients_or_its_message(store: Store):
    await store.pool.execute(LINKS)
    views = Views(store)
    assert await walked(views, attention_only=True) == []
    first, second, *_ = everything = await walked(views)
    dead = (
        "INSERT INTO deliveries (id, destination, key, kind, payload, idempotency_key, state, done_at)"
        " VALUES ($1, 'powerserver', $2, 'status', '', $3, 'dead', now())"
    )
    await store.pool.execute(dead, uuid4(), first, "k1")
    assert await walked(views, attention_only=True) == [first]
    message_id = uuid4()
    await store.pool.execute(
        "INSERT INTO hl7_journal (id, sender, control_id, digest, type, raw, state)"
        " VALUES ($1, 'S', 'C', '', 'SIU^S12', 'MSH', 'needs_setup')", message_id
    )  # fmt: skip
    await store.pool.execute(
        "INSERT INTO link_history (link_id, at, source, message, cause_id, outcome, state_before, state_after,"
        " revision, changed, delivery_ids)"
        " VALUES ($1, now(), 'powerserver', 'm', $2, 'o', 'new', 'staff-booked', 1, '{}', '{}')",
        second, message_id,
    )  # fmt: skip
    assert set(await walked(views, attention_only=True)) == {first, second}
    shown = {row.id: (row.has_dead, row.waits) for row in await views.links(LinkFilter())}
    assert (shown[first], shown[second]) == ((True, False), (False, True))
    await store.pool.execute(dead, uuid4(), PATIENT, "k2")
    assert set(await walked(views, attention_only=True)) == set(everything)


async def test_an_appointments_page_leads_to_every_message_and_delivery_behind_it(migrated_url: str):
    async with listening(migrated_url) as (core, line):
        assert (await send(line, siu())).code == "AA"
        assert (
            await send(line, siu("S14", control_id="PS2", status="40^CONFIRMED^99PS", made="20261125093100-0500"))
        ).code == "AA"
        pages = Pages(Views(core.store), core.site, core.directory)
        app = Guard(pages.routes(), HttpSettings())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as browser:
            link = await core.store.pool.fetchval("SELECT id FROM appointment_links")
            page = (await browser.get(f"/links/{link}")).text
            for table, path in (
                ("hl7_journal", "in"),
                ("deliveries WHERE destination = 'omegaai' AND subject IS NOT NULL", "out"),
            ):
                ids = [row["id"] for row in await core.store.pool.fetch(f"SELECT id FROM {table}")]
                assert ids
                for one in ids:
                    assert f"/messages/{path}/{one}" in page, (table, one)
            assert "appointment.scheduled" in page
            assert "not yet on Kafka" in page
            assert "Roe" not in page
            assert "Last heard" in page
            await core.store.pool.execute(
                "INSERT INTO conflicts (link_id, at, source, cause_id, why)"
                " SELECT $1, now(), 'omegaai', gen_random_uuid(), 'late ' || n FROM generate_series(1, 60) n", link
            )  # fmt: skip
            first = (await browser.get("/conflicts")).text
            assert ("late 60" in first, "late 10<" in first, f"/links/{link}" in first) == (True, False, True)
            address = first.partition('rel="next" href="')[2].partition('"')[0]
            assert "late 10<" in (await browser.get(address)).text
            await core.store.pool.execute("UPDATE hl7_journal SET state = 'failed' WHERE control_id = 'PS2'")
            for query, is_there in (
                ("day=2026-12-01", True), ("day=2026-12-02", False), ("who=staff", True), ("who=patient", False),
                ("resource=BLUME+CT", True), ("resource=X", False), ("attention=1", True),
            ):  # fmt: skip
                assert (f"/links/{link}" in (await browser.get(f"/links?{query}")).text) == is_there, query
            for query in (
                "day=31.5.",
                "day=0001-01-01",
                "facility=%00",
                "after=x",
                "after=2026-01-01~x",
                f"after=0001-01-01T00:00:00%2B14:00~{link}",
            ):
                assert (await browser.get(f"/links?{query}")).status_code == 200, query
