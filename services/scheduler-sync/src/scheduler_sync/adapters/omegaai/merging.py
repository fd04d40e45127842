"""Merges two of OmegaAI's Patients, once: a repeat finds the ended one gone or replaced."""

from typing import Protocol
from uuid import UUID

from chassis import failpoints
from chassis.deliveries import Delivery, Receipt
from chassis.errors import Permanent, Transient
from omegaai import elements
from omegaai.client import FhirClient, NotFoundError
from omegaai.elements import Json
from scheduler_sync.failpoints import MERGE_AFTER_CALL, MERGE_BEFORE_CALL
from scheduler_sync.receipts import PatientsMerged
from scheduler_sync.snapshots import PatientMergeOrder


class Known(Protocol):
    """What the store knows of a patient in OmegaAI."""

    @property
    def patient_fhir_id(self) -> str | None: ...


class PatientIds(Protocol):
    """Looks ids up outside any transaction."""

    async def of_patient(self, patient_id: UUID) -> Known: ...


async def send(order: PatientMergeOrder, delivery: Delivery, client: FhirClient, ids: PatientIds) -> Receipt:
    """Goes after the writes of both patients: they stand before it in one line.

    Permanent where OmegaAI does not have the patient who remains; see that patient's own delivery.
    """
    kept = (await ids.of_patient(order.survivor_id)).patient_fhir_id
    ended = (await ids.of_patient(order.ended_id)).patient_fhir_id
    if ended is None:
        return PatientsMerged(kept).to_receipt()
    if kept is None:
        raise Permanent("Patient: the one who remains is not in OmegaAI; see that patient's delivery")
    if kept != ended and not await _is_replaced(client, ended):
        if not await delivery.still_ours():
            raise Transient("another worker has taken the delivery over")
        failpoints.hit(MERGE_BEFORE_CALL)
        try:
            await client.merge_patients(keep=kept, replace=ended)
        except NotFoundError:
            raise Permanent("Patient: one of the two is not in OmegaAI") from None
        failpoints.hit(MERGE_AFTER_CALL)
    return PatientsMerged(kept).to_receipt()


async def _is_replaced(client: FhirClient, fhir_id: str) -> bool:
    try:
        found = await client.read("Patient", fhir_id)
    except NotFoundError:
        return True
    return is_replaced(found.resource)


def is_replaced(patient: Json) -> bool:
    """Whether OmegaAI shows the Patient as replaced by another (Patient.link)."""
    return any(elements.code(one, "type") == "replaced-by" for one in elements.items(patient, "link"))
