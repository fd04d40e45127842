"""The service's own metrics, and the object that counts inputs."""

import collections
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Final

import structlog

from chassis.observe import Counter, Gauge, Metrics
from omegaai import meters as omegaai
from scheduler_sync.domain.appointment import Outcome, System

HL7_IGNORED: Final = Counter(
    "hl7_ignored_total", "Filled fields of inbound HL7 messages that nobody reads", "segment", "field"
)
HL7_NOT_PERMITTED: Final = Counter(
    "hl7_not_permitted_total",
    "Inbound HL7 messages of a type that the mapping does not permit their station",
    "station",
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
SCHEDULING_CALLS: Final = Counter(
    "scheduling_calls_total", "Calls of the scheduling API, by what was answered", "operation", "status"
)
STALE: Final = Counter("stale_total", "Inputs without effect: older than what is known, or the same", "kind")
SENDER_CLOCK_AHEAD: Final = Counter(
    "sender_clock_ahead_total", "Messages made, by the sender's clock, later than they can have been"
)
TASK_READER_ACTIVE: Final = omegaai.TASK_READER_ACTIVE
TASKS_OPEN: Final = omegaai.TASKS_OPEN
TASKS_FOUND_LATE: Final = omegaai.TASKS_FOUND_LATE
RESOURCES: Final = Gauge("resources", "Bookable resources, by how they stand on both sides", "state")
SITE_FILE_REFUSED: Final = Gauge(
    "site_file_refused", "1 while a changed site file or mapping file is wrong, and the content before it is in force"
)
NEEDS_SETUP: Final = Gauge("needs_setup", "Inbound messages and Tasks that wait for a setting or a person")
REVIEWS_OPEN: Final = Gauge(
    "patient_reviews_open", "Doubtful pairs of patient records that wait for a person's decision"
)
RECONCILER_ACTIVE: Final = Gauge("reconciler_active", "1 in the process that reconciles")
RECONCILE_LAST_RUN_AGE_SECONDS: Final = Gauge(
    "reconcile_last_run_age_seconds", "Seconds since a reconciliation was completed"
)
RECONCILE_ASKS: Final = Gauge("reconcile_asks", "Reconciliations that wait for a person's approval")
RECONCILE_OPEN_DIFFERENCES: Final = Gauge(
    "reconcile_open_differences", "Differences of the last reconciliation that wait for a person", "side"
)
RECONCILE_OLDEST_DIFFERENCE_SECONDS: Final = Gauge(
    "reconcile_oldest_difference_age_seconds", "Seconds since the oldest of them was first found", "side"
)

_WITHOUT_EFFECT: Final = frozenset({Outcome.UNCHANGED, Outcome.STALE, Outcome.ECHO, Outcome.REFUSED})

_log = structlog.get_logger(__name__)


class InputMeters:
    """Counts on the service's metrics, and logs for operators."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._fields: dict[tuple[str, str], Callable[[float], None]] = {}
        # An alarm on an increase detects the first event only if the counter was 0 before.
        metrics.count(CONFLICTS, 0, source=System.POWERSERVER, outcome=Outcome.STALE)

    def outcome(self, source: str, outcome: Outcome) -> None:
        """Counts and logs inputs without effect, with the reason."""
        if outcome in _WITHOUT_EFFECT:
            self._metrics.count(STALE, kind=f"{source}.{outcome}")
            _log.info("input.without-effect", source=source, outcome=str(outcome))

    def conflict(self, source: str, outcome: Outcome) -> None:
        self._metrics.count(CONFLICTS, source=source, outcome=outcome)

    def clock_ahead(self, lead: timedelta) -> None:
        self._metrics.count(SENDER_CLOCK_AHEAD)
        _log.warning("hl7.clock-ahead", seconds=round(lead.total_seconds()))

    def not_permitted(self, station: str) -> None:
        self._metrics.count(HL7_NOT_PERMITTED, station=station)
        _log.warning("hl7.not-permitted", station=station)

    def not_read(self, fields: Iterable[tuple[str, str]], repairs: int) -> None:
        """Labels are looked up once each."""
        for field, number in collections.Counter(fields).items():
            add = self._fields.get(field)
            if add is None:
                add = self._metrics.counter(HL7_IGNORED, segment=field[0], field=field[1])
                self._fields[field] = add
            add(number)
        if repairs:
            self._metrics.count(HL7_TEXTS_REPAIRED, repairs)
