"""Fixtures of this member's tests, and the way to their shared samples."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chassis import migrations

sys.path.insert(0, str(Path(__file__).parent))

from sync_harness import Harness, open_harness

from scheduler_sync.bootstrap import MIGRATIONS


@pytest.fixture
async def migrated_url(database_url: str) -> str:
    """A database with all of the service's tables."""
    await migrations.run(MIGRATIONS, database_url)
    return database_url


@pytest.fixture
async def harness(migrated_url: str) -> AsyncIterator[Harness]:
    opened = await open_harness(migrated_url)
    yield opened
    await opened.store.close()
