"""The service's SQL, for each batch of events, each mail and each turn of a loop."""

from typing import Final

from chassis.store.aggregates import insert_many, upsert_many
from chassis.store.names import names_in

_TABLES: Final = names_in("notifier.store.tables")
aggregates = _TABLES.AggregateRow
recipients = _TABLES.RecipientRow
appointments = _TABLES.AppointmentRow
notifications = _TABLES.NotificationRow

RECIPIENT: Final = {
    recipients.patient_id: "uuid",
    recipients.revision: "int",
    recipients.given_name: "text",
    recipients.email: "text",
    recipients.language: "text",
    recipients.merged_into: "uuid",
    recipients.merged_at: "timestamptz",
}
APPOINTMENT: Final = {
    appointments.appointment_id: "uuid",
    appointments.patient_id: "uuid",
    appointments.revision: "int",
    appointments.event: "text",
    appointments.status: "text",
    appointments.who_acts_next: "text",
    appointments.start_at: "timestamptz",
    appointments.end_at: "timestamptz",
    appointments.facility_name: "text",
    appointments.facility_time_zone: "text",
    appointments.facility_phone: "text",
    appointments.facility_address: "text",
    appointments.former_start_at: "timestamptz",
    appointments.former_end_at: "timestamptz",
    appointments.former_facility_name: "text",
}
NOTIFICATION: Final = {
    notifications.notification_id: "uuid",
    notifications.appointment_id: "uuid",
    notifications.patient_id: "uuid",
    notifications.template: "text",
    notifications.revision: "int",
    notifications.state: "text",
    notifications.reason: "text",
}
_RECIPIENT: Final = ", ".join(RECIPIENT)
_APPOINTMENT: Final = ", ".join(APPOINTMENT)
_NOTIFICATION: Final = ", ".join(NOTIFICATION)

# The given patients and those in whose records theirs ended; UNION also ends a circle.
_WITH_SURVIVORS: Final = f"""
WITH RECURSIVE wanted AS (
    SELECT unnest($1::uuid[]) AS id
    UNION
    SELECT ended.{recipients.merged_into} FROM wanted JOIN {recipients} ended ON ended.{recipients.patient_id} = id
    WHERE ended.{recipients.merged_into} IS NOT NULL
)
"""

# Locked in order, so two batches never deadlock. DO UPDATE locks the row also where its WHERE is false, and then writes
# nothing (PostgreSQL manual, INSERT, "ON CONFLICT Clause").
LOCK: Final = f"""
{_WITH_SURVIVORS}
INSERT INTO {aggregates} ({aggregates.aggregate_id}) SELECT id FROM wanted ORDER BY id
ON CONFLICT ({aggregates.aggregate_id}) DO UPDATE SET
    {aggregates.aggregate_id} = excluded.{aggregates.aggregate_id} WHERE false
"""

RECIPIENTS: Final = f"""
{_WITH_SURVIVORS}
SELECT {_RECIPIENT} FROM {recipients} WHERE {recipients.patient_id} IN (SELECT id FROM wanted)
"""
WRITE_RECIPIENTS: Final = upsert_many(
    recipients, RECIPIENT, key=recipients.patient_id, extra=f"{recipients.changed_at} = now()"
)

APPOINTMENTS: Final = f"SELECT {_APPOINTMENT} FROM {appointments} WHERE {appointments.appointment_id} = ANY($1)"
APPOINTMENTS_OF_PATIENTS: Final = f"SELECT {_APPOINTMENT} FROM {appointments} WHERE {appointments.patient_id} = ANY($1)"
WRITE_APPOINTMENTS: Final = upsert_many(
    appointments, APPOINTMENT, key=appointments.appointment_id, extra=f"{appointments.changed_at} = now()"
)

OPEN_NOTIFICATIONS: Final = f"""
SELECT {_NOTIFICATION} FROM {notifications}
WHERE {notifications.appointment_id} = ANY($1) AND {notifications.state} IN ('awaiting_recipient', 'queued')
UNION
SELECT {_NOTIFICATION} FROM {notifications}
WHERE {notifications.patient_id} = ANY($2) AND {notifications.state} = 'awaiting_recipient'
"""

OPEN_NOTIFICATIONS_OF_PATIENTS: Final = f"""
SELECT {_NOTIFICATION} FROM {notifications}
WHERE {notifications.patient_id} = ANY($1) AND {notifications.state} IN ('awaiting_recipient', 'queued')
"""

# A notification that was settled since it was loaded (sent, or refused by the mail server) stays unchanged.
WRITE_NOTIFICATIONS: Final = f"""
{insert_many(notifications, NOTIFICATION)}
ON CONFLICT ({notifications.notification_id}) DO UPDATE SET {notifications.state} = excluded.{notifications.state},
    {notifications.patient_id} = excluded.{notifications.patient_id},
    {notifications.revision} = excluded.{notifications.revision},
    {notifications.reason} = excluded.{notifications.reason}, {notifications.changed_at} = now()
WHERE {notifications}.{notifications.state} IN ('awaiting_recipient', 'queued')
"""

_TO_SEND: Final = ", ".join(
    [
        *(f"n.{name}" for name in NOTIFICATION),
        f"n.{notifications.unanswered_handovers}",
        *(f"r.{name}" for name in RECIPIENT),
        *(f"a.{name}" for name in APPOINTMENT),
    ]
)
_JOINED: Final = (
    f"n JOIN {appointments} a USING ({notifications.appointment_id})"
    f" JOIN {recipients} r ON r.{recipients.patient_id} = n.{notifications.patient_id}"
)

BEGIN_HANDOVER: Final = f"""
WITH begun AS (
    UPDATE {notifications} SET {notifications.unanswered_handovers} = {notifications.unanswered_handovers} + 1
    WHERE {notifications.notification_id} = $1 AND {notifications.state} IN ('queued', 'undeliverable') RETURNING *
)
SELECT {_TO_SEND} FROM begun {_JOINED}
"""

TO_SEND: Final = f"""
SELECT {_TO_SEND} FROM {notifications} {_JOINED}
WHERE n.{notifications.notification_id} = $1 AND n.{notifications.state} IN ('queued', 'undeliverable')
"""

TAKE_BACK_HANDOVER: Final = f"""
UPDATE {notifications} SET {notifications.unanswered_handovers} = {notifications.unanswered_handovers} - 1
WHERE {notifications.notification_id} = $1 AND {notifications.unanswered_handovers} > 0
"""

REFUSE: Final = f"""
UPDATE {notifications} SET {notifications.state} = 'undeliverable', {notifications.reason} = $2,
    {notifications.changed_at} = now(),
    {notifications.unanswered_handovers} = greatest({notifications.unanswered_handovers} - 1, 0)
WHERE {notifications.notification_id} = $1 AND {notifications.state} IN ('queued', 'undeliverable')
"""

SETTLE: Final = f"""
UPDATE {notifications} SET {notifications.state} = $2::text, {notifications.reason} = $3,
    {notifications.changed_at} = now(),
    {notifications.sent_at} = CASE WHEN $2 = 'sent' THEN now() ELSE {notifications.sent_at} END
WHERE {notifications.notification_id} = $1
    AND CASE WHEN $2 = 'sent' THEN {notifications.state} <> 'sent' ELSE {notifications.state} = 'queued' END
"""

COUNT_OPEN: Final = f"""
SELECT {notifications.state}, count(*), extract(epoch FROM now() - min({notifications.created_at}))::float8
    FROM {notifications}
WHERE {notifications.state} IN ('awaiting_recipient', 'queued') GROUP BY {notifications.state}
"""
