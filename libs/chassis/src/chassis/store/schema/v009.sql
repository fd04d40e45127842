-- Version 9: a message that a person has edited, the numbers by which a message is found, and indexes for lists.

-- NULL in rows of earlier code. terms stays NULL where a service finds the message by its effect.
ALTER TABLE hl7_journal ADD COLUMN IF NOT EXISTS edited_from uuid, ADD COLUMN IF NOT EXISTS terms text[];

CREATE INDEX CONCURRENTLY ix_hl7_journal_edited_from ON hl7_journal (edited_from) WHERE edited_from IS NOT NULL;
CREATE INDEX CONCURRENTLY ix_hl7_journal_terms ON hl7_journal USING gin (terms) WHERE terms IS NOT NULL;
CREATE INDEX CONCURRENTLY ix_hl7_journal_refused ON hl7_journal (received_at) WHERE state IN ('rejected', 'dropped');
CREATE INDEX CONCURRENTLY ix_timers_due_at ON timers (due_at);
CREATE INDEX CONCURRENTLY ix_deliveries_dropped ON deliveries (id) WHERE state = 'dropped';
