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
