-- Who is logged in to the pages. Version 7. The hash of a cookie's random word lets nobody in.

CREATE TABLE web_sessions (
    token_hash bytea       NOT NULL,
    subject    text        NOT NULL,
    name       text        NOT NULL,
    role       text        NOT NULL,
    began_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    ends_at    timestamptz NOT NULL,
    CONSTRAINT pk_web_sessions PRIMARY KEY (token_hash),
    CONSTRAINT ck_web_sessions_role CHECK (role IN ('viewer', 'operator', 'admin'))
);
