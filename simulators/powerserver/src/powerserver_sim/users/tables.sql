CREATE TABLE IF NOT EXISTS user (
    name TEXT PRIMARY KEY,
    full_name TEXT NOT NULL,
    salt BLOB NOT NULL,
    password_hash BLOB NOT NULL,
    is_admin INTEGER NOT NULL,
    facility TEXT                      -- null: not restricted to a facility
) STRICT;
