"""Every metric of the suite, declared once with its meaning; a name that is not declared here does not type-check."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

CounterName = Literal[
    "messages_consumed_total",  # Kafka records by consumer and outcome (done, duplicate, dead; or first parked)
    "messages_published_total",  # outbox rows acknowledged by Kafka
    "hl7_received_total",  # inbound HL7 messages by acknowledgement code
    "mllp_refused_total",  # by reason: connection (too many), busy (no room in memory), too-large, too-slow
    "hl7_repeats_total",  # inbound HL7 messages that were a repeat; kind: same content, or other content under one id
    "hl7_ignored_total",  # filled fields of inbound HL7 messages that nobody reads, by segment and field
    "hl7_texts_repaired_total",  # texts of inbound HL7 messages with control characters in them
    "conflicts_total",  # what was refused or overruled and is kept for a person to look at, by source and outcome
    "deliveries_total",  # outbound deliveries by destination and outcome (done, retried, dead)
    "stale_total",  # inputs older than what is known, by kind; ignored on purpose
    "sender_clock_ahead_total",  # messages made, by the sender's clock, later than they can have been
    "clock_jumps_total",  # jumps of the store's clock by more than the limit, against this process's monotonic one
    "rows_deleted_total",  # rows of the chassis' tables that had served, by table
    "records_missed_total",  # records that expired before a consumer read them, by consumer and topic
    "revision_gaps_total",  # revisions that had not come a minute after a later one, by the later one's type
    "console_refused_total",  # requests for pages that were refused; reason: host, password, brake, origin
    "omegaai_tasks_found_late_total",  # OmegaAI's Tasks that only a look from the queue's start has found
    "offset_commits_failed_total",  # Kafka refused an offset commit; the inbox makes the repeat harmless
]
GaugeName = Literal[
    "outbox_oldest_unsent_age_seconds",  # how long the oldest committed event has waited for Kafka
    "outbox_unsent",  # how many wait
    "outbox_relay_active",  # 1 in the process whose relay holds the lock
    "task_reader_active",  # 1 in the process that reads OmegaAI's Task queue
    "omegaai_tasks_open",  # OmegaAI's open Tasks by the service that handles them; nobody: unclaimed for 15 minutes
    "dead_letters_open",  # by consumer; at the limit the consumer stops
    "missed_records_open",  # by consumer: places where it missed records, waiting for a person
    "revision_gaps_open",  # by consumer: revisions that were passed over for a minute and have not come since
    "parked_keys",  # aggregates whose messages wait behind one that failed for a passing reason
    "deliveries_pending",  # by destination
    "deliveries_oldest_pending_age_seconds",  # by destination
    "deliveries_dead",  # refused for good by the partner, waiting for a person
    "deliveries_stopped",  # by destination: 1 while they are held back after bugs in a row, and one is tried at times
    "breaker_open",  # by destination: 1 while calls are held back
    "store_refused",  # 1 while the loops do not run: the store was set back, or belongs elsewhere
    "kafka_behind",  # partitions that lacked, at the start, what the outbox says was sent to them
    "partner_access_refused",  # by destination: 1 while it refuses us, or its state does, whatever the message
    "partner_wait_seconds",  # by loop and partner: how long the loop's present calls have waited
    "clock_offset_seconds",  # this machine's clock minus the store's
    "clock_uncertain",  # 1 while what the clocks disagree on is held back
    "needs_setup",  # inbound messages that wait for a setting
    "mllp_connections",  # that stand
    "mllp_bytes_in_flight",  # of messages that come in, wait or are being handled
    "store_unfit",  # settings by which the store's server may lose what it committed
    "store_logs_patients",  # settings by which the store's server would log patients' data
    "tls_certificate_expires_in_seconds",  # by use, of our own; below 0 once it has expired
]
HistogramName = Literal[
    "batch_messages",  # messages per committed batch
    "batch_seconds",  # from the first message of a batch to its commit
    "outbox_lag_seconds",  # from an outbox row's commit to Kafka's acknowledgement
    "delivery_seconds",  # one attempt at a partner
]

COUNTER_NAMES: tuple[CounterName, ...] = get_args(CounterName)
GAUGE_NAMES: tuple[GaugeName, ...] = get_args(GaugeName)
HISTOGRAM_NAMES: tuple[HistogramName, ...] = get_args(HistogramName)

_LABELS: dict[str, tuple[str, ...]] = {
    "messages_consumed_total": ("consumer", "outcome"),
    "hl7_received_total": ("code",),
    "mllp_refused_total": ("reason",),
    "hl7_repeats_total": ("kind",),
    "hl7_ignored_total": ("segment", "field"),
    "conflicts_total": ("source", "outcome"),
    "deliveries_total": ("destination", "outcome"),
    "stale_total": ("kind",),
    "rows_deleted_total": ("table",),
    "records_missed_total": ("consumer", "topic"),
    "revision_gaps_total": ("type",),
    "missed_records_open": ("consumer",),
    "revision_gaps_open": ("consumer",),
    "console_refused_total": ("reason",),
    "omegaai_tasks_open": ("claimed_by",),
    "dead_letters_open": ("consumer",),
    "parked_keys": ("consumer",),
    "deliveries_pending": ("destination",),
    "deliveries_oldest_pending_age_seconds": ("destination",),
    "deliveries_dead": ("destination",),
    "deliveries_stopped": ("destination",),
    "breaker_open": ("destination",),
    "partner_access_refused": ("destination",),
    "partner_wait_seconds": ("loop", "partner"),
    "tls_certificate_expires_in_seconds": ("use",),
    "delivery_seconds": ("destination",),
}
_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500)


@dataclass
class Metrics:
    """One per process; ``registry`` is what /metrics shows."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    _counters: dict[str, Counter] = field(init=False, default_factory=dict)
    _gauges: dict[str, Gauge] = field(init=False, default_factory=dict)
    _histograms: dict[str, Histogram] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for counter in COUNTER_NAMES:
            self._counters[counter] = Counter(counter, counter, _LABELS.get(counter, ()), registry=self.registry)
        for gauge in GAUGE_NAMES:
            self._gauges[gauge] = Gauge(gauge, gauge, _LABELS.get(gauge, ()), registry=self.registry)
        for name in HISTOGRAM_NAMES:
            buckets = _SIZES if name == "batch_messages" else Histogram.DEFAULT_BUCKETS
            self._histograms[name] = Histogram(
                name, name, _LABELS.get(name, ()), registry=self.registry, buckets=buckets
            )

    def count(self, name: CounterName, amount: float = 1, **labels: str) -> None:
        counter = self._counters[name]
        (counter.labels(**labels) if labels else counter).inc(amount)

    def counter(self, name: CounterName, **labels: str) -> Callable[[float], None]:
        """What adds to the counter of these labels, for those who count often."""
        return self._counters[name].labels(**labels).inc

    def set(self, name: GaugeName, value: float, **labels: str) -> None:
        gauge = self._gauges[name]
        (gauge.labels(**labels) if labels else gauge).set(value)

    def observe(self, name: HistogramName, value: float, **labels: str) -> None:
        histogram = self._histograms[name]
        (histogram.labels(**labels) if labels else histogram).observe(value)

    def value(self, name: CounterName | GaugeName, **labels: str) -> float:
        """What a counter or gauge stands at; 0 where it was never touched."""
        return self.registry.get_sample_value(name, labels) or 0.0


Sampler = Callable[[], None]
