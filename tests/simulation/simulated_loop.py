"""An event loop in which time jumps and chance decides: the same seed gives the same run.

When nothing is ready, the clock moves to the next timer. The seed chooses the order of ready callbacks, as a busy
machine would. Each task belongs to the process that started it; a dead process has no tasks left.
"""

import asyncio
import contextvars
import heapq
import random
from collections.abc import Coroutine
from typing import Any


class Process:
    """One operating system process, with its tasks and connections."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_dead = False
        self.tasks: dict[asyncio.Task[Any], None] = {}  # in order: a set's order does not depend on the seed
        self.at_death: list[Any] = []

    def kill(self) -> None:
        """Ends the process at once. Connections are cut first, so that its clean-up code has no effect outside."""
        self.is_dead = True
        for cut in self.at_death:
            cut()
        for task in list(self.tasks):
            task.cancel()


OUTSIDE = Process("outside")
current: contextvars.ContextVar[Process] = contextvars.ContextVar("process", default=OUTSIDE)


class SimulatedLoop(asyncio.BaseEventLoop):
    """``steps`` counts the callbacks run; past ``most_steps`` the run fails as an endless loop."""

    def __init__(self, seed: int, *, most_steps: int = 100_000) -> None:
        super().__init__()
        self.random = random.Random(seed)
        self.steps = 0
        self.counts = True
        self.failures: list[str] = []
        self._most_steps = most_steps
        self._now = 1000.0
        self._clock_resolution = 1e-9
        self.set_task_factory(_own)
        self.set_exception_handler(_note)

    def time(self) -> float:
        return self._now

    # A run has thousands of callbacks, and a long search has millions of runs. These three leave out checks of asyncio
    # that only threads, debugging and closing need.

    def call_soon(self, callback: Any, *values: Any, context: contextvars.Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, values, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Any, *values: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *values, context=context)

    def call_at(
        self, when: float, callback: Any, *values: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, values, self, context)
        heapq.heappush(self._scheduled, timer)
        timer._scheduled = True
        return timer

    def _run_once(self) -> None:  # noqa: C901 - calls cost more here than what they would hold
        """Runs callbacks until the loop is told to stop."""
        ready, timers, chance = self._ready, self._scheduled, self.random.random
        while True:
            while timers and timers[0]._cancelled:
                heapq.heappop(timers)._scheduled = False
            if not ready:
                if not timers:
                    raise RuntimeError("nothing is left that could happen: the simulation hangs")
                self._now = max(self._now, timers[0]._when)
            while timers and timers[0]._when <= self._now:
                timer = heapq.heappop(timers)
                timer._scheduled = False
                if not timer._cancelled:
                    ready.append(timer)
            if ready:
                if len(ready) > 1:
                    ready.rotate(-int(chance() * len(ready)))
                handle = ready.popleft()
                self.steps += self.counts
                if self.steps > self._most_steps:
                    raise RuntimeError(f"no end after {self.steps} steps: something spins")
                if not handle._cancelled:
                    handle._run()
            if self._stopping:
                return

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Does nothing: cancelled timers are dropped at their time."""

    def _process_events(self, event_list: object) -> None:
        """Does nothing: there are no events from outside."""

    def _write_to_self(self) -> None:
        """Does nothing: no selector waits."""


def _own(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **more: Any) -> asyncio.Task[Any]:
    task = asyncio.Task(work, loop=loop, **more)
    process = current.get()
    if process is not OUTSIDE:
        process.tasks[task] = None
        task.add_done_callback(lambda done: process.tasks.pop(done, None))
        if process.is_dead:
            task.cancel()
    return task


def _note(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    assert isinstance(loop, SimulatedLoop)
    loop.failures.append(f"{context.get('message')}: {context.get('exception')!r}")


def run(loop: SimulatedLoop, work: Coroutine[Any, Any, Any]) -> Any:
    """``asyncio.run`` on the simulated loop."""
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(work)
    finally:
        loop.counts = False
        # Repeated: a cancellation that meets a lost connection ends as that error, which loops survive.
        while left := asyncio.all_tasks(loop):
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.wait(left, timeout=1))
        asyncio.set_event_loop(None)
        loop.close()
