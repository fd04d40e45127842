"""Fixtures of the chassis' tests."""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from chassis_bench_domain import open_store

from chassis import failpoints
from chassis.settings import StoreSettings
from chassis.store import Store
from local_stack.fixtures import Stack, a_database


@pytest.fixture(scope="session")
def template_with_tables(stack: Stack) -> Iterator[str]:
    """The URL of a database with all tables of ``open_store``, for the others to be copied from."""

    async def make(url: str) -> None:
        await (await open_store(url)).close()

    with a_database(stack) as url:
        asyncio.run(make(url))
        yield url


@pytest.fixture
def database_url(request: pytest.FixtureRequest, stack: Stack) -> Iterator[str]:
    """The URL of a new database, dropped after the test: with the tables where the test takes ``store``, else empty."""
    template = request.getfixturevalue("template_with_tables") if "store" in request.fixturenames else None
    with a_database(stack, copy_of=template) as url:
        yield url


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    opened = await Store.open(StoreSettings(url=database_url, pool_size=10))
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
