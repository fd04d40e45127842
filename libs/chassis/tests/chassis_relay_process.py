"""What one process at a time does, in a process of its own, for a test to stop: ``… STORE_URL KAFKA TOPIC_PREFIX``.

With ``reads`` in place of Kafka it holds the right of another work, and does nothing but read long answers.
"""

import asyncio
import sys
from typing import Any

from chassis_bench_domain import kafka_settings

from chassis.loops import LoopBase
from chassis.messaging import Relay
from chassis.observe import Metrics, meters
from chassis.settings import StoreSettings
from chassis.store import Exclusive, Store

LOCK = 4711


async def read(connection: Any) -> None:
    while True:
        await connection.fetchval("SELECT repeat('x', 50000000)")


async def main(url: str, bootstrap: str, prefix: str) -> None:
    store = await Store.open(StoreSettings(url=url, pool_size=2))
    if bootstrap == "reads":
        right = Exclusive(store, lock=LOCK, name="reader", metrics=Metrics(), gauge=meters.OUTBOX_RELAY_ACTIVE)
        await right.run(LoopBase(), read)
    else:
        await Relay(store, kafka_settings(bootstrap, prefix), Metrics()).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
