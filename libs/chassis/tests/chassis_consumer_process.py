"""A consumer in a process of its own, for a test to kill: ``… STORE_URL KAFKA TOPIC_PREFIX``."""

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

from chassis_bench_domain import Behaviour, Work, kafka_settings

import contracts
from chassis.messaging import Consumer, Subscription
from chassis.observe import Metrics
from chassis.settings import StoreSettings
from chassis.store import Store

SESSION_SECONDS = 2.0  # the least that the tests' broker allows: kills and rebalances come close together


class Busy(Behaviour):
    """Nearly always in the middle of a batch: before its commit, or (below) between commit and offsets."""

    async def prefetch(self, work: Work, messages: Sequence[contracts.Message]) -> None:
        await super().prefetch(work, messages)
        await asyncio.sleep(0.05)


class Lingering:
    """Around the executor: a while passes after each commit."""

    def __init__(self, executor: Any) -> None:
        self._executor = executor

    async def run(self, items: Sequence[Any]) -> Any:
        outcomes = await self._executor.run(items)
        await asyncio.sleep(0.05)
        return outcomes


async def main(url: str, bootstrap: str, prefix: str) -> None:
    behaviour = Busy()
    subscription = Subscription(
        "test", ("appointment.scheduled",), behaviour.open_work, behaviour.prefetch, behaviour.handle
    )
    kafka = kafka_settings(bootstrap, prefix).model_copy(update={"session_timeout_seconds": SESSION_SECONDS})
    store = await Store.open(StoreSettings(url=url, pool_size=3))
    consumer = Consumer(store, kafka, subscription, metrics=Metrics())
    consumer._executor = Lingering(consumer._executor)
    await consumer.run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
