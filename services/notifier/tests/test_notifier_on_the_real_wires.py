"""The notifier as a process between a real Kafka, a real Postgres and a real mail server."""

import asyncio
import json
import os
import secrets
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer
from notifier_examples import appointment_event, patient_event

import contracts
from chassis.messaging import topics
from chassis.testing import eventually
from local_stack.fixtures import Stack, free_port
from mailsink.app import Sink

pytestmark = [pytest.mark.stack, pytest.mark.asyncio(loop_scope="module")]


class Notifier:
    """One database, one set of topics, one sink, and a process that can be killed and started again."""

    def __init__(self, sink: Sink, pool: asyncpg.Pool, environment: dict[str, str], folder: Path) -> None:
        self.sink = sink
        self.pool = pool
        self._environment = environment
        self._log = folder / "notifier.log"
        self.address = f"http://127.0.0.1:{environment['NOTIFIER_HTTP__PORT']}"
        self._process: asyncio.subprocess.Process | None = None
        self._prefix = environment["NOTIFIER_KAFKA__TOPIC_PREFIX"]
        self._producer: AIOKafkaProducer

    async def command(self, *words: str) -> str:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "notifier", *words,
            env=self._environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        return output.decode()

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "notifier", "run", env=self._environment, stdout=log, stderr=log
            )
        await eventually(self._ready)

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            await asyncio.wait_for(self._process.wait(), 60)
            self._process = None

    async def get(self, path: str) -> tuple[int, str]:
        def ask() -> tuple[int, str]:
            try:
                with urllib.request.urlopen(self.address + path, timeout=60) as answer:  # noqa: S310 (our own address)
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read().decode()
            except OSError:
                return 0, ""

        return await asyncio.to_thread(ask)

    async def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.returncode is None, self.log()
        return (await self.get("/readyz"))[0] == 200

    async def publish(self, *messages: contracts.Message) -> None:
        for message in messages:
            headers = [(name, value.encode()) for name, value in contracts.headers(message).items()]
            await self._producer.send_and_wait(
                self._prefix + message.type, message.to_bytes(), key=message.key(), headers=headers
            )

    async def mails(self, *appointments: contracts.Message) -> list[tuple[str, str]]:
        """Template and appointment of each mail about these appointments, in the order in which they came."""
        wanted = {str(one.aggregate_id) for one in appointments}
        rows = await self.sink.mails(limit=10_000)
        return [(row["template"], row["appointment"]) for row in rows if row["appointment"] in wanted]

    async def states(self) -> dict[tuple[str, str], str]:
        rows = await self.pool.fetch("SELECT template, appointment_id, state FROM notifications")
        return {(row[0], str(row[1])): row[2] for row in rows}

    async def handled(self, *messages: contracts.Message) -> None:
        """Waits until the consumer has claimed these messages for good."""
        ids = [message.message_id for message in messages]

        async def claimed() -> bool:
            count = "SELECT count(*) FROM inbox WHERE message_id = ANY($1)"
            return await self.pool.fetchval(count, ids) == len(ids)

        await eventually(claimed)

    async def settled(self, template: str, appointment_id: UUID, state: str) -> None:
        async def reached() -> bool:
            return (await self.states()).get((template, str(appointment_id))) == state

        await eventually(reached)

    def log(self) -> str:
        return self._log.read_text()

    async def logged(self, event: str) -> None:
        """Waits until the log names the event: the process writes it on its own time."""

        async def is_there() -> bool:
            return event in self.log()

        await eventually(is_there, what=event)

    @asynccontextmanager
    async def producing(self, bootstrap: str) -> AsyncIterator[None]:
        self._producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True)
        await self._producer.start()
        try:
            yield
        finally:
            await self._producer.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def process(
    stack: Stack, module_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Notifier]:
    """Started once; every test has patients of its own."""
    folder, prefix = tmp_path_factory.mktemp("notifier"), f"t{secrets.token_hex(4)}."
    await topics.ensure({"bootstrap_servers": stack.kafka_bootstrap}, prefix=prefix)
    async with Sink(folder / "sink") as sink:
        environment = {
            **os.environ,
            "NOTIFIER_STORE__URL": module_database_url,
            "NOTIFIER_KAFKA__BOOTSTRAP_SERVERS": stack.kafka_bootstrap,
            "NOTIFIER_KAFKA__TOPIC_PREFIX": prefix,
            "NOTIFIER_HTTP__PORT": str(free_port()),
            "NOTIFIER_SMTP__PORT": str(sink.smtp_port),
            "NOTIFIER_RETRY__FIRST_SECONDS": "0.1",
        }
        async with asyncpg.create_pool(module_database_url, min_size=1, max_size=2) as pool:
            one = Notifier(sink, pool, environment, folder)
            async with one.producing(stack.kafka_bootstrap):
                await one.start()
                try:
                    yield one
                finally:
                    await one.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def notifier(process: Notifier) -> AsyncIterator[Notifier]:
    yield process
    process.sink.misbehaviour.clear()


async def test_the_flow_each_mail_once_in_any_order_and_however_often_it_is_told(notifier: Notifier) -> None:
    patient, late = patient_event(), patient_event()
    booked = appointment_event(patient.aggregate_id)
    confirmed = appointment_event(patient.aggregate_id, "confirmed", revision=2, appointment_id=booked.aggregate_id)
    before_its_patient = appointment_event(late.aggregate_id)

    await notifier.publish(patient, booked, before_its_patient)
    await notifier.settled("please-confirm", booked.aggregate_id, "sent")
    await notifier.settled("please-confirm", before_its_patient.aggregate_id, "awaiting_recipient")
    await notifier.publish(confirmed, late)
    await notifier.settled("confirmed", booked.aggregate_id, "sent")
    await notifier.settled("please-confirm", before_its_patient.aggregate_id, "sent")

    # The same records again, the same facts under new message ids, and all of it after a kill.
    again = [each.model_copy(update={"message_id": contracts.uuid7()}) for each in (patient, booked, confirmed, late)]
    await notifier.publish(patient, booked, confirmed, late, before_its_patient, *again)
    await notifier.handled(*again)
    await notifier.stop(signal.SIGKILL)
    await notifier.publish(patient, booked, confirmed)
    last = patient_event()
    last_booked = appointment_event(last.aggregate_id)
    await notifier.start()
    await notifier.publish(last, last_booked)
    await notifier.settled("please-confirm", last_booked.aggregate_id, "sent")

    mails = await notifier.mails(booked, before_its_patient, last_booked)
    assert sorted(mails) == sorted(
        [
            ("please-confirm", str(booked.aggregate_id)),
            ("confirmed", str(booked.aggregate_id)),
            ("please-confirm", str(before_its_patient.aggregate_id)),
            ("please-confirm", str(last_booked.aggregate_id)),
        ]
    )
    status, page = await notifier.get(f"/messages?appointment={booked.aggregate_id}")
    assert status == 200
    assert str(booked.aggregate_id) in page
    status, metrics = await notifier.get("/metrics")
    assert status == 200
    assert 'stale_total{kind="appointment.scheduled"}' not in metrics  # counted in the process that was killed
    assert "notifier_oldest_open_age_seconds" in metrics
    for canary in ("Jane", "Roe", "jane.roe", "MRN-4711"):
        assert canary not in page
        assert canary not in metrics
        assert canary not in notifier.log()


async def test_a_mail_server_that_misbehaves(notifier: Notifier) -> None:
    patient = patient_event()
    await notifier.publish(patient)
    await notifier.handled(patient)

    async def booked_while(*faults: dict[str, object]) -> contracts.Message:
        for fault in faults:
            notifier.sink.misbehaviour.add(fault)
        one = appointment_event(patient.aggregate_id)
        await notifier.publish(one)
        return one

    later = await booked_while({"mode": "status", "status": 451}, {"mode": "status", "status": 421})
    await notifier.settled("please-confirm", later.aggregate_id, "sent")
    assert len(await notifier.mails(later)) == 1

    cut = await booked_while({"mode": "accept-then-cut"})
    await notifier.settled("please-confirm", cut.aggregate_id, "sent")
    rows = [row for row in await notifier.sink.mails() if row["appointment"] == str(cut.aggregate_id)]
    assert len(rows) == 2
    assert len({row["message_id"] for row in rows}) == 1
    await notifier.logged("notification.unanswered")

    always_cut = await booked_while({"mode": "accept-then-cut", "count": 2})
    await notifier.settled("please-confirm", always_cut.aggregate_id, "sent")
    assert len(await notifier.mails(always_cut)) == 2
    await notifier.logged("notification.unconfirmed")

    refused = await booked_while({"mode": "status", "status": 550})
    await notifier.settled("please-confirm", refused.aggregate_id, "undeliverable")
    assert await notifier.mails(refused) == []
    status, page = await notifier.get(f"/messages?appointment={refused.aggregate_id}")
    assert status == 200
    assert "550 5.1.1" in page
    row = await notifier.pool.fetchrow("SELECT id, state FROM deliveries WHERE key = $1", refused.aggregate_id)
    assert row["state"] == "dead"
    await notifier.command("deliveries", "retry", str(row["id"]))
    await notifier.settled("please-confirm", refused.aggregate_id, "sent")
    assert len(await notifier.mails(refused)) == 1


async def test_a_confirmation_overtakes_the_request_that_waits_for_the_mail_server(notifier: Notifier) -> None:
    patient = patient_event()
    booked = appointment_event(patient.aggregate_id)
    notifier.sink.misbehaviour.order("status", status=451, count=None)
    await notifier.publish(patient, booked)
    refusals = "SELECT attempts FROM deliveries WHERE key = $1"

    async def tried() -> bool:
        return (await notifier.pool.fetchval(refusals, booked.aggregate_id) or 0) >= 1

    await eventually(tried)
    confirmed = appointment_event(patient.aggregate_id, "confirmed", revision=2, appointment_id=booked.aggregate_id)
    await notifier.publish(confirmed)
    await notifier.settled("please-confirm", booked.aggregate_id, "superseded")
    notifier.sink.misbehaviour.clear()
    await notifier.settled("confirmed", booked.aggregate_id, "sent")
    assert await notifier.mails(booked) == [("confirmed", str(booked.aggregate_id))]


async def test_a_record_that_breaks_the_contract_stops_nobody_else(notifier: Notifier) -> None:
    key = str(uuid4()).encode()
    body = json.dumps({"type": "patient.registered", "version": 1, "data": {"name": {"family": "Canary"}}}).encode()
    await notifier._producer.send_and_wait(notifier._prefix + "patient.registered", body, key=key)
    patient = patient_event(email=None)
    booked = appointment_event(patient.aggregate_id)
    await notifier.publish(patient, booked)
    await notifier.settled("please-confirm", booked.aggregate_id, "undeliverable")

    async def kept() -> bool:
        return await notifier.pool.fetchval("SELECT count(*) FROM dead_letters WHERE kind = 'undecodable'") == 1

    await eventually(kept)
    assert "Canary" not in await notifier.command("dead-letters", "list")
    assert "Canary" not in notifier.log()
    assert await notifier.mails(booked) == []
