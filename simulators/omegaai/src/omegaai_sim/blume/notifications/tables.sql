CREATE TABLE IF NOT EXISTS notification (
    id INTEGER PRIMARY KEY, email TEXT NOT NULL, at TEXT NOT NULL, title TEXT NOT NULL, text TEXT NOT NULL,
    appointment TEXT NOT NULL, is_read INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS notification_email ON notification (email, id);
