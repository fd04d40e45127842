"""The page of messages: history, filter in the address, and nothing of a patient."""

from types import SimpleNamespace
from uuid import uuid4

import asyncpg
import pytest
from notifier_examples import asked

from chassis.settings import HttpSettings
from chassis.store import Store
from chassis.web.guard import Guard
from notifier.web.history import History
from notifier.web.pages import MessagesPage

pytestmark = pytest.mark.stack


@pytest.fixture
async def store(migrated_database_url: str):
    opened = await Store.open(SimpleNamespace(url=migrated_database_url, pool_size=2))
    yield opened
    await opened.close()


@pytest.fixture
def app(store: Store) -> Guard:
    return Guard(MessagesPage(History(store)).routes(), HttpSettings())


async def message(pool: asyncpg.Pool, state: str, *, minutes_ago: int = 0, reason: str | None = None) -> str:
    appointment_id = uuid4()
    await pool.execute(
        "INSERT INTO notifications (notification_id, appointment_id, patient_id, template, revision, state, reason,"
        " changed_at, sent_at) VALUES ($1, $2, $3, 'please-confirm', 1, $4::text, $5, now() - $6 * interval '1 minute',"
        " CASE WHEN $4 = 'sent' THEN now() END)",
        uuid4(),
        appointment_id,
        uuid4(),
        state,
        reason,
        minutes_ago,
    )
    return str(appointment_id)


async def test_an_empty_history_says_how_it_fills(app: Guard) -> None:
    status, page, headers = await asked(app, "/messages")
    assert status == 200
    assert "No message yet." in page
    assert "unsafe-inline" not in headers["content-security-policy"]
    assert "style=" not in page
    assert "<script>" not in page


async def test_messages_stand_newest_first_with_state_and_reason(app: Guard, pool: asyncpg.Pool) -> None:
    older = await message(pool, "undeliverable", minutes_ago=5, reason="no e-mail address")
    newer = await message(pool, "sent")
    _, page, _ = await asked(app, "/messages")
    assert page.index(newer) < page.index(older)
    assert "no e-mail address" in page
    assert "1 undeliverable" in page
    assert "1 sent" in page
    assert "0 queued" in page


async def test_the_filter_stands_in_the_address(app: Guard, pool: asyncpg.Pool) -> None:
    one, other = await message(pool, "sent"), await message(pool, "undeliverable")
    for query in ("state=sent", f"appointment={one}", f"appointment={one}&template=please-confirm"):
        _, page, _ = await asked(app, "/messages", query)
        assert one in page
        assert other not in page
    _, page, _ = await asked(app, "/messages", "template=confirmed")
    assert "No message fits the filter." in page


async def test_an_address_that_cannot_be_used_is_explained(app: Guard) -> None:
    status, page, _ = await asked(app, "/messages", "state=lost&appointment=4711&before=yesterday")
    assert status == 400
    assert "state is one of" in page
    assert "appointment is a UUID" in page


async def test_a_long_history_goes_on_at_the_next_page_without_a_gap(app: Guard, pool: asyncpg.Pool) -> None:
    made = [await message(pool, "sent", minutes_ago=minutes) for minutes in range(105)]
    _, first, _ = await asked(app, "/messages")
    link = first.split('rel="next" href="/messages?')[1].split('"')[0].replace("&amp;", "&")
    _, second, _ = await asked(app, "/messages", link)
    assert [one for one in made if one in first] == made[:100]
    assert [one for one in made if one in second] == made[100:]


async def test_a_queued_message_shows_what_its_last_try_failed_with(app: Guard, pool: asyncpg.Pool) -> None:
    one = await message(pool, "queued")
    await pool.execute(
        "INSERT INTO deliveries (id, destination, key, kind, payload, idempotency_key, attempts, last_error)"
        " SELECT notification_id, 'smtp', appointment_id, template, '', notification_id::text, 3, '451 later'"
        " FROM notifications"
    )
    _, page, _ = await asked(app, "/messages", f"appointment={one}")
    assert "451 later" in page
    assert '<td data-label="Tries" class="number">3</td>' in page
