"""The blocked times of a batch; the claims follow from them."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

import asyncpg

from chassis.store import Transaction
from chassis.store.aggregates import Undoable, lists_of
from scheduler_sync.commands import Origin
from scheduler_sync.domain.claims import Block
from scheduler_sync.domain.slots import Slot
from scheduler_sync.store import statements


class BlockRepository:
    """Loaded for the batches that speak of blocks alone. Their claims are written with those of the links."""

    def __init__(self, transaction: Transaction, site: str) -> None:
        self._transaction = transaction
        self._site = site
        self._blocks: Undoable[UUID, Block] = Undoable()
        self._origins: dict[UUID, Origin] = {}

    async def load(self, block_ids: Iterable[UUID]) -> None:
        rows = await self._transaction.connection.fetch(statements.LOCK_BLOCKS, sorted(set(block_ids)))
        for row in rows:
            self._blocks.load(row["id"], _block(row))

    def by_id(self, block_id: UUID) -> Block | None:
        return self._blocks.now.get(block_id)

    def save(self, block: Block, origin: Origin) -> None:
        self._blocks.put(block.id, block)
        self._origins[block.id] = origin

    def changed(self) -> list[Block]:
        return list(self._blocks.changed())

    def origin_of(self, block_id: UUID) -> Origin | None:
        """The message that blocked the time; None for what is no block of this batch."""
        return self._origins.get(block_id)

    def mark(self) -> object:
        return self._blocks.mark()

    def rollback_to(self, mark: object) -> None:
        assert isinstance(mark, int)  # noqa: S101 - what mark() gave
        self._blocks.rollback_to(mark)

    async def flush(self, connection: asyncpg.Connection) -> None:
        del connection  # staged, to go out with all the rest
        rows = [_row(self._site, one) for one in self._blocks.take_changed()]
        if rows:
            self._transaction.write(statements.WRITE_BLOCKS, *lists_of(rows))


def _block(row: Any) -> Block:
    slot = None if row["starts"] is None else Slot(row["starts"], row["ends"], row["zone"])
    return Block(row["id"], row["facility"], row["resource"], slot, row["heard_at"])


def _row(site: str, block: Block) -> tuple[Any, ...]:
    slot = block.slot
    times = (None, None, None) if slot is None else (slot.start, slot.end, slot.zone)
    return (block.id, site, block.facility, block.resource, *times, block.heard_at)
