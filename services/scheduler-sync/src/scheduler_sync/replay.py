"""The operator's hand on parked Tasks: read what they spoke of again."""

from collections.abc import Sequence
from typing import Final

import contracts
from chassis.errors import Transient, reason_of
from chassis.messaging import PROCESSED, Replayed, ReplayOutcome
from chassis.store import Store, Transaction
from scheduler_sync.adapters.omegaai.tasks import TaskQueue
from scheduler_sync.inbound import TaskInbound

_NOT_PARKED: Final = Replayed(ReplayOutcome.NOT_WAITING)
_PARKED: Final = "SELECT focus FROM parked_tasks WHERE task_id = $1 AND replayed_at IS NULL"
_REPLAYED: Final = "UPDATE parked_tasks SET replayed_at = clock_timestamp() WHERE task_id = $1"


async def replay_tasks(
    store: Store, queue: TaskQueue, inbound: TaskInbound, task_ids: Sequence[str], *, actor: str
) -> dict[str, Replayed]:
    """Take over the Appointments of parked Tasks as they are now. Audited. What came of each, by the Task's id."""
    outcomes = {}
    for task_id in task_ids:
        focus = await store.pool.fetchval(_PARKED, task_id)
        replayed = _NOT_PARKED if focus is None else await _replay(queue, inbound, focus.partition("/")[2])
        outcomes[task_id] = replayed
        async with store.pool.acquire() as connection, connection.transaction():
            if replayed.is_processed:
                await connection.execute(_REPLAYED, task_id)
            transaction = Transaction(connection)
            transaction.audit(actor=actor, action="task.replay", subject=task_id, detail=replayed.detail())
            await transaction.flush()
    return outcomes


async def _replay(queue: TaskQueue, inbound: TaskInbound, appointment_id: str) -> Replayed:
    try:
        # An id of its own: the Task's claim says that it was parked, which is no effect.
        item = await queue.read_focus("Appointment", appointment_id, f"replay-{contracts.uuid7()}")
        if item.parked is not None:
            return Replayed(ReplayOutcome.UNREADABLE, item.parked.reason)
        (error,) = await inbound.apply([item])
    except Transient as unreachable:
        error = unreachable
    return PROCESSED if error is None else Replayed(ReplayOutcome.FAILED, reason_of(error))
