"""The notifier's own metrics, and the objects that count them."""

from typing import Final

import structlog

from chassis.errors import StoreUnavailable
from chassis.loops import LoopBase
from chassis.observe import Counter, Gauge, Metrics
from chassis.store import Store, asking
from notifier.domain.notification import OPEN, Template
from notifier.store import statements

STALE: Final = Counter("stale_total", "Events older than what is known; ignored on purpose", "kind")
MAILS_UNANSWERED: Final = Counter(
    "notifier_mails_unanswered_total",
    "Mails handed over that the mail server did not answer: tried once more, the patient may get two",
    "template",
)
MAILS_UNCONFIRMED: Final = Counter(
    "notifier_mails_unconfirmed_total",
    "Mails given up after two tries without an answer: they arrived once, twice or not at all",
    "template",
)
MAILS_REFUSED: Final = Counter(
    "notifier_mails_refused_total", "Mails that the mail server refused for good", "template"
)
OPEN_MESSAGES: Final = Gauge("notifier_open_messages", "Messages that are neither sent nor given up, by state", "state")
OLDEST_OPEN_AGE: Final = Gauge(
    "notifier_oldest_open_age_seconds", "Age of the oldest message in a state that it should leave", "state"
)
_WATCH_SECONDS = 15.0

log = structlog.get_logger(__name__)


class NotifierMetrics:
    """Counts for the handlers and the sender; the ports ``StaleRevisions`` and ``MailMeters``."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def count(self, message_type: str) -> None:
        """Counts an event that is older than the projection."""
        self._metrics.count(STALE, kind=message_type)

    def unanswered(self, template: Template) -> None:
        self._metrics.count(MAILS_UNANSWERED, template=template)

    def unconfirmed(self, template: Template) -> None:
        self._metrics.count(MAILS_UNCONFIRMED, template=template)

    def refused(self, template: Template) -> None:
        self._metrics.count(MAILS_REFUSED, template=template)


class OpenMessagesWatch(LoopBase):
    """Updates the gauges of open messages, on which alarms are based."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        super().__init__()
        self._store = store
        self._metrics = metrics

    async def run(self) -> None:
        while not self.stopping:
            try:
                with asking():
                    await self.look()
            except StoreUnavailable as error:
                # Readiness reports a store that is away; this loop goes on and looks again.
                log.warning("open_messages.not_counted", reason=error.reason)
            await self.pause(_WATCH_SECONDS)

    async def look(self) -> None:
        found = {row[0]: (row[1], row[2]) for row in await self._store.pool.fetch(statements.COUNT_OPEN)}
        for state in OPEN:
            number, age = found.get(state, (0, 0.0))
            self._metrics.set(OPEN_MESSAGES, number, state=state)
            self._metrics.set(OLDEST_OPEN_AGE, age, state=state)
