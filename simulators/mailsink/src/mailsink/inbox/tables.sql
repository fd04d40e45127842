CREATE TABLE IF NOT EXISTS mails (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,                  -- UTC with microseconds
    sender TEXT NOT NULL,
    recipients TEXT NOT NULL,          -- JSON list: the envelope's, not the header's
    message_id TEXT NOT NULL,
    subject TEXT NOT NULL,
    template TEXT NOT NULL,
    appointment TEXT NOT NULL,
    raw BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS recipients (
    address TEXT NOT NULL,             -- in lower case
    mail_id INTEGER NOT NULL REFERENCES mails (id),
    PRIMARY KEY (address, mail_id)
) WITHOUT ROWID;
