"""What a recovery asks of the store, and writes past the repositories."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from scheduler_sync.domain.appointment import AppointmentLink, FhirStatus, System
from scheduler_sync.domain.reconciliation import Announced
from scheduler_sync.store import columns

SOURCE: Final = "recovery"
"""Of a line of history that a recovery wrote. Its time is that of the event which it was written for."""

_LAST_MOMENT: Final = f"""
SELECT greatest(
    (SELECT max(received_at) FROM hl7_journal),
    (SELECT created_at FROM outbox ORDER BY id DESC LIMIT 1),
    (SELECT at FROM link_history WHERE source <> '{SOURCE}' ORDER BY id DESC LIMIT 1),
    (SELECT max(read_at) FROM feed_cursor)
)"""  # noqa: S608 (a constant)
_ANNOUNCED: Final = f"""
SELECT link_id, at, trigger FROM link_history
WHERE link_id = ANY($1::uuid[]) AND source = '{SOURCE}' AND trigger IS NOT NULL"""  # noqa: S608 (a constant)
_NEVER_WRITTEN: Final = """
SELECT id FROM appointment_links WHERE omegaai_id IS NULL AND slot_start IS NOT NULL"""
_UNSENT: Final = "SELECT id, aggregate_id, message_id, value FROM outbox WHERE sent_at IS NULL ORDER BY id"
_MADE_HERE: Final = "SELECT message_id FROM outbox WHERE aggregate_id = ANY($1::uuid[])"
_RENUMBER: Final = "UPDATE outbox SET revision = $2, value = $3 WHERE id = $1"
_RAISE: Final = (
    "UPDATE patients SET revision = $2 WHERE id = $1 AND revision < $2",
    "UPDATE appointment_links SET revision = $2 WHERE id = $1 AND revision < $2",
)
_RAISE_ALL: Final = (
    "UPDATE patients SET revision = $1 WHERE revision < $1",
    "UPDATE appointment_links SET revision = $1 WHERE revision BETWEEN 1 AND $1 - 1",
)
_LINKS: Final = """
SELECT * FROM appointment_links WHERE id = ANY($1::uuid[]) OR (site = $2 AND placer_number = ANY($3::text[]))"""
_PATIENTS_OF_FHIR: Final = "SELECT id, fhir_id FROM patients WHERE fhir_id = ANY($1::text[])"
_PENDING: Final = f"""
SELECT id, key, kind, payload FROM deliveries
WHERE destination = '{System.OMEGAAI}' AND state = 'pending' ORDER BY sequence FOR UPDATE"""  # noqa: S608 (a constant)
_LET_GO: Final = """
UPDATE deliveries SET state = 'dropped', done_at = clock_timestamp(), lease_token = NULL, lease_until = NULL,
    last_error = 'older than a recovery, which compared with OmegaAI and wrote what differs'
WHERE id = ANY($1::uuid[])"""
_OWNERS: Final = """
SELECT asked.issuer, asked.value, found.patient_id
FROM unnest($2::text[], $3::text[]) AS asked (issuer, value) JOIN patient_identifiers found
ON found.site = $1 AND found.issuer = asked.issuer AND found.value = asked.value"""


@dataclass(frozen=True, slots=True)
class Unsent:
    """An event that waits for the relay."""

    row_id: int
    aggregate_id: UUID
    message_id: UUID
    value: bytes


class RecoveryQueries:
    """On one pool; each method is one statement, or one transaction."""

    def __init__(self, pool: asyncpg.Pool, site: str) -> None:
        self._pool = pool
        self._site = site

    async def last_moment(self) -> datetime | None:
        """When the store last took anything; None of an empty one."""
        found: datetime | None = await self._pool.fetchval(_LAST_MOMENT)
        return found

    async def unsent(self) -> list[Unsent]:
        return [Unsent(*row) for row in await self._pool.fetch(_UNSENT)]

    async def made_here(self, aggregate_ids: Sequence[UUID]) -> set[UUID]:
        """The events of these aggregates that stand in the outbox."""
        return {row["message_id"] for row in await self._pool.fetch(_MADE_HERE, aggregate_ids)}

    async def renumber(self, rows: Sequence[tuple[int, UUID, int, bytes]]) -> None:
        """Give unsent events (row, aggregate, revision, bytes) another revision, and their aggregates with them."""
        async with self._pool.acquire() as connection, connection.transaction():
            # From the last one on: a revision may be that of a later row until that has moved.
            for row_id, aggregate_id, revision, value in sorted(rows, key=lambda row: -row[2]):
                await connection.execute(_RENUMBER, row_id, revision, value)
                for statement in _RAISE:
                    await connection.execute(statement, aggregate_id, revision)

    async def raise_all(self, floor: int) -> None:
        """No aggregate that was ever announced stays below ``floor``."""
        async with self._pool.acquire() as connection, connection.transaction():
            for statement in _RAISE_ALL:
                await connection.execute(statement, floor, timeout=600)

    async def links(self, ids: Sequence[UUID], placer_numbers: Sequence[str]) -> list[AppointmentLink]:
        rows = await self._pool.fetch(_LINKS, ids, self._site, placer_numbers)
        return [columns.link(row) for row in rows]

    async def announced(self, link_ids: Sequence[UUID]) -> Mapping[UUID, Announced]:
        """The events of which recoveries have rebuilt these links: a run that was killed has noted them."""
        found: dict[UUID, list[tuple[datetime, FhirStatus]]] = {}
        for row in await self._pool.fetch(_ANNOUNCED, link_ids):
            found.setdefault(row["link_id"], []).append((row["at"], FhirStatus(row["trigger"].rpartition(" ")[2])))
        return {
            link_id: Announced(max(at for at, _ in events), frozenset(status for _, status in events))
            for link_id, events in found.items()
        }

    async def patients_of_fhir_ids(self, fhir_ids: Sequence[str]) -> Mapping[str, UUID]:
        rows = await self._pool.fetch(_PATIENTS_OF_FHIR, fhir_ids)
        return {row["fhir_id"]: row["id"] for row in rows}

    async def owners(self, identifiers: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], UUID]:
        """Whose patient identifiers (issuer, value) these are."""
        if not identifiers:
            return {}
        rows = await self._pool.fetch(_OWNERS, self._site, *zip(*identifiers, strict=True))
        return {(row["issuer"], row["value"]): row["patient_id"] for row in rows}


async def pending_to_omegaai(connection: asyncpg.Connection) -> Sequence[Mapping[str, Any]]:
    """Deliveries that wait, under lock."""
    rows: Sequence[Mapping[str, Any]] = await connection.fetch(_PENDING)
    return rows


async def never_written(connection: asyncpg.Connection) -> list[UUID]:
    """Links that OmegaAI is not known to have taken."""
    return [row["id"] for row in await connection.fetch(_NEVER_WRITTEN)]


async def let_go(connection: asyncpg.Connection, delivery_ids: Sequence[UUID]) -> None:
    """These are not sent any more."""
    await connection.execute(_LET_GO, delivery_ids)
