"""The SQL of the lines: one per (destination, key), of which only the first pending row may go.

Every time that decides is the store's own clock.
"""

# The heads of the lines: the first pending row of each key, when it is due and nobody holds it.
CLAIM = """
WITH heads AS (
    SELECT d.id FROM deliveries d
    WHERE d.destination = $1 AND d.state = 'pending' AND d.next_attempt_at <= clock_timestamp()
      AND (d.lease_until IS NULL OR d.lease_until < clock_timestamp())
      AND NOT EXISTS (
          SELECT 1 FROM deliveries earlier
          WHERE earlier.destination = d.destination AND earlier.key = d.key AND earlier.state = 'pending'
            AND earlier.sequence < d.sequence
      )
    ORDER BY d.sequence LIMIT $2 FOR UPDATE SKIP LOCKED
)
UPDATE deliveries d SET lease_token = $3, lease_until = clock_timestamp() + $4 * interval '1 second',
    attempts = d.attempts + 1
FROM heads WHERE d.id = heads.id
RETURNING d.*
"""
# What another transaction holds is being marked, or is an operator's. Neither is waited for, so that nobody waits in a
# circle.
RENEW = """
UPDATE deliveries SET lease_until = clock_timestamp() + $2 * interval '1 second'
WHERE id IN (
    SELECT id FROM deliveries WHERE lease_token = ANY($1::uuid[]) AND state = 'pending' FOR UPDATE SKIP LOCKED
)
"""
HELD = "SELECT EXISTS (SELECT 1 FROM deliveries WHERE id = $1 AND lease_token = $2 AND state = 'pending')"
DONE = """
UPDATE deliveries d SET state = 'done', done_at = clock_timestamp(), receipt = taken.receipt, last_error = NULL,
    lease_token = NULL, lease_until = NULL
FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS taken (id, token, receipt)
WHERE d.id = taken.id AND d.lease_token = taken.token AND d.state = 'pending' RETURNING d.id
"""
AGAIN = """
UPDATE deliveries SET last_error = $3, next_attempt_at = clock_timestamp() + $4 * interval '1 second',
    lease_token = NULL, lease_until = NULL
WHERE id = $1 AND lease_token = $2 AND state = 'pending'
"""
DEAD = """
UPDATE deliveries SET state = 'dead', done_at = clock_timestamp(), last_error = $3,
    lease_token = NULL, lease_until = NULL
WHERE id = $1 AND lease_token = $2 AND state = 'pending'
"""
# The oldest is the first of its index, so that only counting reads all.
WAITING = """
SELECT
    (SELECT count(*) FROM deliveries WHERE destination = $1 AND state = 'pending') AS pending,
    (SELECT count(*) FROM deliveries WHERE destination = $1 AND state = 'dead') AS dead,
    coalesce((
        SELECT extract(epoch FROM clock_timestamp() - created_at) FROM deliveries
        WHERE destination = $1 AND state = 'pending' ORDER BY sequence LIMIT 1
    ), 0)::float8 AS age,
    coalesce((SELECT in_a_row FROM delivery_bugs WHERE destination = $1), 0) AS bugs
"""
# A bug makes a delivery dead only while fewer than the limit were made so in a row. The row of the count is locked by
# whoever counts, so that several at once are not more than the limit either.
DEAD_OF_A_BUG = """
WITH counted AS (
    INSERT INTO delivery_bugs AS known (destination, in_a_row, reason) VALUES ($4, 1, $3)
    ON CONFLICT (destination) DO UPDATE SET in_a_row = known.in_a_row + 1, reason = $3, at = clock_timestamp()
    WHERE known.in_a_row < $5
    RETURNING in_a_row
)
UPDATE deliveries SET state = 'dead', done_at = clock_timestamp(), last_error = $3, receipt = NULL,
    lease_token = NULL, lease_until = NULL
FROM counted
WHERE id = $1 AND lease_token = $2 AND state = 'pending' RETURNING counted.in_a_row
"""
# With the partner's answer where there is one: then the next try only settles it.
HELD_BACK = """
UPDATE deliveries SET last_error = $3, next_attempt_at = clock_timestamp() + $4 * interval '1 second',
    receipt = coalesce($5, receipt), lease_token = NULL, lease_until = NULL
WHERE id = $1 AND lease_token = $2 AND state = 'pending'
"""
BUGS = "SELECT coalesce((SELECT in_a_row FROM delivery_bugs WHERE destination = $1), 0)"
NO_BUGS = "DELETE FROM delivery_bugs WHERE destination = $1"
