"""The contract of intakes over OmegaAI's Tasks."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from chassis.settings import StoreSettings
from chassis.store import Store
from chassis.testing.intakes import IntakeContract
from scheduler_sync.adapters.omegaai.tasks import TaskItem
from scheduler_sync.inbound import TaskIntake

pytestmark = pytest.mark.stack


@pytest.fixture
async def store(migrated_url: str) -> AsyncIterator[Store]:
    opened = await Store.open(StoreSettings(url=migrated_url))
    yield opened
    await opened.close()


class Tasks:
    """Tasks carry the present state of their focus, so they have no key."""

    def __init__(self) -> None:
        self.intake = TaskIntake()

    def message(self, number: int, _key: int) -> TaskItem:
        return TaskItem(str(number), datetime.now(UTC))

    def number(self, message: TaskItem) -> int:
        return int(message.task_id)


class TestTasks(IntakeContract):
    after_a_failure = "handled again"
    keeps_order = False

    def given(self) -> Tasks:
        return Tasks()
