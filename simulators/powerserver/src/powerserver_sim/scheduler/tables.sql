-- The newest resource that a user's scheduler has loaded: later ones show after Refresh Data, or at the next login.
CREATE TABLE IF NOT EXISTS scheduler_data (user TEXT PRIMARY KEY, newest_resource INTEGER NOT NULL) STRICT, WITHOUT ROWID;
