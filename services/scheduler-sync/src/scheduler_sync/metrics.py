"""What the service counts of its inputs."""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Final

import structlog

from chassis.observe import Metrics
from scheduler_sync.domain.appointment import Outcome
from scheduler_sync.feeds import ReadingCounter
from scheduler_sync.ports import Counter as OutcomeCounter

_WITHOUT_EFFECT: Final = frozenset({Outcome.UNCHANGED, Outcome.STALE, Outcome.ECHO, Outcome.REFUSED})

_log = structlog.get_logger(__name__)


def clock_ahead(metrics: Metrics) -> Callable[[timedelta], None]:
    """Counts and says that a sender's clock is ahead of ours."""

    def count(lead: timedelta) -> None:
        metrics.count("sender_clock_ahead_total")
        _log.warning("hl7.clock-ahead", seconds=round(lead.total_seconds()))

    return count


def not_read(metrics: Metrics) -> ReadingCounter:
    """Counts what of a batch of messages is not read, and texts that were repaired. Labels are looked up once each."""
    known: dict[tuple[str, str], Callable[[float], None]] = {}

    def count(keys: Iterable[tuple[str, str]], repairs: int) -> None:
        for key, number in Counter(keys).items():
            add = known.get(key)
            if add is None:
                add = known[key] = metrics.counter("hl7_ignored_total", segment=key[0], field=key[1])
            add(number)
        if repairs:
            metrics.count("hl7_texts_repaired_total", repairs)

    return count


def without_effect(metrics: Metrics) -> OutcomeCounter:
    """Counts, and says, what had no effect and why."""

    def count(source: str, outcome: Outcome) -> None:
        if outcome in _WITHOUT_EFFECT:
            metrics.count("stale_total", kind=f"{source}.{outcome}")
            _log.info("input.without-effect", source=source, outcome=str(outcome))

    return count
