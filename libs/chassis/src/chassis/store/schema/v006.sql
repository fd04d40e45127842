-- Version 6: timers. What becomes due in the future; set, moved and cancelled in the transaction of the state it belongs to.

-- Of a timer (kind, key, name) the row of the newest revision counts. An older row stays only while a worker holds it: who
-- sets or cancels never waits for a worker. A fired or cancelled row is kept for its time, so that a late word has no effect.
CREATE TABLE timers (
    kind            text        NOT NULL,
    key             uuid        NOT NULL,
    name            text        NOT NULL,
    revision        bigint      NOT NULL,
    state           text        NOT NULL DEFAULT 'waiting',
    due_at          timestamptz NOT NULL,
    next_attempt_at timestamptz NOT NULL,
    payload         text        NOT NULL DEFAULT '{}',
    attempts        integer     NOT NULL DEFAULT 0,
    last_error      text,
    traceparent     text,
    set_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    settled_at      timestamptz,
    CONSTRAINT pk_timers PRIMARY KEY (kind, key, name, revision),
    CONSTRAINT ck_timers_state CHECK (state IN ('waiting', 'dead', 'fired', 'cancelled'))
);
-- By kind: a kind that no process knows is not in the way of the others. By key: of one key the earliest goes first.
CREATE INDEX ix_timers_due ON timers (kind, next_attempt_at) WHERE state = 'waiting';
CREATE INDEX ix_timers_line ON timers (key, due_at) WHERE state = 'waiting';
CREATE INDEX ix_timers_troubled ON timers (due_at) WHERE state = 'dead' OR (state = 'waiting' AND attempts > 0);
CREATE INDEX ix_timers_settled ON timers (settled_at) WHERE state IN ('fired', 'cancelled');
