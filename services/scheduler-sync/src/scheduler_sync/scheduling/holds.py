"""The timer of a hold: its time is free again when nobody has booked it."""

from collections.abc import Sequence

from chassis.timers import Timer
from scheduler_sync.store.work import StoredWork


async def release_hold(timer: Timer, /, *, work: StoredWork) -> None:
    """Releases the hold's claims that are over. Publishes nothing: a hold is known to its caller alone.

    Idempotent: only a claim that is still a hold, and expired by the store's clock, is released.
    """
    work.claims.release_expired(timer.key)


async def no_prefetch(work: StoredWork, timers: Sequence[Timer]) -> None:
    """A hold's timer touches nothing but its claims."""
    del work, timers
