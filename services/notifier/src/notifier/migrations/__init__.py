"""Alembic revisions, each marked as to run before or after the code that it goes with."""
