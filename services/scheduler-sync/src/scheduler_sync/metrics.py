"""What the service counts of its inputs."""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Final

import structlog

from chassis.observe import Metrics
from scheduler_sync.domain.appointment import Outcome, System

_WITHOUT_EFFECT: Final = frozenset({Outcome.UNCHANGED, Outcome.STALE, Outcome.ECHO, Outcome.REFUSED})

_log = structlog.get_logger(__name__)


class InputMeters:
    """Counts on the service's metrics, and logs what an operator looks for."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._fields: dict[tuple[str, str], Callable[[float], None]] = {}
        # An alarm that compares with the time before sees the first one.
        metrics.count("conflicts_total", 0, source=System.POWERSERVER, outcome=Outcome.STALE)

    def outcome(self, source: str, outcome: Outcome) -> None:
        """Counts, and says, what had no effect and why."""
        if outcome in _WITHOUT_EFFECT:
            self._metrics.count("stale_total", kind=f"{source}.{outcome}")
            _log.info("input.without-effect", source=source, outcome=str(outcome))

    def conflict(self, source: str, outcome: Outcome) -> None:
        self._metrics.count("conflicts_total", source=source, outcome=outcome)

    def clock_ahead(self, lead: timedelta) -> None:
        self._metrics.count("sender_clock_ahead_total")
        _log.warning("hl7.clock-ahead", seconds=round(lead.total_seconds()))

    def not_read(self, fields: Iterable[tuple[str, str]], repairs: int) -> None:
        """Labels are looked up once each."""
        for field, number in Counter(fields).items():
            add = self._fields.get(field)
            if add is None:
                add = self._metrics.counter("hl7_ignored_total", segment=field[0], field=field[1])
                self._fields[field] = add
            add(number)
        if repairs:
            self._metrics.count("hl7_texts_repaired_total", repairs)
