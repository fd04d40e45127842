import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from chassis.store import migrations
from local_stack.fixtures import Stack, a_database

# --import-mode=importlib puts no test folder on the path; the examples are shared by this member's tests alone.
sys.path.insert(0, str(Path(__file__).parent))

_MIGRATIONS = Path(__file__).parents[1] / "src/notifier/migrations"


@pytest.fixture(scope="session")
def migrated_template(stack: Stack) -> Iterator[str]:
    """The URL of a database with all migrations applied, for the others to be copied from."""
    with a_database(stack) as url:
        asyncio.run(migrations.run(_MIGRATIONS, url))
        yield url


@pytest.fixture
def migrated_database_url(stack: Stack, migrated_template: str) -> Iterator[str]:
    """The URL of a new database with all migrations applied, dropped after the test."""
    with a_database(stack, copy_of=migrated_template) as url:
        yield url


@pytest.fixture(scope="module")
def module_database_url(stack: Stack, migrated_template: str) -> Iterator[str]:
    """The same for all tests of a module."""
    with a_database(stack, copy_of=migrated_template) as url:
        yield url


@pytest.fixture
async def pool(migrated_database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """Connections to a new database with all migrations applied."""
    async with asyncpg.create_pool(migrated_database_url, min_size=1, max_size=8) as connections:
        yield connections
