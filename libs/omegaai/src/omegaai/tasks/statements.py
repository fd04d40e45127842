"""SQL of the table ``task_cursor``, which every service that reads the queue has in its store."""

from typing import Final

TABLE: Final = "task_cursor"
CREATE: Final = f"""
CREATE TABLE {TABLE} (
    reader     text        NOT NULL,
    read_until timestamptz NOT NULL,
    moved_at   timestamptz NOT NULL,
    CONSTRAINT pk_{TABLE} PRIMARY KEY (reader)
)"""
"""For the migration of such a service; its ``tables`` describe the table as ``TaskCursor``."""
LOAD: Final = f"SELECT read_until FROM {TABLE} WHERE reader = $1"  # noqa: S608 (a constant)
MOVE: Final = f"""
INSERT INTO {TABLE} (reader, read_until, moved_at) VALUES ($1, $2, clock_timestamp())
ON CONFLICT (reader) DO UPDATE SET read_until = excluded.read_until, moved_at = excluded.moved_at
"""  # noqa: S608 (a constant)
