"""Deliveries to OmegaAI: a snapshot becomes a Patient or an Appointment there, once, whatever dies in between.

A create is conditional on PowerServer's identifier, an update on the version that was read; a repeat finds its own work
done. A plain ``pending`` never overwrites an act of the patient, nor does a delivery whose status is past
(``statuses.status_to_write``). An operator may retry a refused snapshot after a later one was taken: it is refused
here, because it would restore old facts.
"""

from dataclasses import dataclass
from functools import partial
from typing import Final, Literal, Protocol
from uuid import UUID

from chassis.deliveries import Delivery, Receipt
from chassis.errors import Permanent, Transient
from omegaai import elements
from omegaai.client import FhirClient, Found, NotFoundError, VersionMovedError
from omegaai.elements import Json
from scheduler_sync.adapters.omegaai import doubts, marks, merging, writer
from scheduler_sync.adapters.omegaai.practitioners import Practitioners
from scheduler_sync.adapters.omegaai.services import RESOURCE_FIX, fix_service
from scheduler_sync.domain.appointment import FhirStatus, has_seen, status_to_write
from scheduler_sync.receipts import AppointmentAccepted, PatientAccepted
from scheduler_sync.snapshots import (
    APPOINTMENT_UPSERT,
    PATIENT_MERGE,
    PATIENT_UPSERT,
    AppointmentSnapshot,
    PatientMergeOrder,
    PatientSnapshot,
)

_TRIES: Final = 4


@dataclass(frozen=True, slots=True)
class KnownIds:
    """OmegaAI's ids and versions, as the store has them now."""

    patient_fhir_id: str | None
    appointment_fhir_id: str | None = None
    written_version: str | None = None
    patient_id: UUID | None = None
    """The appointment's patient as the suite has it now."""
    status: FhirStatus | None = None
    """The status that OmegaAI should show now; None for an appointment that the store does not have."""
    patient_version: str | None = None
    """The version of the Patient that our last write made; asked for patients alone."""


class Ids(doubts.Doubts, Protocol):
    """Looks ids up outside any transaction, and keeps the review list."""

    async def of_patient(self, patient_id: UUID) -> KnownIds: ...
    async def of_link(self, link_id: UUID, patient_id: UUID) -> KnownIds:
        """``patient_id`` is the appointment's patient when the delivery was made, perhaps merged since."""
        ...

    async def later(self, delivery: Delivery) -> Literal["done", "under way"] | None:
        """The states of the later deliveries about the same patient or appointment as ``delivery``."""
        ...


class OmegaAISender:
    """Sends deliveries of the kinds patient.upsert, patient.merge, appointment.upsert and resource.fix."""

    def __init__(self, client: FhirClient, ids: Ids) -> None:
        self._client = client
        self._ids = ids
        self._practitioners = Practitioners(client)

    async def send(self, delivery: Delivery) -> Receipt:
        if delivery.attempt > 1:
            await self._check_that_none_went_before(delivery)
        if delivery.kind == PATIENT_UPSERT:
            return await self._patient(PatientSnapshot.from_bytes(delivery.payload), delivery)
        if delivery.kind == PATIENT_MERGE:
            return await merging.send(PatientMergeOrder.from_bytes(delivery.payload), delivery, self._client, self._ids)
        if delivery.kind == APPOINTMENT_UPSERT:
            return await self._appointment(AppointmentSnapshot.from_bytes(delivery.payload), delivery)
        if delivery.kind == RESOURCE_FIX:
            return await fix_service(self._client, delivery)
        raise Permanent(f"no such kind of delivery: {delivery.kind}")

    async def _check_that_none_went_before(self, delivery: Delivery) -> None:
        later = await self._ids.later(delivery)
        if later == "done":
            raise Permanent("a later delivery about the same was taken: nothing is left to send, drop this one")
        if later == "under way":
            raise Transient("a later delivery about the same is under way")

    async def _patient(self, snapshot: PatientSnapshot, delivery: Delivery) -> Receipt:
        if not snapshot.identifiers:
            raise Permanent("Patient.identifier: no issuer of the patient is mapped to an OmegaAI system")
        known = await self._ids.of_patient(snapshot.patient_id)
        for _ in range(_TRIES):
            found = await self._existing("Patient", known.patient_fhir_id)
            if found is None:
                found = await self._client.create(
                    "Patient", writer.patient(snapshot), if_none_exist=writer.patient_query(snapshot)
                )
            if not found.was_created:
                await doubts.check(snapshot, found, known.patient_version, self._ids)
                body = writer.patient(snapshot, found.resource)
                if not writer.is_same(body, found.resource):
                    try:
                        found = await self._update(delivery, "Patient", found, body)
                    except VersionMovedError:
                        continue
            _check_is_named(found, "Patient")
            return PatientAccepted(found.id, found.version).to_receipt()
        raise Transient("OmegaAI: the Patient keeps changing under the update")

    async def _appointment(self, snapshot: AppointmentSnapshot, delivery: Delivery) -> Receipt:
        ids = await self._ids.of_link(snapshot.link_id, snapshot.patient_id)
        if ids.patient_fhir_id is None:
            raise Permanent("Appointment.participant: the patient is not in OmegaAI; see the patient's delivery")
        base = snapshot.base_version if ids.written_version == snapshot.written_version else ids.written_version
        ours = FhirStatus(snapshot.status)
        if snapshot.physician is None:
            return await self._written(delivery, snapshot, ids, ours, base=base)
        practitioner = await self._practitioners.id_of(snapshot.physician)
        try:
            return await self._written(delivery, snapshot, ids, ours, base=base, practitioner=practitioner)
        except Permanent:
            # OmegaAI may refuse the reference: the Practitioner may be gone since its id was remembered.
            self._practitioners.forget(snapshot.physician)
            again = await self._practitioners.id_of(snapshot.physician)
            if again == practitioner:
                raise
        return await self._written(delivery, snapshot, ids, ours, base=base, practitioner=again)

    async def _written(
        self,
        delivery: Delivery,
        snapshot: AppointmentSnapshot,
        ids: KnownIds,
        ours: FhirStatus,
        *,
        base: str | None,
        practitioner: str | None = None,
    ) -> Receipt:
        assert ids.patient_fhir_id is not None  # noqa: S101 - the caller asked
        write = partial(writer.appointment, snapshot, ids.patient_fhir_id, practitioner_id=practitioner)
        for _ in range(_TRIES):
            found = await self._existing("Appointment", ids.appointment_fhir_id)
            status = ours
            over: str | None = None
            if found is None:
                body = marks.marked(write(ours))
                query = writer.appointment_query(snapshot, ids.patient_fhir_id)
                found = await self._client.create("Appointment", body, if_none_exist=query)
            if not found.was_created:
                own = marks.of(found.resource)
                # The version of the act that OmegaAI shows; None where the suite wrote what it shows.
                act = found.version if own is None else own.left
                is_changed = found.version != base and act is not None and not has_seen(base, act)
                over = None if own is None else own.left
                status = status_to_write(ours, _status(found.resource), changed_there=is_changed, now=ids.status)
                leaves_act = is_changed or status is not ours
                body = write(status, found.resource, keeps_wish=leaves_act)
                # A write to a deleted Appointment would read like a second deletion if its answer were lost.
                if status is not FhirStatus.ENTERED_IN_ERROR and not writer.is_same(body, found.resource):
                    over = act or found.version
                    body = marks.marked(body, left=act if leaves_act else None)
                    try:
                        found = await self._update(delivery, "Appointment", found, body)
                    except VersionMovedError:
                        continue
            _check_is_named(found, "Appointment")
            return AppointmentAccepted(found.id, found.version, status, over).to_receipt()
        raise Transient("OmegaAI: the Appointment keeps changing under the update")

    async def _update(self, delivery: Delivery, resource_type: str, found: Found, body: Json) -> Found:
        """Writes over the version that was read, and only while this worker has the delivery.

        A late write would undo a newer one.
        """
        if not await delivery.still_ours():
            raise Transient("another worker has taken the delivery over")
        return await self._client.update(resource_type, found.id, body, version=found.version)

    async def _existing(self, resource_type: str, known_id: str | None) -> Found | None:
        if known_id is None:
            return None
        try:
            return await self._client.read(resource_type, known_id)
        except NotFoundError:
            return None


def subject_of(delivery: Delivery) -> UUID:
    """The patient or appointment that a delivery is about."""
    if delivery.subject is not None:
        return delivery.subject
    if delivery.kind == APPOINTMENT_UPSERT:  # former code did not write the subject
        return AppointmentSnapshot.from_bytes(delivery.payload).link_id
    return delivery.key


def _check_is_named(found: Found, resource_type: str) -> None:
    if not found.id or not found.version:
        raise Transient(f"OmegaAI: the answer about {resource_type} has no id or no version")


def _status(resource: Json) -> FhirStatus | None:
    found = elements.code(resource, "status")
    return FhirStatus(found) if found in set(FhirStatus) else None
