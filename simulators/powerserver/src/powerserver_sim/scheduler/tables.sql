-- The newest resource that a user's scheduler has loaded: later ones show after Refresh Data, or at the next login.
CREATE TABLE IF NOT EXISTS scheduler_data (user TEXT PRIMARY KEY, newest_resource INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- A user's layout of the calendar: the place of each resource, and whether it is shown.
CREATE TABLE IF NOT EXISTS resource_layout (
    user TEXT NOT NULL,
    resource INTEGER NOT NULL REFERENCES resource (id),
    position INTEGER NOT NULL,
    is_shown INTEGER NOT NULL,
    PRIMARY KEY (user, resource)
) STRICT, WITHOUT ROWID;
