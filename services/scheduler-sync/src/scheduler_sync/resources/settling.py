"""What OmegaAI answered to a fix, in the transaction that marks the delivery done."""

from collections.abc import Sequence
from datetime import datetime

from chassis.deliveries import Accepted
from chassis.store import Transaction
from scheduler_sync.adapters.omegaai.services import FixAccepted, ServiceFix
from scheduler_sync.resources.records import HistoryLine, ResourceRecords
from scheduler_sync.resources.stored import OMEGAAI


def note_fixes(transaction: Transaction, all_accepted: Sequence[Accepted], *, now: datetime) -> None:
    """One line of history for each fix. The drift stays until an import has seen the new values.

    Nothing of the resources is locked or written here. UnreadableReceiptError.
    """
    records = ResourceRecords(transaction)
    transaction.join(records)
    for delivery, receipt in all_accepted:
        fix, accepted = ServiceFix.from_bytes(delivery.payload), FixAccepted.of(receipt)
        what = "fix.written" if accepted.was_written else "fix.was-there"
        detail: dict[str, object] = {"version": accepted.version, "fields": [one.field for one in fix.fields]}
        records.note(HistoryLine(fix.facility, fix.name, now, OMEGAAI, what, detail))
