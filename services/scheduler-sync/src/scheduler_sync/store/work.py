"""A unit of work on the store: the aggregates of one batch, in one transaction."""

from dataclasses import dataclass, field
from uuid import UUID

from chassis.store import Transaction
from scheduler_sync.commands import ChangeAppointmentByStaff, TakeGridRows
from scheduler_sync.ports import GridRecords, Work
from scheduler_sync.site import Site
from scheduler_sync.store.repositories import LinkRepository, PatientRepository


@dataclass(slots=True)
class StoredWork(Work):
    """A unit of work on the store; ``commands`` holds the batch's messages as commands.

    ``grid`` is there when a message of the batch is about PowerServer's resources.
    """

    patients: PatientRepository
    links: LinkRepository
    commands: dict[UUID, ChangeAppointmentByStaff | TakeGridRows | Exception] = field(default_factory=dict)
    grid: GridRecords | None = None


class OpenWork:
    """Opens a unit of work in a transaction. Patients join first: they are locked and written before links."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def __call__(self, transaction: Transaction) -> StoredWork:
        name = self._site.file.site
        patients = PatientRepository(transaction, name)
        links = LinkRepository(transaction, name)
        transaction.join(patients)
        transaction.join(links)
        return StoredWork(transaction, patients, links)
