"""Resources in the store, for the import and the directory."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID, uuid5

import asyncpg

from chassis.store import Store, Transaction, asking
from scheduler_sync.adapters.omegaai.reader import ServiceFound
from scheduler_sync.domain.resource import Resource
from scheduler_sync.domain.slots import openings_of
from scheduler_sync.resources import matching, statements
from scheduler_sync.resources.matching import Comparison
from scheduler_sync.resources.records import HistoryLine, ResourceRecords, parsed, side_of_service
from scheduler_sync.site import Site, SiteFile
from scheduler_sync.store.statements import SET_CAPACITIES

_IDS: Final = UUID("0e8f5f0a-36c2-5b1c-8f53-6f0f0c5c8a2e")
OMEGAAI: Final = "OmegaAI"
"""The actor of changes that OmegaAI shows: its API does not say which person made them."""


class StoredResources:
    """The tables of resources. Its methods raise ``StoreUnavailable``."""

    def __init__(self, store: Store, site: Site) -> None:
        self._store = store
        self._site = site

    async def keep(self, facility: str, services: Sequence[ServiceFound]) -> None:
        """Stores a facility's services as they are in OmegaAI; a service that is gone there becomes inactive.

        Only services that have changed are written, with a line of history each.
        """
        with asking():
            async with self._store.pool.acquire() as connection, connection.transaction():
                transaction = Transaction(connection)
                await self._keep(transaction, facility, services)
                await transaction.flush()
            capacity = self._site.file.self_scheduling_capacity
            await self._store.pool.execute(SET_CAPACITIES, facility, capacity)

    async def _keep(self, transaction: Transaction, facility: str, services: Sequence[ServiceFound]) -> None:
        connection = transaction.connection
        records = ResourceRecords(transaction)
        transaction.join(records)
        await records.lock()
        ids = [one.id for one in services]
        known = {row["healthcare_service_id"]: row for row in await connection.fetch(statements.SERVICES, [facility])}
        known |= {row["healthcare_service_id"]: row for row in await connection.fetch(statements.SERVICES_BY_ID, ids)}
        now = await connection.fetchval(statements.NOW)
        changed = []
        for one in services:
            before = known.get(one.id)
            detail = _differences(before, facility, one)
            if detail or before is None:
                what = "omegaai.new" if before is None else "omegaai.changed"
                records.note(HistoryLine(facility, one.name, now, OMEGAAI, what, detail))
                changed.append(one)
        gone = [row for row in known.values() if row["healthcare_service_id"] not in ids and not row["is_gone"]]
        for row in gone:
            records.note(HistoryLine(row["facility"], row["name"], now, OMEGAAI, "omegaai.gone", {}))
        await _write(connection, facility, changed)
        await connection.execute(statements.SAW_SERVICES, ids)
        await connection.execute(statements.END_SERVICES, [row["healthcare_service_id"] for row in gone])

    async def all(self) -> Sequence[Resource]:
        with asking():
            rows = await self._store.pool.fetch(statements.RESOURCES, list(self._site.file.facilities))
        return [
            Resource(**{**row, "aliases": tuple(row["aliases"]), "hours": openings_of(parsed(row["hours"]))})
            for row in rows
        ]

    async def compare(self, site: SiteFile) -> Comparison:
        return await matching.compare(self._store, site, now=await self._store.now())

    async def newest_change(self) -> int | None:
        with asking():
            newest: int | None = await self._store.pool.fetchval(statements.NEWEST_CHANGE)
        return newest


def resource_id(healthcare_service_id: str) -> UUID:
    """Our id of a service, the same in a store that is made anew: its events go on with the revisions of the topics."""
    return uuid5(_IDS, healthcare_service_id)


async def _write(connection: asyncpg.Connection, facility: str, services: Sequence[ServiceFound]) -> None:
    rows = [
        (
            resource_id(one.id), facility, one.organization, one.name, one.modality, one.id, one.duration_minutes,
            json.dumps(one.available_time), one.allows_overbooking, one.allows_self_scheduling, one.is_active,
        )
        for one in services
    ]  # fmt: skip
    if rows:
        await connection.executemany(statements.KEEP_SERVICES, rows)


def _differences(before: Mapping[str, Any] | None, facility: str, now: ServiceFound) -> dict[str, object]:
    """The columns that differ, each with both values; hours in words."""
    values: dict[str, object] = {
        "facility": facility, "organization": now.organization, "name": now.name, "modality": now.modality,
        "duration_minutes": now.duration_minutes, "overbooking": now.allows_overbooking,
        "self_scheduling": now.allows_self_scheduling, "active": now.is_active, "is_gone": False,
    }  # fmt: skip
    if before is None:
        return {name: [None, value] for name, value in values.items() if name not in {"facility", "is_gone"}}
    found: dict[str, object] = {name: [before[name], value] for name, value in values.items() if before[name] != value}
    if parsed(before["hours"]) != now.available_time:
        hours = side_of_service(before).description.hours
        found["hours"] = [None if hours is None else hours.words(), now.hours_in_words]
    return found
