-- What a store is: whose, of which site and partners, and which restore it is at. Version 5. One row.

CREATE TABLE store_identity (
    is_the_one        boolean     NOT NULL DEFAULT true,
    service           text        NOT NULL,
    belongs_to        text        NOT NULL,
    incarnation       uuid        NOT NULL,
    epoch             integer     NOT NULL DEFAULT 0,
    compared_to       text        NOT NULL DEFAULT '{}',
    recovery_began_at timestamptz,
    beat              bigint      NOT NULL DEFAULT 0,
    created_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT pk_store_identity PRIMARY KEY (is_the_one),
    CONSTRAINT ck_store_identity_one_row CHECK (is_the_one)
);
