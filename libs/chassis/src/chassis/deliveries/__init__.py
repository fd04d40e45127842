"""Deliveries to partners: a durable queue in the service's store, in order per key, tried until the partner answers.

A worker claims heads of lines under a lease, sends outside of any transaction, and marks those that were taken in one
transaction together with what the service wants to keep of the answers: all that were taken while the last such
transaction was under way. A kill in between sends once more, with the same idempotency key: the partner drops the
repeat. A refusal for good makes the delivery dead, with the partner's answer, for a person; the key's later deliveries
go on. A bug of ours does the same to a few in a row; then the worker keeps what there is and tries one from time to
time.
"""

from chassis.deliveries.bugs import StoppedByBugsError
from chassis.deliveries.model import Delivery, Receipt, Send, Settled, Taken, UnreadableReceiptError
from chassis.deliveries.operate import (
    ROWS_A_STEP,
    Count,
    DeliveryRow,
    Selection,
    count_dead,
    drop_delivery,
    list_dead,
    list_deliveries,
    retry_delivery,
    retry_selected,
)
from chassis.deliveries.worker import DeliveryWorker, check_all

__all__ = [
    "ROWS_A_STEP",
    "Count",
    "Delivery",
    "DeliveryRow",
    "DeliveryWorker",
    "Receipt",
    "Selection",
    "Send",
    "Settled",
    "StoppedByBugsError",
    "Taken",
    "UnreadableReceiptError",
    "check_all",
    "count_dead",
    "drop_delivery",
    "list_dead",
    "list_deliveries",
    "retry_delivery",
    "retry_selected",
]
