"""Blocked times: PowerServer's blocks are claims that take all places of their resource."""

from alembic import op

revision = "0026"
down_revision = "0024"
branch_labels = None
depends_on = None
phase = "before"

_STATEMENTS = (
    """
    CREATE TABLE blocked_times (
        id       uuid        NOT NULL,
        site     text        NOT NULL,
        facility text        NOT NULL,
        resource text        NOT NULL,
        starts   timestamptz,
        ends     timestamptz,
        zone     text,
        heard_at timestamptz NOT NULL,
        CONSTRAINT pk_blocked_times PRIMARY KEY (id)
    )
    """,
    "ALTER TABLE claims DROP CONSTRAINT ck_claims_kind",
    "ALTER TABLE claims ADD CONSTRAINT ck_claims_kind CHECK (kind IN ('hold', 'request', 'fact', 'block')) NOT VALID",
    "ALTER TABLE claims DROP CONSTRAINT ck_claims_promises_within_capacity",
    """
    ALTER TABLE claims ADD CONSTRAINT ck_claims_promises_within_capacity
        CHECK (kind IN ('fact', 'block') OR released OR lane <= capacity) NOT VALID
    """,
    "ALTER TABLE claims VALIDATE CONSTRAINT ck_claims_kind",
    "ALTER TABLE claims VALIDATE CONSTRAINT ck_claims_promises_within_capacity",
    # A block counts as more than any capacity.
    """
    CREATE OR REPLACE FUNCTION crowded(p_resource uuid, p_during tstzrange, p_count bigint) RETURNS tstzmultirange
    LANGUAGE sql STABLE AS $$
        SELECT coalesce(range_agg(tstzrange(t, next)), '{}') FROM (
            SELECT t, lead(t) OVER (ORDER BY t, d) AS next, sum(d) OVER (ORDER BY t, d) AS n FROM (
                SELECT greatest(lower(during), lower(p_during)) AS t,
                    CASE kind WHEN 'block' THEN 32767 ELSE 1 END AS d FROM claims_in(p_resource, p_during)
                UNION ALL
                SELECT least(upper(during), upper(p_during)),
                    CASE kind WHEN 'block' THEN -32767 ELSE -1 END FROM claims_in(p_resource, p_during)
            ) ends
        ) counted WHERE n >= p_count AND next > t
    $$
    """,
    """
    CREATE OR REPLACE FUNCTION peak(p_resource uuid, p_during tstzrange) RETURNS bigint LANGUAGE sql STABLE AS $$
        SELECT coalesce(max(n), 0) FROM (
            SELECT sum(d) OVER (ORDER BY t, d) AS n FROM (
                SELECT greatest(lower(during), lower(p_during)) AS t,
                    CASE kind WHEN 'block' THEN 32767 ELSE 1 END AS d FROM claims_in(p_resource, p_during)
                UNION ALL
                SELECT upper(during), CASE kind WHEN 'block' THEN -32767 ELSE -1 END
                FROM claims_in(p_resource, p_during)
            ) ends
        ) counted
    $$
    """,
    # A block puts every promise of its time out of its place, and is never refused.
    """
    CREATE OR REPLACE FUNCTION claim(
        p_resource uuid, p_during tstzrange, p_id uuid, p_kind text, p_seconds double precision, p_link uuid,
        OUT outcome text, OUT displaced uuid[]
    ) LANGUAGE plpgsql AS $$
    DECLARE
        cap smallint;
        l integer;
        victim uuid;
        r record;
        expiry timestamptz := CASE WHEN p_kind = 'hold'
                                   THEN clock_timestamp() + p_seconds * interval '1 second' END;
        ends timestamptz[] := '{}';
    BEGIN
        displaced := '{}';
        SELECT capacity INTO cap FROM calendars WHERE resource_id = p_resource;
        -- Most losers end here, and lock nothing.
        IF p_kind NOT IN ('fact', 'block') AND peak(p_resource, p_during) >= cap THEN
            outcome := 'taken'; RETURN;
        END IF;
        -- One writer for each resource until the commit; the count is taken again under the lock.
        SELECT capacity INTO cap FROM calendars WHERE resource_id = p_resource FOR NO KEY UPDATE;
        UPDATE claims SET released = true WHERE resource_id = p_resource AND during && p_during AND NOT released
            AND expires_at <= clock_timestamp();
        LOOP
            IF p_kind NOT IN ('fact', 'block') THEN
                IF peak(p_resource, p_during) >= cap THEN outcome := 'taken'; RETURN; END IF;
                EXIT;
            END IF;
            SELECT c.id INTO victim FROM claims_in(p_resource, p_during) c
                WHERE c.kind NOT IN ('fact', 'block')
                    AND (p_kind = 'block' OR c.during && crowded(p_resource, p_during, cap))
                ORDER BY c.kind = 'hold' DESC, c.made_at DESC, c.id DESC LIMIT 1;
            EXIT WHEN victim IS NULL;  -- there is room, or only facts stand there: staff overbook
            -- A request beside the appointment's booked time may be two claims: one without the other is of no use.
            UPDATE claims c SET released = true FROM claims v WHERE v.id = victim AND NOT c.released
                AND (c.id = v.id OR (c.link_id = v.link_id AND c.kind = 'request' AND c.resource_id = v.resource_id));
            displaced := displaced || victim;
        END LOOP;
        SELECT g INTO l FROM generate_series(1, cap) g WHERE NOT is_taken(p_resource, g, p_during)
            ORDER BY g LIMIT 1;
        IF l IS NULL AND p_kind IN ('fact', 'block') THEN l := free_lane(p_resource, p_during); END IF;
        IF l IS NOT NULL THEN
            INSERT INTO claims (id, resource_id, lane, capacity, during, kind, expires_at, link_id)
                VALUES (p_id, p_resource, l, cap, p_during, p_kind, expiry, p_link);
            outcome := 'claimed';
            RETURN;
        END IF;
        -- There is room at every instant, but no lane is free throughout: number the stretch anew, by start.
        SET CONSTRAINTS one_claim_a_lane DEFERRED;
        FOR r IN
            WITH RECURSIVE stretch(span) AS (
                SELECT p_during
                UNION
                SELECT range_merge(s.span, c.during) FROM stretch s JOIN claims c ON c.resource_id = p_resource
                    AND NOT c.released AND c.during && s.span AND NOT c.during <@ s.span
            ), whole AS (SELECT range_merge(range_agg(span)) AS span FROM stretch)
            SELECT c.id, c.during, c.lane FROM claims c, whole
                WHERE c.resource_id = p_resource AND NOT c.released AND c.during && whole.span
            UNION ALL SELECT p_id, p_during, NULL ORDER BY 2
        LOOP
            SELECT i INTO l FROM generate_series(1, cardinality(ends) + 1) i
                WHERE ends[i] IS NULL OR ends[i] <= lower(r.during) ORDER BY i LIMIT 1;
            ends[l] := upper(r.during);
            IF r.id = p_id THEN
                INSERT INTO claims (id, resource_id, lane, capacity, during, kind, expires_at, link_id)
                    VALUES (p_id, p_resource, l, cap, p_during, p_kind, expiry, p_link);
            ELSIF r.lane <> l THEN
                UPDATE claims SET lane = l WHERE id = r.id;
            END IF;
        END LOOP;
        SET CONSTRAINTS one_claim_a_lane IMMEDIATE;
        outcome := 'claimed anew';
    END $$
    """,
    """
    CREATE OR REPLACE FUNCTION claim_links(
        p_gone uuid[], p_ids uuid[], p_of uuid[], p_resources uuid[], p_starts timestamptz[],
        p_ends timestamptz[], p_kinds text[]
    ) RETURNS TABLE (outcome text, claim_id uuid, link_id uuid, by_link_id uuid) LANGUAGE plpgsql AS $$
    #variable_conflict use_column
    DECLARE
        r record;
        made record;
        facts bigint;
        inserted bigint;
        lost uuid[] := '{}';
    BEGIN
        -- All locks first, in the order of the resources: two batches, or a batch and a booking, cannot deadlock.
        PERFORM FROM calendars WHERE resource_id = ANY(p_resources) OR resource_id IN (
            SELECT c.resource_id FROM claims c WHERE c.id = ANY(p_gone)
        ) ORDER BY resource_id FOR NO KEY UPDATE;
        DELETE FROM claims c WHERE c.id = ANY(p_gone);
        -- A fact that meets nothing needs no count and no search for a lane.
        WITH asked AS (
            SELECT g.id, g.link, g.resource_id, k.capacity, tstzrange(g.starts, g.ends) AS during,
                max(g.ends) OVER (PARTITION BY g.resource_id ORDER BY g.starts, g.id
                                  ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) > g.starts AS meets_another
            FROM unnest(p_ids, p_of, p_resources, p_starts, p_ends, p_kinds)
                AS g (id, link, resource_id, starts, ends, kind)
            JOIN calendars k ON k.resource_id = g.resource_id
            WHERE g.kind = 'fact'
        ), written AS (
            INSERT INTO claims (id, resource_id, lane, capacity, during, kind, link_id)
            SELECT a.id, a.resource_id, 1, a.capacity, a.during, 'fact', a.link FROM asked a
            WHERE a.meets_another IS NOT TRUE AND NOT EXISTS (
                SELECT FROM claims c WHERE c.resource_id = a.resource_id AND c.during && a.during AND NOT c.released
            ) RETURNING 1
        ) SELECT (SELECT count(*) FROM asked), (SELECT count(*) FROM written) INTO facts, inserted;
        IF inserted = facts AND facts = cardinality(p_ids) THEN RETURN; END IF;
        FOR r IN
            SELECT g.id, g.link, g.resource_id, g.kind, k.capacity, tstzrange(g.starts, g.ends) AS during
            FROM unnest(p_ids, p_of, p_resources, p_starts, p_ends, p_kinds)
                AS g (id, link, resource_id, starts, ends, kind)
            JOIN calendars k ON k.resource_id = g.resource_id
            WHERE NOT EXISTS (SELECT FROM claims c WHERE c.id = g.id)
            ORDER BY g.kind NOT IN ('fact', 'block'), g.resource_id, g.starts, g.id
        LOOP
            IF r.kind IN ('fact', 'block') AND NOT EXISTS (
                SELECT FROM claims c WHERE c.resource_id = r.resource_id AND c.during && r.during AND NOT c.released
                    AND c.kind NOT IN ('fact', 'block')
            ) THEN
                INSERT INTO claims (id, resource_id, lane, capacity, during, kind, link_id)
                    VALUES (r.id, r.resource_id, free_lane(r.resource_id, r.during), r.capacity, r.during, r.kind,
                            r.link);
                CONTINUE;
            END IF;
            SELECT c.outcome, c.displaced INTO made
                FROM claim(r.resource_id, r.during, r.id, r.kind, NULL, r.link) c;
            IF made.outcome = 'taken' THEN
                lost := lost || r.link;
                outcome := 'taken'; claim_id := r.id; link_id := r.link; by_link_id := NULL;
                RETURN NEXT;
            END IF;
            RETURN QUERY SELECT 'displaced', c.id, c.link_id, r.link FROM claims c
                WHERE c.id = ANY(made.displaced);
        END LOOP;
        UPDATE claims c SET released = true WHERE c.link_id = ANY(lost) AND c.kind = 'request' AND NOT c.released;
    END $$
    """,
)


def upgrade() -> None:
    """Former code claims as before: it knows no blocks, and meets them as taken time."""
    for statement in _STATEMENTS:
        op.execute(statement)
