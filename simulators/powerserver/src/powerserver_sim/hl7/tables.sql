CREATE TABLE IF NOT EXISTS setting (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS outbound (
    id INTEGER PRIMARY KEY,
    control_id TEXT NOT NULL UNIQUE,   -- MSH-10, the same on every attempt
    lane TEXT NOT NULL,                -- messages of one lane never overtake each other
    placer TEXT NOT NULL DEFAULT '',
    type TEXT NOT NULL,
    payload BLOB NOT NULL,
    state TEXT NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'retrying', 'acked', 'rejected', 'dropped')),
    attempts INTEGER NOT NULL DEFAULT 0,
    next_attempt_at REAL NOT NULL DEFAULT 0,
    ack_code TEXT NOT NULL DEFAULT '',
    problem TEXT NOT NULL DEFAULT '',
    created_at TEXT NOT NULL,
    settled_at TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS outbound_waiting ON outbound (lane, id) WHERE state IN ('queued', 'retrying');
CREATE INDEX IF NOT EXISTS outbound_by_state ON outbound (state, id);
CREATE INDEX IF NOT EXISTS outbound_by_placer ON outbound (placer, id);

CREATE TABLE IF NOT EXISTS inbound (
    id INTEGER PRIMARY KEY,
    sender TEXT NOT NULL,              -- MSH-3|MSH-4
    control_id TEXT NOT NULL,
    digest BLOB NOT NULL,
    placer TEXT NOT NULL DEFAULT '',
    type TEXT NOT NULL DEFAULT '',
    payload BLOB NOT NULL,
    ack_code TEXT NOT NULL,
    problem TEXT NOT NULL DEFAULT '',
    is_repeat INTEGER NOT NULL DEFAULT 0,
    received_at TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS inbound_accepted ON inbound (sender, control_id) WHERE ack_code = 'AA';
CREATE INDEX IF NOT EXISTS inbound_by_answer ON inbound (ack_code, id);
CREATE INDEX IF NOT EXISTS inbound_by_placer ON inbound (placer, id);
