"""The floor of P3: the hops of scheduler-sync → Kafka → notifier, each in the simplest form.

`naive.py service URL BOOTSTRAP TOPIC PORT`: MLLP in; one transaction a message with four statements (inbox, state,
history, outbox); AA after its commit. A relay beside it sends row by row, waits for Kafka and marks the row. `naive.py
consumer URL BOOTSTRAP TOPIC`: record by record, JSON, a transaction of two statements (inbox, projection). It has no
validation, telemetry, batches, deliveries or operator's commands, but the same guarantee.
"""

import argparse
import asyncio
import json
import time
from uuid import uuid4

import asyncpg
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

TABLES = """
CREATE TABLE inbox (id text PRIMARY KEY);
CREATE TABLE state (id text PRIMARY KEY, revision int NOT NULL, body text NOT NULL);
CREATE TABLE history (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, aggregate_id text NOT NULL,
    raw text NOT NULL);
CREATE TABLE outbox (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key text NOT NULL, value bytea NOT NULL,
    sent_at timestamptz);
CREATE INDEX ix_outbox_unsent ON outbox (id) WHERE sent_at IS NULL;
"""
INBOX = "INSERT INTO inbox VALUES ($1) ON CONFLICT DO NOTHING RETURNING id"
STATE = "INSERT INTO state VALUES ($1, 1, $2) ON CONFLICT (id) DO UPDATE SET revision = state.revision + 1, body = $2"
HISTORY = "INSERT INTO history (aggregate_id, raw) VALUES ($1, $2)"
OUTBOX = "INSERT INTO outbox (key, value) VALUES ($1, $2)"
OFFSETS_EVERY_SECONDS = 1.0
POLL_SECONDS = 0.01


def fields_of(message: str) -> dict[str, list[str]]:
    return {line[:3]: line.split("|") for line in message.split("\r") if line}


async def serve(pool: asyncpg.Pool, port: int) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                message = (await reader.readuntil(b"\x1c\r"))[1:-2].decode()
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()
                return
            found = fields_of(message)
            control_id, placer = found["MSH"][9], found["SCH"][1]
            value = json.dumps({
                "message_id": str(uuid4()), "placer": placer, "patient": found["PID"][3], "name": found["PID"][5],
                "resource": found["AIG"][3], "start": found["AIS"][4], "status": found["SCH"][25],
            })  # fmt: skip
            async with pool.acquire() as connection, connection.transaction():
                if await connection.fetchval(INBOX, control_id) is not None:
                    await connection.execute(STATE, placer, value)
                    await connection.execute(HISTORY, placer, message)
                    await connection.execute(OUTBOX, placer, value.encode())
            ack = f"MSH|^~\\&|SUITE|NORTHSIDE|RAMSOFT|FAC01|20261125||ACK|1|P|2.3.1\rMSA|AA|{control_id}\r"
            writer.write(b"\x0b" + ack.encode() + b"\x1c\r")

    server = await asyncio.start_server(connected, "127.0.0.1", port, backlog=256)
    await server.serve_forever()


async def relay(pool: asyncpg.Pool, bootstrap: str, topic: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, acks="all")
    await producer.start()
    while True:
        rows = await pool.fetch("SELECT id, key, value FROM outbox WHERE sent_at IS NULL ORDER BY id LIMIT 100")
        for row in rows:
            await producer.send_and_wait(topic, row["value"], key=row["key"].encode())
            await pool.execute("UPDATE outbox SET sent_at = clock_timestamp() WHERE id = $1", row["id"])
        if not rows:
            await asyncio.sleep(POLL_SECONDS)


async def consume(pool: asyncpg.Pool, bootstrap: str, topic: str) -> None:
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, group_id=topic, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    committed_at = time.monotonic()
    async for record in consumer:
        message = json.loads(record.value)
        async with pool.acquire() as connection, connection.transaction():
            if await connection.fetchval(INBOX, message["message_id"]) is not None:
                await connection.execute(STATE, message["placer"], record.value.decode())
        if time.monotonic() - committed_at > OFFSETS_EVERY_SECONDS:
            await consumer.commit()
            committed_at = time.monotonic()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("service", "consumer"))
    for name in ("url", "bootstrap", "topic"):
        parser.add_argument(name)
    parser.add_argument("port", type=int, nargs="?")
    options = parser.parse_args()
    async with asyncpg.create_pool(options.url, min_size=1, max_size=8) as pool:
        if options.part == "service":
            await asyncio.gather(serve(pool, options.port), relay(pool, options.bootstrap, options.topic))
        else:
            await consume(pool, options.bootstrap, options.topic)


if __name__ == "__main__":
    uvloop.run(main())
