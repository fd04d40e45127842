"""Each fault of a store does what its name says, and can be undone."""

import asyncio
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from chassis.testing import eventually
from tests.chaos.store_faults import LOCK_SECONDS, ROLE_SETTINGS, StoreFaults

pytestmark = pytest.mark.stack


async def as_admin(url: str, statements: str) -> None:
    admin = await asyncpg.connect(url)
    await admin.execute(statements)
    await admin.close()


@pytest.fixture
async def service_url(database_url: str) -> AsyncIterator[str]:
    """The test's database for a role of the same name, which owns a table."""
    parts = urlsplit(database_url)
    name = parts.path[1:]
    await as_admin(database_url, f"CREATE ROLE {name} LOGIN PASSWORD 'word'; GRANT ALL ON SCHEMA public TO {name}")
    url = urlunsplit(parts._replace(netloc=f"{name}:word@{parts.hostname}:{parts.port}"))
    service = await asyncpg.connect(url)
    await service.execute("CREATE TABLE things (id int)")
    await service.close()
    yield url
    await as_admin(database_url, f"DROP OWNED BY {name}; DROP ROLE {name}")


async def test_statements_are_cancelled_and_the_sessions_live(database_url: str, service_url: str) -> None:
    faults, name = StoreFaults(database_url), urlsplit(service_url).path[1:]
    service = await asyncpg.connect(service_url)
    cancelling = asyncio.create_task(faults.cancel_statements(name, 1.0))
    with pytest.raises(asyncpg.QueryCanceledError):
        await service.execute("SELECT pg_sleep(60)")
    assert await cancelling
    assert await service.fetchval("SELECT 1") == 1
    assert not await faults.cancel_statements(name, 0.1), "nobody was there to be hurt"
    await service.close()


async def test_a_table_is_locked_for_a_second(database_url: str, service_url: str) -> None:
    faults, name = StoreFaults(database_url), urlsplit(service_url).path[1:]
    service = await asyncpg.connect(service_url)
    locking = asyncio.create_task(faults.lock_tables(name))

    async def is_locked() -> bool:
        locks = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = 'things'::regclass"
        return bool(await service.fetchval(locks))

    await eventually(is_locked, what="the lock")
    began = time.monotonic()
    await service.execute("INSERT INTO things VALUES (1)")
    assert time.monotonic() - began > LOCK_SECONDS / 2
    assert await locking
    await service.close()


@pytest.mark.parametrize("setting", ROLE_SETTINGS)
async def test_a_roles_setting_holds_for_all_its_sessions_and_is_taken_back(
    database_url: str, service_url: str, setting: str
) -> None:
    faults, name = StoreFaults(database_url), urlsplit(service_url).path[1:]
    parameter, _, value = ROLE_SETTINGS[setting].partition(" = ")
    before = await asyncpg.connect(service_url)
    usual = await before.fetchval(f"SHOW {parameter}")

    async def shown(wanted: str) -> bool:
        try:
            session = await asyncpg.connect(service_url)
            found = await session.fetchval(f"SHOW {parameter}")
            await session.close()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            return False  # the fault has ended this session too
        return bool(found == wanted)

    setting_it = asyncio.create_task(faults.set_role(name, setting, 2.0))
    await eventually(lambda: shown(value.strip("'")), what="the setting")
    assert await setting_it
    assert before.is_closed(), "a session from before does as before: it has to go"
    assert await shown(usual)
