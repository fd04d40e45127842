"""One service's reader of OmegaAI's Task queue: the guarantee that the service misses no change there.

- Effects are committed first, Tasks completed then. A death in between reads the Task again; its claim in the service's
  inbox makes the second time harmless.
- Tasks of other services stay as they are and delay nothing: the reader goes on from the latest change it has seen
  (``place``), and looks through the whole queue from time to time.
- A resource that cannot be processed is parked with the path of the wrong element, and its Task is completed.
- A Task whose resource or completion OmegaAI cannot give now is put off alone, with a growing pause.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Generic, TypeVar

import asyncpg
import structlog

from chassis import failpoints
from chassis.backoff import pause_seconds
from chassis.clock import Clock, utc_now
from chassis.errors import AccessRefused, Malformed, NeedsSetup, Permanent, Transient, UnusableAnswer, reason_of
from chassis.loops import LoopBase
from chassis.observe import Metrics
from chassis.observe import meters as chassis_meters
from chassis.store import Exclusive, Role
from omegaai import elements, meters
from omegaai.client import FhirClient, Found, NotFoundError, Page, VersionMovedError
from omegaai.failpoints import TASKS_AFTER_COMMIT_BEFORE_COMPLETE
from omegaai.tasks import listing
from omegaai.tasks.claims import CLAIMS
from omegaai.tasks.cursor import Cursor
from omegaai.tasks.model import ParkedTask, Task, TaskItem, completed, task_of, updated_at
from omegaai.tasks.place import Place
from omegaai.tasks.put_off import LONGEST_PAUSE_SECONDS, PutOff
from omegaai.tasks.unclaimed import NOBODY, Census

_log = structlog.get_logger(__name__)
C = TypeVar("C")

Read = Callable[[Found, str], C]
"""The command that a resource is, given with the Task's id. Malformed where the resource cannot be read."""
Apply = Callable[[Sequence[TaskItem[C]]], Awaitable[Sequence[Exception | None]]]
"""Commits the items' effects; an error for each one that failed, in order."""

UNCLAIMED_AFTER: Final = timedelta(minutes=15)
_READS_AT_ONCE: Final = 8
_MOST_AT_ONCE: Final = 1_000
"""Tasks of the service's own that memory holds at once."""
_LOOK_SHARE: Final = 10
"""Looks from the start take at most this part of the time."""
_UNUSABLE_ANSWERS: Final = 5
"""Unusable answers in a row, after which the Task's resource is taken to be wrong and parked for a person."""


@dataclass(slots=True)
class _Gathered:
    """What one pass over the queue has found."""

    census: Census
    ours: list[Task] = field(default_factory=list)
    last: datetime | None = None
    """The latest change that was seen, of any service's Task."""
    is_complete: bool = False
    """Whether the pass came to the end of the queue."""
    is_by_time: bool = False
    """Whether it went on from the last change that was seen. Else it began at the start."""


class TaskReader(LoopBase, Generic[C]):
    """Reads the queue when woken, and every ``poll_seconds`` in any case; from its start every ``look_seconds``.

    With ``exclusive`` one process of the service reads at a time. Two would do everything twice and refuse each other's
    completions; the claims in the inbox keep even that harmless, where a former holder is slow to notice.
    """

    def __init__(
        self,
        client: FhirClient,
        apply: Apply[C],
        *,
        service: str,
        reads: Mapping[str, Read[C] | None],
        claims: Mapping[str, str] = CLAIMS,
        cursor: Cursor | None = None,
        exclusive: Exclusive | None = None,
        now: Clock = utc_now,
        poll_seconds: float = 5.0,
        look_seconds: float = 60.0,
        unclaimed_after: timedelta = UNCLAIMED_AFTER,
        page_size: int = 200,
        batch_size: int = 50,
        most_at_once: int = _MOST_AT_ONCE,
        metrics: Metrics | None = None,
    ) -> None:
        """``reads``: for each focus type that ``service`` claims, how its resource is read. None: the Task is completed
        without a look at it. ValueError where ``claims`` gives the service other types.
        """
        super().__init__()
        if {kind for kind, owner in claims.items() if owner == service} != set(reads):
            raise ValueError(f"{service} must read the Tasks about just what omegaai.tasks.CLAIMS gives it")
        self._client = client
        self._apply = apply
        self._reads_of = reads
        self._claims = claims
        self._exclusive = exclusive
        self._now = now
        self._poll_seconds = poll_seconds
        self._look_seconds = look_seconds
        self._unclaimed_after = unclaimed_after
        self._unclaimed = 0
        self._page_size = page_size
        self._batch_size = batch_size
        self._most_at_once = most_at_once
        self._metrics = metrics or Metrics()
        self._place = Place(cursor, now)
        self._put_off = PutOff()
        self._goes_by_time, self._has_said = True, False
        self._goes_on = False
        self._look_at: float | None = None
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
        self._place.forget()
        connection.add_termination_listener(lambda _connection: self.wake())
        await self._read_until_stopped(connection)

    async def _read_until_stopped(self, holding: "asyncpg.Connection | None") -> None:
        failures = 0
        while not self.stopping:
            self.beat()
            self._woken.clear()
            if holding is not None:
                await holding.execute("SELECT 1")  # a lost connection is a lost lock
            try:
                there_may_be_more = await self.read_once()
            except (Transient, Permanent, NotFoundError, VersionMovedError) as error:
                failures += 1
                pause = pause_seconds(failures, longest_seconds=LONGEST_PAUSE_SECONDS)
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
            chassis_meters.PARTNER_ACCESS_REFUSED, float(isinstance(error, AccessRefused)), destination="omegaai-tasks"
        )

    async def read_once(self) -> bool:
        """Processes about ``most_at_once`` of the service's Tasks. Returns whether there may be more.

        Raises Transient when all of them have to wait. A Task that fails alone is put off and delays no other.
        """
        await self._place.load()
        began = time.monotonic()
        if self._look_at is None:
            self._look_at = began + self._poll_seconds
        is_look = began >= self._look_at
        goes_on, self._goes_on = self._goes_on, False
        with self._asking():
            tasks = await self._put_off_again()
            gathered = await (self._look() if is_look else self._gather(goes_on=goes_on))
        tasks += gathered.ours
        for start in range(0, len(tasks), self._batch_size):
            await self._process(tasks[start : start + self._batch_size])
        if gathered.is_by_time and not self._put_off.is_full:
            self._place.move(gathered.last)
        if gathered.is_complete and not gathered.is_by_time:
            self._look_at = time.monotonic() + max(self._look_seconds, _LOOK_SHARE * (time.monotonic() - began))
            self._unclaimed = gathered.census.counts[NOBODY]
            for service, number in gathered.census.counts.items():
                self._metrics.set(meters.TASKS_OPEN, number, claimed_by=service)
        await self._place.keep(self._put_off.oldest_change)
        self._goes_on = not gathered.is_complete
        return self._goes_on

    def _asking(self) -> AbstractContextManager[None]:
        return self.waiting("omegaai", longest_seconds=self._client.longest_call_seconds)

    async def _put_off_again(self) -> list[Task]:
        """The Tasks whose pause is over, as they are now."""
        return [task for task in await asyncio.gather(*map(self._again, self._put_off.due(self._batch_size))) if task]

    async def _again(self, before: Task) -> Task | None:
        try:
            async with self._reads:
                found = await self._client.read("Task", before.id)
            task = task_of(found)
        except Transient as error:
            self._put_off.note([(before, error)])
            return None
        except (NotFoundError, Permanent):
            task = None
        finally:
            self.beat()
        if task is None or elements.code(task.resource, "status") != listing.OPEN["status"]:
            self._put_off.forget(before.id)
            return None
        return task

    async def _look(self) -> _Gathered:
        """The service's own Tasks of the whole queue, found without trust in times."""
        found = await self._gathered(listing.as_it_comes(self._client, page_size=self._page_size))
        if self._goes_by_time:
            self._count_late(found.ours)
        self._goes_by_time = True  # OmegaAI may know it by now
        return found

    @property
    def unclaimed(self) -> int:
        """The open Tasks that no service handles, as counted in the newest whole look; 0 before the first."""
        return self._unclaimed

    async def _gather(self, *, goes_on: bool) -> _Gathered:
        """The service's own Tasks from the place on where the last pass ended, or of the whole queue."""
        if self._goes_by_time:
            since = self._place.since(goes_on=goes_on)
            try:
                found = await self._gathered(listing.by_time(self._client, since, page_size=self._page_size))
            except (listing.NotByTimeError, Permanent) as error:
                why = str(error) if isinstance(error, listing.NotByTimeError) else reason_of(error)
                if not self._has_said:
                    _log.warning("task-queue.not-by-time", reason=why, instead="the whole queue is read each time")
                self._goes_by_time, self._has_said = False, True
            else:
                return replace(found, is_by_time=True)
        return await self._gathered(listing.as_it_comes(self._client, page_size=self._page_size))

    async def _gathered(self, pages: AsyncGenerator[Page, None]) -> _Gathered:
        found = _Gathered(Census(self._claims, now=self._now(), after=self._unclaimed_after))
        async with aclosing(pages):
            async for page in pages:
                self.beat()
                found.census.add(page.news)
                found.ours += [task for one in page.news if (task := self._ours(one)) is not None]
                times = [at for one in page.news if (at := updated_at(one)) is not None]
                found.last = max(times if found.last is None else [found.last, *times], default=None)
                found.is_complete = page.is_last
                if found.is_complete or len(found.ours) >= self._most_at_once:
                    break
        return found

    def _count_late(self, tasks: Sequence[Task]) -> None:
        """Counts those that only a look from the start has found."""
        passed = self._place.since(goes_on=False)
        late = [task for task in tasks if passed and task.updated_at and task.updated_at < passed]
        if late:
            self._metrics.count(meters.TASKS_FOUND_LATE, len(late))
            _log.warning("task-queue.found-late", tasks=len(late))

    def _ours(self, found: Found) -> Task | None:
        """The Task, if the service is to process it now.

        None for another service's Task, a Task that is put off, and a Task without a usable id: they stay open.
        """
        focus = elements.reference(elements.child(found.resource, "focus"))
        if focus is None or found.id in self._put_off or self._kind(focus[0]) is None:
            return None
        try:
            return task_of(found)
        except Malformed as error:
            _log.error("task-queue.unreadable", task=elements.shown(found.id)[:64], expression=error.location)
            return None

    def _kind(self, focus_type: str) -> str | None:
        """The focus type as ``reads`` has it; None for one that the service does not claim."""
        return next((kind for kind in self._reads_of if kind.lower() == focus_type.lower()), None)

    async def _process(self, tasks: list[Task]) -> None:
        """Commits the effects of these Tasks, then completes them. Transient when none of the Tasks can be read now."""
        with self._asking():
            read = dict(zip((task.id for task in tasks), await self._read(tasks), strict=True))
        late = self._put_off.note([(task, error) for task in tasks if (error := read[task.id].put_off) is not None])
        tasks = [task for task in tasks if task.id not in late]
        items = [read[task.id] for task in tasks]
        if not items:
            read.clear()  # else the error's traceback would hold the error
            raise late.popitem()[1]
        errors = await self._apply(items)
        unreadable = [
            parked(item, error)
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
        self._put_off.note(list(zip(finished, refused, strict=True)))
        try:
            if waiting is not None:
                raise waiting if isinstance(waiting, Transient) else Transient("a Task could not be parked")
        finally:
            del errors, waiting, late, read, refused  # an error's traceback holds this frame

    async def read_focus(self, focus_type: str, focus_id: str, task_id: str) -> TaskItem[C]:
        """Look at one resource again, under a Task id of the caller's (a replay). Transient."""
        item = (await self._read([Task(task_id, "", focus_type, focus_id, {})]))[0]
        if item.put_off is not None:
            raise item.put_off
        return item

    async def _read(self, tasks: Sequence[Task]) -> list[TaskItem[C]]:
        """Each focus once, whatever number of Tasks speak of it."""
        wanted = {(one.focus_type, one.focus_id): one for one in tasks if self._reading(one) is not None}
        silent: list[Transient] = []
        answers = await asyncio.gather(*(self._focus(one, silent) for one in wanted.values()))
        found = dict(zip(wanted, answers, strict=True))
        items: list[TaskItem[C]] = []
        for task in tasks:
            authored_on = elements.text(task.resource, "authoredOn")
            item: TaskItem[C] = TaskItem(
                task.id,
                self._now(),
                authored_on=None if authored_on is None else elements.shown(authored_on),
                focus=task.focus,
            )
            read = self._reading(task)
            items.append(item if read is None else self._item(task, item, read, found[task.focus_type, task.focus_id]))
        return await self.look_up(items)

    async def look_up(self, items: Sequence[TaskItem[C]]) -> list[TaskItem[C]]:
        """Reads what commands need beside their own resource; a service that needs more overrides it.

        An item whose look-up fails for now gets ``put_off``; one whose look-up fails for good is ``parked``.
        """
        return list(items)

    def _reading(self, task: Task) -> Read[C] | None:
        """How the Task's resource is read; None where it is not looked at."""
        kind = self._kind(task.focus_type)
        return None if kind is None else self._reads_of[kind]

    async def _focus(self, task: Task, silent: list[Transient]) -> Found | Exception:
        """The resource, or why there is none. Once nobody has answered, the others of the batch are not asked."""
        async with self._reads:
            if len(silent) >= _READS_AT_ONCE:
                return silent[0]
            try:
                return await self._client.read(self._kind(task.focus_type) or task.focus_type, task.focus_id)
            except (NotFoundError, Permanent, UnusableAnswer) as error:
                return error
            except Transient as error:
                silent.append(error)
                return error
            finally:
                self.beat()

    async def _complete(self, task: Task) -> Exception | None:
        """Why it could not be completed; then it comes again, and its claim makes that harmless."""
        try:
            body = completed(task.resource)
            async with self._reads:
                await self._client.update("Task", task.id, body, version=task.version)
        except VersionMovedError:
            # The Task was completed or changed meanwhile; an open one comes again.
            _log.info("task-queue.task-moved", task=task.id)
        except NotFoundError:
            _log.info("task-queue.task-gone", task=task.id)
        except (Transient, Permanent) as error:
            return error
        finally:
            self.beat()
        return None

    def _item(self, task: Task, item: TaskItem[C], read: Read[C], found: Found | Exception) -> TaskItem[C]:
        if isinstance(found, NotFoundError):
            return item
        if isinstance(found, Transient):
            if isinstance(found, UnusableAnswer) and self._put_off.failures(task.id) >= _UNUSABLE_ANSWERS:
                return parked(item, found)
            return replace(item, put_off=found)
        if isinstance(found, Exception):
            return parked(item, found)
        try:
            return replace(item, command=read(found, task.id))
        except Exception as error:  # noqa: BLE001 (a bug met in one resource is kept as one, and holds no other up)
            return parked(item, error)


def parked(item: TaskItem[C], error: Exception) -> TaskItem[C]:
    """The item as it is kept for a person."""
    expression = error.location if isinstance(error, Malformed) else None
    reason = f"{error.reason} (set {error.setting})" if isinstance(error, NeedsSetup) else reason_of(error)
    _log.error("task-queue.parked", task=item.task_id, focus=item.focus, expression=expression, reason=reason)
    kept = ParkedTask(item.task_id, item.focus, expression, reason, item.received_at)
    return TaskItem(item.task_id, item.received_at, parked=kept, authored_on=item.authored_on, focus=item.focus)
