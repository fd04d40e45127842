import asyncio
import secrets
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from chassis import migrations
from local_stack.fixtures import Stack

# --import-mode=importlib puts no test folder on the path; the examples are shared by this member's tests alone.
sys.path.insert(0, str(Path(__file__).parent))

_MIGRATIONS = Path(__file__).parents[1] / "src/notifier/migrations"


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _on(admin_url: str, database: str) -> str:
    return urlsplit(admin_url)._replace(path=f"/{database}").geturl()


@pytest.fixture(scope="session")
def migrated_template(stack: Stack) -> Iterator[str]:
    """The name of a database with all migrations applied, for the others to be copied from."""
    name = f"test_{secrets.token_hex(6)}"

    async def prepare() -> None:
        await _execute(stack.postgres_admin_url, f'CREATE DATABASE "{name}"')
        await migrations.run(_MIGRATIONS, _on(stack.postgres_admin_url, name))

    asyncio.run(prepare())
    yield name
    asyncio.run(_execute(stack.postgres_admin_url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))


def _copied(stack: Stack, template: str) -> Iterator[str]:
    name = f"test_{secrets.token_hex(6)}"
    asyncio.run(_execute(stack.postgres_admin_url, f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
    yield _on(stack.postgres_admin_url, name)
    asyncio.run(_execute(stack.postgres_admin_url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))


@pytest.fixture
def migrated_database_url(stack: Stack, migrated_template: str) -> Iterator[str]:
    """The URL of a new database with all migrations applied, dropped after the test."""
    yield from _copied(stack, migrated_template)


@pytest.fixture(scope="module")
def module_database_url(stack: Stack, migrated_template: str) -> Iterator[str]:
    """The same for all tests of a module."""
    yield from _copied(stack, migrated_template)


@pytest.fixture
async def pool(migrated_database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """Connections to a new database with all migrations applied."""
    async with asyncpg.create_pool(migrated_database_url, min_size=1, max_size=8) as connections:
        yield connections
