"""The worker's statements. What sets and cancels timers stands in ``chassis.store.transaction``.

statement_timestamp() and not clock_timestamp(), which differs from row to row and so cannot be looked up in an index.
"""

from typing import Final

# What is due by the store's clock and by the earliest time that it may be ($2), of the kinds $1. Of one key the first
# goes, and no later one while the first is handled or waits for its next try. A row that another worker has is
# passed over.
CLAIM: Final = """
SELECT due.* FROM unnest($1::text[]) AS asked (kind) CROSS JOIN LATERAL (
    SELECT t.kind, t.key, t.name, t.revision, t.due_at, t.payload, t.attempts, t.traceparent FROM timers t
    WHERE t.kind = asked.kind AND t.state = 'waiting' AND t.next_attempt_at <= statement_timestamp() AND t.due_at <= $2
        AND t.due_at = (
            SELECT line.due_at FROM timers line
            WHERE line.key = t.key AND line.state = 'waiting' AND line.kind = ANY ($1) ORDER BY line.due_at LIMIT 1
        )
    ORDER BY t.next_attempt_at LIMIT $3 FOR UPDATE OF t SKIP LOCKED
) AS due
ORDER BY due.due_at, due.kind, due.name LIMIT $3
"""
# In how many seconds the next one may be due; NULL when nothing waits.
NEXT: Final = """
SELECT extract(epoch FROM min(soonest.at) - clock_timestamp())::float8
FROM unnest($1::text[]) AS asked (kind) CROSS JOIN LATERAL (
    SELECT t.next_attempt_at AS at FROM timers t WHERE t.kind = asked.kind AND t.state = 'waiting'
    ORDER BY t.next_attempt_at LIMIT 1
) AS soonest
"""
# Which of the claimed rows, by their places, are not the newest word about their timer. Asked when the aggregates are
# locked: what was committed before that counts.
SUPERSEDED: Final = """
SELECT mine.place FROM unnest($1::text[], $2::uuid[], $3::text[], $4::bigint[])
    WITH ORDINALITY AS mine (kind, key, name, revision, place)
CROSS JOIN LATERAL (
    SELECT known.revision FROM timers known WHERE (known.kind, known.key, known.name) = (mine.kind, mine.key, mine.name)
    ORDER BY known.revision DESC LIMIT 1
) AS newest WHERE newest.revision > mine.revision
"""
MARK: Final = """
UPDATE timers t SET state = mark.state, attempts = t.attempts + 1, last_error = mark.reason,
    next_attempt_at = CASE mark.state WHEN 'waiting' THEN clock_timestamp() + mark.pause * interval '1 second'
        ELSE t.next_attempt_at END,
    settled_at = CASE WHEN mark.state <> 'waiting' THEN clock_timestamp() END
FROM unnest($1::text[], $2::uuid[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::float8[])
    AS mark (kind, key, name, revision, state, reason, pause)
WHERE (t.kind, t.key, t.name, t.revision) = (mark.kind, mark.key, mark.name, mark.revision)
"""
DEAD: Final = "SELECT count(*) FROM timers WHERE state = 'dead'"
# A dead row that a newer word has overtaken while a worker held it waits for nobody.
COUNTS: Final = """
SELECT count(*) AS waiting, count(*) FILTER (WHERE due_at <= now()) AS overdue,
    coalesce(extract(epoch FROM now() - min(due_at)), 0)::float8 AS age,
    count(*) FILTER (WHERE NOT kind = ANY ($1::text[])) AS unknown,
    (SELECT count(*) FROM timers d WHERE d.state = 'dead' AND d.revision = (
        SELECT known.revision FROM timers known WHERE (known.kind, known.key, known.name) = (d.kind, d.key, d.name)
        ORDER BY known.revision DESC LIMIT 1
    )) AS dead
FROM timers WHERE state = 'waiting'
"""
