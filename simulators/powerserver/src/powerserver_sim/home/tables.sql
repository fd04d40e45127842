-- What a user has pinned to the home page: modules by their key, notifications by their number in the ledger.
CREATE TABLE IF NOT EXISTS pin (
    user TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('module', 'notification')),
    key TEXT NOT NULL,
    PRIMARY KEY (user, kind, key)
) STRICT, WITHOUT ROWID;

-- The newest notification that a user has read.
CREATE TABLE IF NOT EXISTS notification_read (user TEXT PRIMARY KEY, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;
