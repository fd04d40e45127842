"""Counting what waits: beside the work, seldom, and never the reason why something stands still."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from chassis.store import Backlog, backlog
from chassis.store.backlog import COUNT_SHARE
from chassis.testing import eventually


class SlowStore:
    """Its one statement is answered when ``answer`` is set, or with an error."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer = asyncio.Event()
        self.error: Exception | None = None
        self.pool = SimpleNamespace(fetchrow=self._fetchrow)

    async def _fetchrow(self, *_: Any, **__: Any) -> dict[str, int]:
        self.asked += 1
        await self.answer.wait()
        if self.error is not None:
            raise self.error
        return {"unsent": 3}


@pytest.fixture
def told() -> list[Any]:
    return []


def counting(store: SlowStore, told: list[Any]) -> Backlog:
    return Backlog(store, "SELECT", told=told.append)  # type: ignore[arg-type]


async def test_a_start_is_not_burdened_with_a_count(told: list[Any]) -> None:
    store = SlowStore()
    one = counting(store, told)
    one.look()
    await asyncio.sleep(0)
    assert store.asked == 0


async def test_nothing_waits_for_a_count_and_none_begins_beside_another(monkeypatch, told: list[Any]) -> None:
    monkeypatch.setattr(backlog, "COUNT_SECONDS", 0.0)
    store = SlowStore()
    one = counting(store, told)
    for _ in range(3):
        one.look()
        await asyncio.sleep(0)
    assert (store.asked, told) == (1, [])
    await one.stop()


async def test_counting_takes_a_small_share_of_the_time(monkeypatch, told: list[Any]) -> None:
    monkeypatch.setattr(backlog, "COUNT_SECONDS", 0.0)
    store = SlowStore()
    one = counting(store, told)
    began = time.monotonic()
    one.look()
    await asyncio.sleep(0)
    store.answer.set()

    async def is_told() -> bool:
        return told == [{"unsent": 3}]

    await eventually(is_told, what="the count")
    took = time.monotonic() - began
    assert 0 < one._due_at - began <= took / COUNT_SHARE


async def test_a_store_that_is_away_is_asked_again(monkeypatch, told: list[Any]) -> None:
    monkeypatch.setattr(backlog, "COUNT_SECONDS", 0.0)
    monkeypatch.setattr(backlog, "COUNT_SHARE", 1.0)
    store = SlowStore()
    store.error = OSError("away")
    store.answer.set()
    one = counting(store, told)

    async def is_asked_again() -> bool:
        one.look()
        return store.asked >= 2

    await eventually(is_asked_again, what="the second question")
    assert told == []
    await one.stop()
