import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

# --import-mode=importlib puts no test folder on the path; the examples are shared by this member's tests alone.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """Connections to a new database with all migrations applied."""
    from chassis import migrations  # noqa: PLC0415 tests without a store need no chassis

    await migrations.run(Path(__file__).parents[1] / "src/notifier/migrations", database_url)
    async with asyncpg.create_pool(database_url, min_size=1, max_size=8) as connections:
        yield connections
