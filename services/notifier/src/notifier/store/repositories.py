"""Three participants of a batch's transaction: loaded once for the whole batch, written set-wise at its end."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, cast
from uuid import UUID

import asyncpg

from chassis.store.aggregates import Undoable, lists_of
from notifier.domain.appointment import Appointment, Facility, FormerPlace
from notifier.domain.notification import Notification, State, Template
from notifier.domain.recipient import Recipient
from notifier.store import statements


async def lock_aggregates(connection: asyncpg.Connection, aggregate_ids: Collection[UUID]) -> None:
    """Locks these patients and appointments until the transaction ends, and the patients into whom they are merged."""
    await connection.execute(statements.LOCK, list(set(aggregate_ids)))


class RecipientRepository:
    """Recipients of the batch's patients."""

    def __init__(self) -> None:
        self._rows: Undoable[UUID, Recipient] = Undoable()

    async def load(self, connection: asyncpg.Connection, patient_ids: Collection[UUID]) -> set[UUID]:
        """Loads the patients. Returns the ids of those in whose records theirs ended, who are still to be loaded."""
        rows = [Recipient(*row) for row in await connection.fetch(statements.RECIPIENTS, list(patient_ids))]
        for row in rows:
            if row.patient_id in patient_ids:
                self._rows.load(row.patient_id, row)
        return {row.patient_id for row in rows} - self._rows.now.keys()

    def get(self, patient_id: UUID) -> Recipient | None:
        return self._rows.get(patient_id)

    def put(self, recipient: Recipient) -> None:
        self._rows.put(recipient.patient_id, recipient)

    def survivor_of(self, patient_id: UUID) -> UUID:
        passed = {patient_id}
        while (known := self.get(patient_id)) is not None and known.merged_into is not None:
            patient_id = known.merged_into
            if patient_id in passed:  # merges in opposite directions came in the wrong order
                break
            passed.add(patient_id)
        return patient_id

    def mark(self) -> object:
        return self._rows.mark()

    def rollback_to(self, mark: object) -> None:
        self._rows.rollback_to(cast("int", mark))

    async def flush(self, connection: asyncpg.Connection) -> None:
        if rows := self._rows.take_changed():
            await connection.execute(statements.WRITE_RECIPIENTS, *lists_of([_recipient_values(row) for row in rows]))


class AppointmentRepository:
    """The batch's appointments."""

    def __init__(self) -> None:
        self._rows: Undoable[UUID, Appointment] = Undoable()

    async def load(self, connection: asyncpg.Connection, appointment_ids: Sequence[UUID]) -> None:
        for row in await connection.fetch(statements.APPOINTMENTS, appointment_ids):
            self._rows.load(row["appointment_id"], appointment_of_row(tuple(row)))

    def get(self, appointment_id: UUID) -> Appointment | None:
        return self._rows.get(appointment_id)

    async def load_of_patients(self, connection: asyncpg.Connection, patient_ids: Collection[UUID]) -> None:
        for row in await connection.fetch(statements.APPOINTMENTS_OF_PATIENTS, list(patient_ids)):
            self._rows.load(row["appointment_id"], appointment_of_row(tuple(row)))

    def put(self, appointment: Appointment) -> None:
        self._rows.put(appointment.appointment_id, appointment)

    def of_patient(self, patient_id: UUID) -> list[Appointment]:
        found = [row for row in self._rows.now.values() if row.patient_id == patient_id]
        return sorted(found, key=lambda row: row.appointment_id)

    def mark(self) -> object:
        return self._rows.mark()

    def rollback_to(self, mark: object) -> None:
        self._rows.rollback_to(cast("int", mark))

    async def flush(self, connection: asyncpg.Connection) -> None:
        if rows := self._rows.take_changed():
            values = lists_of([_appointment_values(row) for row in rows])
            await connection.execute(statements.WRITE_APPOINTMENTS, *values)


class NotificationRepository:
    """Open notifications of the batch's appointments and patients, and those that the batch makes."""

    def __init__(self) -> None:
        self._rows: Undoable[UUID, Notification] = Undoable()
        self._by_appointment: dict[UUID, set[UUID]] = {}
        self._by_patient: dict[UUID, set[UUID]] = {}

    async def load(
        self, connection: asyncpg.Connection, appointment_ids: Sequence[UUID], patient_ids: Sequence[UUID]
    ) -> None:
        for row in await connection.fetch(statements.OPEN_NOTIFICATIONS, appointment_ids, patient_ids):
            self._loaded(notification_of_row(tuple(row)))

    async def load_of_patients(self, connection: asyncpg.Connection, patient_ids: Collection[UUID]) -> None:
        for row in await connection.fetch(statements.OPEN_NOTIFICATIONS_OF_PATIENTS, list(patient_ids)):
            self._loaded(notification_of_row(tuple(row)))

    def _loaded(self, notification: Notification) -> None:
        self._rows.load(notification.notification_id, notification)
        self._index(notification)

    def _index(self, notification: Notification) -> None:
        self._by_appointment.setdefault(notification.appointment_id, set()).add(notification.notification_id)
        self._by_patient.setdefault(notification.patient_id, set()).add(notification.notification_id)

    def put(self, notification: Notification) -> None:
        self._rows.put(notification.notification_id, notification)
        self._index(notification)

    def open_for_appointment(self, appointment_id: UUID) -> list[Notification]:
        found = self._found(self._by_appointment.get(appointment_id, set()))
        return [notification for notification in found if notification.is_open]

    def awaiting_patient(self, patient_id: UUID) -> list[Notification]:
        return [one for one in self.open_for_patient(patient_id) if one.state == "awaiting_recipient"]

    def open_for_patient(self, patient_id: UUID) -> list[Notification]:
        found = self._found(self._by_patient.get(patient_id, set()))
        # The index keeps the notifications that a merge has moved to another patient.
        return [one for one in found if one.is_open and one.patient_id == patient_id]

    def _found(self, ids: set[UUID]) -> list[Notification]:
        """In the order of their appointments' revisions; an id whose creation was rolled back has no row."""
        rows = [row for key in ids if (row := self._rows.get(key)) is not None]
        return sorted(rows, key=lambda row: (row.appointment_id, row.revision, row.template))

    def mark(self) -> object:
        return self._rows.mark()

    def rollback_to(self, mark: object) -> None:
        self._rows.rollback_to(cast("int", mark))

    async def flush(self, connection: asyncpg.Connection) -> None:
        # In order, as the sender's settlement writes them too.
        if rows := sorted(self._rows.take_changed(), key=lambda row: row.notification_id):
            values = lists_of([_notification_values(row) for row in rows])
            await connection.execute(statements.WRITE_NOTIFICATIONS, *values)


def _recipient_values(row: Recipient) -> tuple[object, ...]:
    return row.patient_id, row.revision, row.given_name, row.email, row.language, row.merged_into, row.merged_at


def _notification_values(row: Notification) -> tuple[object, ...]:
    return (
        row.notification_id,
        row.appointment_id,
        row.patient_id,
        row.template,
        row.revision,
        row.state,
        row.reason,
    )


def _appointment_values(row: Appointment) -> tuple[object, ...]:
    former = row.former
    return (
        row.appointment_id,
        row.patient_id,
        row.revision,
        row.event,
        row.status,
        row.who_acts_next,
        row.start,
        row.end,
        row.facility.name,
        row.facility.time_zone,
        row.facility.phone,
        row.facility.address,
        *((None, None, None) if former is None else (former.start, former.end, former.facility_name)),
    )


def appointment_of_row(row: tuple[object, ...]) -> Appointment:
    """A row of ``statements.APPOINTMENT`` in that order."""
    *head, name, time_zone, phone, address, start, end, former_name = cast("tuple[Any, ...]", row)
    former = None if start is None else FormerPlace(start, end, former_name)
    make = cast("Callable[..., Appointment]", Appointment)  # asyncpg's rows are untyped
    return make(*head, Facility(name, time_zone, phone, address), former)


def notification_of_row(row: tuple[object, ...]) -> Notification:
    """A row of ``statements.NOTIFICATION`` in that order."""
    notification_id, appointment_id, patient_id, template, revision, state, reason = row
    return Notification(
        notification_id=cast("UUID", notification_id),
        appointment_id=cast("UUID", appointment_id),
        patient_id=cast("UUID", patient_id),
        template=cast("Template", template),
        revision=cast("int", revision),
        state=cast("State", state),
        reason=cast("str | None", reason),
    )
