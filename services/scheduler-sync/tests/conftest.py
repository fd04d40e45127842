"""Fixtures of this member's tests, and the way to their shared samples."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from chassis.store import migrations

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[3] / "libs/omegaai/tests"))  # the stand-in for OmegaAI

from sync_harness import Harness, open_harness

from local_stack.fixtures import Stack, a_database
from scheduler_sync.bootstrap import MIGRATIONS


@pytest.fixture(scope="session")
def migrated_template(stack: Stack) -> Iterator[str]:
    """The URL of a database with all of the service's tables, for the others to be copied from."""
    with a_database(stack) as url:
        asyncio.run(migrations.run(MIGRATIONS, url))
        yield url


@pytest.fixture
def migrated_url(stack: Stack, migrated_template: str) -> Iterator[str]:
    """The URL of a new database with all of the service's tables, dropped after the test."""
    with a_database(stack, copy_of=migrated_template) as url:
        yield url


@pytest.fixture
async def harness(migrated_url: str) -> AsyncIterator[Harness]:
    opened = await open_harness(migrated_url)
    yield opened
    await opened.store.close()
