"""What both products showed, the comparison with the links, and the runs with their differences."""

from scheduler_sync.store.reconciliation.comparison import Compared, Comparison
from scheduler_sync.store.reconciliation.reports import DifferenceFilter, DifferenceRow, Reports, RunRow
from scheduler_sync.store.reconciliation.runs import Difference, LostRunError, Run, Runs, Verdict, gauges, settle
from scheduler_sync.store.reconciliation.staging import Staging

__all__ = [
    "Compared",
    "Comparison",
    "Difference",
    "DifferenceFilter",
    "DifferenceRow",
    "LostRunError",
    "Reports",
    "Run",
    "RunRow",
    "Runs",
    "Staging",
    "Verdict",
    "gauges",
    "settle",
]
