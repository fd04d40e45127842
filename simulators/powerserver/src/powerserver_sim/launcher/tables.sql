-- The users on whose machine the app launcher is installed.
CREATE TABLE IF NOT EXISTS launcher (user TEXT PRIMARY KEY, installed_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
