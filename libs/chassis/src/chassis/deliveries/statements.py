"""The SQL of the lines: one line per (destination, key); only its first pending row may go.

Every time comparison uses the store's own clock.
"""

from typing import Final

from chassis.store.names import CHASSIS

deliveries = CHASSIS.Deliveries
bugs = CHASSIS.DeliveryBugs

# The heads of the lines: the first pending row of each key, when it is due and no worker holds it.
CLAIM: Final = f"""
WITH heads AS (
    SELECT d.{deliveries.id} FROM {deliveries} d
    WHERE d.{deliveries.destination} = $1 AND d.{deliveries.state} = 'pending'
      AND d.{deliveries.next_attempt_at} <= clock_timestamp()
      AND (d.{deliveries.lease_until} IS NULL OR d.{deliveries.lease_until} < clock_timestamp())
      AND NOT EXISTS (
          SELECT 1 FROM {deliveries} earlier
          WHERE earlier.{deliveries.destination} = d.{deliveries.destination}
            AND earlier.{deliveries.key} = d.{deliveries.key} AND earlier.{deliveries.state} = 'pending'
            AND earlier.{deliveries.sequence} < d.{deliveries.sequence}
      )
    ORDER BY d.{deliveries.sequence} LIMIT $2 FOR UPDATE SKIP LOCKED
)
UPDATE {deliveries} d SET {deliveries.lease_token} = $3,
    {deliveries.lease_until} = clock_timestamp() + $4 * interval '1 second',
    {deliveries.attempts} = d.{deliveries.attempts} + 1
FROM heads WHERE d.{deliveries.id} = heads.{deliveries.id}
RETURNING d.{deliveries.id}, d.{deliveries.sequence}, d.{deliveries.destination}, d.{deliveries.key},
    d.{deliveries.kind}, d.{deliveries.payload}, d.{deliveries.headers}, d.{deliveries.idempotency_key},
    d.{deliveries.attempts}, d.{deliveries.receipt}, d.{deliveries.traceparent}, d.{deliveries.created_at},
    d.{deliveries.subject}
"""

# A row that another transaction holds is being marked, or is an operator's. It is skipped: waiting could deadlock.
RENEW: Final = f"""
UPDATE {deliveries} SET {deliveries.lease_until} = clock_timestamp() + $2 * interval '1 second'
WHERE {deliveries.id} IN (
    SELECT {deliveries.id} FROM {deliveries}
    WHERE {deliveries.lease_token} = ANY($1::uuid[]) AND {deliveries.state} = 'pending' FOR UPDATE SKIP LOCKED
)
"""

HELD: Final = f"""
SELECT EXISTS (
    SELECT 1 FROM {deliveries}
    WHERE {deliveries.id} = $1 AND {deliveries.lease_token} = $2 AND {deliveries.state} = 'pending'
)
"""

DONE: Final = f"""
UPDATE {deliveries} d SET {deliveries.state} = 'done', {deliveries.done_at} = clock_timestamp(),
    {deliveries.receipt} = accepted.{deliveries.receipt}, {deliveries.last_error} = NULL,
    {deliveries.lease_token} = NULL, {deliveries.lease_until} = NULL
FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS accepted ({deliveries.id}, token, {deliveries.receipt})
WHERE d.{deliveries.id} = accepted.{deliveries.id} AND d.{deliveries.lease_token} = accepted.token
    AND d.{deliveries.state} = 'pending' RETURNING d.{deliveries.id}
"""

AGAIN: Final = f"""
UPDATE {deliveries} SET {deliveries.last_error} = $3,
    {deliveries.next_attempt_at} = clock_timestamp() + $4 * interval '1 second',
    {deliveries.lease_token} = NULL, {deliveries.lease_until} = NULL
WHERE {deliveries.id} = $1 AND {deliveries.lease_token} = $2 AND {deliveries.state} = 'pending'
"""

DEAD: Final = f"""
UPDATE {deliveries} SET {deliveries.state} = 'dead', {deliveries.done_at} = clock_timestamp(),
    {deliveries.last_error} = $3, {deliveries.lease_token} = NULL, {deliveries.lease_until} = NULL
WHERE {deliveries.id} = $1 AND {deliveries.lease_token} = $2 AND {deliveries.state} = 'pending'
"""

# The oldest row is the first of its index, so only counting reads every row.
WAITING: Final = f"""
SELECT
    (SELECT count(*) FROM {deliveries}
        WHERE {deliveries.destination} = $1 AND {deliveries.state} = 'pending') AS pending,
    (SELECT count(*) FROM {deliveries} WHERE {deliveries.destination} = $1 AND {deliveries.state} = 'dead') AS dead,
    coalesce((
        SELECT extract(epoch FROM clock_timestamp() - {deliveries.created_at}) FROM {deliveries}
        WHERE {deliveries.destination} = $1 AND {deliveries.state} = 'pending'
        ORDER BY {deliveries.sequence} LIMIT 1
    ), 0)::float8 AS age,
    coalesce((SELECT {bugs.in_a_row} FROM {bugs} WHERE {bugs.destination} = $1), 0) AS bugs
"""

# A bug makes a delivery dead only while fewer than the limit died in a row. The counter's row is locked, so that
# processes that count at once stay within the limit.
DEAD_OF_A_BUG: Final = f"""
WITH counted AS (
    INSERT INTO {bugs} AS known ({bugs.destination}, {bugs.in_a_row}, {bugs.reason}) VALUES ($4, 1, $3)
    ON CONFLICT ({bugs.destination}) DO UPDATE SET {bugs.in_a_row} = known.{bugs.in_a_row} + 1,
        {bugs.reason} = $3, {bugs.at} = clock_timestamp()
    WHERE known.{bugs.in_a_row} < $5
    RETURNING {bugs.in_a_row}
)
UPDATE {deliveries} SET {deliveries.state} = 'dead', {deliveries.done_at} = clock_timestamp(),
    {deliveries.last_error} = $3, {deliveries.receipt} = NULL,
    {deliveries.lease_token} = NULL, {deliveries.lease_until} = NULL
FROM counted
WHERE {deliveries.id} = $1 AND {deliveries.lease_token} = $2 AND {deliveries.state} = 'pending'
RETURNING counted.{bugs.in_a_row}
"""

# With the partner's answer, if there is one: then the next try only settles it.
HELD_BACK: Final = f"""
UPDATE {deliveries} SET {deliveries.last_error} = $3,
    {deliveries.next_attempt_at} = clock_timestamp() + $4 * interval '1 second',
    {deliveries.receipt} = coalesce($5, {deliveries.receipt}),
    {deliveries.lease_token} = NULL, {deliveries.lease_until} = NULL
WHERE {deliveries.id} = $1 AND {deliveries.lease_token} = $2 AND {deliveries.state} = 'pending'
"""

BUGS: Final = f"SELECT coalesce((SELECT {bugs.in_a_row} FROM {bugs} WHERE {bugs.destination} = $1), 0)"

NO_BUGS: Final = f"DELETE FROM {bugs} WHERE {bugs.destination} = $1"
