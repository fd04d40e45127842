"""Sends one queued notification: the last check, the mail, and the record of its outcome.

Each hand-over is counted in the store before the mail server receives the mail; a clear answer takes the count back. A
try that stays counted may have arrived, also when the process was killed during it. After two such tries the mail is
not tried again: at most two copies, and the history says so.
"""

import asyncio
import itertools
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol, cast
from uuid import UUID

import asyncpg
import structlog

from chassis import failpoints
from chassis.backoff import pause_seconds
from chassis.clock import Span
from chassis.deliveries import Accepted, Delivery, Receipt
from chassis.errors import Permanent, StoreUnavailable, Transient, Withheld
from chassis.store import Store, Transaction, asking
from notifier.adapters.letters import Letter, LetterWriter
from notifier.adapters.smtp import Unanswered
from notifier.domain import planning
from notifier.domain.appointment import Appointment
from notifier.domain.notification import Notification
from notifier.domain.recipient import Recipient
from notifier.failpoints import (
    SMTP_AFTER_COUNT_BEFORE_HAND_OVER,
    SMTP_AFTER_HAND_OVER_BEFORE_RECEIPT,
    SMTP_AFTER_REFUSAL_BEFORE_NOTE,
)
from notifier.ports import MailMeters
from notifier.store import statements
from notifier.store.repositories import appointment_of_row, notification_of_row

DESTINATION = "smtp"
LARGEST_NUMBER_OF_HANDOVERS = 2
TRIES_TO_NOTE = 6
UNCONFIRMED = "the mail server did not answer; the mail may have arrived once, twice or not at all"

UNCERTAIN = "by one the appointment's time is over, by the other it is not"
TWICE = "an earlier try had no answer; the mail may have arrived twice"


log = structlog.get_logger(__name__)


class Gateway(Protocol):
    """The mail server, or a fake of it."""

    async def hand_over(self, content: bytes, to: str) -> str: ...


class Times(Protocol):
    """Reports the time, and the earliest and latest time that it may be."""

    def now(self) -> datetime: ...
    def span(self) -> Span: ...


class NotificationSender:
    """``send`` and ``settled`` are called by the delivery worker of the destination ``smtp``."""

    def __init__(
        self,
        store: Store,
        gateway: Gateway,
        writer: LetterWriter,
        meters: MailMeters,
        *,
        clock: Times,
    ) -> None:
        self._store = store
        self._gateway = gateway
        self._writer = writer
        self._meters = meters
        self._clock = clock

    async def send(self, delivery: Delivery) -> Receipt:
        """Idempotent by the notification's state, and at the mail server by the Message-ID."""
        span = self._clock.span()
        if span.width:
            await self._check_is_certain(delivery.id, span)
        row = await self._begin(delivery.id)
        if row is None:
            return Receipt({"outcome": "settled before"})
        notification, handovers, recipient, appointment = _read(row)
        if reason := planning.why_not_now(notification, appointment, span.earliest):
            return Receipt({"outcome": "superseded", "reason": reason})
        if handovers > LARGEST_NUMBER_OF_HANDOVERS:
            log.warning("notification.unconfirmed", notification_id=str(delivery.id), handovers=handovers - 1)
            self._meters.unconfirmed(notification.template)
            return Receipt({"outcome": "sent", "reason": UNCONFIRMED})
        if handovers > 1:
            log.warning("notification.may-arrive-twice", notification_id=str(delivery.id), handovers=handovers)
        to = recipient.mail_address
        if to is None:
            return Receipt({"outcome": "undeliverable", "reason": recipient.why_no_mail})
        content = self._writer.write(
            Letter(
                template=notification.template,
                language=recipient.language,
                to=to,
                given_name=recipient.given_name,
                appointment=appointment,
                idempotency_key=delivery.idempotency_key,
            ),
            self._clock.now(),
        )
        failpoints.hit(SMTP_AFTER_COUNT_BEFORE_HAND_OVER)
        try:
            reply = await self._gateway.hand_over(content, to)
        except Unanswered:
            log.warning("notification.unanswered", notification_id=str(delivery.id), handovers=handovers)
            self._meters.unanswered(notification.template)
            raise
        except Transient:
            failpoints.hit(SMTP_AFTER_REFUSAL_BEFORE_NOTE)
            await self._note(statements.TAKE_BACK_HANDOVER, delivery.id)
            raise
        except Permanent as error:
            failpoints.hit(SMTP_AFTER_REFUSAL_BEFORE_NOTE)
            await self._note(statements.REFUSE, delivery.id, error.reason)
            self._meters.refused(notification.template)
            raise
        failpoints.hit(SMTP_AFTER_HAND_OVER_BEFORE_RECEIPT)
        doubt = {"reason": TWICE} if handovers > 1 else {}
        return Receipt({"outcome": "sent", "reply": reply, **doubt})

    async def _check_is_certain(self, notification_id: UUID, span: Span) -> None:
        """Raises ``Withheld`` when our clocks disagree on whether the mail may go.

        Called before the hand-over is counted: a mail that is withheld for long must not look like one that may have
        arrived.
        """
        row = await self._fetch(statements.TO_SEND, notification_id)
        if row is None:
            return
        notification, _, _, appointment = _read(row)
        first, last = (planning.why_not_now(notification, appointment, at) for at in (span.earliest, span.latest))
        if first is None and last is not None:
            reason = f"our clocks differ by {span.width.total_seconds():.0f} s: {UNCERTAIN}"
            log.warning("notification.withheld", notification_id=str(notification_id), reason=reason)
            raise Withheld(reason)

    async def _begin(self, notification_id: UUID) -> asyncpg.Record | None:
        """Counts the hand-over and gives what is to be sent; None where the notification is settled.

        The statement may have waited for a merge that put another recipient in. It does not see that recipient, so a
        second statement looks.
        """
        row = await self._fetch(statements.BEGIN_HANDOVER, notification_id)
        return row if row is not None else await self._fetch(statements.TO_SEND, notification_id)

    async def _fetch(self, statement: str, notification_id: UUID) -> asyncpg.Record | None:
        with asking():
            return await self._store.pool.fetchrow(statement, notification_id)

    async def _note(self, statement: str, *arguments: object) -> None:
        """Records the outcome of a try.

        If the store is away for long, the try stays counted, which errs on the safe side: it may have arrived.
        """
        for number in itertools.count(1):
            try:
                with asking():
                    await self._store.pool.execute(statement, *arguments)
            except StoreUnavailable:
                if number == TRIES_TO_NOTE:
                    raise
                await asyncio.sleep(pause_seconds(number, first_seconds=0.05, longest_seconds=1))
            else:
                return

    async def settled(self, tx: Transaction, all_accepted: Sequence[Accepted]) -> None:
        """Runs in the transaction that marks the deliveries, so the states of notification and delivery agree."""
        connection = cast("asyncpg.Connection", tx.connection)
        outcomes = [
            (delivery.id, receipt.detail["outcome"], receipt.detail.get("reason"))
            for delivery, receipt in all_accepted
            if receipt.detail["outcome"] in {"sent", "superseded", "undeliverable"}
        ]
        if outcomes:
            # In the order in which a batch writes them, so that the two never deadlock.
            await connection.executemany(statements.SETTLE, sorted(outcomes, key=lambda one: one[0]))


def _read(row: asyncpg.Record) -> tuple[Notification, int, Recipient, Appointment]:
    values = tuple(row)
    return (
        notification_of_row(values[:7]),
        cast("int", values[7]),
        Recipient(*values[8:15]),
        appointment_of_row(values[15:]),
    )
