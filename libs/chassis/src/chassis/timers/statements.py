"""The worker's statements. ``chassis.store.transaction`` has those that set and cancel timers.

statement_timestamp(), because clock_timestamp() differs from row to row and cannot use an index.
"""

from typing import Final

from chassis.store.names import CHASSIS

timers = CHASSIS.Timers

# Timers of the kinds $1 that are due by the store's clock and by the earliest possible time ($2). Of a key's timers
# only the earliest is claimed; the key's later timers wait until the earliest is handled, its retries included. A row
# that another worker holds is skipped.
CLAIM: Final = f"""
SELECT due.* FROM unnest($1::text[]) AS asked ({timers.kind}) CROSS JOIN LATERAL (
    SELECT t.{timers.kind}, t.{timers.key}, t.{timers.name}, t.{timers.revision}, t.{timers.due_at},
        t.{timers.payload}, t.{timers.attempts}, t.{timers.traceparent} FROM {timers} t
    WHERE t.{timers.kind} = asked.{timers.kind} AND t.{timers.state} = 'waiting'
        AND t.{timers.next_attempt_at} <= statement_timestamp() AND t.{timers.due_at} <= $2
        AND t.{timers.due_at} = (
            SELECT line.{timers.due_at} FROM {timers} line
            WHERE line.{timers.key} = t.{timers.key} AND line.{timers.state} = 'waiting'
                AND line.{timers.kind} = ANY ($1) ORDER BY line.{timers.due_at} LIMIT 1
        )
    ORDER BY t.{timers.next_attempt_at} LIMIT $3 FOR UPDATE OF t SKIP LOCKED
) AS due
ORDER BY due.{timers.due_at}, due.{timers.kind}, due.{timers.name} LIMIT $3
"""

# Seconds until the next timer may be due; NULL when none waits.
NEXT: Final = f"""
SELECT extract(epoch FROM min(soonest.at) - clock_timestamp())::float8
FROM unnest($1::text[]) AS asked ({timers.kind}) CROSS JOIN LATERAL (
    SELECT t.{timers.next_attempt_at} AS at FROM {timers} t WHERE t.{timers.kind} = asked.{timers.kind}
        AND t.{timers.state} = 'waiting'
    ORDER BY t.{timers.next_attempt_at} LIMIT 1
) AS soonest
"""

# The places of the claimed rows that are not the newest word about their timer. Asked when the aggregates are locked:
# words committed before that count.
SUPERSEDED: Final = f"""
SELECT mine.place FROM unnest($1::text[], $2::uuid[], $3::text[], $4::bigint[])
    WITH ORDINALITY AS mine ({timers.kind}, {timers.key}, {timers.name}, {timers.revision}, place)
CROSS JOIN LATERAL (
    SELECT known.{timers.revision} FROM {timers} known WHERE (known.{timers.kind}, known.{timers.key},
        known.{timers.name}) = (mine.{timers.kind}, mine.{timers.key}, mine.{timers.name})
    ORDER BY known.{timers.revision} DESC LIMIT 1
) AS newest WHERE newest.{timers.revision} > mine.{timers.revision}
"""

MARK: Final = f"""
UPDATE {timers} t SET {timers.state} = mark.{timers.state}, {timers.attempts} = t.{timers.attempts} + 1,
    {timers.last_error} = mark.reason,
    {timers.next_attempt_at} = CASE mark.{timers.state} WHEN 'waiting' THEN clock_timestamp() + mark.pause *
        interval '1 second'
        ELSE t.{timers.next_attempt_at} END,
    {timers.settled_at} = CASE WHEN mark.{timers.state} <> 'waiting' THEN clock_timestamp() END
FROM unnest($1::text[], $2::uuid[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::float8[])
    AS mark ({timers.kind}, {timers.key}, {timers.name}, {timers.revision}, {timers.state}, reason, pause)
WHERE (t.{timers.kind}, t.{timers.key}, t.{timers.name}, t.{timers.revision}) = (mark.{timers.kind},
    mark.{timers.key}, mark.{timers.name}, mark.{timers.revision})
"""

DEAD: Final = f"SELECT count(*) FROM {timers} WHERE {timers.state} = 'dead'"

# A dead row that a newer row overtook while a worker held it has no use.
COUNTS: Final = f"""
SELECT count(*) AS waiting, count(*) FILTER (WHERE {timers.due_at} <= now()) AS overdue,
    coalesce(extract(epoch FROM now() - min({timers.due_at})), 0)::float8 AS age,
    count(*) FILTER (WHERE NOT {timers.kind} = ANY ($1::text[])) AS unknown,
    (SELECT count(*) FROM {timers} d WHERE d.{timers.state} = 'dead' AND d.{timers.revision} = (
        SELECT known.{timers.revision} FROM {timers} known WHERE (known.{timers.kind}, known.{timers.key},
            known.{timers.name}) = (d.{timers.kind}, d.{timers.key}, d.{timers.name})
        ORDER BY known.{timers.revision} DESC LIMIT 1
    )) AS dead
FROM {timers} WHERE {timers.state} = 'waiting'
"""

MOST_COUNTED: Final = 10_000

# Kind by kind along the index, so that a million later timers are not read.
OVERVIEW: Final = f"""
WITH RECURSIVE kinds AS (
    (SELECT {timers.kind} AS kind FROM {timers} WHERE {timers.state} = 'waiting' ORDER BY {timers.kind} LIMIT 1)
    UNION ALL
    SELECT (
        SELECT t.{timers.kind} FROM {timers} t WHERE t.{timers.state} = 'waiting' AND t.{timers.kind} > kinds.kind
        ORDER BY t.{timers.kind} LIMIT 1
    ) FROM kinds WHERE kinds.kind IS NOT NULL
)
SELECT
    (SELECT count(*) FROM (
        SELECT 1 FROM {timers} WHERE {timers.state} = 'waiting' LIMIT {MOST_COUNTED + 1}
    ) AS few) AS waiting,
    coalesce(sum(due.number), 0)::int AS overdue, min(due.since) AS overdue_since,
    (SELECT count(*) FROM {timers} d WHERE d.{timers.state} = 'dead' AND d.{timers.revision} = (
        SELECT known.{timers.revision} FROM {timers} known
        WHERE (known.{timers.kind}, known.{timers.key}, known.{timers.name})
            = (d.{timers.kind}, d.{timers.key}, d.{timers.name})
        ORDER BY known.{timers.revision} DESC LIMIT 1
    )) AS dead
FROM kinds CROSS JOIN LATERAL (
    SELECT count(*) AS number, min(few.at) AS since FROM (
        SELECT t.{timers.next_attempt_at} AS at FROM {timers} t
        WHERE t.{timers.kind} = kinds.kind AND t.{timers.state} = 'waiting' AND t.{timers.next_attempt_at} <= now()
        ORDER BY t.{timers.next_attempt_at} LIMIT {MOST_COUNTED + 1}
    ) AS few
) AS due
"""
