"""Alembic revisions, each marked to run before or after its code."""
