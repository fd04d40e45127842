"""Recovers a store that was set back or is gone: reads the topics again, and tells no patient twice.

The group's committed offsets say what the former store had handled. Events up to there go through the usual handlers,
but their messages are recorded as told before. Later events are left to the next start.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from chassis.errors import reason_of
from chassis.host import RecoveryRefused, StoreGuard
from chassis.host.store_guard import LONGEST_LOOK_SECONDS
from chassis.messaging import (
    BatchExecutor,
    Duplicate,
    Failed,
    InboxIntake,
    Item,
    Published,
    Record,
    TopicReader,
    published,
)
from chassis.observe import Metrics
from chassis.settings import KafkaSettings
from chassis.store import Offsets, Store, Transaction, identity
from chassis.store.lazily import lazily
from chassis.store.rows import audit, is_any, sql
from chassis.store.rows import tables as chassis_tables
from notifier.adapters.sender import DESTINATION
from notifier.domain.notification import Notification
from notifier.inbound import CONSUMER, Work, subscription
from notifier.metrics import NotifierMetrics
from notifier.ports import Notifications

if TYPE_CHECKING:
    from notifier.store import tables
else:
    (tables,) = lazily("notifier.store.tables")

TOLD_BEFORE: Final = "rebuilt by a recovery: told before the store was set back, as far as anybody knows"
AT_ONCE: Final = 200
_NO_LIMIT: Final = 1_000_000


@dataclass(slots=True)
class Report:
    """Filled during the recovery. ``not_told``: notifications of which nobody knows whether they were sent."""

    was_behind: bool = False
    last_moment: datetime | None = None
    records: int = 0
    rebuilt: int = 0
    known: int = 0
    failed: list[str] = field(default_factory=list)
    silenced: int = 0
    let_go: list[UUID] = field(default_factory=list)

    def lines(self) -> list[str]:
        """In sentences; opaque ids only."""
        until = "nothing" if self.last_moment is None else f"{self.last_moment:%Y-%m-%d %H:%M:%S} UTC"
        return [
            f"the store held                 {until}",
            f"records read from the topics   {self.records}: {self.rebuilt} handled, {self.known} known",
            f"messages not sent again        {self.silenced}: the former store had handled their events",
            f"messages that waited, let go   {len(self.let_go)}: they were most likely sent meanwhile",
            *(f"  let go: {one}" for one in self.let_go),
            *(f"  open: {one}" for one in self.failed),
        ]


@dataclass(frozen=True)
class Silenced:
    """Replaces the deliveries: a message that would be sent is recorded as told before."""

    notifications: Notifications
    report: Report

    def enqueue(self, notification: Notification) -> None:
        self.report.silenced += 1
        self.notifications.put(notification.move("superseded", TOLD_BEFORE))


async def recover(
    store: Store,
    kafka: KafkaSettings,
    guard: StoreGuard,
    *,
    actor: str,
    dry_run: bool,
    tell: Callable[[str], None],
) -> Report:
    """Raises RecoveryRefused, KafkaError, StoreUnavailable.

    The caller makes sure that no notifier works on the store.
    """
    report = Report()
    verdict = await guard.look(within_seconds=LONGEST_LOOK_SECONDS)
    if verdict.kind in {"elsewhere", "unsure"}:
        raise RecoveryRefused(verdict.why)
    is_empty = await identity.read(store.pool) is None
    report.last_moment = await _last_moment(store)
    if verdict.kind == "fits" and not is_empty and report.last_moment is not None:
        return report
    report.was_behind = True
    async with published.opened(kafka, guard.topics) as reader:
        stops = await _handled_before(kafka, reader)
        if dry_run:
            report.records = sum(max(0, stop - reader.first[spot]) for spot, stop in stops.items())
            return report
        await guard.begin_recovery()
        report.let_go = await _let_go(store)
        await _replay(store, reader, stops, report, tell)
        after = await guard.adopt(compared_to=stops, new_epoch=True)
    detail = {
        "epoch": after.epoch,
        "records": report.records,
        "rebuilt": report.rebuilt,
        "open": len(report.failed),
    }
    async with store.session() as session:
        await audit(session, actor=actor, action="store.recover", subject=str(after.incarnation), detail=detail)
        await session.commit()
    return report


async def _last_moment(store: Store) -> datetime | None:
    """The time of the store's last event."""
    async with store.session() as session:
        inbox = chassis_tables.Inbox
        newest = sql.select(sql.func.max(inbox.received_at)).where(inbox.consumer == CONSUMER)
        found: datetime | None = (await session.exec(newest)).one()
    return found


async def _let_go(store: Store) -> list[UUID]:
    """Drops the waiting messages. Returns the notifications that were queued for them."""
    async with store.session() as session:
        deliveries, notifications = chassis_tables.Deliveries, tables.NotificationRow
        waiting = sql.update(deliveries).where(deliveries.destination == DESTINATION, deliveries.state == "pending")
        dropped = {
            "state": "dropped",
            "done_at": sql.func.clock_timestamp(),
            "lease_token": None,
            "lease_until": None,
            "last_error": TOLD_BEFORE,
        }
        gone = list((await session.exec(waiting.values(dropped).returning(deliveries.id))).scalars())
        is_queued = sql.and_(is_any(notifications.notification_id, gone), notifications.state == "queued")
        superseded = {"state": "superseded", "reason": TOLD_BEFORE, "changed_at": sql.func.now()}
        update = sql.update(notifications).where(is_queued).values(superseded)
        found = list((await session.exec(update.returning(notifications.notification_id))).scalars())
        await session.commit()
    return found


async def _handled_before(kafka: KafkaSettings, reader: TopicReader) -> Offsets:
    """The offset up to which the former store had handled each partition; without a group, the present end."""
    offsets = await published.committed(kafka, CONSUMER)
    if not offsets:
        return reader.following
    return {spot: min(offsets.get(spot, 0), end) for spot, end in reader.following.items()}


async def _replay(
    store: Store, reader: TopicReader, stops: Offsets, report: Report, tell: Callable[[str], None]
) -> None:
    usual = subscription(NotifierMetrics(Metrics()))

    def open_work(transaction: Transaction) -> Work:
        work = usual.open_work(transaction)
        return Work(
            work.tx, work.recipients, work.appointments, work.notifications,
            Silenced(work.notifications, report), work.stale, work.gaps,
        )  # fmt: skip

    async def prefetch(work: Work, items: Any) -> None:
        await usual.prefetch(work, [message for item in items if (message := item.readable) is not None])

    async def handle(work: Work, item: Item) -> None:
        message = item.readable
        assert message is not None  # noqa: S101 - unreadable records are left out
        await usual.handle(work, message)

    # Parked lines are left to the unparker, to which records handled here are duplicates.
    intake = InboxIntake(CONSUMER, dead_letter_limit=_NO_LIMIT, parks=False)
    executor = BatchExecutor(store, intake=intake, open_work=open_work, prefetch=prefetch, handle=handle)
    async for lot in reader.read(reader.first, stops):
        report.records += len(lot)
        items = [Item(_record(one), one.message) for one in lot if one.message is not None]
        for start in range(0, len(items), AT_ONCE):
            some = items[start : start + AT_ONCE]
            for item, outcome in zip(some, await executor.run(some), strict=True):
                if isinstance(outcome, Failed):
                    record = item.record
                    why = reason_of(outcome.error) if isinstance(outcome.error, Exception) else "cut short"
                    report.failed.append(f"{record.topic} {record.partition}@{record.offset}: {why}")
                elif isinstance(outcome, Duplicate):
                    report.known += 1
                else:
                    report.rebuilt += 1
        tell(f"{report.records} records read, {report.rebuilt} handled")


def _record(one: Published) -> Record:
    return Record(one.topic, one.partition, one.offset, None, None, ())
