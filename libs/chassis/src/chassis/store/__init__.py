"""Postgres: the pool, transactions, tables, migrations, exclusive locks and the store's time."""

from chassis.store.backlog import Backlog
from chassis.store.clock import StoreClock
from chassis.store.exclusive import Exclusive, OneOfMany, Role
from chassis.store.housekeeping import Housekeeping
from chassis.store.identity import Identity, Offsets
from chassis.store.store import Store, asking, collision, is_of_the_schema, is_passing, meaning_of, no_answer
from chassis.store.transaction import Participant, Transaction

__all__ = [
    "Backlog",
    "Exclusive",
    "Housekeeping",
    "Identity",
    "Offsets",
    "OneOfMany",
    "Participant",
    "Role",
    "Store",
    "StoreClock",
    "Transaction",
    "asking",
    "collision",
    "is_of_the_schema",
    "is_passing",
    "meaning_of",
    "no_answer",
]
