"""Claims on resources: who has which time, in numbered lanes under an exclusion constraint (docs/adr/0030)."""

from alembic import op

revision = "0014"
down_revision = "0011"
branch_labels = None
depends_on = None
phase = "before"

_STATEMENTS = (
    "CREATE EXTENSION IF NOT EXISTS btree_gist",
    # The lock of a resource's claims. It is not the resource's own row: an import of resources must not wait for a
    # booking, nor a booking for an import.
    """
    CREATE TABLE calendars (
        resource_id uuid     NOT NULL,
        capacity    smallint NOT NULL DEFAULT 1,
        CONSTRAINT pk_calendars PRIMARY KEY (resource_id),
        CONSTRAINT fk_calendars_resource_id_resources FOREIGN KEY (resource_id) REFERENCES resources (id),
        CONSTRAINT ck_calendars_capacity CHECK (capacity >= 1)
    )
    """,
    """
    CREATE FUNCTION open_calendar() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO calendars (resource_id) VALUES (NEW.id) ON CONFLICT DO NOTHING;
        RETURN NULL;
    END $$
    """,
    "CREATE TRIGGER open_calendar AFTER INSERT ON resources FOR EACH ROW EXECUTE FUNCTION open_calendar()",
    "INSERT INTO calendars (resource_id) SELECT id FROM resources ORDER BY id ON CONFLICT DO NOTHING",
    """
    CREATE TABLE claims (
        id          uuid        NOT NULL,
        resource_id uuid        NOT NULL,
        lane        integer     NOT NULL,
        capacity    smallint    NOT NULL,
        during      tstzrange   NOT NULL,
        kind        text        NOT NULL,
        released    boolean     NOT NULL DEFAULT false,
        expires_at  timestamptz,
        link_id     uuid,
        made_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT pk_claims PRIMARY KEY (id),
        CONSTRAINT fk_claims_resource_id_calendars FOREIGN KEY (resource_id) REFERENCES calendars (resource_id),
        CONSTRAINT ck_claims_lane CHECK (lane >= 1),
        CONSTRAINT ck_claims_during CHECK (
            NOT isempty(during) AND lower_inc(during) AND NOT upper_inc(during)
            AND lower(during) > '-infinity' AND upper(during) < 'infinity'
        ),
        CONSTRAINT ck_claims_kind CHECK (kind IN ('hold', 'request', 'fact')),
        CONSTRAINT ck_claims_expiry CHECK ((kind = 'hold') = (expires_at IS NOT NULL)),
        CONSTRAINT ck_claims_promises_within_capacity CHECK (kind = 'fact' OR released OR lane <= capacity),
        CONSTRAINT one_claim_a_lane EXCLUDE USING gist (resource_id WITH =, lane WITH =, during WITH &&)
            WHERE (NOT released) DEFERRABLE INITIALLY IMMEDIATE
    )
    """,
    # Without the lane between them, resource and time find the claims of a stretch in one descent.
    "CREATE INDEX ix_claims_stretch ON claims USING gist (resource_id, during) WHERE NOT released",
    "CREATE INDEX ix_claims_link_id ON claims (link_id) WHERE link_id IS NOT NULL",
    "CREATE INDEX ix_claims_expires_at ON claims (expires_at) WHERE NOT released AND expires_at IS NOT NULL",
    """
    CREATE FUNCTION claims_in(p_resource uuid, p_during tstzrange) RETURNS SETOF claims LANGUAGE sql STABLE AS $$
        SELECT * FROM claims WHERE resource_id = p_resource AND during && p_during AND NOT released
            AND (expires_at IS NULL OR expires_at > clock_timestamp())
    $$
    """,
    # The stretches within p_during in which p_count claims or more stand at once.
    """
    CREATE FUNCTION crowded(p_resource uuid, p_during tstzrange, p_count bigint) RETURNS tstzmultirange
    LANGUAGE sql STABLE AS $$
        SELECT coalesce(range_agg(tstzrange(t, next)), '{}') FROM (
            SELECT t, lead(t) OVER (ORDER BY t, d) AS next, sum(d) OVER (ORDER BY t, d) AS n FROM (
                SELECT greatest(lower(during), lower(p_during)) AS t, 1 AS d FROM claims_in(p_resource, p_during)
                UNION ALL
                SELECT least(upper(during), upper(p_during)), -1 FROM claims_in(p_resource, p_during)
            ) ends
        ) counted WHERE n >= p_count AND next > t
    $$
    """,
    """
    CREATE FUNCTION peak(p_resource uuid, p_during tstzrange) RETURNS bigint LANGUAGE sql STABLE AS $$
        SELECT coalesce(max(n), 0) FROM (
            SELECT sum(d) OVER (ORDER BY t, d) AS n FROM (
                SELECT greatest(lower(during), lower(p_during)) AS t, 1 AS d FROM claims_in(p_resource, p_during)
                UNION ALL
                SELECT upper(during), -1 FROM claims_in(p_resource, p_during)
            ) ends
        ) counted
    $$
    """,
    """
    CREATE FUNCTION is_taken(p_resource uuid, p_lane integer, p_during tstzrange) RETURNS boolean
    LANGUAGE sql STABLE AS $$
        SELECT EXISTS (SELECT FROM claims WHERE resource_id = p_resource AND lane = p_lane AND during && p_during
                       AND NOT released)
    $$
    """,
    # A lane that nobody has throughout p_during; near the lowest one, found by few looks where many stand at once.
    """
    CREATE FUNCTION free_lane(p_resource uuid, p_during tstzrange) RETURNS integer LANGUAGE plpgsql STABLE AS $$
    DECLARE
        taken integer := 0;
        free  integer := 1;
        l     integer;
    BEGIN
        WHILE is_taken(p_resource, free, p_during) LOOP
            taken := free;
            free := free * 2;
        END LOOP;
        WHILE free - taken > 1 LOOP
            l := (taken + free) / 2;
            IF is_taken(p_resource, l, p_during) THEN taken := l; ELSE free := l; END IF;
        END LOOP;
        RETURN free;
    END $$
    """,
    # One claim. 'claimed', 'claimed anew' (lanes were renumbered) or 'taken'; displaced are the promises that a fact
    # puts out of their place, the youngest first.
    """
    CREATE FUNCTION claim(
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
        IF p_kind <> 'fact' AND peak(p_resource, p_during) >= cap THEN outcome := 'taken'; RETURN; END IF;
        -- One writer for each resource until the commit; the count is taken again under the lock.
        SELECT capacity INTO cap FROM calendars WHERE resource_id = p_resource FOR NO KEY UPDATE;
        UPDATE claims SET released = true WHERE resource_id = p_resource AND during && p_during AND NOT released
            AND expires_at <= clock_timestamp();
        LOOP
            IF p_kind <> 'fact' THEN
                IF peak(p_resource, p_during) >= cap THEN outcome := 'taken'; RETURN; END IF;
                EXIT;
            END IF;
            SELECT c.id INTO victim FROM claims_in(p_resource, p_during) c
                WHERE c.kind <> 'fact' AND c.during && crowded(p_resource, p_during, cap)
                ORDER BY c.kind = 'hold' DESC, c.made_at DESC, c.id DESC LIMIT 1;
            EXIT WHEN victim IS NULL;  -- there is room, or only facts stand there: staff overbook
            -- A request beside the appointment's booked time may be two claims: one without the other is of no use.
            UPDATE claims c SET released = true FROM claims v WHERE v.id = victim AND NOT c.released
                AND (c.id = v.id OR (c.link_id = v.link_id AND c.kind = 'request' AND c.resource_id = v.resource_id));
            displaced := displaced || victim;
        END LOOP;
        SELECT g INTO l FROM generate_series(1, cap) g WHERE NOT is_taken(p_resource, g, p_during)
            ORDER BY g LIMIT 1;
        IF l IS NULL AND p_kind = 'fact' THEN l := free_lane(p_resource, p_during); END IF;
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
    # The claims of a batch: p_gone go, then the given ones come, facts first. A row for each promise that lost its
    # place to a fact ('displaced'), and for each request that found none ('taken').
    """
    CREATE FUNCTION claim_links(
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
            ORDER BY g.kind <> 'fact', g.resource_id, g.starts, g.id
        LOOP
            IF r.kind = 'fact' AND NOT EXISTS (
                SELECT FROM claims c WHERE c.resource_id = r.resource_id AND c.during && r.during AND NOT c.released
                    AND c.kind <> 'fact'
            ) THEN
                INSERT INTO claims (id, resource_id, lane, capacity, during, kind, link_id)
                    VALUES (r.id, r.resource_id, free_lane(r.resource_id, r.during), r.capacity, r.during, 'fact',
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
    """New tables and functions, which former code does not know. The service claims for the links that it finds."""
    for statement in _STATEMENTS:
        op.execute(statement)
