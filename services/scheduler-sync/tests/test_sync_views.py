"""What the pages and commands ask of the store, each question once on the real tables."""

from types import SimpleNamespace
from uuid import uuid4

import httpx
import pytest

from chassis.settings import HttpSettings
from chassis.store import Store
from chassis.web.guard import Guard
from scheduler_sync.domain.appointment.states import State
from scheduler_sync.domain.appointment.statuses import WorkflowStep
from scheduler_sync.store.views import LinkFilter, LinkPlace, Views
from scheduler_sync.web.pages import Pages

pytestmark = pytest.mark.stack
STATE, STEP = State.STAFF_BOOKED.value, next(iter(WorkflowStep)).value
PATIENT, LINK, DELIVERY, MESSAGE = (uuid4() for _ in range(4))
WRITTEN = """
INSERT INTO patients (id, site, family, given, sex, language, organization, heard_at, revision, fhir_id)
VALUES ('{patient}', 'S', 'Roe', 'Jane', 'F', 'en', 'O', now(), 1, 'fhir-1');
INSERT INTO appointment_links (id, site, placer_number, patient_id, facility, resource, studies, state, step,
    who_acts_next, accession_numbers, revision, slot_start, slot_end, slot_zone)
VALUES ('{link}', 'S', 'P-1', '{patient}', 'FAC01', 'CT 1', '[["70450", "Head"]]', '{state}', '{step}', 'patient',
    '{{A-1}}', 1, now(), now() + interval '30 minutes', 'Europe/Vienna');
INSERT INTO hl7_journal (id, sender, control_id, digest, type, raw, state, reason, setting)
VALUES ('{message}', 'RAMSOFT|FAC01', 'PS1', '', 'SIU^S12', 'MSH', 'needs_setup', 'room', 'facilities');
INSERT INTO deliveries (id, destination, key, kind, payload, idempotency_key, state, done_at, last_error)
VALUES ('{delivery}', 'omegaai', '{patient}', 'appointment.upsert', '', 'k', 'dead', now(), '422');
INSERT INTO link_history (link_id, at, source, message, cause_id, outcome, state_before, state_after, revision,
    changed, delivery_ids)
VALUES ('{link}', now(), 'powerserver', 'SIU^S12', '{message}', 'taken', 'new', '{state}', 1, '{{slot}}',
    '{{{delivery}}}');
INSERT INTO conflicts (link_id, at, source, cause_id, why) VALUES ('{link}', now(), 'omegaai', '{message}', 'late');
INSERT INTO parked_tasks (task_id, focus, expression, reason, parked_at)
VALUES ('t1', 'Appointment/1', 'Appointment.start', 'no time', now());
INSERT INTO feed_cursor (feed, last_task_id, read_at) VALUES ('tasks', 't1', now());
"""


@pytest.fixture
async def store(migrated_url: str):
    opened = await Store.open(SimpleNamespace(url=migrated_url, pool_size=2))
    await opened.pool.execute(
        WRITTEN.format(patient=PATIENT, link=LINK, delivery=DELIVERY, message=MESSAGE, state=STATE, step=STEP)
    )
    yield opened
    await opened.close()


async def test_each_filter_of_the_list_keeps_what_fits(store: Store):
    views = Views(store)
    (row,) = await views.links(LinkFilter())
    assert (row.id, row.has_conflicts, row.has_dead, row.slot_zone) == (LINK, True, True, "Europe/Vienna")
    fitting = {"state": STATE, "facility": "FAC01", "placer_number": "P-1", "conflicts_only": True}
    assert await views.links(LinkFilter(**fitting)) == [row]
    others = [{"state": "X"}, {"facility": "X"}, {"placer_number": "X"}, {"after": LinkPlace(row.updated_at, row.id)}]
    for other in others:
        assert await views.links(LinkFilter(**{**fitting, **other})) == []
    await store.pool.execute("DELETE FROM conflicts")
    assert await views.links(LinkFilter(conflicts_only=True)) == []
    assert await views.counts() == {STATE: 1}


async def test_a_link_comes_with_its_history_deliveries_and_conflicts(store: Store):
    views = Views(store)
    link = await views.link(LINK)
    assert link is not None
    assert (link.placer_number, link.accession_numbers, link.studies[0].code) == ("P-1", ("A-1",), "70450")
    assert await views.link(uuid4()) is None
    assert await views.fhir_id(PATIENT) == "fhir-1"
    (line,) = await views.history(LINK)
    assert (line.control_id, line.journal_state, line.changed) == ("PS1", "needs_setup", ["slot"])
    found = await views.deliveries(line.delivery_ids)
    assert (found[DELIVERY].state, found[DELIVERY].last_error) == ("dead", "422")
    assert [one.why for one in await views.conflicts(LINK)] == ["late"]


async def test_what_waits_for_a_person_is_listed_and_changes_the_version(store: Store):
    views = Views(store)
    assert [(one.control_id, one.setting) for one in await views.needs_setup()] == [("PS1", "facilities")]
    assert [one.task_id for one in await views.parked_tasks()] == ["t1"]
    assert [one.last_task_id for one in await views.cursors()] == ["t1"]
    before = await views.version()
    await store.pool.execute("UPDATE parked_tasks SET replayed_at = now()")
    assert await views.version() != before
    assert await views.parked_tasks() == []


async def test_the_pages_show_it(store: Store):
    site = SimpleNamespace(file=SimpleNamespace(facilities={}), problem="")
    app = Guard(Pages(Views(store), site, []).routes(), HttpSettings())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as browser:
        for path, words in (("/links", "P-1"), (f"/links/{LINK}", "late"), ("/needs-setup", "facilities")):
            page = await browser.get(path)
            assert (page.status_code, words in page.text) == (200, True), path
            assert "Roe" not in page.text
