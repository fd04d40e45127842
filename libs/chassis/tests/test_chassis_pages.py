"""Pages keep themselves up to date: one look for all viewers, and a new page only when it would show something else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from starlette.requests import Request
from starlette.responses import StreamingResponse

from chassis.errors import StoreUnavailable
from chassis.store import Transaction
from chassis.testing import eventually
from chassis.web import layout
from chassis.web.console import Console, Health
from chassis.web.layout import Changes

LOOK_SECONDS = 0.02


class Shown:
    """What a page shows; counts how often it was asked."""

    def __init__(self) -> None:
        self.value = 0
        self.asked = 0
        self.is_away = False

    async def look(self) -> int:
        self.asked += 1
        if self.is_away:
            raise StoreUnavailable("the store is away")
        return self.value


@asynccontextmanager
async def viewer(changes: Changes) -> AsyncIterator[list[str]]:
    """What one viewer's stream said so far."""
    answer = await changes.stream(Request({"type": "http"}))
    assert isinstance(answer, StreamingResponse)
    told: list[str] = []

    async def read() -> None:
        async for part in answer.body_iterator:
            told.append(str(part))  # noqa: PERF401 (each as it comes)

    reading = asyncio.create_task(read())
    try:
        yield told
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "_LOOK_SECONDS", LOOK_SECONDS)


def number_of_changes(told: list[str]) -> int:
    return sum("event: changed" in one for one in told)


async def test_a_change_is_told_once_to_each_viewer_by_one_look() -> None:
    shown = Shown()
    changes = Changes(shown.look)
    async with viewer(changes) as one, viewer(changes) as other:
        await eventually(lambda: asyncio.sleep(0, shown.asked >= 3), what="some looks")
        assert (number_of_changes(one), number_of_changes(other)) == (0, 0)
        before, began = shown.asked, asyncio.get_running_loop().time()
        shown.value = 1
        await eventually(lambda: asyncio.sleep(0, number_of_changes(one) and number_of_changes(other)), what="a change")
        took = asyncio.get_running_loop().time() - began
        assert shown.asked - before <= took / LOOK_SECONDS + 2, "the viewers share each look"
        await eventually(lambda: asyncio.sleep(0, shown.asked >= before + 5), what="more looks")
        assert (number_of_changes(one), number_of_changes(other)) == (1, 1)


async def test_without_a_viewer_nobody_looks_and_the_next_viewer_is_told_again() -> None:
    shown = Shown()
    changes = Changes(shown.look)
    async with viewer(changes):
        await eventually(lambda: asyncio.sleep(0, shown.asked >= 2), what="some looks")
    await eventually(lambda: asyncio.sleep(0, changes._looking is not None and changes._looking.done()), what="the end")
    asked = shown.asked
    async with viewer(changes) as told:
        await eventually(lambda: asyncio.sleep(0, shown.asked > asked), what="a look for the next viewer")
        shown.value = 7
        await eventually(lambda: asyncio.sleep(0, number_of_changes(told) == 1), what="a change")


async def test_while_the_store_is_away_nothing_is_told() -> None:
    shown = Shown()
    async with viewer(Changes(shown.look)) as told:
        await eventually(lambda: asyncio.sleep(0, shown.asked >= 2), what="some looks")
        shown.is_away = True
        asked = shown.asked
        await eventually(lambda: asyncio.sleep(0, shown.asked >= asked + 3), what="looks at a store that is away")
        shown.is_away = False
        await eventually(lambda: asyncio.sleep(0, shown.asked >= asked + 6), what="looks at a store that is back")
        assert number_of_changes(told) == 0


@pytest.mark.stack
async def test_the_console_stays_the_same_while_something_only_waits(store) -> None:
    """The browser counts how long it waits; a page that changed each second would be drawn anew each second."""
    console = Console(store, "demo", destinations=("partner",))
    health = Health({"store": None}, {"relay": 0.1})

    async def shown() -> str:
        return repr(await console._shown(health, 30))

    empty = await shown()
    async with store.pool.acquire() as connection, connection.transaction():
        transaction = Transaction(connection)
        transaction.deliver("partner", key=uuid4(), kind="k", payload=b"", idempotency_key=uuid4().hex)
        await transaction.flush()
    waits = await shown()
    assert waits != empty
    await asyncio.sleep(1.1)  # longer than the second that an age would change by
    assert await shown() == waits
