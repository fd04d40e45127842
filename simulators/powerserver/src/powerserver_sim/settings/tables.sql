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

-- A time of a resource on which nothing is booked, on the facility's clock.
CREATE TABLE IF NOT EXISTS reservation (
    id INTEGER PRIMARY KEY,
    resource INTEGER NOT NULL REFERENCES resource (id),
    repeats TEXT NOT NULL CHECK (repeats IN ('once', 'daily', 'weekly')),
    first_day TEXT NOT NULL,           -- YYYY-MM-DD
    last_day TEXT NOT NULL DEFAULT '', -- empty: without an end
    opens TEXT NOT NULL,               -- HH:MM
    closes TEXT NOT NULL,
    purpose TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS reservation_by_resource ON reservation (resource);

CREATE TABLE IF NOT EXISTS workflow (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS assignment (
    resource INTEGER NOT NULL REFERENCES resource (id),
    kind TEXT NOT NULL CHECK (kind IN ('workflow', 'group')),
    name TEXT NOT NULL,
    PRIMARY KEY (resource, kind, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS site_default (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
