"""Runs reconciliations one at a time over all processes: at their interval, when asked, and when approved."""

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import structlog

from chassis.errors import StoreUnavailable, reason_of
from chassis.loops import LoopBase
from chassis.observe import Metrics
from chassis.store import Exclusive, Role, Store
from scheduler_sync.domain.reconciliation import Side
from scheduler_sync.metrics import (
    RECONCILE_ASKS,
    RECONCILE_LAST_RUN_AGE_SECONDS,
    RECONCILE_OLDEST_DIFFERENCE_SECONDS,
    RECONCILE_OPEN_DIFFERENCES,
)
from scheduler_sync.reconciliation.reconciler import Reconciler
from scheduler_sync.store.reconciliation import LostRunError, Run, Runs, gauges

if TYPE_CHECKING:
    import asyncpg

_log = structlog.get_logger(__name__)
LOOK_SECONDS: Final = 1.0
GAUGES_SECONDS: Final = 10.0
LONGEST_STEP_SECONDS: Final = 600.0
BY_ITSELF: Final = "schedule"


class ReconcileRunner(LoopBase):
    """The loop. ``make`` builds the reconciler of a run; the runner tells it whether the lock is still held."""

    def __init__(
        self,
        store: Store,
        runs: Runs,
        make: Callable[["ReconcileRunner"], Reconciler | None],
        *,
        exclusive: Exclusive,
        interval_seconds: float,
        metrics: Metrics,
    ) -> None:
        """``make`` gives None while the resources are not known yet."""
        super().__init__()
        self._store = store
        self._runs = runs
        self._make = make
        self._exclusive = exclusive
        self._interval_seconds = interval_seconds
        self._metrics = metrics
        self._holding: asyncpg.Connection | None = None

    @property
    def role(self) -> Role:
        return self._exclusive.role

    async def still_ours(self) -> None:
        """Raises where the process is to stop, or the connection that holds the lock is gone: another one goes on."""
        if self.stopping:
            raise LostRunError("the process stops")
        if self._holding is not None:
            await self._holding.execute("SELECT 1")

    async def run(self) -> None:
        gauging = asyncio.create_task(self._keep_gauges())
        try:
            await self._exclusive.run(self, self._while_holding, interruptions=(LostRunError, StoreUnavailable))
        finally:
            gauging.cancel()
            await asyncio.wait({gauging})

    async def _while_holding(self, connection: "asyncpg.Connection") -> None:
        self._exclusive.begin()
        self._holding = connection
        await self._runs.supersede_readers()
        while not self.stopping:
            self.beat()
            await self.still_ours()
            reconciler = self._make(self)
            run = None if reconciler is None else await self._next()
            if reconciler is None or run is None:
                self._exclusive.failures = 0
                await self.pause(LOOK_SECONDS)
                continue
            with self.waiting("reconciliation", longest_seconds=LONGEST_STEP_SECONDS):
                await self._perform(reconciler, run)

    async def _next(self) -> Run | None:
        run = await self._runs.take()
        if run is None and await self._runs.is_due(self._interval_seconds):
            await self._runs.wish(BY_ITSELF)
            run = await self._runs.take()
        return run

    async def _perform(self, reconciler: Reconciler, run: Run) -> None:
        _log.info("reconcile.begins", run=run.id, state=run.state)
        await reconciler.run(run)
        _log.info("reconcile.ended", run=run.id)

    async def _keep_gauges(self) -> None:
        while True:
            try:
                now = await gauges(self._store)
            except StoreUnavailable as error:
                _log.warning("reconcile.store-away", reason=reason_of(error))
            else:
                show(self._metrics, now)
            await asyncio.sleep(GAUGES_SECONDS)


def show(metrics: Metrics, now: Mapping[str, Any]) -> None:
    """Sets the gauges; a site that has never been compared has no age, which its alarm takes for too long."""
    if now["last_run_seconds"] is not None:
        metrics.set(RECONCILE_LAST_RUN_AGE_SECONDS, float(now["last_run_seconds"]))
    metrics.set(RECONCILE_ASKS, float(now["asks"]))
    for side in Side:
        number, seconds = now["open"].get(side, (0, 0.0))
        metrics.set(RECONCILE_OPEN_DIFFERENCES, float(number), side=side)
        metrics.set(RECONCILE_OLDEST_DIFFERENCE_SECONDS, float(seconds), side=side)
