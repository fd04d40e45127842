"""Marks deliveries done, in sets: deliveries accepted during one transaction share the next."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from chassis.deliveries import statements
from chassis.deliveries.bugs import BugLimit
from chassis.deliveries.keeping import Keeping
from chassis.deliveries.model import Accepted, Settled
from chassis.store import Store, Transaction, is_passing

LARGEST_SET = 100


@dataclass(frozen=True, slots=True, eq=False)
class _ToMark:
    """A delivery that waits to be marked done; ``marked`` says whether the lease was still ours."""

    accepted: Accepted
    token: UUID
    marked: "asyncio.Future[bool]"


class Marking:
    """Runs one transaction at a time. ``underway`` returns the number of the worker's deliveries under way."""

    def __init__(
        self,
        store: Store,
        destination: str,
        settled: Settled | None,
        bugs: BugLimit,
        keeping: Keeping,
        *,
        gather_seconds: float,
        underway: Callable[[], int],
    ) -> None:
        self._store = store
        self._destination = destination
        self._settled = settled
        self._bugs = bugs
        self._keeping = keeping
        self._gather_seconds = gather_seconds
        self._underway = underway
        self._waiting: list[_ToMark] = []
        self._running: asyncio.Task[None] | None = None

    async def done(self, accepted: Accepted, token: UUID) -> bool:
        """Marks the delivery, together with others that wait.

        False when its lease was lost. Raises the errors of ``settled``.
        """
        marked: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(_ToMark(accepted, token, marked))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._mark_all())
        try:
            return await marked
        finally:
            del marked  # the traceback of the error holds this frame: a cycle

    async def _mark_all(self) -> None:
        """Marks the waiting deliveries, in sets, until none waits."""
        if self._gather_seconds and self._underway() > len(self._waiting):
            await asyncio.sleep(self._gather_seconds)
        while self._waiting:
            together, self._waiting = self._waiting[:LARGEST_SET], self._waiting[LARGEST_SET:]
            try:
                await self._mark(together)
            finally:
                for one in together:
                    if not one.marked.done():  # this task was cancelled
                        one.marked.cancel()

    async def _mark(self, together: Sequence[_ToMark]) -> None:
        """Marks them in one transaction; when it fails, one by one, so that each fails alone."""
        try:
            ours = await self._keeping.kept(lambda: self._marked([(one.accepted, one.token) for one in together]))
        except Exception as error:  # noqa: BLE001 (handed to the delivery that it concerns)
            if len(together) > 1 and not is_passing(error):
                for one in together:
                    await self._mark([one])
            else:
                for one in together:
                    if not one.marked.done():
                        one.marked.set_exception(error)
            del one, together  # the tracebacks of the errors hold this frame: a cycle
            return
        for one in together:
            if not one.marked.done():
                one.marked.set_result(one.accepted.delivery.id in ours)

    async def _marked(self, together: Sequence[tuple[Accepted, UUID]]) -> set[UUID]:
        """Returns the ids whose lease was still ours.

        A lost lease means that another worker has the delivery, and settles it.
        """
        ids = [accepted.delivery.id for accepted, _ in together]
        tokens = [token for _, token in together]
        receipts = [accepted.receipt.to_json() for accepted, _ in together]
        had_bugs = self._bugs.in_a_row > 0
        async with self._store.pool.acquire() as connection, connection.transaction():
            ours = {row["id"] for row in await connection.fetch(statements.DONE, ids, tokens, receipts)}
            if ours and self._settled is not None:
                transaction = Transaction(connection)
                await self._settled(transaction, [accepted for accepted, _ in together if accepted.delivery.id in ours])
                await transaction.flush()
            if ours and had_bugs:
                await connection.execute(statements.NO_BUGS, self._destination)
        if ours and had_bugs:
            self._bugs.told(0)
        return ours
