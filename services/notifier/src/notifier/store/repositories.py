"""Three participants of a batch's transaction: loaded once for the whole batch, written set-wise at its end."""

from collections.abc import Callable, Collection, Sequence
from typing import cast
from uuid import UUID

import asyncpg

from notifier.domain.appointment import Appointment, Facility
from notifier.domain.notification import Notification, State, Template
from notifier.domain.recipient import Recipient
from notifier.store.memory import Changes

# Taken in the order of the sorted array, so two batches never wait for each other in a circle. DO UPDATE locks the row
# also where its WHERE is false, and then writes nothing (PostgreSQL manual, INSERT, "ON CONFLICT Clause").
_LOCK = """
INSERT INTO aggregates (aggregate_id) SELECT unnest($1::uuid[])
ON CONFLICT (aggregate_id) DO UPDATE SET aggregate_id = excluded.aggregate_id WHERE false
"""


async def lock_aggregates(connection: asyncpg.Connection, aggregate_ids: Collection[UUID]) -> None:
    """Until the transaction ends nobody else handles these patients and appointments."""
    await connection.execute(_LOCK, sorted(set(aggregate_ids)))


class RecipientRepository:
    """Recipients of the batch's patients."""

    _SELECT = "SELECT patient_id, revision, given_name, email, language FROM recipients WHERE patient_id = ANY($1)"
    _WRITE = """
    INSERT INTO recipients (patient_id, revision, given_name, email, language)
    SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::text[])
    ON CONFLICT (patient_id) DO UPDATE SET revision = excluded.revision, given_name = excluded.given_name,
        email = excluded.email, language = excluded.language, changed_at = now()
    """

    def __init__(self) -> None:
        self._rows: Changes[UUID, Recipient] = Changes()

    async def load(self, connection: asyncpg.Connection, patient_ids: Sequence[UUID]) -> None:
        for row in await connection.fetch(self._SELECT, patient_ids):
            self._rows.load(row["patient_id"], Recipient(*row))

    def get(self, patient_id: UUID) -> Recipient | None:
        return self._rows.get(patient_id)

    def put(self, recipient: Recipient) -> None:
        self._rows.put(recipient.patient_id, recipient)

    def mark(self) -> object:
        return self._rows.mark()

    def rollback_to(self, mark: object) -> None:
        self._rows.rollback_to(cast("int", mark))

    async def flush(self, connection: asyncpg.Connection) -> None:
        if rows := self._rows.changed():
            await connection.execute(
                self._WRITE,
                [row.patient_id for row in rows],
                [row.revision for row in rows],
                [row.given_name for row in rows],
                [row.email for row in rows],
                [row.language for row in rows],
            )


class AppointmentRepository:
    """The batch's appointments."""

    COLUMNS = (
        "appointment_id, patient_id, revision, event, status, who_acts_next, start_at, end_at,"
        " facility_name, facility_time_zone, facility_phone, facility_address"
    )
    _SELECT = f"SELECT {COLUMNS} FROM appointments WHERE appointment_id = ANY($1)"  # noqa: S608 constants only
    _WRITE = f"""
    INSERT INTO appointments ({COLUMNS})
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::text[], $5::text[], $6::text[], $7::timestamptz[],
        $8::timestamptz[], $9::text[], $10::text[], $11::text[], $12::text[])
    ON CONFLICT (appointment_id) DO UPDATE SET patient_id = excluded.patient_id, revision = excluded.revision,
        event = excluded.event, status = excluded.status, who_acts_next = excluded.who_acts_next,
        start_at = excluded.start_at, end_at = excluded.end_at, facility_name = excluded.facility_name,
        facility_time_zone = excluded.facility_time_zone, facility_phone = excluded.facility_phone,
        facility_address = excluded.facility_address, changed_at = now()
    """  # noqa: S608 constants only

    def __init__(self) -> None:
        self._rows: Changes[UUID, Appointment] = Changes()

    async def load(self, connection: asyncpg.Connection, appointment_ids: Sequence[UUID]) -> None:
        for row in await connection.fetch(self._SELECT, appointment_ids):
            self._rows.load(row["appointment_id"], appointment_of_row(tuple(row)))

    def get(self, appointment_id: UUID) -> Appointment | None:
        return self._rows.get(appointment_id)

    def put(self, appointment: Appointment) -> None:
        self._rows.put(appointment.appointment_id, appointment)

    def mark(self) -> object:
        return self._rows.mark()

    def rollback_to(self, mark: object) -> None:
        self._rows.rollback_to(cast("int", mark))

    async def flush(self, connection: asyncpg.Connection) -> None:
        if rows := self._rows.changed():
            columns = zip(*(_appointment_values(row) for row in rows), strict=True)
            await connection.execute(self._WRITE, *map(list, columns))


class NotificationRepository:
    """Open notifications of the batch's appointments and patients, and those that the batch makes."""

    _SELECT = """
    SELECT notification_id, appointment_id, patient_id, template, revision, state, reason FROM notifications
    WHERE appointment_id = ANY($1) AND state IN ('awaiting_recipient', 'queued')
    UNION
    SELECT notification_id, appointment_id, patient_id, template, revision, state, reason FROM notifications
    WHERE patient_id = ANY($2) AND state = 'awaiting_recipient'
    """
    # A notification that was settled since it was loaded (sent, or refused by the mail server) stays as it is.
    _WRITE = """
    INSERT INTO notifications (notification_id, appointment_id, patient_id, template, revision, state, reason)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::int[], $6::text[], $7::text[])
    ON CONFLICT (notification_id) DO UPDATE SET state = excluded.state, reason = excluded.reason, changed_at = now()
    WHERE notifications.state IN ('awaiting_recipient', 'queued')
    """

    def __init__(self) -> None:
        self._rows: Changes[UUID, Notification] = Changes()
        self._by_appointment: dict[UUID, set[UUID]] = {}
        self._by_patient: dict[UUID, set[UUID]] = {}

    async def load(
        self, connection: asyncpg.Connection, appointment_ids: Sequence[UUID], patient_ids: Sequence[UUID]
    ) -> None:
        for row in await connection.fetch(self._SELECT, appointment_ids, patient_ids):
            notification = notification_of_row(tuple(row))
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
        found = self._found(self._by_patient.get(patient_id, set()))
        return [notification for notification in found if notification.state == "awaiting_recipient"]

    def _found(self, ids: set[UUID]) -> list[Notification]:
        """In the order in which their appointments' revisions came; an id whose making was rolled back has no row."""
        rows = [row for key in ids if (row := self._rows.get(key)) is not None]
        return sorted(rows, key=lambda row: (row.appointment_id, row.revision, row.template))

    def mark(self) -> object:
        return self._rows.mark()

    def rollback_to(self, mark: object) -> None:
        self._rows.rollback_to(cast("int", mark))

    async def flush(self, connection: asyncpg.Connection) -> None:
        # In order, as who settles what was sent writes them, too.
        if rows := sorted(self._rows.changed(), key=lambda row: row.notification_id):
            await connection.execute(
                self._WRITE,
                [row.notification_id for row in rows],
                [row.appointment_id for row in rows],
                [row.patient_id for row in rows],
                [row.template for row in rows],
                [row.revision for row in rows],
                [row.state for row in rows],
                [row.reason for row in rows],
            )


def _appointment_values(row: Appointment) -> tuple[object, ...]:
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
    )


def appointment_of_row(row: tuple[object, ...]) -> Appointment:
    """A row of ``AppointmentRepository.COLUMNS`` in that order."""
    *head, name, time_zone, phone, address = cast("tuple[str, ...]", row)
    make = cast("Callable[..., Appointment]", Appointment)  # asyncpg's rows are untyped
    return make(*head, Facility(name, time_zone, phone, address))


def notification_of_row(row: tuple[object, ...]) -> Notification:
    """A row of notification_id, appointment_id, patient_id, template, revision, state, reason in that order."""
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
