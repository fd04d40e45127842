"""Deliveries to partners: a durable queue in the service's store, in order per key, tried until the partner answers.

A worker claims heads of lines under a lease and sends outside of any transaction. Then it marks them in one
transaction, together with what the service keeps of the answers; deliveries taken during one such transaction share the
next. A kill in between sends once more, with the same idempotency key: the partner drops the repeat. After a permanent
refusal the delivery is dead, with the partner's answer, for a person; the key's later deliveries go on. A bug of ours
makes only a few in a row dead; then the worker keeps the others and tries one from time to time.
"""

from chassis.deliveries.bugs import StoppedByBugsError
from chassis.deliveries.model import Accepted, Delivery, Receipt, Send, Settled, UnreadableReceiptError
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
    "Accepted",
    "Count",
    "Delivery",
    "DeliveryRow",
    "DeliveryWorker",
    "Receipt",
    "Selection",
    "Send",
    "Settled",
    "StoppedByBugsError",
    "UnreadableReceiptError",
    "check_all",
    "count_dead",
    "drop_delivery",
    "list_dead",
    "list_deliveries",
    "retry_delivery",
    "retry_selected",
]
