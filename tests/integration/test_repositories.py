"""One suite over the services' repositories: what a failed message changed is not written, all else is, set-wise."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import pytest

import notifier.bootstrap
import scheduler_sync.bootstrap
from chassis.store import Transaction, migrations
from local_stack.fixtures import Stack, a_database
from notifier.domain.appointment import Appointment, Facility
from notifier.domain.notification import Notification
from notifier.domain.recipient import Recipient
from notifier.store.repositories import AppointmentRepository, NotificationRepository, RecipientRepository
from scheduler_sync.domain.patient import Patient, PatientIdentifier
from scheduler_sync.store.repositories import PatientRepository

pytestmark = pytest.mark.stack
AT = datetime(2026, 12, 1, 12, tzinfo=UTC)
KEYS = [UUID(int=number) for number in range(1, 6)]
HERE = Facility("Northside", "America/Toronto", None, None)


class Kind(NamedTuple):
    """A repository: how it is opened and loaded, what ``put`` makes of (key, words), and what the store then has."""

    migrations: Path
    open: Callable[[Transaction], Any]
    load: Callable[[Any, asyncpg.Connection], Any]
    put: Callable[[Any, UUID, str], None]
    stored: str


def recipient(repository: RecipientRepository, key: UUID, words: str) -> None:
    repository.put(Recipient(key, 1, words, None, "en"))


def appointment(repository: AppointmentRepository, key: UUID, words: str) -> None:
    repository.put(Appointment(key, key, 1, words, "scheduled", "patient", AT, AT, HERE))


def notification(repository: NotificationRepository, key: UUID, words: str) -> None:
    repository.put(Notification(key, key, key, "please-confirm", 1, "awaiting_recipient", words))


def patient(repository: PatientRepository, key: UUID, words: str) -> None:
    known = (PatientIdentifier("MRN", str(key)),)
    repository.save(
        Patient(
            id=key, site="S", identifiers=known, family=words, given="Jane", middle=None, birth_date=None,
            sex="F", email=None, phone=None, language="en", address=None, organization="O", heard_at=AT,
        )
    )  # fmt: skip


NOTIFIER, SYNC = notifier.bootstrap.MIGRATIONS, scheduler_sync.bootstrap.MIGRATIONS
KINDS: Mapping[str, Kind] = {
    "recipients": Kind(
        NOTIFIER, lambda _tx: RecipientRepository(), lambda repository, on: repository.load(on, KEYS), recipient,
        "SELECT patient_id, given_name FROM recipients",
    ),
    "appointments": Kind(
        NOTIFIER, lambda _tx: AppointmentRepository(), lambda repository, on: repository.load(on, KEYS), appointment,
        "SELECT appointment_id, event FROM appointments",
    ),
    "notifications": Kind(
        NOTIFIER, lambda _tx: NotificationRepository(), lambda repository, on: repository.load(on, KEYS, KEYS),
        notification, "SELECT notification_id, reason FROM notifications",
    ),
    "patients": Kind(
        SYNC, lambda tx: PatientRepository(tx, "S"), lambda repository, _on: repository.load_by_id(KEYS), patient,
        "SELECT id, family FROM patients",
    ),
}  # fmt: skip


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def url(stack: Stack, kind: Kind) -> Iterator[str]:
    with a_database(stack) as made:
        asyncio.run(migrations.run(kind.migrations, made))
        yield made


async def batch(url: str, kind: Kind, *steps: tuple[UUID, str] | None, failed: int = 0) -> dict[UUID, str]:
    """One batch of which the last ``failed`` steps are taken back. Returns what the store then has."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            transaction = Transaction(connection)
            repository = kind.open(transaction)
            transaction.join(repository)
            await kind.load(repository, connection)
            kept = len(steps) - failed
            for step in steps[:kept]:
                kind.put(repository, *step)
            mark = transaction.mark()
            for step in steps[kept:]:
                kind.put(repository, *step)
            transaction.rollback_to(mark)
            await transaction.flush()
        return {row[0]: row[1] for row in await connection.fetch(kind.stored)}
    finally:
        await connection.close()


async def test_what_a_batch_puts_is_there_and_nothing_of_a_failed_message(url: str, kind: Kind) -> None:
    first, second, third = KEYS[:3]
    assert await batch(url, kind, (first, "a"), (second, "b"), (third, "c"), failed=1) == {first: "a", second: "b"}
    again = await batch(url, kind, (first, "aa"), (third, "c"), (first, "no"), (second, "no"), failed=2)
    assert again == {first: "aa", second: "b", third: "c"}
    assert await batch(url, kind, (first, "no"), failed=1) == again
    assert await batch(url, kind) == again


async def test_the_last_of_several_changes_is_written_once(url: str, kind: Kind) -> None:
    first, second = KEYS[:2]
    found = await batch(url, kind, (first, "a"), (second, "b"), (first, "b"), (first, "c"))
    assert found == {first: "c", second: "b"}
