"""Brings the partners' answers to the handlers, in the transaction that marks the deliveries done."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from chassis.deliveries import Accepted
from chassis.store import Transaction
from scheduler_sync.adapters.omegaai.sender import subject_of
from scheduler_sync.adapters.omegaai.services import RESOURCE_FIX
from scheduler_sync.adapters.powerserver.sender import step_of
from scheduler_sync.commands import Origin
from scheduler_sync.handlers.settlements import (
    omegaai_accepted_appointment,
    omegaai_accepted_patient,
    omegaai_merged_patients,
    powerserver_acknowledged_status,
)
from scheduler_sync.receipts import (
    NOT_KNOWN,
    NOT_SENT,
    AppointmentAccepted,
    PatientAccepted,
    PatientsMerged,
    StatusAnswered,
)
from scheduler_sync.resources.settling import note_fixes
from scheduler_sync.snapshots import APPOINTMENT_UPSERT, PATIENT_MERGE, PATIENT_UPSERT, AppointmentSnapshot
from scheduler_sync.store.work import OpenWork

_ANSWERS: Final = {
    NOT_SENT: "not sent: it shows what came later",
    NOT_KNOWN: "not known there: nothing to take back",
}


class Settlement:
    """The effects of successful deliveries, in the transaction that marks them done."""

    def __init__(
        self, open_work: OpenWork, now: Callable[[], datetime], *, resource_fixed: Callable[[], None] = lambda: None
    ) -> None:
        self._open_work = open_work
        self._now = now
        self._resource_fixed = resource_fixed

    async def omegaai(self, transaction: Transaction, all_accepted: Sequence[Accepted]) -> None:
        """Stores the FHIR ids and versions that OmegaAI gave. UnreadableReceiptError."""
        fixes = [accepted for accepted in all_accepted if accepted.delivery.kind == RESOURCE_FIX]
        if fixes:
            note_fixes(transaction, fixes, now=self._now())
            self._resource_fixed()
            all_accepted = [accepted for accepted in all_accepted if accepted.delivery.kind != RESOURCE_FIX]
        work = self._open_work(transaction)
        patients = [accepted for accepted in all_accepted if accepted.delivery.kind == PATIENT_UPSERT]
        merges = [accepted for accepted in all_accepted if accepted.delivery.kind == PATIENT_MERGE]
        appointments = [
            (AppointmentSnapshot.from_bytes(accepted.delivery.payload), accepted)
            for accepted in all_accepted
            if accepted.delivery.kind == APPOINTMENT_UPSERT
        ]
        await work.patients.load_by_id(subject_of(accepted.delivery) for accepted in (*patients, *merges))
        await work.links.load_by_id(snapshot.link_id for snapshot, _ in appointments)
        for delivery, receipt in patients:
            await omegaai_accepted_patient(subject_of(delivery), PatientAccepted.of(receipt), work=work)
        for delivery, receipt in merges:
            await omegaai_merged_patients(subject_of(delivery), PatientsMerged.of(receipt), work=work)
        for snapshot, (delivery, receipt) in appointments:
            accepted = AppointmentAccepted.of(receipt)
            message = f"Appointment version {accepted.version}: {accepted.status}"
            origin = Origin("delivery", message, delivery.id, self._now())
            await omegaai_accepted_appointment(
                snapshot.link_id, accepted, sent=snapshot.status, work=work, origin=origin
            )

    async def powerserver(self, transaction: Transaction, all_accepted: Sequence[Accepted]) -> None:
        """Stores that PowerServer has accepted our statuses. UnreadableReceiptError."""
        work = self._open_work(transaction)
        await work.links.load_by_id(accepted.delivery.key for accepted in all_accepted)
        for delivery, receipt in all_accepted:
            answered = StatusAnswered.of(receipt)
            code = f"PowerServer answered {answered.code}"
            answer = code if answered.was_sent else _ANSWERS.get(answered.code, answered.code)
            origin = Origin("delivery", answer, delivery.id, self._now())
            await powerserver_acknowledged_status(delivery.key, step_of(delivery), work=work, origin=origin)
