"""Reading and writing outside the batches: ids for deliveries, resources, the pages and the commands."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, Literal, TypeVar
from uuid import UUID

import asyncpg

from chassis.deliveries import Delivery
from chassis.store import asking
from scheduler_sync.adapters.omegaai.doubts import Decision, PatientThere
from scheduler_sync.adapters.omegaai.sender import KnownIds, subject_of
from scheduler_sync.adapters.powerserver.sender import Shown
from scheduler_sync.domain.appointment import State, WorkflowStep, fhir_status_of
from scheduler_sync.snapshots import PatientSnapshot
from scheduler_sync.store import columns, statements

A = TypeVar("A")


class StoredIds:
    """OmegaAI's ids and versions, for the sender. Its methods raise ``StoreUnavailable``."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._patients = _AskedTogether(pool, statements.IDS_OF_PATIENTS, _known_patient)
        self._links = _AskedTogether(pool, statements.IDS_OF_LINKS, _known)

    async def of_patient(self, patient_id: UUID) -> KnownIds:
        return await self._patients.of(patient_id) or KnownIds(None)

    async def of_link(self, link_id: UUID, patient_id: UUID) -> KnownIds:
        found = await self._links.of(link_id) or KnownIds(None)
        if found.patient_id in {None, patient_id}:
            return found
        former = await self.of_patient(patient_id)  # the record was merged after the delivery was made
        return replace(found, patient_fhir_id=former.patient_fhir_id or found.patient_fhir_id)

    async def newest_told(self, patient_id: UUID) -> PatientSnapshot | None:
        with asking():
            payload: bytes | None = await self._pool.fetchval(statements.NEWEST_TOLD_PATIENT, patient_id)
        return None if payload is None else PatientSnapshot.from_bytes(payload)

    async def other_in_omegaai(
        self, patient_id: UUID, there: PatientThere, differing: tuple[str, ...]
    ) -> tuple[int, Decision]:
        asked = patient_id, there.fhir_id, list(differing), columns.encoded(there.as_json())
        with asking():
            row = await self._pool.fetchrow(statements.NOTE_OTHER_IN_OMEGAAI, *asked)
        return row["id"], row["state"]

    async def later(self, delivery: Delivery) -> Literal["done", "under way"] | None:
        asked = delivery.id, delivery.key, delivery.destination, subject_of(delivery)
        with asking():
            is_done: bool | None = await self._pool.fetchval(statements.IS_LATER_DONE, *asked)
        return None if is_done is None else "done" if is_done else "under way"


async def revisions(pool: asyncpg.Pool, aggregate_ids: Sequence[UUID]) -> Mapping[UUID, int]:
    """The revisions of these patients and appointments, as far as the store knows them."""
    rows = await pool.fetch(statements.REVISIONS, aggregate_ids)
    return {row["id"]: row["revision"] for row in rows}


class StoredSteps:
    """The steps of appointments, for the sender. Its method raises ``StoreUnavailable``."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._links = _AskedTogether(pool, statements.STEPS_OF_LINKS, _shown)

    async def of_link(self, link_id: UUID) -> Shown | None:
        return await self._links.of(link_id)


def _known_patient(fhir_id: str | None, version: str | None) -> KnownIds:
    return KnownIds(fhir_id, patient_version=version)


def _known(*row: Any) -> KnownIds:
    patient_fhir_id, fhir_id, written_version, patient_id, state, step = row
    status = fhir_status_of(State(state), WorkflowStep(step))
    return KnownIds(patient_fhir_id, fhir_id, written_version, patient_id, status)


def _shown(step: str, powerserver_step: str | None) -> Shown:
    return Shown(WorkflowStep(step), None if powerserver_step is None else WorkflowStep(powerserver_step))


class _AskedTogether(Generic[A]):
    """A shared query: deliveries that begin in the same turn of the loop ask in one statement, after that turn."""

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
            found = await asyncio.shield(self._answer)  # a caller that gives up does not cancel the others' answer
        return found.get(key)

    async def _ask(self) -> dict[UUID, A]:
        keys, self._keys, self._answer = list(self._keys), set(), None
        return {row[0]: self._make(*row[1:]) for row in await self._pool.fetch(self._query, keys)}
