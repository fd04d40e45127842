"""OmegaAI's Task queue: the guarantee that no change there is missed.

A Task is completed only after what it speaks of was committed here. Dying in between means reading it again, and the
claim on its id (or the link's own versions) makes the second time harmless. A resource that cannot be read is parked,
with the path of what is wrong, in the same way: committed first, completed then, so that it holds nobody up.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Final

import asyncpg
import structlog

from chassis import failpoints
from chassis.backoff import pause_seconds
from chassis.clock import Clock, utc_now
from chassis.errors import Malformed, NeedsSetup, Permanent, Transient, reason_of
from chassis.exclusive import Exclusive, Role
from chassis.loops import LoopBase
from scheduler_sync.adapters.omegaai import elements, reader, writer
from scheduler_sync.adapters.omegaai.client import FhirClient, Found, NotFoundError, VersionMovedError
from scheduler_sync.adapters.omegaai.reader import TaskFound
from scheduler_sync.messages import TakeOverOmegaAIAppointment
from scheduler_sync.ports import ParkedTask

_log = structlog.get_logger(__name__)

_QUERY: Final = {"reasoncode": "mirthoutbound", "status": "ready"}
_READS_AT_ONCE: Final = 8
_LONGEST_PAUSE_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class TaskItem:
    """A Task with what became of its focus: a command, or what has to be parked, or neither (nothing of ours)."""

    task_id: str
    received_at: datetime
    command: TakeOverOmegaAIAppointment | None = None
    parked: ParkedTask | None = None
    authored_on: str | None = None


Apply = Callable[[Sequence[TaskItem]], Awaitable[Sequence[Exception | None]]]
"""Commits the items' effects; an error for each one that failed, in order."""


class TaskQueue(LoopBase):
    """Reads the queue when woken, and every ``poll_seconds`` in any case.

    With ``exclusive`` it is read by one process at a time: two readers would do everything twice and refuse each
    other's completions. The claims in the inbox keep even that harmless, where a former holder is slow to notice.
    """

    def __init__(
        self,
        client: FhirClient,
        apply: Apply,
        *,
        exclusive: Exclusive | None = None,
        now: Clock = utc_now,
        poll_seconds: float = 5.0,
        page_size: int = 50,
    ) -> None:
        super().__init__()
        self._client = client
        self._apply = apply
        self._exclusive = exclusive
        self._now = now
        self._poll_seconds = poll_seconds
        self._page_size = page_size
        self._woken = asyncio.Event()
        self._reads = asyncio.Semaphore(_READS_AT_ONCE)

    @property
    def role(self) -> Role:
        return "active" if self._exclusive is None else self._exclusive.role

    def wake(self) -> None:
        """Something may have changed: look now."""
        self._woken.set()

    async def run(self) -> None:
        if self._exclusive is None:
            await self._read_until_stopped(None)
        else:
            await self._exclusive.run(self, partial(self._read_while_holding, self._exclusive))

    async def _read_while_holding(self, exclusive: Exclusive, connection: "asyncpg.Connection") -> None:
        exclusive.begin()
        exclusive.failures = 0
        connection.add_termination_listener(lambda _connection: self.wake())
        await self._read_until_stopped(connection)

    async def _read_until_stopped(self, holding: "asyncpg.Connection | None") -> None:
        failures = 0
        while not self.stopping:
            self.beat()
            self._woken.clear()
            if holding is not None:
                await holding.execute("SELECT 1")  # who has lost the connection has lost the queue
            try:
                there_may_be_more = await self.read_once()
            except (Transient, Permanent, NotFoundError, VersionMovedError) as error:
                failures += 1
                pause = pause_seconds(failures, longest_seconds=_LONGEST_PAUSE_SECONDS)
                if isinstance(error, Transient) and error.retry_after_seconds is not None:
                    pause = error.retry_after_seconds
                _log.warning("task-queue.unreachable", reason=str(error), retry_seconds=round(pause, 1))
                await self.pause(pause)
                continue
            failures = 0
            if not there_may_be_more:
                await self.pause(self._poll_seconds, self._woken)

    async def read_once(self) -> bool:
        """Take one page of Tasks over; whether there may be more. Transient when one has to wait."""
        page = await self._client.page("Task", {**_QUERY, "_count": str(self._page_size)})
        tasks = [task for found in page if (task := reader.task(found)) is not None]
        if not tasks:
            return False
        items = await self._read(tasks)
        errors = await self._apply(items)
        unreadable = [
            _parked(item, error)
            for item, error in zip(items, errors, strict=True)
            if error is not None and not isinstance(error, Transient)
        ]
        if unreadable:
            again = iter(await self._apply(unreadable))
            errors = [error if error is None or isinstance(error, Transient) else next(again) for error in errors]
        waiting = next((error for error in errors if error is not None), None)
        finished = [task for task, error in zip(tasks, errors, strict=True) if error is None]
        failpoints.hit("tasks.after-commit-before-complete")
        await asyncio.gather(*(self._complete(task) for task in finished))
        try:
            if waiting is not None:
                raise waiting if isinstance(waiting, Transient) else Transient("a Task could not be parked")
        finally:
            del errors, waiting  # the error's traceback holds this frame
        return len(page) >= self._page_size

    async def read_appointment(self, appointment_id: str, task_id: str) -> TaskItem:
        """Look at one Appointment again, under a Task id of the caller's (a replay)."""
        task = TaskFound(task_id, "", "Appointment", appointment_id, {})
        return (await self._read([task]))[0]

    async def _read(self, tasks: Sequence[TaskFound]) -> list[TaskItem]:
        """Each focus once, whatever number of Tasks speak of it."""
        wanted = list(dict.fromkeys(task.focus_id for task in tasks if task.focus_type == "Appointment"))
        found = dict(zip(wanted, await asyncio.gather(*(self._focus(focus) for focus in wanted)), strict=True))
        items = []
        for task in tasks:
            now = self._now()
            item = TaskItem(task.id, now)
            if task.focus_type == "Appointment":
                item = _item(task, found[task.focus_id], now)
            items.append(replace(item, authored_on=elements.text(task.resource, "authoredOn")))
        return items

    async def _focus(self, appointment_id: str) -> Found | Exception:
        async with self._reads:
            try:
                return await self._client.read("Appointment", appointment_id)
            except NotFoundError as gone:
                return gone
            except Permanent as refused:
                return refused

    async def _complete(self, task: TaskFound) -> None:
        body = writer.completed_task(task.resource)
        try:
            async with self._reads:
                await self._client.update("Task", task.id, body, version=task.version)
        except VersionMovedError:
            # Someone else completed it, or its own log moved on; it comes again if it is still open.
            _log.info("task-queue.task-moved", task=task.id)
        except NotFoundError:
            _log.info("task-queue.task-gone", task=task.id)


def _item(task: TaskFound, found: Found | Exception, now: datetime) -> TaskItem:
    if isinstance(found, NotFoundError):
        return TaskItem(task.id, now)
    try:
        if isinstance(found, Exception):
            raise found
        return TaskItem(task.id, now, command=reader.appointment(found, task.id))
    except Permanent as error:
        return _parked(TaskItem(task.id, now), error, f"{task.focus_type}/{task.focus_id}")


def _parked(item: TaskItem, error: Exception, focus: str = "") -> TaskItem:
    if item.command is not None:
        focus = f"Appointment/{item.command.facts.fhir_id}"
    expression = error.location if isinstance(error, Malformed) else None
    reason = f"{error.reason} (set {error.setting})" if isinstance(error, NeedsSetup) else reason_of(error)
    _log.error("task-queue.parked", task=item.task_id, focus=focus, expression=expression, reason=reason)
    parked = ParkedTask(item.task_id, focus, expression, reason, item.received_at)
    return TaskItem(item.task_id, item.received_at, parked=parked)
