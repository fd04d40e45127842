"""An operator sends all dead deliveries to a partner again by keyboard alone, in a browser without scripts."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import uuid4

import pytest
import uvicorn
from playwright.async_api import Browser, expect

from chassis.host import Service
from chassis.observe import Metrics
from chassis.settings import HttpSettings, StoreSettings
from chassis.store import Store, schema
from chassis.testing import eventually
from chassis.web.console import Console

pytestmark = [pytest.mark.browser, pytest.mark.stack]
DEAD = """
INSERT INTO deliveries (id, destination, key, kind, payload, idempotency_key, state, attempts, last_error, done_at)
VALUES ($1, $2, $1, 'appointment.upsert', '', $3, 'dead', 1, $4, clock_timestamp() - $5 * interval '1 minute')
"""


@dataclass
class Served:
    store: Store
    address: str


@pytest.fixture
async def served(database_url: str) -> AsyncIterator[Served]:
    store = await Store.open(StoreSettings(url=database_url))
    async with store.pool.acquire() as connection:
        await connection.execute(schema.whole())
    console = Console(store, "demo", destinations=("omegaai", "powerserver"))
    app = Service("demo", HttpSettings(), Metrics(), {}, {}, console=console).app()
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=2))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(server.serve([listening]))

        async def has_started() -> bool:
            return server.started

        await eventually(has_started)
        yield Served(store, f"http://127.0.0.1:{listening.getsockname()[1]}")
        server.should_exit = True
        await serving
    await store.close()


async def test_they_are_chosen_counted_and_sent_again(served: Served, browser: Browser) -> None:
    for destination, answer, minutes in (
        ("omegaai", "answered 403: no scope", 5), ("omegaai", "answered 403: no scope", 10),
        ("omegaai", "answered 422: Appointment.start", 5), ("omegaai", "answered 403: no scope", 600),
        ("powerserver", "answered 403: no scope", 5),
    ):  # fmt: skip
        await served.store.pool.execute(DEAD, uuid4(), destination, uuid4().hex, answer, minutes)
    context = await browser.new_context(java_script_enabled=False, viewport={"width": 320, "height": 700})
    page = await context.new_page()
    await page.goto(f"{served.address}/console")
    await page.get_by_role("link", name="All 4 dead ones to omegaai").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="4 dead deliveries to omegaai")).to_be_visible()
    await page.get_by_label("Died since").focus()
    await page.keyboard.type("2h")
    await page.keyboard.press("Tab")
    await page.keyboard.type("no scope")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="2 dead deliveries to omegaai")).to_be_visible()
    assert await served.store.pool.fetchval("SELECT count(*) FROM deliveries WHERE state = 'pending'") == 0
    await page.keyboard.press("Tab")
    await page.get_by_role("button", name="Send these 2 again").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("status")).to_have_text("2 deliveries to omegaai are sent again.")
    await expect(page.get_by_text("No dead delivery to omegaai fits.")).to_be_visible()
    waiting = await served.store.pool.fetch("SELECT destination, last_error FROM deliveries WHERE state = 'pending'")
    assert [tuple(row) for row in waiting] == [("omegaai", "answered 403: no scope")] * 2
    await page.reload()
    assert await served.store.pool.fetchval("SELECT count(*) FROM operator_audit") == 1, "a reload does not act again"
    await context.close()
