-- Version 3: how many deliveries in a row a bug has failed, and indexes by which what has served is found.

CREATE TABLE IF NOT EXISTS delivery_bugs (
    destination text        NOT NULL,
    in_a_row    integer     NOT NULL,
    reason      text        NOT NULL,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT pk_delivery_bugs PRIMARY KEY (destination),
    CONSTRAINT ck_delivery_bugs_in_a_row CHECK (in_a_row > 0)
);

-- Only rows that may be deleted after their time stand in these: what waits for somebody is never in the way.
CREATE INDEX CONCURRENTLY ix_outbox_sent ON outbox (sent_at) WHERE sent_at IS NOT NULL;
CREATE INDEX CONCURRENTLY ix_deliveries_settled ON deliveries (done_at) WHERE state IN ('done', 'dropped');
CREATE INDEX CONCURRENTLY ix_hl7_journal_settled ON hl7_journal (processed_at) WHERE state NOT IN ('needs_setup', 'failed');
CREATE INDEX CONCURRENTLY ix_dead_letters_settled ON dead_letters (settled_at) WHERE state <> 'open';
-- In place of a BRIN: its ranges never narrow when the space of deleted rows is used again, so that after some weeks every
-- look read the whole table.
CREATE INDEX CONCURRENTLY ix_inbox_received ON inbox (received_at);
DROP INDEX CONCURRENTLY IF EXISTS ix_inbox_received_at;
