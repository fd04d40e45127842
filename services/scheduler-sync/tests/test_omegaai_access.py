"""An expired client secret holds deliveries up and kills none: on a real store and a real socket."""

import asyncio
from uuid import uuid4

import aiohttp
import pytest
from fake_omegaai import FakeOmegaAI, client_of
from partner_samples import PATIENT, Ids

from chassis.deliveries import DeliveryWorker
from chassis.observe import Metrics
from chassis.settings import BreakerSettings, RetrySettings, StoreSettings
from chassis.store import Store, Transaction
from chassis.testing import eventually
from scheduler_sync.adapters.omegaai.sender import PATIENT_UPSERT, OmegaAISender


async def stage(store: Store, number: int) -> None:
    async with store.pool.acquire() as connection, connection.transaction():
        transaction = Transaction(connection)
        for _ in range(number):
            transaction.deliver(
                "omegaai", key=uuid4(), kind=PATIENT_UPSERT, payload=PATIENT.to_bytes(), idempotency_key=uuid4().hex
            )
        await transaction.flush()


@pytest.mark.stack
@pytest.mark.parametrize("what", ["the secret has expired", "a redirect", "a web page"])
async def test_what_a_person_has_to_put_right_holds_deliveries_up_and_kills_none(migrated_url: str, what: str) -> None:
    store = await Store.open(StoreSettings(url=migrated_url))
    metrics = Metrics()
    async with FakeOmegaAI().serving() as server, aiohttp.ClientSession() as session:
        if what == "the secret has expired":
            server.client_secret = "another"
        else:
            server.closed_with = 302 if what == "a redirect" else 200
        await stage(store, 12)
        worker = DeliveryWorker(
            store, "omegaai", OmegaAISender(client_of(server.base_url, session), Ids(None)).send,
            breaker=BreakerSettings(open_seconds=0.2), retry=RetrySettings(longest_seconds=0.5), metrics=metrics,
        )  # fmt: skip
        running = asyncio.create_task(worker.run())

        async def is_refused_again() -> bool:
            tries = await store.pool.fetchval("SELECT max(attempts) FROM deliveries")
            return tries >= 2 and metrics.value("partner_access_refused", destination="omegaai") == 1

        await eventually(is_refused_again, what="a second try, refused")
        rows = await store.pool.fetch("SELECT state, last_error FROM deliveries")
        assert {row["state"] for row in rows} == {"pending"}
        setting = "omegaai.client_secret" if what == "the secret has expired" else "omegaai.base_url"
        assert any(setting in (row["last_error"] or "") for row in rows)
        server.client_secret, server.closed_with = "development-secret", None

        async def all_done() -> bool:
            return await store.pool.fetchval("SELECT count(*) FROM deliveries WHERE state = 'done'") == 12

        await eventually(all_done, what="all deliveries, once it was put right")
        assert metrics.value("partner_access_refused", destination="omegaai") == 0
        assert len(server.all("Patient")) == 1, "the others were conditional on the same identifier"
        await worker.stop()
        await asyncio.wait_for(running, 60)
    await store.close()
