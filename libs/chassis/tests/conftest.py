"""Fixtures of the chassis' tests."""

import sys
from collections.abc import AsyncIterator
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


@pytest.fixture(autouse=True)
def _disarmed():
    yield
    failpoints.arm("")
