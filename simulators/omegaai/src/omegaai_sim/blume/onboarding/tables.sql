CREATE TABLE IF NOT EXISTS account (
    id INTEGER PRIMARY KEY, email TEXT NOT NULL UNIQUE, pin_hash BLOB NOT NULL, invited_at TEXT NOT NULL,
    first_login_at TEXT, wrong_tries INTEGER NOT NULL DEFAULT 0, locked_until TEXT
);
