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
