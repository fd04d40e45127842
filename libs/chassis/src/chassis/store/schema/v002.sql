-- Version 2: how far each consumer has come, what it missed, and when an event was sent again.

-- Moves in the transaction of the batch that it covers. ``last_record`` is a fingerprint of the record before
-- ``next_offset``; ``began_at`` is when the consumer first handled anything of the partition.
CREATE TABLE consumer_positions (
    consumer    text        NOT NULL,
    topic       text        NOT NULL,
    partition   integer     NOT NULL,
    topic_id    uuid        NOT NULL,
    next_offset bigint      NOT NULL,
    last_record bytea,
    began_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    moved_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT pk_consumer_positions PRIMARY KEY (consumer, topic, partition)
) WITH (fillfactor = 50);

CREATE TABLE missed_records (
    id              uuid        NOT NULL,
    consumer        text        NOT NULL,
    topic           text        NOT NULL,
    partition       integer     NOT NULL,
    kind            text        NOT NULL,
    first_offset    bigint      NOT NULL,
    number          bigint,
    handled_until   timestamptz NOT NULL,
    noticed_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    acknowledged_at timestamptz,
    CONSTRAINT pk_missed_records PRIMARY KEY (id),
    CONSTRAINT ck_missed_records_kind CHECK (kind IN ('expired', 'made-anew', 'set-back'))
);
CREATE INDEX ix_missed_records_open ON missed_records (consumer, noticed_at) WHERE acknowledged_at IS NULL;

-- ``type`` is the event that came instead. ``counted_at``: it had stood for a minute.
CREATE TABLE revision_gaps (
    consumer     text        NOT NULL,
    aggregate_id uuid        NOT NULL,
    revision     integer     NOT NULL,
    type         text        NOT NULL,
    noticed_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    counted_at   timestamptz,
    CONSTRAINT pk_revision_gaps PRIMARY KEY (consumer, aggregate_id, revision)
);

ALTER TABLE outbox ADD COLUMN resend_at timestamptz;

CREATE INDEX ix_dead_letters_message ON dead_letters (consumer, message_id) WHERE message_id IS NOT NULL AND state <> 'replayed';
