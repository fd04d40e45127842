"""Keeps the claims complete and small: beside the messages, which claim for themselves."""

from typing import Final
from uuid import UUID

import structlog

from chassis.errors import StoreUnavailable
from chassis.loops import LoopBase
from chassis.store import Store, Transaction, asking
from scheduler_sync.domain.claims import CLAIMING
from scheduler_sync.store import statements
from scheduler_sync.store.columns import spellings
from scheduler_sync.store.work import OpenWork

INTERVAL_SECONDS: Final = 300.0
RETRY_SECONDS: Final = 5.0
_FIRST: Final = UUID(int=0)
_log = structlog.get_logger(__name__)


class ClaimsUpkeep(LoopBase):
    """Claims for appointments that have no claim, releases expired holds, and forgets what is over."""

    def __init__(self, store: Store, open_work: OpenWork, *, interval_seconds: float = INTERVAL_SECONDS) -> None:
        super().__init__()
        self._store = store
        self._open_work = open_work
        self._interval_seconds = interval_seconds

    async def run(self) -> None:
        while not self.stopping:
            self.beat()
            pause = self._interval_seconds
            try:
                await self.turn()
            except StoreUnavailable as error:
                _log.warning("claims-upkeep.failed", reason=error.reason)
                pause = RETRY_SECONDS
            await self.pause(pause)

    async def turn(self) -> int:
        """One pass. Returns the number of appointments that had no claim. Raises StoreUnavailable."""
        with asking():
            await self._store.pool.execute(statements.RELEASE_EXPIRED, None)
            await self._store.pool.execute(statements.FORGET_HOLDS)
            await self._store.pool.execute(statements.FORGET_CLAIMS)
            await self._store.pool.execute(statements.FORGET_BLOCKS)
            states = [one for state in CLAIMING for one in spellings(state.value)]
            last, count = _FIRST, 0
            while rows := await self._store.pool.fetch(statements.UNCLAIMED_LINKS, last, states):
                self.beat()
                last = rows[-1]["id"]
                count += len(rows)
                await self._claim([row["id"] for row in rows])
        return count

    async def _claim(self, link_ids: list[UUID]) -> None:
        async with self._store.pool.acquire() as connection, connection.transaction():
            transaction = Transaction(connection)
            work = self._open_work(transaction)
            await work.links.load_by_id(link_ids)
            for link_id in link_ids:
                link = work.links.by_id(link_id)
                if link is not None:
                    work.claims.claim_missing(link)
            await transaction.flush()
