"""Each act of the console stands in the audit with the name of the person. A new act has to be tried here."""

from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

import httpx
import pytest
from pydantic import SecretStr

from chassis.host import Service
from chassis.observe import Metrics
from chassis.settings import HttpSettings
from chassis.store import Store, Transaction
from chassis.web.access import Access
from chassis.web.console import Console
from chassis.web.hl7_desk import Hl7Desk
from chassis.web.inbox_desk import InboxDesk

pytestmark = pytest.mark.stack
OURS = {"Sec-Fetch-Site": "same-origin"}
Seed = Callable[[Store], Awaitable[UUID]]


async def dead_delivery(store: Store) -> UUID:
    async with store.pool.acquire() as connection, connection.transaction():
        transaction = Transaction(connection)
        identifier = transaction.deliver("partner", key=uuid4(), kind="k", payload=b"", idempotency_key=uuid4().hex)
        await transaction.flush()
        await connection.execute(
            "UPDATE deliveries SET state = 'dead', attempts = 2, done_at = now() WHERE id = $1", identifier
        )
    return identifier


async def dead_letter(store: Store) -> UUID:
    return await store.pool.fetchval(
        "INSERT INTO dead_letters (id, consumer, kind, reason, topic, partition, kafka_offset, key, value, headers,"
        " attempts) VALUES (gen_random_uuid(), 'demo', 'permanent', 'why', 't', 0, 1, '\\x01', '\\x01', '[]', 1)"
        " RETURNING id"
    )


async def missed_record(store: Store) -> UUID:
    return await store.pool.fetchval(
        "INSERT INTO missed_records (id, consumer, topic, partition, kind, first_offset, handled_until)"
        " VALUES (gen_random_uuid(), 'demo', 't', 0, 'expired', 1, now()) RETURNING id"
    )


async def parked_key(store: Store) -> UUID:
    return await store.pool.fetchval(
        "INSERT INTO parked_keys (consumer, key, reason, next_attempt_at)"
        " VALUES ('demo', gen_random_uuid(), 'why', now() + interval '1 hour') RETURNING key"
    )


async def dead_timer(store: Store) -> UUID:
    return await store.pool.fetchval(
        "INSERT INTO timers (kind, key, name, revision, state, due_at, next_attempt_at)"
        " VALUES ('demo', gen_random_uuid(), 'one', 1, 'dead', now(), now()) RETURNING key"
    )


async def kept_message(_store: Store) -> UUID:
    return uuid4()


ACTS: dict[str, tuple[Seed, dict[str, str]]] = {
    "/console/deliveries/{id:uuid}/retry": (dead_delivery, {}),
    "/console/deliveries/{id:uuid}/drop": (dead_delivery, {}),
    "/console/deliveries/retry": (dead_delivery, {"destination": "partner"}),
    "/console/dead-letters/{id:uuid}/replay": (dead_letter, {}),
    "/console/dead-letters/{id:uuid}/drop": (dead_letter, {}),
    "/console/missed/{id:uuid}/acknowledge": (missed_record, {}),
    "/console/parked/{consumer}/{id:uuid}/release": (parked_key, {}),
    "/console/timers/{kind}/{id:uuid}/{name}/retry": (dead_timer, {}),
    "/console/timers/{kind}/{id:uuid}/{name}/cancel": (dead_timer, {}),
    "/console/needs-setup/{id:uuid}/replay": (kept_message, {}),
}


def service(store: Store) -> Service:
    async def replay(identifier: UUID, actor: str) -> str:
        async with store.pool.acquire() as connection, connection.transaction():
            transaction = Transaction(connection)
            transaction.audit(actor=actor, action="hl7.replay", subject=str(identifier))
            await transaction.flush()
        return "processed"

    http = HttpSettings(people=SecretStr("olga:operator:olga's words\nvera:viewer:vera's words"))
    desks = [InboxDesk(store), Hl7Desk(store, replay)]
    console = Console(store, "demo", destinations=("partner",), desks=desks)
    return Service("demo", http, Metrics(), {}, {}, console=console)


def test_every_act_is_tried() -> None:
    acts = {
        route.path
        for route in service(None).app().routes
        if "POST" in route.methods and route.access not in (Access.LOGIN, Access.VIEWER)
    }
    assert acts == set(ACTS)


@pytest.mark.parametrize("path", ACTS)
async def test_an_act_carries_the_persons_name_into_the_audit(store: Store, path) -> None:
    seed, form = ACTS[path]
    identifier = await seed(store)
    url = path.replace("{id:uuid}", str(identifier)).replace("{consumer}", "demo").replace("{kind}", "demo")
    url = url.replace("{name}", "one")
    transport = httpx.ASGITransport(service(store).app())
    async with httpx.AsyncClient(transport=transport, base_url="http://demo", headers=OURS) as browser:
        assert (await browser.post(url, data=form, auth=("vera", "vera's words"))).status_code == 403
        assert await store.pool.fetch("SELECT * FROM operator_audit") == []
        assert (await browser.post(url, data=form, auth=("olga", "olga's words"))).status_code == 303
    rows = await store.pool.fetch("SELECT actor, action FROM operator_audit")
    assert [row["actor"] for row in rows] == ["olga"], "no act, or nobody's"


@pytest.mark.parametrize(("name", "offers"), [("vera", False), ("olga", True)])
async def test_a_page_offers_acts_to_those_alone_who_may_do_them(store: Store, name, offers) -> None:
    await dead_letter(store)
    await dead_delivery(store)
    transport = httpx.ASGITransport(service(store).app())
    auth = (name, f"{name}'s words")
    async with httpx.AsyncClient(transport=transport, base_url="http://demo", auth=auth) as browser:
        pages = [await browser.get(path) for path in ("/console", "/console/deliveries?destination=partner")]
    for page in pages:
        assert page.status_code == 200
        assert f"{name} · " in page.text
        assert ('method="post"' in page.text) is offers
