"""The tables that the migrations make are the ones that the classes describe, and ``columns`` writes."""

import asyncpg
import pytest

from chassis.store import tables as chassis_tables
from scheduler_sync.store import columns
from scheduler_sync.store.tables import Base

pytestmark = pytest.mark.stack
WRITTEN = {
    "patients": columns.PATIENT, "appointment_links": columns.LINK, "link_history": columns.HISTORY,
    "conflicts": columns.CONFLICT, "patient_identifiers": columns.IDENTIFIER, "parked_tasks": columns.PARKED,
}  # fmt: skip


async def test_classes_and_live_catalogue_agree(migrated_url: str):
    connection = await asyncpg.connect(migrated_url)
    rows = await connection.fetch(
        "SELECT table_name, column_name, is_nullable = 'YES' AS nullable FROM information_schema.columns "
        "WHERE table_schema = 'public' AND table_name <> 'alembic_version'"
    )
    indexes = await connection.fetch("SELECT indexname FROM pg_indexes WHERE schemaname = 'public'")
    await connection.close()
    live: dict[str, dict[str, bool]] = {}
    for row in rows:
        live.setdefault(row["table_name"], {})[row["column_name"]] = row["nullable"]
    described = {
        name: {column.name: bool(column.nullable) for column in table.columns}
        for metadata in (Base.metadata, chassis_tables.Base.metadata)
        for name, table in metadata.tables.items()
    }
    assert described == live
    known = {row["indexname"] for row in indexes}
    for name in WRITTEN:
        assert {index.name for index in Base.metadata.tables[name].indexes} <= known


@pytest.mark.parametrize("table", list(WRITTEN))
def test_what_is_written_is_in_the_table(table: str):
    assert set(WRITTEN[table]) <= {column.name for column in Base.metadata.tables[table].columns}


async def test_what_each_message_moves_on_stands_in_no_index(migrated_url: str):
    """An update of it alone leaves the indexes as they are (HOT)."""
    connection = await asyncpg.connect(migrated_url)
    indexes = await connection.fetch("SELECT indexdef FROM pg_indexes WHERE tablename = 'patients'")
    await connection.close()
    assert indexes
    assert not [row["indexdef"] for row in indexes if "heard_at" in row["indexdef"]]
