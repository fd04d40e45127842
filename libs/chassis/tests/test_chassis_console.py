"""The console and the guard in front of it: who may, from where, and what an act does; nothing of a patient."""

import base64
from typing import NoReturn
from uuid import UUID, uuid4

import httpx
import pytest
from chassis_bench_domain import Behaviour, event
from pydantic import SecretStr
from test_chassis_batch import executor, item

from chassis.host import Service
from chassis.messaging import PROCESSED, Replayed, ReplayOutcome
from chassis.observe import Metrics
from chassis.settings import HttpSettings
from chassis.store import Transaction
from chassis.web.console import Console
from chassis.web.guard import header_names
from chassis.web.hl7_desk import Hl7Desk
from chassis.web.inbox_desk import InboxDesk

OURS = {"Sec-Fetch-Site": "same-origin"}


def client(store, *, password: str | None = None, replay_hl7=None, checks=None) -> httpx.AsyncClient:
    http = HttpSettings(console_password=None if password is None else SecretStr(password))
    desks = [InboxDesk(store), *([] if replay_hl7 is None else [Hl7Desk(store, replay_hl7)])]
    console = Console(store, "demo", destinations=("partner",), desks=desks)
    service = Service("demo", http, Metrics(), {}, checks or {}, console=console)
    return httpx.AsyncClient(transport=httpx.ASGITransport(service.app()), base_url="http://demo")


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


async def delivery(store, *, state: str = "dead", error: str = "partner answered 422: Appointment.start") -> UUID:
    async with store.pool.acquire() as connection, connection.transaction():
        transaction = Transaction(connection)
        identifier = transaction.deliver(
            "partner", key=uuid4(), kind="appointment.upsert", payload=b"Roe^Jane", idempotency_key=uuid4().hex
        )
        await transaction.flush()
        await connection.execute(
            "UPDATE deliveries SET state = $2, attempts = 2, last_error = $3 WHERE id = $1", identifier, state, error
        )
    return identifier


async def state_of(store, table: str, identifier: UUID) -> str:
    return str(await store.pool.fetchval(f"SELECT state FROM {table} WHERE id = $1", identifier))


@pytest.mark.stack
async def test_with_a_password_only_probes_and_metrics_are_open(store) -> None:
    async with client(store, password="hard to guess") as browser:
        for path in ("/livez", "/readyz", "/metrics"):
            assert (await browser.get(path)).status_code == 200
        for headers in (
            {},
            basic("operator", "guess"),
            basic("someone", "hard to guess"),
            {"Authorization": "Basic ?"},
        ):
            refused = await browser.get("/console", headers=headers)
            assert (refused.status_code, refused.headers["www-authenticate"][:5]) == (401, "Basic")
        assert (await browser.get("/console", headers=basic("operator", "hard to guess"))).status_code == 200


@pytest.mark.stack
@pytest.mark.parametrize(
    "headers",
    [{}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "none"}, {"Origin": "http://elsewhere.example"}],
)
async def test_an_act_from_another_page_is_refused(store, headers) -> None:
    identifier = await delivery(store)
    async with client(store) as browser:
        answer = await browser.post(f"/console/deliveries/{identifier}/retry", headers=headers)
    assert answer.status_code == 403
    assert await state_of(store, "deliveries", identifier) == "dead"


@pytest.mark.stack
async def test_every_answer_tells_the_browser_what_it_may_do(store) -> None:
    async with client(store) as browser:
        page = await browser.get("/console")
        assert set(header_names()) <= {name.title() for name in page.headers}
        assert "unsafe" not in page.headers["content-security-policy"]
        assert " style=" not in page.text
        assert page.text.count("<script") == page.text.count("<script src=")
        assert (await browser.get("/console/static/suite.css")).status_code == 200
        assert (await browser.get("/")).headers["location"] == "/console"


@pytest.mark.stack
@pytest.mark.parametrize(("act", "state"), [("retry", "pending"), ("drop", "dropped")])
async def test_a_delivery_is_settled_and_the_act_is_audited(store, act, state) -> None:
    identifier = await delivery(store)
    async with client(store, password="hard to guess") as browser:
        as_operator = basic("operator", "hard to guess")
        before = await browser.get("/console", headers=as_operator)
        assert "1 refused for good" in before.text
        assert "422: Appointment.start" in before.text
        done = await browser.post(f"/console/deliveries/{identifier}/{act}", headers=OURS | as_operator)
        assert done.status_code == 303
        page = (await browser.get(done.headers["location"], headers=as_operator)).text
        assert f"delivery {identifier} is" in page
        again = await browser.post(f"/console/deliveries/{uuid4()}/{act}", headers=OURS | as_operator)
        assert "There is no open delivery" in (await browser.get(again.headers["location"], headers=as_operator)).text
    assert await state_of(store, "deliveries", identifier) == state
    audit = await store.pool.fetchrow("SELECT actor, action, subject FROM operator_audit")
    assert tuple(audit) == ("operator", f"delivery.{act}", str(identifier))
    assert "Roe" not in page + before.text


@pytest.mark.stack
async def test_dead_letters_and_parked_keys_are_listed_and_settled(store) -> None:
    broken = event(uuid4(), 1)
    await executor(store, Behaviour(permanent={broken.aggregate_id})).run([item(broken)])
    letter = await store.pool.fetchval("SELECT id FROM dead_letters")
    key = uuid4()
    await store.pool.execute(
        "INSERT INTO parked_keys (consumer, key, reason, next_attempt_at)"
        " VALUES ('test', $1, 'the patient is not here yet', clock_timestamp() + interval '1 hour')",
        key,
    )
    async with client(store) as browser:
        page = (await browser.get("/console")).text
        assert "told so" in page
        assert "the patient is not here yet" in page
        released = await browser.post(f"/console/parked/test/{key}/release", headers=OURS)
        replayed = await browser.post(f"/console/dead-letters/{letter}/replay", headers=OURS)
        assert [answer.status_code for answer in (released, replayed)] == [303, 303]
    assert await state_of(store, "dead_letters", letter) == "replayed"
    due = await store.pool.fetchval("SELECT next_attempt_at <= clock_timestamp() FROM parked_keys WHERE key = $1", key)
    assert due is True
    actions = await store.pool.fetch("SELECT actor, action FROM operator_audit ORDER BY id")
    assert [tuple(row) for row in actions] == [("console", "parked.release"), ("console", "dead-letter.replay")]


@pytest.mark.stack
async def test_timers_are_counted_and_those_that_failed_listed_and_settled(store) -> None:
    dead, failing, kind = uuid4(), uuid4(), "remind"
    insert = (
        "INSERT INTO timers (kind, key, name, revision, state, due_at, next_attempt_at, attempts, last_error)"
        " VALUES ($1, $2, 'n', 1, $3, clock_timestamp() + $4 * interval '1 minute',"
        " clock_timestamp() + $4 * interval '1 minute', $5, $6)"
    )
    async with client(store) as browser:
        assert "timers</span>" not in (await browser.get("/console")).text, "a service without timers shows none"
        await store.pool.execute(insert, kind, dead, "dead", -5.0, 1, "no such form")
        await store.pool.execute(insert, kind, failing, "waiting", -5.0, 3, "not yet")
        await store.pool.execute(insert, "another", uuid4(), "waiting", -1.0, 0, None)
        await store.pool.execute(insert, "another", uuid4(), "waiting", 60.0, 0, None)
        page = (await browser.get("/console")).text
        assert "3 waiting" in page
        assert "2 overdue" in page
        assert "1 dead" in page
        assert "no such form" in page
        assert "not yet" in page
        retried = await browser.post(f"/console/timers/{kind}/{dead}/n/retry", headers=OURS)
        assert f"Timer of {dead} is tried now." in (await browser.get(retried.headers["location"])).text
        gone = await browser.post(f"/console/timers/{kind}/{failing}/n/cancel", headers=OURS)
        assert f"Timer of {failing} is cancelled." in (await browser.get(gone.headers["location"])).text
        again = await browser.post(f"/console/timers/{kind}/{failing}/n/cancel", headers=OURS)
        assert "There is no such timer" in (await browser.get(again.headers["location"])).text
    states = await store.pool.fetch("SELECT key, state FROM timers WHERE kind = $1", kind)
    assert {row["key"]: row["state"] for row in states} == {dead: "waiting", failing: "cancelled"}


@pytest.mark.stack
@pytest.mark.parametrize(
    ("detail", "said"),
    [
        (Replayed(ReplayOutcome.FAILED, "processed is not what it is").detail(), "failed: processed is not what it is"),
        ({"outcome": "failed: as a former version wrote it"}, "failed: as a former version wrote it"),
        (Replayed(ReplayOutcome.UNREADABLE, "SCH-2 is empty").detail(), "still unreadable: SCH-2 is empty"),
    ],
)
async def test_only_an_outcome_that_is_processed_is_said_as_done(store, detail, said) -> None:
    async def replay(identifier: UUID, actor: str) -> Replayed:
        async with store.pool.acquire() as connection, connection.transaction():
            transaction = Transaction(connection)
            transaction.audit(actor=actor, action="hl7.replay", subject=str(identifier), detail=detail)
            await transaction.flush()
        return PROCESSED

    async with client(store, replay_hl7=replay) as browser:
        done = await browser.post(f"/console/needs-setup/{uuid4()}/replay", headers=OURS)
        page = (await browser.get(done.headers["location"])).text
    assert f"{said}." in page
    assert 'role="alert"' in page[: page.index(said)]


@pytest.mark.stack
async def test_a_message_that_needs_set_up_is_processed_again(store) -> None:
    asked: list[tuple[UUID, str]] = []

    async def replay(identifier: UUID, actor: str) -> Replayed:
        asked.append((identifier, actor))
        async with store.pool.acquire() as connection, connection.transaction():
            transaction = Transaction(connection)
            transaction.audit(actor=actor, action="hl7.replay", subject=str(identifier), detail=PROCESSED.detail())
            await transaction.flush()
        return PROCESSED

    identifier = uuid4()
    await store.pool.execute(
        "INSERT INTO hl7_journal (id, sender, control_id, digest, type, raw, state, reason, setting)"
        " VALUES ($1, 's', 'PS1', '', 'SIU^S12', 'Roe^Jane', 'needs_setup', 'facility FAC09 is not mapped',"
        " 'facilities.FAC09')",
        identifier,
    )
    async with client(store, replay_hl7=replay) as browser:
        page = (await browser.get("/console")).text
        assert "facilities.FAC09" in page
        assert "Roe" not in page
        done = await browser.post(f"/console/needs-setup/{identifier}/replay", headers=OURS)
        assert "processed" in (await browser.get(done.headers["location"])).text
        journal = (await browser.get("/console/hl7")).text
        assert "PS1" in journal
        assert "facilities.FAC09" in journal
        assert "Roe" not in journal
        assert "PS1" not in (await browser.get("/console/hl7?state=rejected")).text
    assert asked == [(identifier, "console")]


@pytest.mark.stack
@pytest.mark.parametrize(
    "query",
    [
        {"said": "Call 555-0100 and give them your password."},
        {"refused": "Call 555-0100 and give them your password."},
        {"done": "Call 555-0100 now.", "on": str(uuid4())},
        {"done": "delivery.drop", "on": "Call 555-0100 now."},
        {"refused": "delivery", "on": "Call 555-0100 now."},
        {"done": "delivery.drop", "on": str(uuid4())},  # a sentence of ours that is not true
        {"done": "hl7.replay", "on": str(uuid4())},
    ],
)
async def test_an_address_cannot_have_the_console_say_what_it_likes(store, query) -> None:
    async with client(store) as browser:
        plain = (await browser.get("/console")).text
        page = (await browser.get("/console", params=query)).text
    assert plain.count('role="status"') == page.count('role="status"')
    assert 'role="alert"' not in page
    assert "555-0100" not in page
    assert "is given up" not in page


@pytest.mark.stack
async def test_an_act_of_long_ago_is_not_said_again(store) -> None:
    identifier = await delivery(store)
    async with client(store) as browser:
        done = await browser.post(f"/console/deliveries/{identifier}/drop", headers=OURS)
        assert "is given up" in (await browser.get(done.headers["location"])).text
        await store.pool.execute("UPDATE operator_audit SET at = at - interval '11 minutes'")
        assert "is given up" not in (await browser.get(done.headers["location"])).text


@pytest.mark.stack
async def test_a_service_that_hears_no_hl7_has_no_journal(store) -> None:
    async with client(store) as browser:
        assert (await browser.get("/console/hl7")).status_code == 404


@pytest.mark.stack
async def test_the_console_stands_while_the_store_is_away(store) -> None:
    async def away() -> None:
        raise ConnectionError("the store does not answer")

    await store.pool.close()
    async with client(store, checks={"store": away}) as browser:
        page = await browser.get("/console")
    assert page.status_code == 200
    assert "The store does not answer" in page.text
    assert "not ready" in page.text


@pytest.mark.stack
async def test_a_service_shows_the_tiles_and_takes_the_acts_of_its_own_intakes_alone(store) -> None:
    one = uuid4()
    acts = {
        "inbox": [f"dead-letters/{one}/replay", f"missed/{one}/acknowledge", f"parked/reader/{one}/release"],
        "hl7": [f"needs-setup/{one}/replay"],
    }
    tiles = {"inbox": {"dead letters", "missed", "parked keys"}, "hl7": {"need set-up"}}
    desks = {"inbox": InboxDesk(store), "hl7": Hl7Desk(store, _never)}
    for given in ((), ("inbox",), ("hl7",), ("inbox", "hl7")):
        console = Console(store, "demo", desks=[desks[name] for name in given])
        service = Service("demo", HttpSettings(port=0), Metrics(), {}, {}, console=console)
        transport = httpx.ASGITransport(service.app())
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8100") as browser:
            page = (await browser.get("/console")).text
            for name in ("inbox", "hl7"):
                assert {tile for tile in tiles[name] if f">{tile}<" in page} == (
                    tiles[name] if name in given else set()
                )
                for act in acts[name]:
                    status = (await browser.post(f"/console/{act}", headers=OURS)).status_code
                    assert status == (303 if name in given else 404), act


async def _never(identifier: UUID, _actor: str) -> NoReturn:
    raise KeyError(str(identifier))
