"""The service's own metrics, and what counts its inputs."""

import collections
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Final

import structlog

from chassis.observe import Counter, Gauge, Metrics
from omegaai import meters as omegaai
from scheduler_sync.domain.appointment import Outcome
from scheduler_sync.feeds import ReadingCounter
from scheduler_sync.ports import Counter as OutcomeCounter

HL7_IGNORED: Final = Counter(
    "hl7_ignored_total", "Filled fields of inbound HL7 messages that nobody reads", "segment", "field"
)
HL7_TEXTS_REPAIRED: Final = Counter(
    "hl7_texts_repaired_total", "Texts of inbound HL7 messages with control characters in them"
)
CONFLICTS: Final = Counter(
    "conflicts_total",
    "Inputs that were refused or overruled, kept for a person to look at",
    "source",
    "outcome",
)
STALE: Final = Counter("stale_total", "Inputs without effect: older than what is known, or the same", "kind")
SENDER_CLOCK_AHEAD: Final = Counter(
    "sender_clock_ahead_total", "Messages made, by the sender's clock, later than they can have been"
)
TASK_READER_ACTIVE: Final = omegaai.TASK_READER_ACTIVE
TASKS_OPEN: Final = omegaai.TASKS_OPEN
TASKS_FOUND_LATE: Final = omegaai.TASKS_FOUND_LATE
NEEDS_SETUP: Final = Gauge("needs_setup", "Inbound messages and Tasks that wait for a setting or a person")

_WITHOUT_EFFECT: Final = frozenset({Outcome.UNCHANGED, Outcome.STALE, Outcome.ECHO, Outcome.REFUSED})

_log = structlog.get_logger(__name__)


def clock_ahead(metrics: Metrics) -> Callable[[timedelta], None]:
    """Counts and says that a sender's clock is ahead of ours."""

    def count(lead: timedelta) -> None:
        metrics.count(SENDER_CLOCK_AHEAD)
        _log.warning("hl7.clock-ahead", seconds=round(lead.total_seconds()))

    return count


def not_read(metrics: Metrics) -> ReadingCounter:
    """Counts what of a batch of messages is not read, and texts that were repaired. Labels are looked up once each."""
    known: dict[tuple[str, str], Callable[[float], None]] = {}

    def count(keys: Iterable[tuple[str, str]], repairs: int) -> None:
        for key, number in collections.Counter(keys).items():
            add = known.get(key)
            if add is None:
                add = known[key] = metrics.counter(HL7_IGNORED, segment=key[0], field=key[1])
            add(number)
        if repairs:
            metrics.count(HL7_TEXTS_REPAIRED, repairs)

    return count


def without_effect(metrics: Metrics) -> OutcomeCounter:
    """Counts, and says, what had no effect and why."""

    def count(source: str, outcome: Outcome) -> None:
        if outcome in _WITHOUT_EFFECT:
            metrics.count(STALE, kind=f"{source}.{outcome}")
            _log.info("input.without-effect", source=source, outcome=str(outcome))

    return count
