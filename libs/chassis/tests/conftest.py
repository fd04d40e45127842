"""Fixtures of the chassis' tests."""

import gc
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from chassis_bench_domain import open_store

from chassis import failpoints
from chassis.store import Store


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    opened = await open_store(database_url)
    yield opened
    await opened.close()


@pytest.fixture
def left_in_cycles() -> Iterator[Callable[[type | tuple[type, ...]], list[object]]]:
    """Asked for a type or several, it tells those that only the collector could free since the test began."""

    def found(kind: type | tuple[type, ...]) -> list[object]:
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            gc.collect()
            return [one for one in gc.garbage if isinstance(one, kind)]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()

    gc.collect()
    gc.disable()
    yield found
    gc.enable()


@pytest.fixture(autouse=True)
def _disarmed():
    yield
    failpoints.arm("")
