"""The chassis' tables and the first ones of this service."""

from alembic import op

from chassis.store import schema

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None
phase = "before"

_TABLES = """
CREATE TABLE patients (
    id           uuid        NOT NULL,
    site         text        NOT NULL,
    family       text        NOT NULL,
    given        text        NOT NULL,
    middle       text,
    birth_date   date,
    sex          text        NOT NULL,
    email        text,
    phone        text,
    language     text        NOT NULL,
    address      jsonb,
    organization text        NOT NULL,
    heard_at     timestamptz NOT NULL,
    revision     integer     NOT NULL,
    fhir_id      text,
    fhir_version text,
    CONSTRAINT pk_patients PRIMARY KEY (id)
);

CREATE TABLE patient_identifiers (
    site       text    NOT NULL,
    issuer     text    NOT NULL,
    value      text    NOT NULL,
    patient_id uuid    NOT NULL,
    position   integer NOT NULL,
    CONSTRAINT pk_patient_identifiers PRIMARY KEY (site, issuer, value),
    CONSTRAINT fk_patient_identifiers_patient_id_patients FOREIGN KEY (patient_id) REFERENCES patients (id)
);
CREATE INDEX ix_patient_identifiers_patient_id ON patient_identifiers (patient_id);

CREATE TABLE appointment_links (
    id                      uuid        NOT NULL,
    site                    text        NOT NULL,
    placer_number           text        NOT NULL,
    patient_id              uuid        NOT NULL,
    facility                text        NOT NULL,
    resource                text        NOT NULL,
    modality                text,
    slot_start              timestamptz,
    slot_end                timestamptz,
    slot_zone               text,
    studies                 jsonb       NOT NULL,
    state                   text        NOT NULL,
    step                    text        NOT NULL,
    who_acts_next           text        NOT NULL,
    filler_id               text,
    accession_numbers       text[]      NOT NULL,
    requested_start         timestamptz,
    requested_end           timestamptz,
    requested_zone          text,
    reason                  text,
    powerserver_step        text,
    powerserver_heard_at    timestamptz,
    powerserver_told_at     timestamptz,
    omegaai_id              text,
    omegaai_version         text,
    omegaai_written_version text,
    revision                integer     NOT NULL,
    updated_at              timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_appointment_links PRIMARY KEY (id),
    CONSTRAINT uq_appointment_links_site UNIQUE (site, placer_number),
    CONSTRAINT fk_appointment_links_patient_id_patients FOREIGN KEY (patient_id) REFERENCES patients (id),
    CONSTRAINT ck_appointment_links_state CHECK (state IN ('L0', 'L1', 'L2', 'L3', 'L4', 'L5', 'L6', 'L7')),
    CONSTRAINT ck_appointment_links_slot CHECK (slot_start IS NULL OR slot_end > slot_start)
);
CREATE INDEX ix_appointment_links_patient_id ON appointment_links (patient_id);
CREATE INDEX ix_appointment_links_resource_start ON appointment_links (facility, resource, slot_start);
CREATE INDEX ix_appointment_links_slot_start ON appointment_links (slot_start);
CREATE INDEX ix_appointment_links_state ON appointment_links (state);
CREATE INDEX ix_appointment_links_omegaai_id ON appointment_links (omegaai_id);
CREATE INDEX ix_appointment_links_updated_at ON appointment_links (updated_at);

CREATE TABLE link_history (
    id           bigint      GENERATED ALWAYS AS IDENTITY,
    link_id      uuid        NOT NULL,
    at           timestamptz NOT NULL,
    source       text        NOT NULL,
    message      text        NOT NULL,
    cause_id     uuid        NOT NULL,
    trigger      text,
    outcome      text        NOT NULL,
    state_before text        NOT NULL,
    state_after  text        NOT NULL,
    revision     integer     NOT NULL,
    changed      text[]      NOT NULL,
    delivery_ids uuid[]      NOT NULL,
    CONSTRAINT pk_link_history PRIMARY KEY (id)
);
CREATE INDEX ix_link_history_line ON link_history (link_id, id);

CREATE TABLE conflicts (
    id       bigint      GENERATED ALWAYS AS IDENTITY,
    link_id  uuid        NOT NULL,
    at       timestamptz NOT NULL,
    source   text        NOT NULL,
    cause_id uuid        NOT NULL,
    why      text        NOT NULL,
    CONSTRAINT pk_conflicts PRIMARY KEY (id)
);
CREATE INDEX ix_conflicts_link_id ON conflicts (link_id);

CREATE TABLE resources (
    id                    uuid        NOT NULL,
    facility              text        NOT NULL,
    organization          text        NOT NULL,
    name                  text        NOT NULL,
    modality              text,
    healthcare_service_id text        NOT NULL,
    duration_minutes      integer,
    hours                 jsonb       NOT NULL,
    overbooking           boolean     NOT NULL,
    self_scheduling       boolean     NOT NULL,
    active                boolean     NOT NULL,
    aliases               text[]      NOT NULL,
    powerserver           jsonb,
    seen_at               timestamptz NOT NULL,
    CONSTRAINT pk_resources PRIMARY KEY (id),
    CONSTRAINT uq_resources_healthcare_service_id UNIQUE (healthcare_service_id)
);
CREATE INDEX ix_resources_name ON resources (facility, name);

CREATE TABLE parked_tasks (
    task_id     text        NOT NULL,
    focus       text        NOT NULL,
    expression  text,
    reason      text        NOT NULL,
    parked_at   timestamptz NOT NULL,
    replayed_at timestamptz,
    CONSTRAINT pk_parked_tasks PRIMARY KEY (task_id)
);

CREATE TABLE feed_cursor (
    feed             text        NOT NULL,
    last_task_id     text        NOT NULL,
    last_authored_on text,
    read_at          timestamptz NOT NULL,
    CONSTRAINT pk_feed_cursor PRIMARY KEY (feed)
);
"""


def upgrade() -> None:
    """Create them."""
    schema.upgrade("v001", op)
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
