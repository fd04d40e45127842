CREATE TABLE IF NOT EXISTS user (
    name TEXT PRIMARY KEY,
    full_name TEXT NOT NULL,
    salt BLOB NOT NULL,
    password_hash BLOB NOT NULL,
    is_admin INTEGER NOT NULL,
    facility TEXT                      -- null: not restricted to a facility
) STRICT;

CREATE TABLE IF NOT EXISTS user_group (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS group_member (user TEXT PRIMARY KEY, user_group TEXT NOT NULL REFERENCES user_group (name)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS group_privilege (
    user_group TEXT NOT NULL REFERENCES user_group (name),
    privilege TEXT NOT NULL,
    PRIMARY KEY (user_group, privilege)
) STRICT, WITHOUT ROWID;

-- The users whose login asks for a code; a user without a row logs in by the password alone.
CREATE TABLE IF NOT EXISTS second_factor (
    user TEXT PRIMARY KEY,
    secret TEXT NOT NULL,                  -- of the authenticator, Base32
    last_step INTEGER NOT NULL DEFAULT 0,       -- of the last code that was taken: a code counts once
    wrong_codes INTEGER NOT NULL DEFAULT 0,
    blocked_until INTEGER NOT NULL DEFAULT 0    -- seconds since 1970
) STRICT, WITHOUT ROWID;
