-- Tables that every service of the suite has in its own database. Version 1.

CREATE TABLE inbox (
    consumer    text        NOT NULL,
    message_id  uuid        NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT pk_inbox PRIMARY KEY (consumer, message_id)
);
CREATE INDEX ix_inbox_received_at ON inbox USING brin (received_at);

CREATE TABLE outbox (
    id           bigint      GENERATED ALWAYS AS IDENTITY,
    topic        text        NOT NULL,
    aggregate_id uuid        NOT NULL,
    revision     integer     NOT NULL,
    message_id   uuid        NOT NULL,
    value        bytea       NOT NULL,
    headers      text        NOT NULL,
    traceparent  text,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    sent_at      timestamptz,
    CONSTRAINT pk_outbox PRIMARY KEY (id),
    CONSTRAINT uq_outbox_aggregate_id UNIQUE (aggregate_id, revision)
);
CREATE INDEX ix_outbox_unsent ON outbox (id) WHERE sent_at IS NULL;

CREATE TABLE deliveries (
    id              uuid        NOT NULL,
    sequence        bigint      GENERATED ALWAYS AS IDENTITY,
    destination     text        NOT NULL,
    key             uuid        NOT NULL,
    kind            text        NOT NULL,
    payload         bytea       NOT NULL,
    headers         text        NOT NULL DEFAULT '{}',
    idempotency_key text        NOT NULL,
    state           text        NOT NULL DEFAULT 'pending',
    attempts        integer     NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease_token     uuid,
    lease_until     timestamptz,
    last_error      text,
    receipt         text,
    traceparent     text,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    done_at         timestamptz,
    CONSTRAINT pk_deliveries PRIMARY KEY (id),
    CONSTRAINT uq_deliveries_destination UNIQUE (destination, idempotency_key),
    CONSTRAINT ck_deliveries_state CHECK (state IN ('pending', 'done', 'dead', 'dropped')),
    CONSTRAINT ck_deliveries_lease CHECK ((lease_token IS NULL) = (lease_until IS NULL))
);
-- The head of each key's line is the pending row with the lowest sequence.
CREATE INDEX ix_deliveries_line ON deliveries (destination, key, sequence) WHERE state = 'pending';
CREATE INDEX ix_deliveries_pending ON deliveries (destination, sequence) WHERE state = 'pending';
CREATE INDEX ix_deliveries_lease ON deliveries (lease_token) WHERE lease_token IS NOT NULL;
CREATE INDEX ix_deliveries_dead ON deliveries (sequence) WHERE state = 'dead';
CREATE INDEX ix_deliveries_key ON deliveries (key);

CREATE TABLE dead_letters (
    id           uuid        NOT NULL,
    consumer     text        NOT NULL,
    kind         text        NOT NULL,
    reason       text        NOT NULL,
    topic        text        NOT NULL,
    partition    integer,
    kafka_offset bigint,
    message_id   uuid,
    key          bytea,
    value        bytea,
    headers      text        NOT NULL,
    attempts     integer     NOT NULL,
    state        text        NOT NULL DEFAULT 'open',
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    settled_at   timestamptz,
    CONSTRAINT pk_dead_letters PRIMARY KEY (id),
    CONSTRAINT ck_dead_letters_kind CHECK (kind IN ('permanent', 'bug', 'undecodable')),
    CONSTRAINT ck_dead_letters_state CHECK (state IN ('open', 'replayed', 'dropped'))
);
CREATE INDEX ix_dead_letters_open ON dead_letters (consumer, created_at) WHERE state = 'open';
CREATE UNIQUE INDEX uq_dead_letters_record ON dead_letters (consumer, topic, partition, kafka_offset)
    WHERE kafka_offset IS NOT NULL AND state = 'open';

CREATE TABLE parked_keys (
    consumer        text        NOT NULL,
    key             uuid        NOT NULL,
    reason          text        NOT NULL,
    attempts        integer     NOT NULL DEFAULT 0,
    since           timestamptz NOT NULL DEFAULT clock_timestamp(),
    next_attempt_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT pk_parked_keys PRIMARY KEY (consumer, key)
);

CREATE TABLE parked_messages (
    sequence     bigint  GENERATED ALWAYS AS IDENTITY,
    consumer     text    NOT NULL,
    key          uuid    NOT NULL,
    message_id   uuid    NOT NULL,
    topic        text    NOT NULL,
    partition    integer NOT NULL,
    kafka_offset bigint  NOT NULL,
    value        bytea   NOT NULL,
    headers      text    NOT NULL,
    CONSTRAINT pk_parked_messages PRIMARY KEY (sequence),
    CONSTRAINT uq_parked_messages_consumer UNIQUE (consumer, message_id)
);
CREATE INDEX ix_parked_messages_line ON parked_messages (consumer, key, sequence);

CREATE TABLE hl7_journal (
    id           uuid        NOT NULL,
    sender       text        NOT NULL,
    control_id   text        NOT NULL,
    digest       bytea       NOT NULL,
    type         text        NOT NULL,
    raw          bytea       NOT NULL,
    state        text        NOT NULL,
    reason       text,
    setting      text,
    repeats      integer     NOT NULL DEFAULT 0,
    received_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    processed_at timestamptz,
    CONSTRAINT pk_hl7_journal PRIMARY KEY (id),
    CONSTRAINT uq_hl7_journal_sender UNIQUE (sender, control_id, digest),
    CONSTRAINT ck_hl7_journal_state CHECK (state IN ('accepted', 'needs_setup', 'rejected', 'failed', 'replayed', 'dropped'))
);
CREATE INDEX ix_hl7_journal_received_at ON hl7_journal (received_at);
CREATE INDEX ix_hl7_journal_open ON hl7_journal (received_at) WHERE state IN ('needs_setup', 'failed');

CREATE TABLE operator_audit (
    id      bigint      GENERATED ALWAYS AS IDENTITY,
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor   text        NOT NULL,
    action  text        NOT NULL,
    subject text        NOT NULL,
    detail  text        NOT NULL DEFAULT '{}',
    CONSTRAINT pk_operator_audit PRIMARY KEY (id)
);
