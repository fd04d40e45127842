"""Many messages, one transaction: the executor behind the Kafka consumer and the HL7 listener.

claim → load what the batch touches → each handler between two in-memory savepoints → write set-wise → commit. A bad
message is rolled back in memory and costs the others nothing. When the *write* fails on data (a constraint), the batch
runs again message by message, each under a real savepoint, so that the others still commit (ADR 0002). A batch that
lost against another transaction runs again as a whole. A batch that the store does not take now is given back.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from chassis import failpoints
from chassis.backoff import pause_seconds
from chassis.errors import StoreUnavailable, Transient
from chassis.store import Store, Transaction, asking, is_passing, meaning_of
from chassis.store.store import ERRORS

if TYPE_CHECKING:
    import asyncpg


class StopTheBatch(Exception):  # noqa: N818 (an order)
    """Raised by an intake that takes no more.

    The transaction is rolled back, and ``run`` raises the error to its caller.
    """


MOST_COLLISIONS = 5
"""How many times in a row a batch may lose against other transactions. Then it waits as for a store that is away."""
COLLISION_PAUSE_SECONDS = 0.05

M = TypeVar("M")
Take = Callable[["asyncpg.Connection"], Awaitable[Sequence[M]]]
"""Locks and returns what the batch works on, inside its transaction. Called again when the batch runs again."""
M_contra = TypeVar("M_contra", contravariant=True)
W = TypeVar("W")
R = TypeVar("R")


@dataclass(frozen=True)
class Done(Generic[R]):
    """The message's effect is committed; ``result`` is the return value of its handler."""

    result: R


@dataclass(frozen=True)
class Duplicate:
    """The message was claimed before: it has no second effect."""


@dataclass(frozen=True)
class Held:
    """An earlier message of the same key failed or waits: this message must not pass it."""


@dataclass(frozen=True)
class Failed:
    """The handler raised. Nothing of the message was kept, unless the intake keeps its own failures."""

    error: BaseException


Outcome = Done[R] | Duplicate | Held | Failed


class Intake(Protocol[M_contra]):
    """Claims the messages of a batch in the store, and keeps those that fail."""

    async def claim(
        self, connection: "asyncpg.Connection", items: Sequence[M_contra]
    ) -> Sequence[Duplicate | Held | None]:
        """Claims each message. None means that the message is new and ours. Called inside the batch's transaction."""

    async def settle(
        self, transaction: Transaction, items: Sequence[M_contra], outcomes: Sequence[Outcome[Any]]
    ) -> None:
        """Releases the claims of failed messages, or keeps the messages with their reason.

        Called when all were handled.

        A statement that it stages (``Transaction.write``) goes out with the flush, without a round trip of its own.
        """

    def key(self, item: M_contra) -> Hashable | None:
        """The key that orders messages: after a passing failure the rest of the key is held."""

    def traced(self, item: M_contra) -> AbstractContextManager[None]:
        """The span in which the message is handled; messages that its handler stages continue its trace."""


class BatchExecutor(Generic[M, W, R]):
    """Runs batches for one intake and one set of handlers."""

    def __init__(
        self,
        store: Store,
        *,
        intake: Intake[M],
        open_work: Callable[[Transaction], W],
        prefetch: Callable[[W, Sequence[M]], Awaitable[None]],
        handle: Callable[[W, M], Awaitable[R]],
    ) -> None:
        self._store = store
        self._intake = intake
        self._open_work = open_work
        self._prefetch = prefetch
        self._handle = handle

    async def run(self, items: Sequence[M]) -> list[Outcome[R]]:
        """One outcome per item, in order. Every Done, and what the intake keeps, is committed on return.

        Raises ``StoreUnavailable`` when the store did not take the batch: nothing of it is known to be kept.
        """

        async def take(_connection: "asyncpg.Connection") -> Sequence[M]:
            return items

        _, outcomes = await self.run_taken(take)
        return outcomes

    async def run_taken(self, take: Take[M]) -> tuple[Sequence[M], list[Outcome[R]]]:
        """As ``run``, for items that ``take`` finds in the batch's own transaction.

        Returns them with their outcomes.
        """
        collisions = 0
        while True:
            try:
                with asking():
                    return await self._run_once(take)
            except StoreUnavailable as error:
                collisions += 1
                if error.__cause__ is None or meaning_of(error.__cause__) != "again" or collisions == MOST_COLLISIONS:
                    raise
            await asyncio.sleep(pause_seconds(collisions, first_seconds=COLLISION_PAUSE_SECONDS))

    async def _run_once(self, take: Take[M]) -> tuple[Sequence[M], list[Outcome[R]]]:
        async with self._store.pool.acquire() as connection:
            try:
                return await self._together(connection, take)
            except Exception as error:
                # The store refused data, or loading or writing has a bug: find the message that causes it.
                if is_passing(error) or isinstance(error, StopTheBatch):
                    raise
                return await self._one_by_one(connection, take)

    async def _together(self, connection: "asyncpg.Connection", take: Take[M]) -> tuple[Sequence[M], list[Outcome[R]]]:
        async with connection.transaction():
            items = await take(connection)
            if not items:
                return items, []
            transaction = Transaction(connection)
            work = self._open_work(transaction)
            outcomes = await self._handle_all(connection, transaction, work, items)
            await self._intake.settle(transaction, items, outcomes)
            await transaction.flush()
            failpoints.hit(failpoints.BATCH_BEFORE_COMMIT)
        failpoints.hit(failpoints.BATCH_AFTER_COMMIT)
        return items, outcomes

    async def _handle_all(
        self,
        connection: "asyncpg.Connection",
        transaction: Transaction,
        work: W,
        items: Sequence[M],
        keys_held: Collection[Hashable] = (),
    ) -> list[Outcome[R]]:
        claims = await self._intake.claim(connection, items)
        mine = [item for item, claim in zip(items, claims, strict=True) if claim is None]
        if mine:
            await self._prefetch(work, mine)
        held = set(keys_held)
        outcomes: list[Outcome[R]] = []
        for item, claim in zip(items, claims, strict=True):
            if claim is not None:
                outcomes.append(claim)
                continue
            key = self._intake.key(item)
            if held and key is not None and key in held:
                outcomes.append(Held())
                continue
            outcome = await self._handle_one(transaction, work, item)
            if isinstance(outcome, Failed) and isinstance(outcome.error, Transient) and key is not None:
                held.add(key)
            outcomes.append(outcome)
        return outcomes

    async def _handle_one(self, transaction: Transaction, work: W, item: M) -> Outcome[R]:
        mark = transaction.mark()
        try:
            with self._intake.traced(item):
                return Done(await self._handle(work, item))
        except ERRORS:
            raise  # the transaction is lost with the connection, so the whole batch is lost
        except Exception as error:  # noqa: BLE001 (kept as the message's outcome: a reason, or a bug that is dead-lettered)
            transaction.rollback_to(mark)
            return Failed(error)

    async def _one_by_one(
        self, connection: "asyncpg.Connection", take: Take[M]
    ) -> tuple[Sequence[M], list[Outcome[R]]]:
        """The slow way, message by message, after the batch's common write failed on data."""
        outcomes: list[Outcome[R]] = []
        held: set[Hashable] = set()
        async with connection.transaction():
            items = await take(connection)
            for item in items:
                outcome = await self.run_alone(connection, item, keys_held=held)
                key = self._intake.key(item)
                if isinstance(outcome, Failed) and isinstance(outcome.error, Transient) and key is not None:
                    held.add(key)
                outcomes.append(outcome)
            failpoints.hit(failpoints.BATCH_BEFORE_COMMIT)
        failpoints.hit(failpoints.BATCH_AFTER_COMMIT)
        return items, outcomes

    async def run_alone(
        self, connection: "asyncpg.Connection", item: M, *, keys_held: Collection[Hashable] = ()
    ) -> Outcome[R]:
        """Runs one message under a savepoint of the transaction on ``connection``. Held if its key is held."""
        try:
            async with connection.transaction():
                transaction = Transaction(connection)
                work = self._open_work(transaction)
                (outcome,) = await self._handle_all(connection, transaction, work, [item], keys_held)
                await self._intake.settle(transaction, [item], [outcome])
                await transaction.flush()
                return outcome
        except Exception as error:
            if is_passing(error) or isinstance(error, StopTheBatch):
                raise  # the whole transaction goes: its reads of the store may be the reason that it lost
            if meaning_of(error) == "taken":
                failed = Failed(Transient(f"another transaction was first: {type(error).__name__}"))
            else:
                failed = Failed(error)
        async with connection.transaction():
            # The claim was rolled back with the rest; an intake that keeps failures needs the claim again.
            (claim,) = await self._intake.claim(connection, [item])
            if isinstance(claim, Duplicate):
                return claim  # another process had waited for our claim, and has handled the message meanwhile
            transaction = Transaction(connection)
            await self._intake.settle(transaction, [item], [failed])
            await transaction.flush()
        return failed
