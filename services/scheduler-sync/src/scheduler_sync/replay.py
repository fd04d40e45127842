"""The operator's commands on parked Tasks: read their resources again."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import contracts
from chassis.errors import Transient, reason_of
from chassis.messaging import PROCESSED, Replayed, ReplayOutcome
from chassis.store import Store
from chassis.store.lazily import lazily
from chassis.store.rows import audit, sql
from scheduler_sync.adapters.omegaai.tasks import TaskQueue
from scheduler_sync.inbound import TaskInbound

if TYPE_CHECKING:
    from scheduler_sync.store import tables
else:
    (tables,) = lazily("scheduler_sync.store.tables")

_NOT_PARKED: Final = Replayed(ReplayOutcome.NOT_WAITING)


async def replay_tasks(
    store: Store, queue: TaskQueue, inbound: TaskInbound, task_ids: Sequence[str], *, actor: str
) -> dict[str, Replayed]:
    """Takes over the Appointments of parked Tasks as they are now. Audited. Returns the outcomes by the Tasks' ids."""
    outcomes = {}
    for task_id in task_ids:
        focus = await _focus_of(store, task_id)
        replayed = _NOT_PARKED if focus is None else await _replay(queue, inbound, focus.partition("/")[2])
        outcomes[task_id] = replayed
        async with store.session() as session:
            if replayed.is_processed:
                parked = sql.update(tables.ParkedTasks).where(tables.ParkedTasks.task_id == task_id)
                await session.exec(parked.values(replayed_at=sql.func.clock_timestamp()))
            await audit(session, actor=actor, action="task.replay", subject=task_id, detail=replayed.detail())
            await session.commit()
    return outcomes


async def _focus_of(store: Store, task_id: str) -> str | None:
    """The focus of a parked Task; None when the Task is not parked."""
    async with store.session() as session:
        parked = tables.ParkedTasks
        waiting = sql.select(parked.focus).where(parked.task_id == task_id, sql.col(parked.replayed_at).is_(None))
        focus: str | None = (await session.exec(waiting)).first()
    return focus


async def _replay(queue: TaskQueue, inbound: TaskInbound, appointment_id: str) -> Replayed:
    try:
        # An id of its own: the Task's claim records that it was parked, which is no effect.
        item = await queue.read_focus("Appointment", appointment_id, f"replay-{contracts.uuid7()}")
        if item.parked is not None:
            return Replayed(ReplayOutcome.UNREADABLE, item.parked.reason)
        (error,) = await inbound.apply([item])
    except Transient as unreachable:
        error = unreachable
    return PROCESSED if error is None else Replayed(ReplayOutcome.FAILED, reason_of(error))
