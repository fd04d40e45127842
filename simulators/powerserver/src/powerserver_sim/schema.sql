-- One file is the whole PowerServer: catalogue, patients, orders, HL7 queues and ledger share its transactions.
CREATE TABLE IF NOT EXISTS setting (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS user (
    name TEXT PRIMARY KEY,
    full_name TEXT NOT NULL,
    salt BLOB NOT NULL,
    password_hash BLOB NOT NULL,
    is_admin INTEGER NOT NULL,
    facility TEXT                      -- null: not restricted to a facility
) STRICT;

CREATE TABLE IF NOT EXISTS facility (
    code TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    time_zone TEXT NOT NULL,           -- IANA
    issuer TEXT NOT NULL,              -- Issuer of Patient ID
    phone TEXT NOT NULL DEFAULT '',
    email TEXT NOT NULL DEFAULT '',
    address TEXT NOT NULL DEFAULT '',
    npi TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE TABLE IF NOT EXISTS location (
    id INTEGER PRIMARY KEY,
    facility TEXT NOT NULL REFERENCES facility (code),
    department TEXT NOT NULL,
    floor TEXT NOT NULL DEFAULT '',
    room TEXT NOT NULL,
    phone TEXT NOT NULL DEFAULT '',
    UNIQUE (facility, department, room)
) STRICT;

CREATE TABLE IF NOT EXISTS resource (
    id INTEGER PRIMARY KEY,
    facility TEXT NOT NULL REFERENCES facility (code),
    name TEXT NOT NULL UNIQUE,
    modality TEXT NOT NULL,
    department TEXT NOT NULL,
    room TEXT NOT NULL,
    class TEXT NOT NULL DEFAULT '',
    opens TEXT NOT NULL,               -- HH:MM in the facility's zone
    closes TEXT NOT NULL,              -- HH:MM, 24:00 allowed
    default_minutes INTEGER NOT NULL,
    overbooking INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE IF NOT EXISTS study_type (
    code TEXT PRIMARY KEY,
    description TEXT NOT NULL,
    modality TEXT,                     -- null: may go on any resource and takes that resource's modality
    minutes INTEGER                    -- null: the resource's default
) STRICT;

CREATE TABLE IF NOT EXISTS status (
    value INTEGER PRIMARY KEY,         -- order value: what rules and mappings use
    name TEXT NOT NULL UNIQUE          -- the site's word for it, may be renamed
) STRICT;

CREATE TABLE IF NOT EXISTS action_status (action TEXT PRIMARY KEY, status INTEGER NOT NULL REFERENCES status (value)) STRICT;
CREATE TABLE IF NOT EXISTS priority (value INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE IF NOT EXISTS physician (id TEXT PRIMARY KEY, family TEXT NOT NULL, given TEXT NOT NULL) STRICT;

CREATE TABLE IF NOT EXISTS patient (
    key INTEGER PRIMARY KEY,
    patient_id TEXT NOT NULL,
    issuer TEXT NOT NULL,
    family TEXT NOT NULL,
    given TEXT NOT NULL,
    middle TEXT NOT NULL DEFAULT '',
    birth_date TEXT NOT NULL,          -- YYYY-MM-DD
    sex TEXT NOT NULL,
    email TEXT NOT NULL DEFAULT '',
    phone TEXT NOT NULL DEFAULT '',
    street TEXT NOT NULL DEFAULT '',
    city TEXT NOT NULL DEFAULT '',
    state TEXT NOT NULL DEFAULT '',
    postal_code TEXT NOT NULL DEFAULT '',
    country TEXT NOT NULL DEFAULT '',
    created_at INTEGER NOT NULL,
    UNIQUE (patient_id, issuer)
) STRICT;
CREATE INDEX IF NOT EXISTS patient_by_name ON patient (family COLLATE NOCASE, given COLLATE NOCASE);

-- An order without start is at ORDERED on the worklist; with a start it is an appointment on its resource.
CREATE TABLE IF NOT EXISTS "order" (
    number INTEGER PRIMARY KEY,        -- placer P<number>, appointment A<number>, visit V<number>
    patient INTEGER NOT NULL REFERENCES patient (key),
    facility TEXT NOT NULL REFERENCES facility (code),
    resource INTEGER REFERENCES resource (id),
    start_at INTEGER,                  -- seconds since 1970, UTC
    end_at INTEGER,
    status INTEGER NOT NULL REFERENCES status (value),
    priority INTEGER NOT NULL REFERENCES priority (value),
    physician TEXT REFERENCES physician (id),
    reason TEXT NOT NULL DEFAULT '',
    orm_announced INTEGER NOT NULL DEFAULT 0,   -- an ORM NW went out, so the next one is a change
    created_at INTEGER NOT NULL,
    CHECK ((start_at IS NULL) = (end_at IS NULL)),
    CHECK (start_at IS NULL OR resource IS NOT NULL)
) STRICT;
CREATE INDEX IF NOT EXISTS order_by_slot ON "order" (resource, start_at) WHERE start_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS order_by_day ON "order" (facility, start_at) WHERE start_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS order_on_worklist ON "order" (facility, number) WHERE start_at IS NULL;
CREATE INDEX IF NOT EXISTS order_by_patient ON "order" (patient);

CREATE TABLE IF NOT EXISTS study (
    "order" INTEGER NOT NULL REFERENCES "order" (number),
    position INTEGER NOT NULL,
    accession TEXT NOT NULL UNIQUE,
    study_type TEXT NOT NULL REFERENCES study_type (code),
    modality TEXT,
    minutes INTEGER,
    PRIMARY KEY ("order", position)
) STRICT, WITHOUT ROWID;

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

CREATE TABLE IF NOT EXISTS ledger (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    direction TEXT NOT NULL CHECK (direction IN ('in', 'out', 'effect')),
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS ledger_by_subject ON ledger (subject, seq);
CREATE TRIGGER IF NOT EXISTS ledger_keeps_rows BEFORE DELETE ON ledger BEGIN SELECT raise(ABORT, 'append-only'); END;
CREATE TRIGGER IF NOT EXISTS ledger_keeps_words BEFORE UPDATE ON ledger BEGIN SELECT raise(ABORT, 'append-only'); END;
