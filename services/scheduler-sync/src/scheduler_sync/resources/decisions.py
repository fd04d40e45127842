"""A person's decisions about resources: an alias, the fix of a drift, an import. Each is audited and has a history."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import contracts
from chassis.store import Store, Transaction, asking
from scheduler_sync.adapters.omegaai.services import RESOURCE_FIX, FieldFix, ServiceFix, wanted_of
from scheduler_sync.domain.appointment import System
from scheduler_sync.domain.resource import Description, Pair, PairState, wanted_hours
from scheduler_sync.resources import statements
from scheduler_sync.resources.csv_files import CsvFile
from scheduler_sync.resources.matching import compare_in
from scheduler_sync.resources.records import HistoryLine, ResourceRecords, parsed
from scheduler_sync.site import SiteFile

LONGEST_NAME: Final = 200


class NotDecidedError(Exception):
    """The decision cannot be made; the text says why. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Fix:
    """A decided fix: the delivery that brings it to OmegaAI, and its fields."""

    delivery_id: UUID
    pair_id: UUID
    name: str
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import changed. ``missing``: known resources of the file's facilities that the file does not name."""

    changed: int
    unchanged: int
    missing: tuple[str, ...]
    switched_off: int


@dataclass(frozen=True, slots=True)
class Decisions:
    """The decisions on one store. Each is one transaction, and compares both sides in it."""

    store: Store
    site: SiteFile

    async def alias(self, facility: str, name: str, service: str | None, *, actor: str) -> None:
        """``name`` in PowerServer means OmegaAI's ``service``, by its name or id; None takes the alias away.

        Raises NotDecidedError, StoreUnavailable.
        """
        now = await self.store.now()
        with asking():
            async with self.store.pool.acquire() as connection, connection.transaction():
                transaction, records = _begun(Transaction(connection))
                await records.lock()
                await self._alias(transaction, records, facility, name, service, actor=actor, now=now)
                await transaction.flush()
        await self._compare()

    async def _alias(
        self,
        transaction: Transaction,
        records: ResourceRecords,
        facility: str,
        name: str,
        service: str | None,
        *,
        actor: str,
        now: datetime,
    ) -> None:
        if facility not in self.site.facilities:
            raise NotDecidedError("the facility is not in the site file")
        if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
            raise NotDecidedError(f"a name in PowerServer has 1 to {LONGEST_NAME} printable characters")
        rows = await transaction.connection.fetch(statements.SERVICES, [facility])
        present = [row for row in rows if not row["is_gone"]]
        owner = next((row for row in rows if name in row["aliases"]), None)
        if service is None:
            if owner is None:
                raise NotDecidedError("there is no such alias")
            target = None
        else:
            if any(row["name"] == name and row["active"] for row in present):
                raise NotDecidedError("OmegaAI has a service of exactly this name: an alias would have no effect")
            target = _the_one(service, present)
        if owner is not None and owner is not target:
            await _set_aliases(transaction, owner, [one for one in owner["aliases"] if one != name])
        if target is not None and owner is not target:
            await _set_aliases(transaction, target, [*target["aliases"], name])
        shown = None if target is None else target["name"]
        what = "alias.removed" if target is None else "alias.added"
        records.note(HistoryLine(facility, name, now, actor, what, {"service": shown}))
        subject = owner if target is None else target
        assert subject is not None  # noqa: S101 - one of the two was found
        transaction.audit(actor=actor, action=f"resource.{what}", subject=str(subject["id"]))

    async def fix(self, pair_id: UUID, fields: Sequence[str] = (), *, actor: str) -> Fix:
        """Queues the fix of a drift for OmegaAI: these fields, or all that can be fixed.

        The drift is gone when an import has seen the new values in OmegaAI. Raises NotDecidedError, StoreUnavailable.
        """
        now = await self.store.now()
        refusal: NotDecidedError | None = None
        decided: Fix | None = None
        with asking():
            async with self.store.pool.acquire() as connection, connection.transaction():
                transaction, records = _begun(Transaction(connection))
                found = await compare_in(transaction, records, self.site, now=now)
                pair = next((one for one in found.pairs if one.id == pair_id), None)
                try:
                    decided = await _decide(transaction, records, pair, fields, actor=actor, now=now)
                except NotDecidedError as error:
                    refusal = error  # the comparison is kept all the same
                await transaction.flush()
        if decided is None:
            raise refusal or NotDecidedError("nothing was decided")
        return decided

    async def take(self, read: CsvFile, *, actor: str, is_complete: bool = False) -> Imported:
        """Takes the rows of an export over. ``is_complete``: what the file does not name is switched off.

        Raises StoreUnavailable.
        """
        now = await self.store.now()
        facilities = sorted({row.facility for row in read.rows})
        with asking():
            async with self.store.pool.acquire() as connection, connection.transaction():
                transaction, records = _begun(Transaction(connection))
                await records.load_facilities(facilities)
                changed = sum(records.hear(row, actor=actor, now=now, is_newest=True) for row in read.rows)
                named = {(row.facility, row.name) for row in read.rows}
                missing = [
                    one
                    for facility in facilities
                    for one in records.of_facility(facility)
                    if one.active and (one.facility, one.name) not in named
                ]
                if is_complete:
                    for one in missing:
                        records.put(one.switched_off(now), before=one, actor=actor, now=now)
                detail = {"rows": len(read.rows), "bad_rows": read.bad_rows, "changed": changed}
                transaction.audit(actor=actor, action="resource.import", subject=", ".join(facilities), detail=detail)
                await transaction.flush()
        await self._compare()
        names = tuple(f"{one.facility} {one.name}" for one in missing)
        return Imported(changed, len(read.rows) - changed, names, len(missing) if is_complete else 0)

    async def _compare(self) -> None:
        now = await self.store.now()
        with asking():
            async with self.store.pool.acquire() as connection, connection.transaction():
                transaction, records = _begun(Transaction(connection))
                await compare_in(transaction, records, self.site, now=now)
                await transaction.flush()


def _begun(transaction: Transaction) -> tuple[Transaction, ResourceRecords]:
    records = ResourceRecords(transaction)
    transaction.join(records)
    return transaction, records


def _the_one(service: str, present: Sequence[Any]) -> Any:
    """The service of this id, or else of this exact name."""
    found = [row for row in present if row["healthcare_service_id"] == service]
    found = found or [row for row in present if row["name"] == service]
    if not found:
        raise NotDecidedError("OmegaAI has no service of this name or id at the facility")
    if len(found) > 1:
        raise NotDecidedError("OmegaAI has several services of this name at the facility: give the id of one")
    return found[0]


async def _set_aliases(transaction: Transaction, row: Any, aliases: list[str]) -> None:
    await transaction.connection.execute(statements.SET_ALIASES, row["id"], aliases)


async def _decide(
    transaction: Transaction,
    records: ResourceRecords,
    pair: Pair | None,
    fields: Sequence[str],
    *,
    actor: str,
    now: datetime,
) -> Fix:
    if pair is None or pair.state is not PairState.DRIFTED or pair.powerserver is None or pair.omegaai is None:
        raise NotDecidedError("this resource has no drift")
    can_fix = {one.field for one in pair.drift if one.can_apply}
    for one in fields:
        if one not in can_fix:
            is_drifted = any(drift.field == one for drift in pair.drift)
            why = "has to be set by hand in OmegaAI" if is_drifted else "does not differ"
            raise NotDecidedError(f"{one} {why}")
    chosen = [one.field for one in pair.drift if one.can_apply and (not fields or one.field in fields)]
    if not chosen:
        raise NotDecidedError("no field of this drift can be written: set it by hand in OmegaAI")
    connection = transaction.connection
    if await connection.fetchval(statements.IS_UNDER_WAY, System.OMEGAAI, pair.id, RESOURCE_FIX):
        raise NotDecidedError("a fix of this resource is under way already")
    row = await connection.fetchrow(statements.SERVICE, pair.id)
    ours, theirs = pair.powerserver.description, row
    changes = tuple(_change(one, ours, theirs, pair) for one in chosen)
    fix = ServiceFix(pair.id, pair.facility, pair.name, theirs["healthcare_service_id"], changes)
    delivery_id = contracts.uuid7()
    transaction.deliver(
        System.OMEGAAI,
        key=pair.id,
        kind=RESOURCE_FIX,
        payload=fix.to_bytes(),
        idempotency_key=f"resource:{pair.id}:{delivery_id}",
        subject=pair.id,
        delivery_id=delivery_id,
    )
    detail: dict[str, object] = {one.field: [one.omegaai, one.powerserver] for one in pair.drift if one.field in chosen}
    records.note(HistoryLine(pair.facility, pair.name, now, actor, "fix.decided", detail))
    transaction.audit(actor=actor, action="resource.fix", subject=str(pair.id), detail={"fields": chosen})
    return Fix(delivery_id, pair.id, pair.name, tuple(chosen))


def _change(field: str, ours: Description, theirs: Any, pair: Pair) -> FieldFix:
    if field == "hours":
        assert ours.hours is not None  # noqa: S101 - a drift of hours has PowerServer's
        assert pair.omegaai is not None  # noqa: S101 - a drift has both sides
        wanted = wanted_hours(ours.hours, pair.omegaai.description.hours)
        return FieldFix(field, parsed(theirs["hours"]), wanted_of(field, wanted))
    column = {"duration": "duration_minutes"}.get(field, field)
    return FieldFix(field, theirs[column], getattr(ours, column))
