"""The SQL of resources: both sides, their pairs, and the history."""

# ruff: noqa: S608 (the names are the models', the values are parameters)

from typing import Final

from chassis.store.aggregates import insert_many, upsert_many
from chassis.store.names import CHASSIS, names_in

_TABLES: Final = names_in("scheduler_sync.store.tables")
services = _TABLES.Resources
grid = _TABLES.PowerServerResources
pairs = _TABLES.ResourcePairs
history = _TABLES.ResourceHistory
deliveries = CHASSIS.Deliveries

GRID: Final = {
    "id": "uuid", "facility": "text", "name": "text", "key": "text", "kind": "text", "modality": "text",
    "department": "text", "room": "text", "category": "text", "hours": "jsonb", "duration_minutes": "int",
    "overbooking": "boolean", "active": "boolean", "heard_at": "timestamptz", "source": "text",
}  # fmt: skip
PAIR: Final = {
    "id": "uuid", "facility": "text", "name": "text", "powerserver_id": "uuid", "resource_id": "uuid", "state": "text",
    "drift": "jsonb", "near": "jsonb", "revision": "int", "changed_at": "timestamptz",
}  # fmt: skip
HISTORY: Final = {
    "facility": "text", "name": "text", "at": "timestamptz", "actor": "text", "what": "text", "detail": "jsonb",
}  # fmt: skip
_COLUMNS: Final = (
    "id", "facility", "organization", "name", "modality", "healthcare_service_id", "duration_minutes", "hours",
    "overbooking", "self_scheduling", "active", "aliases", "is_gone",
)  # fmt: skip

# One writer of resources at a time: a name moves between rows, and pairs are compared as a whole.
LOCK: Final = "SELECT pg_advisory_xact_lock(1919251823)"

WRITE_GRID: Final = upsert_many(grid, GRID, key=grid.id)
WRITE_PAIRS: Final = upsert_many(pairs, PAIR, key=pairs.id)
WRITE_HISTORY: Final = insert_many(history, HISTORY)
END_PAIRS: Final = f"DELETE FROM {pairs} WHERE {pairs.id} = ANY($1::uuid[])"
# A pair that has events keeps its revision, also while nobody has the resource any more.
LEAVE_PAIRS: Final = f"""
UPDATE {pairs} SET {pairs.state} = 'inactive', {pairs.powerserver_id} = NULL, {pairs.resource_id} = NULL,
    {pairs.drift} = '[]', {pairs.near} = '[]'
WHERE {pairs.id} = ANY($1::uuid[])
"""

_GRID: Final = ", ".join(GRID)
GRID_OF_FACILITIES: Final = f"SELECT {_GRID} FROM {grid} WHERE {grid.facility} = ANY($1::text[])"
GRID_ASKED: Final = f"""
SELECT {_GRID} FROM {grid} WHERE {grid.id} IN (
    SELECT found.{grid.id} FROM {grid} AS found
    JOIN unnest($1::text[], $2::text[], $3::text[]) AS asked (facility, name, key)
    ON found.{grid.facility} = asked.facility AND (found.{grid.name} = asked.name OR found.{grid.key} = asked.key)
)
"""

_SERVICE: Final = ", ".join(getattr(services, name) for name in _COLUMNS)
SERVICES: Final = f"SELECT {_SERVICE} FROM {services} WHERE {services.facility} = ANY($1::text[])"
SERVICE: Final = f"SELECT {_SERVICE} FROM {services} WHERE {services.id} = $1"
SERVICES_BY_ID: Final = f"SELECT {_SERVICE} FROM {services} WHERE {services.healthcare_service_id} = ANY($1::text[])"

KEEP_SERVICES: Final = f"""
INSERT INTO {services} ({services.id}, {services.facility}, {services.organization}, {services.name},
    {services.modality}, {services.healthcare_service_id}, {services.duration_minutes}, {services.hours},
    {services.overbooking}, {services.self_scheduling}, {services.active}, {services.aliases}, {services.is_gone},
    {services.seen_at})
VALUES ($1, $2, $3, $4, $5, $6, $7, $8::jsonb, $9, $10, $11, '{{}}', false, now())
ON CONFLICT ({services.healthcare_service_id}) DO UPDATE SET {services.facility} = excluded.{services.facility},
    {services.organization} = excluded.{services.organization}, {services.name} = excluded.{services.name},
    {services.modality} = excluded.{services.modality},
    {services.duration_minutes} = excluded.{services.duration_minutes},
    {services.hours} = excluded.{services.hours}, {services.overbooking} = excluded.{services.overbooking},
    {services.self_scheduling} = excluded.{services.self_scheduling},
    {services.active} = excluded.{services.active}, {services.is_gone} = false, {services.seen_at} = now()
"""
SAW_SERVICES: Final = f"""
UPDATE {services} SET {services.seen_at} = now() WHERE {services.healthcare_service_id} = ANY($1::text[])
"""
END_SERVICES: Final = f"""
UPDATE {services} SET {services.active} = false, {services.is_gone} = true
WHERE {services.healthcare_service_id} = ANY($1::text[])
"""
SET_ALIASES: Final = f"UPDATE {services} SET {services.aliases} = $2 WHERE {services.id} = $1"

_PAIR: Final = ", ".join(PAIR)
PAIRS: Final = f"SELECT {_PAIR} FROM {pairs} WHERE {pairs.facility} = ANY($1::text[])"
PAIR_BY_ID: Final = f"SELECT {_PAIR} FROM {pairs} WHERE {pairs.id} = $1 FOR UPDATE"

NEWEST_CHANGE: Final = f"SELECT max({history.id}) FROM {history}"

IS_UNDER_WAY: Final = f"""
SELECT EXISTS (SELECT 1 FROM {deliveries} WHERE {deliveries.destination} = $1 AND {deliveries.key} = $2
    AND {deliveries.kind} = $3 AND {deliveries.state} = 'pending')
"""
DELIVERY_STATE: Final = f"""
SELECT {deliveries.state}, {deliveries.last_error} FROM {deliveries} WHERE {deliveries.id} = $1
"""
NOW: Final = "SELECT now()"

RESOURCES: Final = f"""
SELECT {services.id}, {services.facility}, {services.name}, {services.modality}, {services.healthcare_service_id},
    {services.duration_minutes}, {services.overbooking}, {services.active}, {services.aliases}, {services.hours},
    {services.self_scheduling}
FROM {services} WHERE {services.facility} = ANY($1::text[]) AND NOT {services.is_gone}
ORDER BY {services.facility}, {services.name}, {services.active}
"""
