"""How much waits for a person, for the numbers on the start page."""

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from chassis.store import Store
from chassis.store.lazily import lazily
from chassis.store.rows import fixed, sql
from scheduler_sync.domain.reconciliation import Settled
from scheduler_sync.domain.resource import PairState

if TYPE_CHECKING:
    from scheduler_sync.store import tables
else:
    (tables,) = lazily("scheduler_sync.store.tables")

MOST_COUNTED: Final = 1000
"""No number goes above this: the page is looked at each second."""
LATELY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class WaitingNumbers:
    """``drift``: differences that the newest run lists for a person. ``conflicts``: those of the last day."""

    parked_tasks: int
    asking_runs: int
    drift: int
    reviews: int
    resources: int
    conflicts: int


async def waiting_numbers(store: Store) -> WaitingNumbers:
    """All numbers in one query. StoreUnavailable."""
    parked, runs, differences = tables.ParkedTasks, tables.ReconcileRuns, tables.ReconcileDifferences
    pairs, conflicts, reviews = tables.ResourcePairs, tables.Conflicts, tables.PatientReviews
    newest = sql.select(sql.func.max(differences.run_id)).scalar_subquery()
    of_run = sql.select(differences.settled).where(differences.run_id == newest).limit(10 * MOST_COUNTED).subquery().c
    newest_conflicts = sql.select(conflicts.at).order_by(sql.col(conflicts.id).desc()).limit(MOST_COUNTED).subquery().c
    counted = [
        _few(parked, sql.col(parked.replayed_at).is_(None)),
        _few(runs, runs.state == fixed("asks")),
        sql.select(sql.func.count()).where(of_run.settled == Settled.LISTED),
        _few(reviews, reviews.state == fixed("open")),
        _few(pairs, pairs.state == fixed(PairState.DRIFTED)),
        sql.select(sql.func.count()).where(newest_conflicts.at > sql.func.now() - sql.literal(LATELY)),
    ]
    async with store.session() as session:
        found = (await session.exec(sql.select(*(one.scalar_subquery() for one in counted)))).one()
    return WaitingNumbers(*found)


def _few(model: Any, condition: Any) -> Any:
    few = sql.select(sql.literal(1)).select_from(model).where(condition).limit(MOST_COUNTED).subquery()
    return sql.select(sql.func.count()).select_from(few)
