"""Reading and writing outside the batches: ids for deliveries, resources, the pages and the commands."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final, Generic, Literal, TypeAlias, TypeVar
from uuid import UUID

import asyncpg

import contracts
from chassis.deliveries import Delivery
from chassis.store import asking
from scheduler_sync.adapters.omegaai.reader import ServiceFound
from scheduler_sync.adapters.omegaai.sender import KnownIds
from scheduler_sync.adapters.powerserver.sender import Shown
from scheduler_sync.domain.appointment import State, WorkflowStep
from scheduler_sync.domain.resource import Resource
from scheduler_sync.site import Site
from scheduler_sync.store import columns

Row: TypeAlias = Mapping[str, Any]
A = TypeVar("A")


class StoredIds:
    """What OmegaAI called things, for the sender. Its methods raise ``StoreUnavailable``."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._patients = _AskedTogether(pool, "SELECT id, fhir_id FROM patients WHERE id = ANY($1::uuid[])", KnownIds)
        self._links = _AskedTogether(
            pool,
            "SELECT appointment_links.id, patients.fhir_id, omegaai_id, omegaai_written_version FROM appointment_links "
            "JOIN patients ON patients.id = patient_id WHERE appointment_links.id = ANY($1::uuid[])",
            KnownIds,
        )

    async def of_patient(self, patient_id: UUID) -> KnownIds:
        return await self._patients.of(patient_id) or KnownIds(None)

    async def of_link(self, link_id: UUID) -> KnownIds:
        return await self._links.of(link_id) or KnownIds(None)

    async def later(self, delivery: Delivery) -> Literal["done", "under way"] | None:
        about = delivery.idempotency_key.rpartition(":")[0] + ":"
        asked = delivery.id, delivery.key, delivery.destination, about
        with asking():
            is_done: bool | None = await self._pool.fetchval(_IS_LATER_DONE, *asked)
        return None if is_done is None else "done" if is_done else "under way"


_IS_LATER_DONE: Final = """
SELECT bool_or(state = 'done') FROM deliveries
WHERE key = $2 AND destination = $3 AND starts_with(idempotency_key, $4)
  AND sequence > (SELECT sequence FROM deliveries WHERE id = $1)
  AND (state = 'done' OR (state = 'pending' AND lease_until > clock_timestamp()))"""


async def revisions(pool: asyncpg.Pool, aggregate_ids: Sequence[UUID]) -> Mapping[UUID, int]:
    """The revisions of these patients and appointments, as far as the store knows them."""
    rows = await pool.fetch(_REVISIONS, aggregate_ids)
    return {row["id"]: row["revision"] for row in rows}


_REVISIONS: Final = """
SELECT id, revision FROM patients WHERE id = ANY($1::uuid[])
UNION ALL SELECT id, revision FROM appointment_links WHERE id = ANY($1::uuid[])"""


class StoredSteps:
    """Where appointments stand, for the sender. Its method raises ``StoreUnavailable``."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._links = _AskedTogether(
            pool, "SELECT id, step, powerserver_step FROM appointment_links WHERE id = ANY($1::uuid[])", _shown
        )

    async def of_link(self, link_id: UUID) -> Shown | None:
        return await self._links.of(link_id)


def _shown(step: str, powerserver_step: str | None) -> Shown:
    return Shown(WorkflowStep(step), None if powerserver_step is None else WorkflowStep(powerserver_step))


class _AskedTogether(Generic[A]):
    """One question: deliveries that begin in the same turn of the loop ask it in one statement, after that turn."""

    def __init__(self, pool: asyncpg.Pool, query: str, make: Callable[..., A]) -> None:
        self._pool = pool
        self._query = query
        self._make = make
        self._keys: set[UUID] = set()
        self._answer: asyncio.Task[dict[UUID, A]] | None = None

    async def of(self, key: UUID) -> A | None:
        if self._answer is None:
            self._answer = asyncio.create_task(self._ask())
        self._keys.add(key)
        with asking():
            found = await asyncio.shield(self._answer)  # who gives up does not take the others' answer along
        return found.get(key)

    async def _ask(self) -> dict[UUID, A]:
        keys, self._keys, self._answer = list(self._keys), set(), None
        return {row[0]: self._make(*row[1:]) for row in await self._pool.fetch(self._query, keys)}


class StoredResources:
    """The resources table. Its methods raise ``StoreUnavailable``."""

    def __init__(self, pool: asyncpg.Pool, site: Site) -> None:
        self._pool = pool
        self._site = site

    async def keep(self, facility: str, services: Sequence[ServiceFound]) -> None:
        """Take over a facility's services as they are in OmegaAI; one that is gone there is no longer active."""
        rows = [
            (
                contracts.uuid7(), facility, one.organization, one.name, one.modality, one.id, one.duration_minutes,
                json.dumps(one.available_time), one.allows_overbooking, one.allows_self_scheduling, one.is_active,
            )
            for one in services
        ]  # fmt: skip
        with asking():
            await self._keep(facility, rows, [one.id for one in services])

    async def _keep(self, facility: str, rows: Sequence[tuple[object, ...]], ids: Sequence[str]) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.executemany(
                "INSERT INTO resources (id, facility, organization, name, modality, healthcare_service_id, "
                "duration_minutes, hours, overbooking, self_scheduling, active, aliases, seen_at) "
                "VALUES ($1, $2, $3, $4, $5, $6, $7, $8::jsonb, $9, $10, $11, '{}', now()) "
                "ON CONFLICT (healthcare_service_id) DO UPDATE SET facility = excluded.facility, "
                "organization = excluded.organization, name = excluded.name, modality = excluded.modality, "
                "duration_minutes = excluded.duration_minutes, hours = excluded.hours, "
                "overbooking = excluded.overbooking, self_scheduling = excluded.self_scheduling, "
                "active = excluded.active, seen_at = now()",
                rows,
            )
            await connection.execute(
                "UPDATE resources SET active = false "
                "WHERE facility = $1 AND NOT healthcare_service_id = ANY($2::text[])",
                facility,
                ids,
            )

    async def all(self) -> Sequence[Resource]:
        with asking():
            rows = await self._pool.fetch(
                "SELECT id, facility, name, modality, healthcare_service_id, duration_minutes, overbooking, active, "
                "aliases FROM resources WHERE facility = ANY($1::text[]) ORDER BY facility, name",
                list(self._site.file.facilities),
            )
        return [Resource(**{**dict(row), "aliases": tuple(row["aliases"])}) for row in rows]


@dataclass(frozen=True, slots=True)
class LinkFilter:
    """What the list of links shows; it stands in the address of the page."""

    state: str = ""
    facility: str = ""
    placer_number: str = ""
    conflicts_only: bool = False
    before: str = ""
    ROWS: ClassVar[int] = 50


class Views:
    """The pages' queries."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def links(self, wanted: LinkFilter) -> list[Row]:
        """The newest changes first, a page at a time; ``before`` is the updated_at of the last row seen."""
        before = None
        try:
            before = datetime.fromisoformat(wanted.before) if wanted.before else None
        except ValueError:
            before = None
        return await self._pool.fetch(  # type: ignore[no-any-return]  # asyncpg is untyped
            "SELECT l.*, EXISTS (SELECT 1 FROM conflicts WHERE link_id = l.id) AS has_conflicts, "
            "EXISTS (SELECT 1 FROM deliveries WHERE (key = l.id OR key = l.patient_id) AND state = 'dead') AS has_dead "
            "FROM appointment_links l "
            "WHERE ($1 = '' OR state = ANY($7::text[])) AND ($2 = '' OR facility = $2) "
            "AND ($3 = '' OR placer_number = $3) "
            "AND (NOT $4 OR EXISTS (SELECT 1 FROM conflicts WHERE link_id = l.id)) "
            "AND ($5::timestamptz IS NULL OR updated_at < $5) ORDER BY updated_at DESC LIMIT $6",
            wanted.state, wanted.facility, wanted.placer_number, wanted.conflicts_only, before, wanted.ROWS,
            columns.spellings(wanted.state),
        )  # fmt: skip

    async def link(self, link_id: UUID) -> Row | None:
        found: Row | None = await self._pool.fetchrow("SELECT * FROM appointment_links WHERE id = $1", link_id)
        return found

    async def patient(self, patient_id: UUID) -> Row | None:
        found: Row | None = await self._pool.fetchrow("SELECT * FROM patients WHERE id = $1", patient_id)
        return found

    async def history(self, link_id: UUID) -> list[Row]:
        return await self._pool.fetch(  # type: ignore[no-any-return]  # asyncpg is untyped
            "SELECT h.*, j.control_id, j.state AS journal_state FROM link_history h "
            "LEFT JOIN hl7_journal j ON j.id = h.cause_id WHERE link_id = $1 ORDER BY h.id",
            link_id,
        )

    async def deliveries(self, delivery_ids: Sequence[UUID]) -> dict[UUID, Row]:
        rows = await self._pool.fetch(
            "SELECT id, destination, kind, state, attempts, last_error, idempotency_key, receipt, created_at, done_at "
            "FROM deliveries WHERE id = ANY($1::uuid[])",
            list(delivery_ids),
        )
        return {row["id"]: row for row in rows}

    async def conflicts(self, link_id: UUID) -> list[Row]:
        return await self._pool.fetch(  # type: ignore[no-any-return]  # asyncpg is untyped
            "SELECT * FROM conflicts WHERE link_id = $1 ORDER BY id", link_id
        )

    async def needs_setup(self) -> list[Row]:
        return await self._pool.fetch(  # type: ignore[no-any-return]  # asyncpg is untyped
            "SELECT id, sender, control_id, type, reason, setting, repeats, received_at FROM hl7_journal "
            "WHERE state = 'needs_setup' ORDER BY received_at LIMIT 500"
        )

    async def journal(self, journal_id: UUID) -> Row | None:
        found: Row | None = await self._pool.fetchrow("SELECT * FROM hl7_journal WHERE id = $1", journal_id)
        return found

    async def parked_tasks(self) -> list[Row]:
        return await self._pool.fetch(  # type: ignore[no-any-return]  # asyncpg is untyped
            "SELECT * FROM parked_tasks WHERE replayed_at IS NULL ORDER BY parked_at LIMIT 500"
        )

    async def version(self) -> str:
        """Changes whenever a page may look different."""
        row = await self._pool.fetchrow(
            "SELECT (SELECT max(id) FROM link_history), "
            "(SELECT count(*) FROM hl7_journal WHERE state IN ('needs_setup', 'failed')), "
            "(SELECT count(*) FROM deliveries WHERE state = 'dead'), "
            "(SELECT count(*) FROM parked_tasks WHERE replayed_at IS NULL)"
        )
        return "-".join(str(value or 0) for value in row)

    async def cursors(self) -> list[Row]:
        return await self._pool.fetch("SELECT * FROM feed_cursor ORDER BY feed")  # type: ignore[no-any-return]  # asyncpg is untyped

    async def counts(self) -> Mapping[str, int]:
        rows = await self._pool.fetch("SELECT state, count(*) AS links FROM appointment_links GROUP BY state")
        found: Counter[str] = Counter()
        for row in rows:
            found[State(row["state"])] += row["links"]
        return found
