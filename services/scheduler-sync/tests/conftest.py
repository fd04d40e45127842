"""Fixtures of this member's tests, and the way to their shared samples."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

sys.path.insert(0, str(Path(__file__).parent))

if TYPE_CHECKING:
    from sync_harness import Harness


@pytest.fixture
async def migrated_url(database_url: str) -> str:
    """A database with all of the service's tables."""
    from chassis import schema
    from scheduler_sync.migrations.versions import v0001_first_tables

    connection = await asyncpg.connect(database_url)
    await connection.execute(schema.sql("v001"))
    await connection.execute(v0001_first_tables._TABLES)
    await connection.close()
    return database_url


@pytest.fixture
async def harness(migrated_url: str) -> "AsyncIterator[Harness]":
    from sync_harness import open_harness

    opened = await open_harness(migrated_url)
    yield opened
    await opened.store.close()
