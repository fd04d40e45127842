"""Fixtures of this member's tests, and the way to their shared samples."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from chassis import schema

sys.path.insert(0, str(Path(__file__).parent))

from sync_harness import Harness, open_harness

from scheduler_sync.migrations.versions import v0001_first_tables


@pytest.fixture
async def migrated_url(database_url: str) -> str:
    """A database with all of the service's tables."""
    connection = await asyncpg.connect(database_url)
    await connection.execute(schema.sql("v001"))
    await connection.execute(v0001_first_tables._TABLES)
    await connection.close()
    return database_url


@pytest.fixture
async def harness(migrated_url: str) -> AsyncIterator[Harness]:
    opened = await open_harness(migrated_url)
    yield opened
    await opened.store.close()
