"""A reader of OmegaAI's Task queue in a process of its own, for a test to stop: ``… STORE_URL OMEGAAI_URL``."""

import asyncio
import sys
from pathlib import Path

import aiohttp

sys.path.insert(0, str(Path(__file__).parents[3] / "libs/omegaai/tests"))

from sync_harness import open_harness, task_queue

from chassis.observe import Metrics
from chassis.store import Exclusive
from omegaai.meters import TASK_READER_ACTIVE
from scheduler_sync.bootstrap import TASK_READER_LOCK


async def main(store_url: str, omegaai_url: str) -> None:
    harness = await open_harness(store_url)
    right = Exclusive(
        harness.store, lock=TASK_READER_LOCK, name="task-reader", metrics=Metrics(), gauge=TASK_READER_ACTIVE
    )
    async with aiohttp.ClientSession() as session:
        await task_queue(harness, session, omegaai_url, exclusive=right).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
