"""A unit of work on the store: the aggregates of one batch, in one transaction."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias
from uuid import UUID

from chassis.store import Transaction
from scheduler_sync.commands import FromPowerServer
from scheduler_sync.ports import Displaced, GridRecords, Work
from scheduler_sync.rooms import Rooms
from scheduler_sync.site import Site
from scheduler_sync.store.claims import ClaimRepository
from scheduler_sync.store.repositories import LinkRepository, PatientRepository

Tell: TypeAlias = Callable[["StoredWork", Sequence[Displaced]], Awaitable[None]]
"""Tells the promises that have lost their places in this unit of work."""


@dataclass(slots=True)
class StoredWork(Work):
    """A unit of work on the store; ``commands`` holds the batch's messages as commands.

    ``grid`` is there when a message of the batch is about PowerServer's resources.
    """

    patients: PatientRepository
    links: LinkRepository
    claims: ClaimRepository
    commands: dict[UUID, FromPowerServer | Exception] = field(default_factory=dict)
    grid: GridRecords | None = None


class OpenWork:
    """Opens a unit of work in a transaction. Patients join first: they are locked and written before links.

    Claims join before the links: they follow from what has changed of the links since the store.
    """

    def __init__(self, site: Site, rooms: Rooms, tell: Tell) -> None:
        self._site = site
        self._rooms = rooms
        self._tell = tell

    def __call__(self, transaction: Transaction) -> StoredWork:
        name = self._site.file.site
        patients = PatientRepository(transaction, name)
        links = LinkRepository(transaction, name)
        claims = ClaimRepository(transaction, links, self._rooms)
        work = StoredWork(transaction, patients, links, claims)
        claims.tell = partial(self._tell, work)
        transaction.join(patients)
        transaction.join(claims)
        transaction.join(links)
        return work
