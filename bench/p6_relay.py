"""P6: the outbox relay: drain rate, time from a commit to Kafka's acknowledgement, and the cost of idleness."""

import asyncio
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).parents[1]))

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

import contracts
from bench.harness import database, kafka_topics, main, progress, row
from chassis.messaging import Relay
from chassis.observe import Metrics
from chassis.settings import KafkaSettings, StoreSettings
from chassis.store import Store, Transaction
from contracts.examples import EXAMPLES

DRAIN_ROWS = 20_000
LATENCY_COMMITS = 200
IDLE_SECONDS = 5.0
EXAMPLE: Any = EXAMPLES[contracts.AppointmentScheduled]
TOPIC = "appointment.scheduled"
FILL = """
INSERT INTO outbox (topic, aggregate_id, revision, message_id, value, headers)
SELECT $1, gen_random_uuid(), 1, gen_random_uuid(), $2, $3 FROM generate_series(1, $4)
"""


async def drained(store: Store, relay_kafka: KafkaSettings) -> float:
    """Rows a second from the relay's first send to the last mark."""
    await store.pool.execute(FILL, TOPIC, EXAMPLE.to_bytes(), json.dumps(contracts.headers(EXAMPLE)), DRAIN_ROWS)
    relay = Relay(store, relay_kafka, Metrics())
    running = asyncio.create_task(relay.run())
    while not relay.active:
        await asyncio.sleep(0.005)
    started = time.perf_counter()
    while await store.pool.fetchval("SELECT EXISTS (SELECT 1 FROM outbox WHERE sent_at IS NULL)"):
        await asyncio.sleep(0.02)
    seconds = time.perf_counter() - started
    await relay.stop()
    await running
    return DRAIN_ROWS / seconds


async def sent_bare(bootstrap: str, prefix: str) -> float:
    """The floor: the same bytes through the same producer, from memory, without marks."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, enable_idempotence=True, acks="all", max_batch_size=512 * 1024
    )
    await producer.start()
    value = EXAMPLE.to_bytes()
    headers = [(name, value.encode()) for name, value in contracts.headers(EXAMPLE).items()]
    started = time.perf_counter()
    for _ in range(DRAIN_ROWS // 1000):
        sends = [
            await producer.send(prefix + TOPIC, value=value, key=str(uuid4()).encode(), headers=headers)
            for _ in range(1000)
        ]
        await asyncio.wait(sends)
    seconds = time.perf_counter() - started
    await producer.stop()
    return DRAIN_ROWS / seconds


async def latencies(store: Store, kafka: KafkaSettings, bootstrap: str, prefix: str) -> tuple[list[float], float]:
    """Milliseconds from each commit until a consumer has the record; and the CPU share of an idle relay."""
    relay = Relay(store, kafka, Metrics())
    running = asyncio.create_task(relay.run())
    consumer = AIOKafkaConsumer(
        prefix + TOPIC, bootstrap_servers=bootstrap, auto_offset_reset="latest", fetch_max_wait_ms=5000
    )
    await consumer.start()
    await consumer.seek_to_end()
    while not relay.active:
        await asyncio.sleep(0.01)
    found = []
    for number in range(LATENCY_COMMITS + 5):
        message = contracts.new_message(
            contracts.AppointmentScheduled, aggregate_id=uuid4(), revision=1, data=EXAMPLE.data,
            producer="scheduler-sync", occurred_at=EXAMPLE.occurred_at,
        )  # fmt: skip
        async with store.pool.acquire() as connection, connection.transaction():
            transaction = Transaction(connection)
            transaction.publish(message)
            await transaction.flush()
        started = time.perf_counter()
        await consumer.getone()
        if number >= 5:
            found.append((time.perf_counter() - started) * 1000)
        await asyncio.sleep(0.02)
    await consumer.stop()
    before = time.process_time()
    await asyncio.sleep(IDLE_SECONDS)
    idle = (time.process_time() - before) / IDLE_SECONDS
    await relay.stop()
    await running
    return found, idle


async def rows() -> list[dict[str, Any]]:
    async with database() as url, kafka_topics() as (bootstrap, prefix):
        store = await Store.open(StoreSettings(url=url, pool_size=4))
        kafka = KafkaSettings(bootstrap_servers=bootstrap, topic_prefix=prefix)
        measured = []
        for _ in range(5):
            measured.append((await drained(store, kafka), await sent_bare(bootstrap, prefix)))
            progress(f"drained {measured[-1][0]:,.0f} rows/s beside {measured[-1][1]:,.0f}")
            await store.pool.execute("TRUNCATE outbox")
        drain, floor = statistics.median(a for a, _ in measured), statistics.median(b for _, b in measured)
        ratio = statistics.median(a / b for a, b in measured)
        found, idle = await latencies(store, kafka, bootstrap, prefix)
        await store.close()
        cuts = statistics.quantiles(found, n=100)
        return [
            row(
                "P6a",
                "relay drains, rows/s (floor: the bare producer)",
                (drain, floor, ratio),
                "≥ 20 000/s",
                met=drain >= 20_000,
            ),
            row("P6b", "commit → at a consumer, ms, p50, idle", (cuts[49], None, None), "≤ 10 ms", met=cuts[49] <= 10),
            row("P6c", "commit → at a consumer, ms, p99, idle", (cuts[98], None, None), "≤ 50 ms", met=cuts[98] <= 50),
            row("P6d", "relay with nothing to do, % of one CPU", (idle * 100, None, None), "< 1 %", met=idle < 0.01),
        ]


if __name__ == "__main__":
    assert "POSTGRES_ADMIN_URL" in os.environ, "run it by `make bench`"
    main(rows)
