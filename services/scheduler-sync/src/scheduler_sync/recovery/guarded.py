"""A recovery between two looks of the store's guard: it begins only where it may, and ends with the store adopted."""

from collections.abc import Awaitable, Callable

from chassis.host import RecoveryRefused, StoreGuard
from chassis.host.store_guard import LONGEST_LOOK_SECONDS
from chassis.messaging import published
from chassis.settings import KafkaSettings
from chassis.store import Store, Transaction, identity
from scheduler_sync.recovery.recover import Recovery
from scheduler_sync.recovery.report import Report


async def recover(
    store: Store,
    kafka: KafkaSettings,
    guard: StoreGuard,
    prepare: Callable[[], Awaitable[Recovery]],
    *,
    actor: str,
    dry_run: bool,
) -> Report:
    """``prepare`` runs once the guard refuses every start. The caller keeps the service away from the store.

    Raises RecoveryRefused, KafkaError, StoreUnavailable, Transient, Permanent.
    """
    verdict = await guard.look(within_seconds=LONGEST_LOOK_SECONDS)
    if verdict.kind in {"elsewhere", "unsure"}:
        raise RecoveryRefused(verdict.why)
    epoch = 0 if (known := await identity.read(store.pool)) is None else known.epoch
    if not dry_run:
        epoch = (await guard.begin_recovery()).epoch
    recovery = await prepare()
    async with published.opened(kafka, guard.topics) as reader:
        report = await recovery.run(reader, epoch=epoch, dry_run=dry_run)
        if dry_run:
            return report
        was_behind = verdict.kind == "set back" or report.has_found_something
        after = await guard.adopt(compared_to=reader.following, new_epoch=was_behind)
    async with store.pool.acquire() as connection, connection.transaction():
        transaction = Transaction(connection)
        detail = {"epoch": after.epoch, **report.counts()}
        transaction.audit(actor=actor, action="store.recover", subject=str(after.incarnation), detail=detail)
        await transaction.flush()
    return report
