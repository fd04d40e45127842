"""The last look, the hand-over and its count, on a real Postgres with a mail server that does as it is told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.utils import parsedate_to_datetime
from uuid import UUID, uuid4

import asyncpg
import pytest
import time_machine
from notifier_examples import FakeStale, appointment_event, letterhead, merged_event, patient_event

from chassis.deliveries import Accepted, Delivery, DeliveryWorker, Receipt
from chassis.errors import Permanent, StoreUnavailable, Transient, Withheld
from chassis.observe import Metrics
from chassis.settings import ClockSettings
from chassis.store import Store, StoreClock, Transaction
from chassis.testing import ClockAsTold, eventually
from chassis.testing.refusals import refused, refusing
from contracts import Message
from notifier.adapters.letters import LetterWriter
from notifier.adapters.sender import UNCONFIRMED, NotificationSender
from notifier.adapters.smtp import Unanswered
from notifier.inbound import handle, prefetch, subscription

pytestmark = pytest.mark.stack


class MailServerAsTold:
    """Keeps what it takes. ``answers`` are used up one a mail: an error to raise; "take" keeps the mail and raises."""

    def __init__(self) -> None:
        self.mails: list[tuple[bytes, str]] = []
        self.answers: list[Exception] = []

    async def hand_over(self, content: bytes, to: str) -> str:
        error = self.answers.pop(0) if self.answers else None
        if error is None or isinstance(error, Unanswered):
            self.mails.append((content, to))
        if error is not None:
            raise error
        return "250 2.0.0 kept"


class Meters(list[str]):
    def unanswered(self, template: str) -> None:
        self.append(f"unanswered {template}")

    def unconfirmed(self, template: str) -> None:
        self.append(f"unconfirmed {template}")

    def refused(self, template: str) -> None:
        self.append(f"refused {template}")


class Desk:
    """The sender with everything around it."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool
        self.server = MailServerAsTold()
        self.meters = Meters()
        self.clock = ClockAsTold(datetime.now(UTC))
        self.sender = NotificationSender(
            Store(pool, ""), self.server, LetterWriter(letterhead()), self.meters, clock=self.clock
        )

    async def hears(self, *messages: Message) -> None:
        async with self.pool.acquire() as connection, connection.transaction():
            tx = Transaction(connection)
            work = subscription(FakeStale()).open_work(tx)
            await prefetch(work, messages)
            for message in messages:
                await handle(work, message)
            await tx.flush()

    async def deliveries(self) -> list[Delivery]:
        rows = await self.pool.fetch("SELECT id, key, kind, payload, idempotency_key FROM deliveries ORDER BY sequence")
        return [
            Delivery(
                id=row["id"],
                destination="smtp",
                key=row["key"],
                kind=row["kind"],
                payload=row["payload"],
                idempotency_key=row["idempotency_key"],
                headers={},
                attempt=1,
                created_at=self.clock.now(),
                traceparent=None,
            )
            for row in rows
        ]

    async def sends(self, delivery: Delivery) -> Receipt:
        receipt = await self.sender.send(delivery)
        async with self.pool.acquire() as connection, connection.transaction():
            await self.sender.settled(Transaction(connection), [Accepted(delivery, receipt)])
        return receipt

    async def state(self, notification_id: UUID) -> tuple[str, str | None, int]:
        row = await self.pool.fetchrow(
            "SELECT state, reason, unanswered_handovers FROM notifications WHERE notification_id = $1", notification_id
        )
        return tuple(row)


@pytest.fixture
async def desk(pool: asyncpg.Pool) -> AsyncIterator[Desk]:
    return Desk(pool)


async def booked(desk: Desk) -> tuple[Message, Message, Delivery]:
    patient = patient_event()
    one = appointment_event(patient.aggregate_id)
    await desk.hears(patient, one)
    (delivery,) = await desk.deliveries()
    return patient, one, delivery


async def test_a_queued_message_is_written_sent_and_noted(desk: Desk) -> None:
    _, one, delivery = await booked(desk)
    assert delivery.payload == b""
    await desk.sends(delivery)
    ((content, to),) = desk.server.mails
    mail = message_from_bytes(content, policy=policy.default)
    assert to == "jane.roe@example.org"
    assert mail["Message-ID"] == f"<{delivery.id.hex}@northside.example>"
    assert mail["X-Suite-Appointment"] == str(one.aggregate_id)
    assert (await desk.state(delivery.id))[:2] == ("sent", None)


async def test_a_delivery_that_comes_again_sends_nothing(desk: Desk) -> None:
    _, _, delivery = await booked(desk)
    await desk.sends(delivery)
    await desk.sends(delivery)
    assert len(desk.server.mails) == 1


@pytest.mark.parametrize("is_on_its_way", [True, False])
async def test_a_change_that_the_patient_does_not_see_makes_no_second_mail(desk: Desk, is_on_its_way: bool) -> None:  # noqa: FBT001 a parameter of the test
    _, one, delivery = await booked(desk)
    changed = one.model_copy(update={"revision": 2, "message_id": uuid4()})
    if is_on_its_way:
        receipt = await desk.sender.send(delivery)
        await desk.hears(changed)
        async with desk.pool.acquire() as connection, connection.transaction():
            await desk.sender.settled(Transaction(connection), [Accepted(delivery, receipt)])
    else:
        await desk.hears(changed)
        await desk.sends(delivery)
    assert [each.id for each in await desk.deliveries()] == [delivery.id]
    assert len(desk.server.mails) == 1
    assert (await desk.state(delivery.id))[:2] == ("sent", None)


@pytest.mark.parametrize("change", ["unseen", "merge"])
async def test_a_mail_that_begins_while_a_change_is_being_written_is_sent(desk: Desk, change: str) -> None:
    patient, one, delivery = await booked(desk)
    changed = one.model_copy(update={"revision": 2, "message_id": uuid4()})
    if change == "merge":  # the survivor is first heard of in the same transaction
        changed = merged_event(uuid4(), patient.aggregate_id)
    async with desk.pool.acquire() as connection:
        async with connection.transaction():
            tx = Transaction(connection)
            work = subscription(FakeStale()).open_work(tx)
            await prefetch(work, [changed])
            await handle(work, changed)
            await tx.flush()
            sending = asyncio.create_task(desk.sends(delivery))

            async def waits() -> bool:
                locks = (
                    "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
                )
                return bool(await connection.fetchval(locks))

            await eventually(waits, timeout_seconds=60)
        receipt = await sending
    assert receipt.detail["outcome"] == "sent"
    assert len(desk.server.mails) == 1


@pytest.mark.parametrize("event", ["confirmed", "cancelled", "requested"])
async def test_what_became_untrue_in_the_queue_is_superseded_not_sent(desk: Desk, event: str) -> None:
    patient, one, delivery = await booked(desk)
    await desk.hears(appointment_event(patient.aggregate_id, event, revision=2, appointment_id=one.aggregate_id))
    receipt = await desk.sends(delivery)
    assert receipt.detail["outcome"] == "settled before"
    assert desk.server.mails == []
    assert (await desk.state(delivery.id))[0] == "superseded"


async def test_a_message_about_a_time_that_is_over_is_not_sent(desk: Desk) -> None:
    _, _, delivery = await booked(desk)
    desk.clock.at = datetime.now(UTC) + timedelta(days=8)
    await desk.sends(delivery)
    assert desk.server.mails == []
    assert (await desk.state(delivery.id))[:2] == ("superseded", "the appointment's time is over")


async def test_a_mail_whose_time_is_over_by_one_clock_alone_is_kept_and_goes_when_they_agree(desk: Desk) -> None:
    _, _, delivery = await booked(desk)
    desk.clock.at, desk.clock.apart = datetime.now(UTC) + timedelta(days=8), timedelta(days=8)
    for _ in range(3):
        with pytest.raises(Withheld, match="our clocks differ by 691200 s"):
            await desk.sends(delivery)
        assert await desk.state(delivery.id) == ("queued", None, 0)
    assert desk.server.mails == []
    desk.clock.at, desk.clock.apart = None, timedelta()
    await desk.sends(delivery)
    assert (await desk.state(delivery.id))[0] == "sent"


@pytest.mark.parametrize("off", [timedelta(days=8), timedelta(days=-8)])
async def test_a_machine_whose_clock_is_wrong_gives_no_mail_up(desk: Desk, off: timedelta) -> None:
    """On the real clocks: the machine's is set wrong, the store's is right."""
    _, _, delivery = await booked(desk)
    with time_machine.travel(datetime.now(UTC) + off, tick=True):
        clock = StoreClock(Store(desk.pool, ""), ClockSettings(), Metrics())
        await clock.start()
        sender = NotificationSender(
            Store(desk.pool, ""), desk.server, LetterWriter(letterhead()), desk.meters, clock=clock
        )
        if off > timedelta():
            with pytest.raises(Withheld):
                await sender.send(delivery)
        else:
            assert (await sender.send(delivery)).detail["outcome"] == "sent"
    if off > timedelta():
        assert await desk.state(delivery.id) == ("queued", None, 0)
        await clock.look()
        assert (await sender.send(delivery)).detail["outcome"] == "sent"
    ((content, _),) = desk.server.mails
    made_at = parsedate_to_datetime(str(message_from_bytes(content)["Date"]))
    assert abs(made_at - datetime.now(UTC)) < timedelta(minutes=5), "the mail bears the store's time"


async def test_clocks_that_differ_hold_no_mail_up_that_is_in_time_by_both(desk: Desk) -> None:
    _, _, delivery = await booked(desk)
    desk.clock.apart = timedelta(hours=1)
    await desk.sends(delivery)
    assert (await desk.state(delivery.id))[0] == "sent"


async def test_a_passing_failure_leaves_no_count_and_the_next_try_goes_through(desk: Desk) -> None:
    _, _, delivery = await booked(desk)
    desk.server.answers = [Transient("451 later")] * 5
    for _ in range(5):
        with pytest.raises(Transient):
            await desk.sends(delivery)
        assert await desk.state(delivery.id) == ("queued", None, 0)
    await desk.sends(delivery)
    assert (await desk.state(delivery.id))[0] == "sent"


async def test_without_an_answer_it_is_handed_over_at_most_twice(desk: Desk) -> None:
    _, _, delivery = await booked(desk)
    desk.server.answers = [Unanswered("cut"), Transient("451 later"), Unanswered("cut"), Unanswered("cut")]
    for _ in range(3):
        with pytest.raises(Transient):
            await desk.sends(delivery)
    await desk.sends(delivery)
    assert len(desk.server.mails) == 2
    assert (await desk.state(delivery.id))[:2] == ("sent", UNCONFIRMED)
    assert desk.meters == ["unanswered please-confirm", "unanswered please-confirm", "unconfirmed please-confirm"]
    assert {message_from_bytes(content)["Message-ID"] for content, _ in desk.server.mails} == {
        f"<{delivery.id.hex}@northside.example>"
    }


async def test_a_try_that_was_killed_in_the_middle_stays_counted(desk: Desk) -> None:
    _, _, delivery = await booked(desk)
    desk.server.answers = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        await desk.sends(delivery)
    assert await desk.state(delivery.id) == ("queued", None, 1)


async def test_a_refusal_for_good_is_undeliverable_with_the_servers_answer_and_can_be_retried(desk: Desk) -> None:
    _, _, delivery = await booked(desk)
    desk.server.answers = [Permanent("550 no such mailbox")]
    with pytest.raises(Permanent):
        await desk.sends(delivery)
    assert await desk.state(delivery.id) == ("undeliverable", "550 no such mailbox", 0)
    assert desk.meters == ["refused please-confirm"]
    await desk.sends(delivery)
    assert (await desk.state(delivery.id))[0] == "sent"


async def test_the_address_is_the_one_of_the_moment(desk: Desk) -> None:
    patient, _, delivery = await booked(desk)
    await desk.hears(patient_event(patient.aggregate_id, revision=2, email="new@example.org"))
    await desk.sends(delivery)
    assert desk.server.mails[0][1] == "new@example.org"


async def test_an_address_that_was_taken_away_meanwhile_makes_it_undeliverable(desk: Desk) -> None:
    patient, _, delivery = await booked(desk)
    await desk.hears(patient_event(patient.aggregate_id, revision=2, email=None))
    await desk.sends(delivery)
    assert desk.server.mails == []
    assert (await desk.state(delivery.id))[:2] == ("undeliverable", "no e-mail address")


async def test_a_mail_that_left_as_the_event_came_is_told_as_sent(desk: Desk) -> None:
    patient, one, delivery = await booked(desk)
    receipt = await desk.sender.send(delivery)
    await desk.hears(appointment_event(patient.aggregate_id, "confirmed", revision=2, appointment_id=one.aggregate_id))
    async with desk.pool.acquire() as connection, connection.transaction():
        await desk.sender.settled(Transaction(connection), [Accepted(delivery, receipt)])
    assert (await desk.state(delivery.id))[0] == "sent"


async def test_a_store_that_is_away_is_no_fault_of_the_message(desk: Desk) -> None:
    _, _, delivery = await booked(desk)
    await desk.pool.close()
    with pytest.raises(StoreUnavailable):
        await desk.sender.send(delivery)
    assert desk.server.mails == []


async def test_a_clear_refusal_whose_note_is_cancelled_does_not_count_as_unanswered(
    desk: Desk,
) -> None:
    _, _, delivery = await booked(desk)
    async with AsyncExitStack() as refusals:

        async def busy(_content: bytes, _to: str) -> str:
            refusal = refusing(Store(desk.pool, ""), "notifications", "57014", times=3, when="UPDATE")
            await refusals.enter_async_context(refusal)
            raise Transient("451: try again later")

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(desk.server, "hand_over", busy)
            with pytest.raises(Transient, match="451"):
                await desk.sender.send(delivery)
    assert await desk.state(delivery.id) == ("queued", None, 0)


async def test_a_mail_that_was_taken_is_not_sent_again_because_its_mark_is_cancelled(
    desk: Desk, migrated_database_url: str
) -> None:
    await booked(desk)
    store = Store(desk.pool, migrated_database_url)
    worker = DeliveryWorker(store, "smtp", desk.sender.send, settled=desk.sender.settled, lease_seconds=1)

    async def is_done() -> bool:
        return bool(await desk.pool.fetchval("SELECT state FROM deliveries") == "done")

    async with refusing(store, "notifications", "57014", times=6, when="UPDATE OF state"):
        running = asyncio.create_task(worker.run())
        await eventually(is_done, what="the delivery")
        await worker.stop()
        await running
        assert await refused(store) == 7
    assert len(desk.server.mails) == 1
