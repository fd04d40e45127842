"""P8: the notifier to a mail server. Drain rate against a bare client on one connection, and event → handed over."""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).parents[1]))

import aiosmtplib
import asyncpg
from aiokafka import AIOKafkaProducer

import contracts
from bench.harness import at_least, database, kafka_topics, main, pairs, row
from chassis.settings import HttpSettings, KafkaSettings, StoreSettings
from chassis.store import Store, migrations
from contracts.examples import EXAMPLES
from local_stack.ports import free_port
from notifier import bootstrap
from notifier.adapters.letters import Letter, LetterWriter
from notifier.domain.appointment import Appointment, Facility
from notifier.settings import NotifierSettings, SmtpSettings

MAILS = 400
EVENTS = 100
EVENT_PAUSE_SECONDS = 0.05
SINK = "127.0.0.1"
FILL = (
    "TRUNCATE deliveries, notifications, appointments, recipients",
    (
        "INSERT INTO recipients (patient_id, revision, given_name, email, language)"
        f" SELECT gen_random_uuid(), 1, 'Jane', 'jane@example.org', 'en' FROM generate_series(1, {MAILS})"
    ),
    (
        "INSERT INTO appointments (appointment_id, patient_id, revision, event, status, who_acts_next, start_at,"
        " end_at, facility_name, facility_time_zone, facility_phone, facility_address)"
        " SELECT gen_random_uuid(), patient_id, 1, 'appointment.scheduled', 'scheduled', 'patient',"
        " now() + interval '7 days', now() + interval '7 days 30 minutes', 'Northside Imaging', 'America/Toronto',"
        " '+1 416 555 0111', '12 King St W, Toronto, ON' FROM recipients"
    ),
    (
        "INSERT INTO notifications (notification_id, appointment_id, patient_id, template, revision, state)"
        " SELECT gen_random_uuid(), appointment_id, patient_id, 'please-confirm', 1, 'queued' FROM appointments"
    ),
    (
        "INSERT INTO deliveries (id, destination, key, kind, payload, idempotency_key)"
        " SELECT notification_id, 'smtp', appointment_id, template, '', notification_id::text FROM notifications"
    ),
)


@asynccontextmanager
async def mailsink() -> AsyncIterator[int]:
    """The sink as a separate process, so that it uses neither side's processor time."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="bench-sink-") as folder:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "mailsink", f"--smtp-port={port}", f"--http-port={free_port()}",
            f"--data-dir={folder}", stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        await process.stdout.readline()
        try:
            yield port
        finally:
            process.terminate()
            await process.wait()


def settings(url: str, kafka: str, prefix: str, port: int) -> NotifierSettings:
    return NotifierSettings(
        store=StoreSettings(url=url),
        kafka=KafkaSettings(bootstrap_servers=kafka, topic_prefix=prefix),
        http=HttpSettings(port=free_port()),
        smtp=SmtpSettings(port=port),
    )


async def sent_bare(given: NotifierSettings, port: int) -> float:
    """The floor: one prepared mail of the same kind, sent over one connection in a loop."""
    now = datetime.now(UTC)
    facility = Facility("Northside Imaging", "America/Toronto", "+1 416 555 0111", "12 King St W, Toronto, ON")
    appointment = Appointment(
        uuid4(), uuid4(), 1, "appointment.scheduled", "scheduled", "patient", now, now + timedelta(hours=1), facility
    )
    letter = Letter("please-confirm", "en", "jane@example.org", "Jane", appointment, "bench")
    content = LetterWriter(bootstrap.letterhead(given)).write(letter, now)
    async with aiosmtplib.SMTP(hostname=SINK, port=port, start_tls=False) as client:
        started = time.perf_counter()
        for _ in range(MAILS):
            await client.sendmail("clinic@example.org", ["jane@example.org"], content)
        return MAILS / (time.perf_counter() - started)


async def drained(given: NotifierSettings, store: Store) -> float:
    """Mails a second from the worker's start to the last settled mail, with all features on."""
    for statement in FILL:
        await store.pool.execute(statement)
    service = await bootstrap.build(given)
    worker = service.loops["to-smtp"]
    started = time.perf_counter()
    running = asyncio.create_task(worker.run())
    while await store.pool.fetchval("SELECT EXISTS (SELECT 1 FROM notifications WHERE state = 'queued')"):
        await asyncio.sleep(0.02)
    seconds = time.perf_counter() - started
    await worker.stop()
    await running
    for close in service.closers:
        await close()
    return MAILS / seconds


async def handed_over(given: NotifierSettings, store: Store) -> float:
    """Seconds from an event's publication to the mail server's 250, the 95th of 100."""
    patient: Any = EXAMPLES[contracts.PatientRegistered]
    booked: Any = EXAMPLES[contracts.AppointmentScheduled]
    start = datetime.now(UTC) + timedelta(days=7)
    service = await bootstrap.build(given)
    loops = [service.loops["consumer"], service.loops["to-smtp"]]
    running = [asyncio.create_task(loop.run()) for loop in loops]
    producer = AIOKafkaProducer(bootstrap_servers=given.kafka.bootstrap_servers, enable_idempotence=True)
    await producer.start()

    async def publish(message: contracts.Message) -> None:
        await producer.send_and_wait(given.kafka.topic_prefix + message.type, message.to_bytes(), key=message.key())

    known = contracts.new_message(
        contracts.PatientRegistered, aggregate_id=uuid4(), revision=1, producer="bench",
        data=patient.data, occurred_at=datetime.now(UTC),
    )  # fmt: skip
    await publish(known)
    while not await store.pool.fetchval("SELECT EXISTS (SELECT 1 FROM inbox WHERE message_id = $1)", known.message_id):
        await asyncio.sleep(0.02)
    data = booked.data.model_copy(
        update={"patient_id": known.aggregate_id, "start": start, "end": start + timedelta(minutes=30)}
    )
    published: dict[Any, datetime] = {}
    for _ in range(EVENTS):
        message = contracts.new_message(
            contracts.AppointmentScheduled, aggregate_id=uuid4(), revision=1, producer="bench",
            data=data, occurred_at=datetime.now(UTC),
        )  # fmt: skip
        published[message.aggregate_id] = datetime.now(UTC)
        await publish(message)
        await asyncio.sleep(EVENT_PAUSE_SECONDS)
    ids = list(published)
    waiting = "SELECT count(*) FROM notifications WHERE appointment_id = ANY($1) AND state = 'sent'"
    while await store.pool.fetchval(waiting, ids) < EVENTS:
        await asyncio.sleep(0.05)
    rows = await store.pool.fetch(
        "SELECT appointment_id, sent_at FROM notifications WHERE appointment_id = ANY($1)", ids
    )
    await producer.stop()
    for loop in loops:
        await loop.stop()
    await asyncio.gather(*running)
    for close in service.closers:
        await close()
    seconds = sorted((found["sent_at"] - published[found["appointment_id"]]).total_seconds() for found in rows)
    return seconds[int(len(seconds) * 0.95) - 1]


async def empty(url: str) -> None:
    """Empties the harness' database of the chassis' tables, which the notifier's own migration makes."""
    connection = await asyncpg.connect(url)
    await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    await connection.close()


async def measure() -> list[dict[str, Any]]:
    async with database() as url, kafka_topics() as (kafka, prefix), mailsink() as port:
        await empty(url)
        await migrations.run(bootstrap.MIGRATIONS, url)
        given = settings(url, kafka, prefix, port)
        store = await Store.open(given.store)
        drain = await pairs(lambda: drained(given, store), lambda: sent_bare(given, port))
        await store.pool.execute(FILL[0])
        latency = await handed_over(given, store)
        await store.close()
    return [
        at_least("P8", "notifier → mail server, mails/s", drain, 0.7),
        row("P8 p95", "event → handed over, s", (latency, None, None), "≤ 1 s", met=latency <= 1),
    ]


if __name__ == "__main__":
    main(measure)
