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

-- Placer numbers that the partner made; every other order has P<number>.
CREATE TABLE IF NOT EXISTS given_number (
    placer TEXT PRIMARY KEY,
    "order" INTEGER NOT NULL UNIQUE REFERENCES "order" (number)
) STRICT, WITHOUT ROWID;

-- Why an appointment is off, for messages about it.
CREATE TABLE IF NOT EXISTS off_reason (
    "order" INTEGER PRIMARY KEY REFERENCES "order" (number),
    reason TEXT NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS study (
    "order" INTEGER NOT NULL REFERENCES "order" (number),
    position INTEGER NOT NULL,
    accession TEXT NOT NULL UNIQUE,
    study_type TEXT NOT NULL REFERENCES study_type (code),
    modality TEXT,
    minutes INTEGER,
    PRIMARY KEY ("order", position)
) STRICT, WITHOUT ROWID;

-- A patient's request on an order: for the appointment itself (new), or for another time (move).
CREATE TABLE IF NOT EXISTS request (
    "order" INTEGER PRIMARY KEY REFERENCES "order" (number),
    kind TEXT NOT NULL CHECK (kind IN ('new', 'move')),
    resource INTEGER REFERENCES resource (id),   -- of a move: the place that is wanted
    start_at INTEGER,                            -- of a move: the time that is wanted, seconds since 1970, UTC
    end_at INTEGER,
    asked_at INTEGER NOT NULL,
    is_open INTEGER NOT NULL DEFAULT 1
) STRICT;

-- The order's insurance, as the New Order form asks for it.
CREATE TABLE IF NOT EXISTS coverage (
    "order" INTEGER PRIMARY KEY REFERENCES "order" (number),
    insurance_status TEXT NOT NULL DEFAULT '',
    authorization TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX IF NOT EXISTS request_is_open ON request (is_open) WHERE is_open;
