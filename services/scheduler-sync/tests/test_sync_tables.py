"""The tables that the migrations make are the ones that the classes describe, and ``columns`` writes."""

import asyncpg
import pytest

from chassis.store import migrations
from scheduler_sync.store import columns
from scheduler_sync.store.tables import Base

pytestmark = pytest.mark.stack
WRITTEN = {
    "patients": columns.PATIENT, "appointment_links": columns.LINK, "link_history": columns.HISTORY,
    "conflicts": columns.CONFLICT, "patient_identifiers": columns.IDENTIFIER, "parked_tasks": columns.PARKED,
}  # fmt: skip


async def test_the_models_are_what_the_migrations_make(migrated_url: str):
    assert await migrations.differences(migrated_url, Base.metadata) == []


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
