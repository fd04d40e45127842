CREATE TABLE IF NOT EXISTS resource (
    type TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, body TEXT NOT NULL, updated TEXT NOT NULL,
    PRIMARY KEY (type, id)
) WITHOUT ROWID;
-- Every value that a search parameter may ask for. The number is the id's: a page in the order of creation is a range scan.
CREATE TABLE IF NOT EXISTS search_value (
    type TEXT NOT NULL, parameter TEXT NOT NULL, value TEXT NOT NULL, id TEXT NOT NULL, number INTEGER NOT NULL,
    PRIMARY KEY (type, parameter, value, number, id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS search_value_id ON search_value (type, id);
CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS assigning_authority (system TEXT PRIMARY KEY, issuer TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS account (
    id INTEGER PRIMARY KEY, email TEXT NOT NULL UNIQUE, pin_hash BLOB NOT NULL, invited_at TEXT NOT NULL,
    first_login_at TEXT, wrong_tries INTEGER NOT NULL DEFAULT 0, locked_until TEXT
);
CREATE TABLE IF NOT EXISTS notification (
    id INTEGER PRIMARY KEY, email TEXT NOT NULL, at TEXT NOT NULL, title TEXT NOT NULL, text TEXT NOT NULL,
    appointment TEXT NOT NULL, is_read INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS notification_email ON notification (email, id);
CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS ledger (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, direction TEXT NOT NULL, kind TEXT NOT NULL,
    subject TEXT NOT NULL, detail TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS ledger_effect ON ledger (subject, seq) WHERE direction = 'effect';
