"""The notifier's own metrics, beside the chassis' on the same registry; an undeclared one does not type-check."""

import structlog
from prometheus_client import Counter, Gauge

from chassis.errors import StoreUnavailable
from chassis.loops import LoopBase
from chassis.observe import Metrics
from chassis.store import Store, asking
from notifier.domain.notification import OPEN, Template

_WATCH_SECONDS = 15.0
_OPEN = """
SELECT state, count(*), extract(epoch FROM now() - min(created_at))::float8 FROM notifications
WHERE state IN ('awaiting_recipient', 'queued') GROUP BY state
"""

log = structlog.get_logger(__name__)


class NotifierMetrics:
    """Counts for the handlers and the sender; the ports ``StaleRevisions`` and ``MailMeters``."""

    def __init__(self, chassis: Metrics) -> None:
        self._chassis = chassis
        self._unanswered = Counter(
            "notifier_mails_unanswered_total",
            "Mails handed over that the mail server did not answer: tried once more, the patient may get two",
            ["template"],
            registry=chassis.registry,
        )
        self._unconfirmed = Counter(
            "notifier_mails_unconfirmed_total",
            "Mails given up after two tries without an answer: they arrived once, twice or not at all",
            ["template"],
            registry=chassis.registry,
        )
        self._refused = Counter(
            "notifier_mails_refused_total",
            "Mails that the mail server refused for good",
            ["template"],
            registry=chassis.registry,
        )
        self.open_messages = Gauge(
            "notifier_open_messages",
            "Messages that are neither sent nor given up, by state",
            ["state"],
            registry=chassis.registry,
        )
        self.oldest_open_age = Gauge(
            "notifier_oldest_open_age_seconds",
            "Age of the oldest message in a state that it should leave",
            ["state"],
            registry=chassis.registry,
        )

    def count(self, message_type: str) -> None:
        """An event that was older than what is known."""
        self._chassis.count("stale_total", kind=message_type)

    def unanswered(self, template: Template) -> None:
        self._unanswered.labels(template).inc()

    def unconfirmed(self, template: Template) -> None:
        self._unconfirmed.labels(template).inc()

    def refused(self, template: Template) -> None:
        self._refused.labels(template).inc()


class OpenMessagesWatch(LoopBase):
    """Keeps the gauges of open messages true; the alarms stand on them."""

    def __init__(self, store: Store, metrics: NotifierMetrics) -> None:
        super().__init__()
        self._store = store
        self._metrics = metrics

    async def run(self) -> None:
        while not self.stopping:
            try:
                with asking():
                    await self.look()
            except StoreUnavailable as error:
                # Readiness tells of a store that is away; this loop lives on and looks again.
                log.warning("open_messages.not_counted", reason=error.reason)
            await self.pause(_WATCH_SECONDS)

    async def look(self) -> None:
        found = {row[0]: (row[1], row[2]) for row in await self._store.pool.fetch(_OPEN)}
        for state in OPEN:
            number, age = found.get(state, (0, 0.0))
            self._metrics.open_messages.labels(state).set(number)
            self._metrics.oldest_open_age.labels(state).set(age)
