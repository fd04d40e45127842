"""Compares both sides: one transaction reads them, pairs them, and keeps and announces what has changed.

Only one comparison runs at a time (an advisory lock), and one that finds nothing new writes nothing. So every process
may compare whenever it likes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID, uuid4

from chassis.store import Store, Transaction, asking
from chassis.store.aggregates import lists_of
from scheduler_sync.domain.resource import FieldDrift, Pair, PairState, Side, pair
from scheduler_sync.events import resource_event
from scheduler_sync.resources import statements
from scheduler_sync.resources.records import (
    HistoryLine,
    ResourceRecords,
    drift_json,
    drift_of_json,
    near_json,
    near_of_json,
    side_of_service,
)
from scheduler_sync.site import SiteFile

COMPARISON: Final = "scheduler-sync"
"""The actor of changes that follow from both sides' values."""


@dataclass(frozen=True, slots=True)
class StoredPair:
    """A pair as it was last compared."""

    id: UUID
    facility: str
    name: str
    powerserver_id: UUID | None
    resource_id: UUID | None
    state: str
    drift: tuple[FieldDrift, ...]
    near: tuple[tuple[str, str], ...]
    revision: int
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Comparison:
    """The pairs, and the number of resources in each state."""

    pairs: Sequence[Pair] = ()
    counts: Mapping[str, int] = field(default_factory=dict)


async def compare(store: Store, site: SiteFile, *, now: datetime) -> Comparison:
    """Compares all facilities of the site. Raises ``StoreUnavailable``."""
    with asking():
        async with store.pool.acquire() as connection, connection.transaction():
            transaction = Transaction(connection)
            records = ResourceRecords(transaction)
            transaction.join(records)
            found = await compare_in(transaction, records, site, now=now)
            await transaction.flush()
    return found


async def compare_in(
    transaction: Transaction, records: ResourceRecords, site: SiteFile, *, now: datetime
) -> Comparison:
    """As ``compare``, in the caller's transaction, which it does not flush. ``records`` are part of it."""
    connection = transaction.connection
    facilities = list(site.facilities)
    await records.load_facilities(facilities)
    services = await connection.fetch(statements.SERVICES, facilities)
    stored = {row["id"]: stored_pair(row) for row in await connection.fetch(statements.PAIRS, facilities)}
    ids = {row["id"]: row["healthcare_service_id"] for row in services}
    elsewhere = {row["name"]: row["facility"] for row in services if row["active"]}
    pairs: list[Pair] = []
    for code, facility in site.facilities.items():
        there = [side_of_service(row) for row in services if row["facility"] == code and not row["is_gone"]]
        ours = [Side(one.id, one.description(facility.organization)) for one in records.of_facility(code)]
        others = {name: where for name, where in elsewhere.items() if where != code}
        pairs += pair(code, ours, there, site_aliases=site.resource_aliases.get(code, {}), elsewhere=others)
    present = {one.id for one in pairs}
    counts = Counter(one.state.value for one in pairs)
    # A service that is gone stands for the revision of its events alone.
    gone = [row for row in services if row["is_gone"] and row["id"] in stored and row["id"] not in present]
    pairs += [Pair(row["id"], row["facility"], row["name"], PairState.INACTIVE) for row in gone]
    _keep(transaction, records, pairs, stored, ids=ids, site=site.site, now=now)
    return Comparison(pairs, {state.value: counts.get(state.value, 0) for state in PairState})


def _keep(
    transaction: Transaction,
    records: ResourceRecords,
    pairs: Sequence[Pair],
    stored: Mapping[UUID, StoredPair],
    *,
    ids: Mapping[UUID, str],
    site: str,
    now: datetime,
) -> None:
    """Writes the pairs that have changed, with their history and events."""
    rows = []
    for one in pairs:
        before = stored.get(one.id)
        if before is not None and _is_same(one, before):
            continue
        revision = 0 if before is None else before.revision
        announced = _announced(one, before)
        if announced is not None:
            revision += 1
            service_id = ids[one.id] if _is_joined(one) else None
            transaction.publish(
                resource_event(
                    announced, one, service_id, site=site, revision=revision, occurred_at=now, cause_id=uuid4()
                )
            )
        if before is None or before.state != one.state.value or before.drift != one.drift:
            detail: dict[str, object] = {
                "before": None if before is None else before.state,
                "drift": [[drift.field, drift.powerserver, drift.omegaai] for drift in one.drift],
            }
            records.note(HistoryLine(one.facility, one.name, now, COMPARISON, one.state.value, detail))
        rows.append(_row(one, revision, now))
    if rows:
        transaction.write(statements.WRITE_PAIRS, *lists_of(rows))
    ended = list(stored.keys() - {one.id for one in pairs})
    if ended:
        transaction.write(statements.END_PAIRS, [one for one in ended if not stored[one].revision])
        transaction.write(statements.LEAVE_PAIRS, [one for one in ended if stored[one].revision])


def _announced(one: Pair, before: StoredPair | None) -> Literal["linked", "drifted"] | None:
    """The event of a change: the two sides became one; what they differ in has changed; they are no longer one."""
    was_joined = before is not None and before.powerserver_id is not None and before.resource_id is not None
    if not was_joined:
        return "linked" if _is_joined(one) else None
    if before is not None and _is_joined(one) and one.drift == before.drift:
        return None
    return "drifted"


def _is_joined(one: Pair) -> bool:
    return one.powerserver is not None and one.omegaai is not None


def _is_same(one: Pair, before: StoredPair) -> bool:
    ours = None if one.powerserver is None else one.powerserver.id
    theirs = None if one.omegaai is None else one.omegaai.id
    near = tuple((near.name, near.by.value) for near in one.near)
    now = (one.facility, one.name, ours, theirs, one.state.value, one.drift, near)
    return now == (
        before.facility, before.name, before.powerserver_id, before.resource_id, before.state, before.drift, before.near
    )  # fmt: skip


def _row(one: Pair, revision: int, now: datetime) -> tuple[object, ...]:
    return (
        one.id, one.facility, one.name, None if one.powerserver is None else one.powerserver.id,
        None if one.omegaai is None else one.omegaai.id, one.state.value, drift_json(one.drift), near_json(one.near),
        revision, now,
    )  # fmt: skip


def stored_pair(row: Mapping[str, Any]) -> StoredPair:
    """A row of ``resource_pairs``."""
    near = tuple((one.name, one.by.value) for one in near_of_json(row["near"]))
    values = {name: row[name] for name in statements.PAIR if name not in {"drift", "near"}}
    return StoredPair(**values, drift=drift_of_json(row["drift"]), near=near)
