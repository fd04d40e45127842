"""A store with half-open connections: no process is told, and still all recover within one statement's time-out."""

import asyncio
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

import pytest

from chassis.loops import LoopBase
from chassis.observe import Metrics, meters
from chassis.settings import StoreSettings
from chassis.store import Exclusive, Store, exclusive, store
from chassis.store.store import ERRORS
from chassis.testing import MACHINE_SECONDS, eventually
from local_stack.ports import free_port
from tests.chaos.wires import Wire

pytestmark = pytest.mark.stack

SHORT_SECONDS = 4.0
"""Of a statement, here: long enough that a busy machine's delays are shorter."""


@pytest.fixture
async def wire(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Wire]:
    for module in (store, exclusive):
        monkeypatch.setattr(module, "COMMAND_TIMEOUT_SECONDS", SHORT_SECONDS)
    found = Wire("postgres", free_port(), [urlsplit(database_url).port or 5432])
    await found.open()
    yield found
    await found.close()


@pytest.fixture
async def proxied(database_url: str, wire: Wire) -> AsyncIterator[Store]:
    parts = urlsplit(database_url)
    place = parts.netloc.rpartition(":")[0] + f":{wire.port}"
    opened = await Store.open(StoreSettings(url=urlunsplit(parts._replace(netloc=place)), pool_size=4))
    yield opened
    await opened.close()


async def transact(proxied: Store) -> None:
    async with proxied.pool.acquire() as connection, connection.transaction():
        await connection.fetchval("SELECT 1")


async def test_one_statements_time_after_the_break_all_of_the_pool_work_again(proxied: Store, wire: Wire) -> None:
    await asyncio.gather(*(proxied.pool.fetchval("SELECT pg_sleep(0.2)") for _ in range(4)))
    assert wire.half_open() == 4
    began = time.monotonic()
    with pytest.raises(ERRORS):
        await transact(proxied)
    for _ in range(4):  # each of which would take another of the broken ones
        await transact(proxied)
    assert SHORT_SECONDS <= time.monotonic() - began < 2 * SHORT_SECONDS


async def test_who_holds_a_lock_on_a_broken_connection_takes_it_again(proxied: Store, wire: Wire) -> None:
    lives: list[float] = []

    async def work(connection) -> None:
        lives.append(time.monotonic())
        while not loop.stopping:
            await connection.fetchval("SELECT 1")
            await loop.pause(0.05)

    async def lives_again() -> bool:
        return len(lives) == 2

    async def lives_once() -> bool:
        return len(lives) == 1

    loop = LoopBase()
    right = Exclusive(proxied, lock=7, name="test", metrics=Metrics(), gauge=meters.OUTBOX_RELAY_ACTIVE)
    running = asyncio.create_task(right.run(loop, work))
    await eventually(lives_once, what="the holder")
    began = time.monotonic()
    assert wire.half_open() >= 1
    await eventually(lives_again, what="the holder's next life")
    assert lives[1] - began < SHORT_SECONDS + MACHINE_SECONDS
    await loop.stop()
    await running
