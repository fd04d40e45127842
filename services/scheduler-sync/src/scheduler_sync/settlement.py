"""The partners' answers to deliveries, to the handlers, in the transaction that marks the deliveries done."""

from collections.abc import Callable, Sequence
from datetime import datetime

from chassis.deliveries import Taken
from chassis.store import Transaction
from scheduler_sync.adapters.powerserver.sender import NOT_SENT, step_of
from scheduler_sync.commands import Origin
from scheduler_sync.handlers.settlements import (
    omegaai_took_appointment,
    omegaai_took_patient,
    powerserver_took_status,
)
from scheduler_sync.snapshots import PATIENT_UPSERT, AppointmentSnapshot
from scheduler_sync.store.work import OpenWork


class Settlement:
    """What the success of deliveries changes here, in the transaction that marks them done."""

    def __init__(self, open_work: OpenWork, now: Callable[[], datetime]) -> None:
        self._open_work = open_work
        self._now = now

    async def omegaai(self, transaction: Transaction, all_taken: Sequence[Taken]) -> None:
        """Keep the FHIR ids and versions that OmegaAI gave."""
        work = self._open_work(transaction)
        patients = [taken for taken in all_taken if taken.delivery.kind == PATIENT_UPSERT]
        appointments = [
            (AppointmentSnapshot.from_bytes(taken.delivery.payload), taken)
            for taken in all_taken
            if taken.delivery.kind != PATIENT_UPSERT
        ]
        await work.patients.load_by_id(taken.delivery.key for taken in patients)
        await work.links.load_by_id(snapshot.link_id for snapshot, _ in appointments)
        for delivery, receipt in patients:
            given = receipt.detail
            await omegaai_took_patient(delivery.key, given["id"], given["version_id"], work=work)
        for snapshot, (delivery, receipt) in appointments:
            given = receipt.detail
            message = f"Appointment version {given['version_id']}: {given['status']}"
            await omegaai_took_appointment(
                snapshot.link_id,
                given["id"],
                given["version_id"],
                as_sent=given["status"] == snapshot.status,
                over=given.get("over"),
                work=work,
                origin=Origin("delivery", message, delivery.id, self._now()),
            )

    async def powerserver(self, transaction: Transaction, all_taken: Sequence[Taken]) -> None:
        """Keep that PowerServer has taken our statuses."""
        work = self._open_work(transaction)
        await work.links.load_by_id(taken.delivery.key for taken in all_taken)
        for delivery, receipt in all_taken:
            ack = receipt.detail["ack"]
            answer = "not sent: it shows what came later" if ack == NOT_SENT else f"PowerServer answered {ack}"
            origin = Origin("delivery", answer, delivery.id, self._now())
            await powerserver_took_status(delivery.key, step_of(delivery), work=work, origin=origin)
