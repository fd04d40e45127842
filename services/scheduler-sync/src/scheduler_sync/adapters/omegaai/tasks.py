"""OmegaAI's Task queue: the guarantee that no change there is missed.

A Task is completed only after what it speaks of was committed here. Dying in between means reading it again, and the
claim on its id (or the link's own versions) makes the second time harmless. A resource that cannot be read is parked,
with the path of what is wrong, in the same way: committed first, completed then, so that it holds nobody up. A Task
whose resource or completion OmegaAI cannot give now is put off alone, with a growing pause.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Final

import asyncpg
import structlog

from chassis import failpoints
from chassis.backoff import pause_seconds
from chassis.clock import Clock, utc_now
from chassis.errors import AccessRefused, Malformed, NeedsSetup, Permanent, Transient, UnusableAnswer, reason_of
from chassis.loops import LoopBase
from chassis.observe import Metrics, meters
from chassis.store import Exclusive, Role
from omegaai import elements
from omegaai.client import FhirClient, Found, NotFoundError, VersionMovedError
from scheduler_sync.adapters.omegaai import reader, writer
from scheduler_sync.adapters.omegaai.reader import TaskFound
from scheduler_sync.commands import TakeOverOmegaAIAppointment
from scheduler_sync.failpoints import TASKS_AFTER_COMMIT_BEFORE_COMPLETE
from scheduler_sync.ports import ParkedTask

_log = structlog.get_logger(__name__)

_QUERY: Final = {"reasoncode": "mirthoutbound", "status": "ready"}
_READS_AT_ONCE: Final = 8
_LONGEST_PAUSE_SECONDS: Final = 30.0
_UNUSABLE_ANSWERS: Final = 5
"""After so many in a row a person looks at what a Task is about: it is that resource, not OmegaAI, that is wrong."""
_MOST_BESIDE_THE_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class TaskItem:
    """A Task with what became of its focus: a command, or what has to be parked, or neither (nothing of ours)."""

    task_id: str
    received_at: datetime
    command: TakeOverOmegaAIAppointment | None = None
    parked: ParkedTask | None = None
    authored_on: str | None = None
    put_off: Transient | None = None
    """Why it cannot be read now. Such an item has nothing to commit."""


@dataclass(frozen=True, slots=True)
class _PutOff:
    """A Task that failed by itself, and from when on (``time.monotonic``) it is tried again."""

    failures: int
    until: float


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
        metrics: Metrics | None = None,
    ) -> None:
        super().__init__()
        self._metrics = metrics or Metrics()
        self._put_off: dict[str, _PutOff] = {}
        self._passed_over = 0
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
                self._tell(error)
                await self.pause(pause)
                continue
            failures = 0
            self._tell(None)
            if not there_may_be_more:
                await self.pause(self._poll_seconds, self._woken)

    def _tell(self, error: Exception | None) -> None:
        self._metrics.set(
            meters.PARTNER_ACCESS_REFUSED, float(isinstance(error, AccessRefused)), destination="omegaai-tasks"
        )

    async def read_once(self) -> bool:
        """Take one page of Tasks over; whether there may be more. Transient when all of it has to wait.

        A Task that fails by itself is put off and holds none of the others up.
        """
        size = self._page_size + min(self._passed_over, _MOST_BESIDE_THE_PAGE)
        with self._asking():
            page = await self._client.page("Task", {**_QUERY, "_count": str(size)})
        tasks = self._due(page)
        self._passed_over = len(page) - len(tasks)
        if not tasks:
            return False
        with self._asking():
            read = dict(zip((task.id for task in tasks), await self._read(tasks), strict=True))
        late = self._put_off_those([(task, error) for task in tasks if (error := read[task.id].put_off) is not None])
        tasks = [task for task in tasks if task.id not in late]
        items = [read[task.id] for task in tasks]
        if not items:
            read.clear()  # else the error's traceback would hold the error
            raise late.popitem()[1]
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
        failpoints.hit(TASKS_AFTER_COMMIT_BEFORE_COMPLETE)
        with self._asking():
            refused = await asyncio.gather(*(self._complete(task) for task in finished))
        self._put_off_those(list(zip(finished, refused, strict=True)))
        try:
            if waiting is not None:
                raise waiting if isinstance(waiting, Transient) else Transient("a Task could not be parked")
        finally:
            del errors, waiting, late, read, refused  # an error's traceback holds this frame
        return len(page) >= size

    def _asking(self) -> AbstractContextManager[None]:
        return self.waiting("omegaai", longest_seconds=self._client.longest_call_seconds)

    def _due(self, page: Sequence[Found]) -> list[TaskFound]:
        """The page's Tasks, without those that name nothing to look at and those that were put off."""
        now = time.monotonic()
        found = [task for one in page if (task := _readable(one)) is not None]
        ids = {task.id for task in found}
        self._put_off = {task_id: one for task_id, one in self._put_off.items() if task_id in ids}
        return [task for task in found if task.id not in self._put_off or self._put_off[task.id].until <= now]

    def _put_off_those(self, outcomes: Sequence[tuple[TaskFound, Exception | None]]) -> dict[str, Exception]:
        """Remembers the Tasks that failed, each with a growing pause, and forgets the others. The errors by Task."""
        failed = {task.id: error for task, error in outcomes if error is not None}
        for task, error in outcomes:
            before = self._put_off.pop(task.id, None)
            if error is not None:
                failures = 1 if before is None else before.failures + 1
                pause = pause_seconds(failures, longest_seconds=_LONGEST_PAUSE_SECONDS)
                self._put_off[task.id] = _PutOff(failures, time.monotonic() + pause)
        if failed:
            _log.warning("task-queue.put-off", tasks=len(failed), reason=reason_of(next(iter(failed.values()))))
        return failed

    async def read_appointment(self, appointment_id: str, task_id: str) -> TaskItem:
        """Look at one Appointment again, under a Task id of the caller's (a replay)."""
        task = TaskFound(task_id, "", "Appointment", appointment_id, {})
        item = (await self._read([task]))[0]
        if item.put_off is not None:
            raise item.put_off
        return item

    async def _read(self, tasks: Sequence[TaskFound]) -> list[TaskItem]:
        """Each focus once, whatever number of Tasks speak of it."""
        wanted = list(dict.fromkeys(task.focus_id for task in tasks if task.focus_type == "Appointment"))
        silent: list[Transient] = []
        found = dict(zip(wanted, await asyncio.gather(*(self._focus(focus, silent) for focus in wanted)), strict=True))
        items = []
        for task in tasks:
            now = self._now()
            item = TaskItem(task.id, now)
            if task.focus_type == "Appointment":
                item = self._item(task, found[task.focus_id], now)
            authored_on = elements.text(task.resource, "authoredOn")
            items.append(replace(item, authored_on=None if authored_on is None else elements.shown(authored_on)))
        return items

    async def _focus(self, appointment_id: str, silent: list[Transient]) -> Found | Exception:
        """The resource, or why there is none. Once nobody has answered, the others of the page are not asked."""
        async with self._reads:
            if len(silent) >= _READS_AT_ONCE:
                return silent[0]
            try:
                return await self._client.read("Appointment", appointment_id)
            except (NotFoundError, Permanent, UnusableAnswer) as error:
                return error
            except Transient as error:
                silent.append(error)
                return error
            finally:
                self.beat()

    async def _complete(self, task: TaskFound) -> Exception | None:
        """Why it could not be completed; then it comes again, and its claim makes that harmless."""
        try:
            body = writer.completed_task(task.resource)
            async with self._reads:
                await self._client.update("Task", task.id, body, version=task.version)
        except VersionMovedError:
            # Someone else completed it, or its own log moved on; it comes again if it is still open.
            _log.info("task-queue.task-moved", task=task.id)
        except NotFoundError:
            _log.info("task-queue.task-gone", task=task.id)
        except (Transient, Permanent) as error:
            return error
        finally:
            self.beat()
        return None

    def _item(self, task: TaskFound, found: Found | Exception, now: datetime) -> TaskItem:
        if isinstance(found, NotFoundError):
            return TaskItem(task.id, now)
        focus = elements.shown(f"{task.focus_type}/{task.focus_id}")
        if isinstance(found, Transient):
            before = self._put_off.get(task.id)
            if isinstance(found, UnusableAnswer) and before is not None and before.failures >= _UNUSABLE_ANSWERS:
                return _parked(TaskItem(task.id, now), found, focus)
            return TaskItem(task.id, now, put_off=found)
        if isinstance(found, Exception):
            return _parked(TaskItem(task.id, now), found, focus)
        try:
            return TaskItem(task.id, now, command=reader.appointment(found, task.id))
        except Exception as error:  # noqa: BLE001 (a bug met in one resource is kept as one, and holds no other up)
            return _parked(TaskItem(task.id, now), error, focus)


def _readable(found: Found) -> TaskFound | None:
    """The Task; None for one that names nothing to look at, or that cannot be read: it stays, and holds nobody up."""
    try:
        return reader.task(found)
    except Malformed as error:
        _log.error("task-queue.unreadable", task=elements.shown(found.id)[:64], expression=error.location)
        return None


def _parked(item: TaskItem, error: Exception, focus: str = "") -> TaskItem:
    if item.command is not None:
        focus = f"Appointment/{item.command.facts.fhir_id}"
    expression = error.location if isinstance(error, Malformed) else None
    reason = f"{error.reason} (set {error.setting})" if isinstance(error, NeedsSetup) else reason_of(error)
    _log.error("task-queue.parked", task=item.task_id, focus=focus, expression=expression, reason=reason)
    parked = ParkedTask(item.task_id, focus, expression, reason, item.received_at)
    return TaskItem(item.task_id, item.received_at, parked=parked)
