"""The chassis' tables and the notifier's first ones."""

from alembic import op

from chassis.store import schema

revision = "n001"
down_revision = None
branch_labels = None
depends_on = None
phase = "before"

_TABLES = (
    "CREATE TABLE aggregates (aggregate_id uuid CONSTRAINT pk_aggregates PRIMARY KEY)",
    """
    CREATE TABLE recipients (
        patient_id uuid CONSTRAINT pk_recipients PRIMARY KEY,
        revision integer NOT NULL CONSTRAINT ck_recipients_revision CHECK (revision >= 1),
        given_name varchar NOT NULL,
        email varchar,
        language varchar NOT NULL,
        changed_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE TABLE appointments (
        appointment_id uuid CONSTRAINT pk_appointments PRIMARY KEY,
        patient_id uuid NOT NULL,
        revision integer NOT NULL CONSTRAINT ck_appointments_revision CHECK (revision >= 1),
        event varchar NOT NULL,
        status varchar NOT NULL,
        who_acts_next varchar NOT NULL,
        start_at timestamptz NOT NULL,
        end_at timestamptz NOT NULL,
        facility_name varchar NOT NULL,
        facility_time_zone varchar NOT NULL,
        facility_phone varchar,
        facility_address varchar,
        changed_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE TABLE notifications (
        notification_id uuid CONSTRAINT pk_notifications PRIMARY KEY,
        appointment_id uuid NOT NULL,
        patient_id uuid NOT NULL,
        template varchar NOT NULL,
        revision integer NOT NULL,
        state varchar NOT NULL CONSTRAINT ck_notifications_state
            CHECK (state IN ('awaiting_recipient', 'queued', 'sent', 'superseded', 'undeliverable')),
        reason varchar,
        unanswered_handovers integer NOT NULL DEFAULT 0,
        created_at timestamptz NOT NULL DEFAULT now(),
        changed_at timestamptz NOT NULL DEFAULT now(),
        sent_at timestamptz,
        CONSTRAINT uq_notifications_appointment_id UNIQUE (appointment_id, template, revision),
        CONSTRAINT ck_notifications_sent_at CHECK ((state = 'sent') = (sent_at IS NOT NULL))
    )
    """,
    "CREATE INDEX ix_notifications_awaiting ON notifications (patient_id) WHERE state = 'awaiting_recipient'",
    """
    CREATE INDEX ix_notifications_open ON notifications (appointment_id)
    WHERE state IN ('awaiting_recipient', 'queued')
    """,
    "CREATE INDEX ix_notifications_history ON notifications (changed_at, notification_id)",
)


def upgrade() -> None:
    schema.upgrade("v001", op)
    for statement in _TABLES:
        op.execute(statement)
