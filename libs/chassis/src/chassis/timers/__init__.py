"""Durable timers: set and cancelled in the transaction of the state that they belong to.

``Transaction.set_timer`` and ``cancel_timer`` write words about a timer. A ``TimerWorker`` runs the handler of the kind
once the timer is due, in one transaction with its effects. An older word about a timer never counts against a newer
one.
"""

from chassis.timers.model import Handler, Timer, TimerHandlers
from chassis.timers.operate import (
    STATES,
    Counts,
    TimerRow,
    cancel_timer,
    count_timers,
    list_timers,
    retry_timer,
    retry_timers,
)
from chassis.timers.worker import TimerWorker

__all__ = [
    "STATES",
    "Counts",
    "Handler",
    "Timer",
    "TimerHandlers",
    "TimerRow",
    "TimerWorker",
    "cancel_timer",
    "count_timers",
    "list_timers",
    "retry_timer",
    "retry_timers",
]
