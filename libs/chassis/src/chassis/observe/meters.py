"""Every metric of the chassis, with its meaning and labels. A service's own metrics stand in its ``metrics.py``."""

from typing import Final

from chassis.observe.declarations import SIZES, Counter, Gauge, Histogram

# Kafka in
MESSAGES_CONSUMED: Final = Counter(
    "messages_consumed_total", "Records, by outcome: done, duplicate, dead, or first parked", "consumer", "outcome"
)
OFFSET_COMMITS_FAILED: Final = Counter(
    "offset_commits_failed_total", "Offset commits that Kafka refused; the inbox makes the repeat harmless"
)
RECORDS_MISSED: Final = Counter(
    "records_missed_total", "Records that expired before a consumer read them", "consumer", "topic"
)
REVISION_GAPS: Final = Counter(
    "revision_gaps_total", "Revisions that had not come a minute after a later one, by the later one's type", "type"
)
DEAD_LETTERS_OPEN: Final = Gauge("dead_letters_open", "Open ones; at the limit the consumer stops", "consumer")
MISSED_RECORDS_OPEN: Final = Gauge(
    "missed_records_open", "Places where the consumer missed records, waiting for a person", "consumer"
)
REVISION_GAPS_OPEN: Final = Gauge(
    "revision_gaps_open", "Revisions that were passed over for a minute and have not come since", "consumer"
)
PARKED_KEYS: Final = Gauge(
    "parked_keys", "Aggregates whose messages wait behind one that failed for a passing reason", "consumer"
)

# Kafka out
MESSAGES_PUBLISHED: Final = Counter("messages_published_total", "Outbox rows that Kafka has acknowledged")
OUTBOX_UNSENT: Final = Gauge("outbox_unsent", "Outbox rows that wait for Kafka")
OUTBOX_OLDEST_UNSENT_AGE_SECONDS: Final = Gauge(
    "outbox_oldest_unsent_age_seconds", "How long the oldest committed event has waited for Kafka"
)
OUTBOX_LAG_SECONDS: Final = Histogram("outbox_lag_seconds", "From an outbox row's commit to Kafka's acknowledgement")
OUTBOX_RELAY_ACTIVE: Final = Gauge("outbox_relay_active", "1 in the process whose relay holds the lock")
KAFKA_BEHIND: Final = Gauge(
    "kafka_behind", "Partitions that lacked, at the start, what the outbox says was sent to them"
)

# HL7 in
HL7_RECEIVED: Final = Counter("hl7_received_total", "Messages, by acknowledgement code", "code")
HL7_REPEATS: Final = Counter(
    "hl7_repeats_total", "Messages that came again; kind: same content, or other content under one id", "kind"
)
MLLP_REFUSED: Final = Counter(
    "mllp_refused_total",
    "Refusals, by reason: connection (too many), busy (no room in memory), too-large, too-slow",
    "reason",
)
MLLP_CONNECTIONS: Final = Gauge("mllp_connections", "Connections that stand")
MLLP_BYTES_IN_FLIGHT: Final = Gauge("mllp_bytes_in_flight", "Bytes of messages that come in, wait or are being handled")
BATCH_MESSAGES: Final = Histogram("batch_messages", "Messages in a committed group", buckets=SIZES)

# Deliveries
DELIVERIES: Final = Counter("deliveries_total", "Deliveries, by outcome: done, retried, dead", "destination", "outcome")
DELIVERY_SECONDS: Final = Histogram("delivery_seconds", "One attempt at a partner", "destination")
DELIVERIES_PENDING: Final = Gauge("deliveries_pending", "Deliveries that wait", "destination")
DELIVERIES_OLDEST_PENDING_AGE_SECONDS: Final = Gauge(
    "deliveries_oldest_pending_age_seconds", "How long the oldest delivery has waited", "destination"
)
DELIVERIES_DEAD: Final = Gauge(
    "deliveries_dead", "Deliveries that the partner refused for good, waiting for a person", "destination"
)
DELIVERIES_STOPPED: Final = Gauge(
    "deliveries_stopped", "1 while deliveries are held back after bugs in a row; one is tried at times", "destination"
)
BREAKER_OPEN: Final = Gauge("breaker_open", "1 while calls are held back", "destination")
PARTNER_ACCESS_REFUSED: Final = Gauge(
    "partner_access_refused", "1 while the partner, or its state, refuses us whatever the message", "destination"
)
PARTNER_WAIT_SECONDS: Final = Gauge(
    "partner_wait_seconds", "How long the loop's present calls have waited", "loop", "partner"
)

# Timers
TIMERS_DUE: Final = Counter(
    "timers_due_total", "Timers that were due, by outcome: fired, superseded, again, failed", "kind", "outcome"
)
TIMERS_WAITING: Final = Gauge("timers_waiting", "Timers that are set and have not fired")
TIMERS_OVERDUE: Final = Gauge("timers_overdue", "Waiting timers that are due")
TIMERS_OLDEST_OVERDUE_AGE_SECONDS: Final = Gauge(
    "timers_oldest_overdue_age_seconds", "How long the first of the overdue timers has been due"
)
TIMERS_DEAD: Final = Gauge("timers_dead", "Timers that failed for good, waiting for a person")
TIMERS_OF_UNKNOWN_KIND: Final = Gauge("timers_of_unknown_kind", "Waiting timers of which this process has no handler")

# The store, the clocks, the host
STORE_REFUSED: Final = Gauge(
    "store_refused", "1 while the loops do not run: the store was set back, or belongs elsewhere"
)
STORE_UNFIT: Final = Gauge("store_unfit", "Settings by which the store's server may lose what it committed")
STORE_LOGS_PATIENTS: Final = Gauge(
    "store_logs_patients", "Settings by which the store's server would log patients' data"
)
ROWS_DELETED: Final = Counter("rows_deleted_total", "Rows of the chassis' tables that had served", "table")
CLOCK_OFFSET_SECONDS: Final = Gauge("clock_offset_seconds", "This machine's clock minus the store's")
CLOCK_UNCERTAIN: Final = Gauge("clock_uncertain", "1 while what the clocks disagree on is held back")
CLOCK_JUMPS: Final = Counter(
    "clock_jumps_total", "Jumps of the store's clock, against this process's monotonic one, above the limit"
)
CONSOLE_REFUSED: Final = Counter(
    "console_refused_total",
    "Requests that were refused; reason: host, origin, password, token, log-in, role, patient-session, brake",
    "reason",
)
IDENTITY_PROVIDER_UNUSABLE: Final = Gauge(
    "identity_provider_unusable", "1 while the identity provider does not answer, or is not the one of the settings"
)
TLS_CERTIFICATE_EXPIRES_IN_SECONDS: Final = Gauge(
    "tls_certificate_expires_in_seconds", "Of our own certificates, by use; below 0 once one has expired", "use"
)
